//! The program as a process, with an environment of its own.
//!
//! Whatever a run prints is searched for the credential and for signed URLs before a test sees it: no run of any test
//! may leak one.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use cyberun_stub::{Credential, Kind, Stub};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// Longer than all retries of a file take together.
const DEADLINE: Duration = Duration::from_mins(2);

/// Makes a terminal for a process.
const SCRIPT: &str = "/usr/bin/script";

/// A run to be: arguments and environment.
pub(crate) struct Run {
    shell: Option<(Vec<OsString>, String)>,
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    folder: Option<PathBuf>,
    stdin: Stdio,
    stdout: Option<Stdio>,
    secrets: Vec<String>,
}

/// A run that is under way.
pub(crate) struct Running {
    child: Child,
    stdout: watch::Receiver<String>,
    stderr: watch::Receiver<String>,
    secrets: Vec<String>,
}

/// What a run printed, and how it ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// `fileupload upload` without API and credential.
    pub(crate) fn bare() -> Self {
        Self::of("upload")
    }

    /// This command of `fileupload`. Whatever logs may exist are turned on.
    pub(crate) fn of(command: &str) -> Self {
        let run = Self {
            shell: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            folder: None,
            stdin: Stdio::null(),
            stdout: None,
            secrets: Vec::new(),
        };
        run.environment("RUST_LOG", "trace").environment("RUST_BACKTRACE", "1").argument(command)
    }

    /// `fileupload upload` to this stub.
    pub(crate) fn upload(stub: &Stub) -> Self {
        let run = Self::bare().credential(&stub.credential(Kind::Integration));
        let run = run.environment("CYBERUN_API_URL", stub.api_url().as_str());
        if stub.ca_pem().is_some() { run } else { run.argument("--allow-http") }
    }

    pub(crate) fn credential(self, credential: &Credential) -> Self {
        self.token(credential.token())
    }

    /// Sets `CYBERUN_API_KEY`, which from now on may appear nowhere.
    pub(crate) fn token(mut self, token: &str) -> Self {
        self = self.secret(token);
        self.environment("CYBERUN_API_KEY", token)
    }

    /// What from now on may appear nowhere.
    pub(crate) fn secret(mut self, token: &str) -> Self {
        self.secrets.push(token.trim().to_owned());
        self
    }

    pub(crate) fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// `NAME=PATH`.
    pub(crate) fn file(self, name: &str, path: &Path) -> Self {
        self.argument(format!("{name}={}", path.display()))
    }

    pub(crate) fn environment(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// The same run in this folder.
    pub(crate) fn within(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// The same run with something to read.
    pub(crate) fn reading(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdin = stdin.into();
        self
    }

    /// The same run with its output elsewhere; nothing of it is searched.
    pub(crate) fn writing(mut self, stdout: impl Into<Stdio>) -> Self {
        self.stdout = Some(stdout.into());
        self
    }

    /// The same run by way of a program that takes a command line, to whose end `tail` is added.
    pub(crate) fn through(mut self, shell: &[&str], tail: &str) -> Self {
        self.shell = Some((shell.iter().map(OsString::from).collect(), tail.to_owned()));
        self
    }

    /// The same run on a terminal, which util-linux's `script` makes; stdout has all that it shows.
    pub(crate) fn on_terminal(self) -> Self {
        assert!(Path::new(SCRIPT).exists(), "install util-linux (bsdutils): {SCRIPT} makes the terminal");
        let run = self.environment("TERM", "xterm").environment("SHELL", "/bin/sh");
        run.through(&[SCRIPT, "-qec"], "")
    }

    /// Runs to the end.
    pub(crate) async fn run(self) -> Ended {
        self.start().ended().await
    }

    /// Starts the process.
    pub(crate) fn start(self) -> Running {
        let mut command = self.command();
        let command = command.env_clear().envs(self.environment).stdin(self.stdin);
        command.current_dir(self.folder.as_deref().unwrap_or(Path::new(".")));
        let command = command.stdout(self.stdout.unwrap_or_else(Stdio::piped)).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let stdout = child.stdout.take().map_or_else(|| watch::channel(String::new()).1, listen);
        let stderr = listen(child.stderr.take().unwrap());
        Running { child, stdout, stderr, secrets: self.secrets }
    }

    fn command(&self) -> Command {
        let words: Vec<OsString> =
            std::iter::once(env!("CARGO_BIN_EXE_fileupload").into()).chain(self.arguments.clone()).collect();
        let Some((shell, tail)) = &self.shell else {
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]);
            return command;
        };
        let quoted: Vec<String> = words.iter().map(|word| format!("'{}'", word.to_str().unwrap())).collect();
        let mut command = Command::new(&shell[0]);
        // The last is where `script` keeps its copy, and `$0` to a shell.
        command.args(&shell[1..]).arg(quoted.join(" ") + tail).arg("/dev/null");
        command
    }
}

/// Collects what comes out of a pipe.
fn listen(mut pipe: impl AsyncRead + Send + Unpin + 'static) -> watch::Receiver<String> {
    let (sender, receiver) = watch::channel(String::new());
    tokio::spawn(async move {
        let mut bytes = Vec::new();
        while pipe.read_buf(&mut bytes).await.unwrap() > 0 {
            let whole = std::str::from_utf8(&bytes).map_or_else(|error| error.valid_up_to(), str::len);
            let text: Vec<u8> = bytes.drain(..whole).collect();
            sender.send_modify(|said| said.push_str(std::str::from_utf8(&text).unwrap()));
        }
        assert_eq!(bytes, b"", "it ends with half a character");
    });
    receiver
}

impl Running {
    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()).unwrap();
        rustix::process::kill_process(process, signal).unwrap();
    }

    /// Waits until this was printed to stderr.
    pub(crate) async fn said(&mut self, text: &str) {
        let wait = self.stderr.wait_for(|said| said.contains(text));
        let found = matches!(tokio::time::timeout(DEADLINE, wait).await, Ok(Ok(_)));
        assert!(found, "it never said {text:?}: {}", *self.stderr.borrow());
    }

    /// Waits until this was printed to stdout.
    pub(crate) async fn printed(&mut self, text: &str) {
        self.printed_often(text, 1).await;
    }

    /// The same, and so many times.
    pub(crate) async fn printed_often(&mut self, text: &str, times: usize) {
        let wait = self.stdout.wait_for(|said| said.matches(text).count() >= times);
        let found = matches!(tokio::time::timeout(DEADLINE, wait).await, Ok(Ok(_)));
        assert!(found, "it did not print {text:?} {times} times: {}", *self.stdout.borrow());
    }

    /// What was printed to stdout so far.
    pub(crate) fn shown(&self) -> String {
        self.stdout.borrow().clone()
    }

    /// Waits for the end.
    pub(crate) async fn ended(mut self) -> Ended {
        let end = async {
            let status = self.child.wait().await.unwrap();
            // The collectors end with their pipes.
            while self.stdout.changed().await.is_ok() {}
            while self.stderr.changed().await.is_ok() {}
            status
        };
        let status = tokio::time::timeout(DEADLINE, end).await;
        let text = |said: &watch::Receiver<String>| said.borrow().clone();
        let Ok(status) = status else {
            panic!("the process does not end; stdout: {}\nstderr: {}", text(&self.stdout), text(&self.stderr));
        };
        let ended = Ended { status, stdout: text(&self.stdout), stderr: text(&self.stderr) };
        ended.check_secrets(&self.secrets);
        ended
    }
}

impl Ended {
    /// Asserts that the exit code is 0.
    pub(crate) fn succeeded(self) -> Self {
        assert!(self.status.success(), "{}\n{}", self.status, self.stderr);
        self
    }

    /// Asserts the exit code.
    pub(crate) fn failed(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// The keys of a text output, by name.
    pub(crate) fn key(&self, name: &str) -> &str {
        let line = self.stdout.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.unwrap_or_else(|| panic!("no key of {name} in: {}", self.stdout))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("stdout is not one JSON value: {error}"))
    }

    fn check_secrets(&self, secrets: &[String]) {
        for text in [&self.stdout, &self.stderr] {
            for secret in secrets.iter().map(String::as_str).filter(|secret| !secret.is_empty()) {
                assert!(!text.contains(secret), "the credential was printed");
            }
            for part in ["X-Amz-Signature", "X-Amz-Credential"] {
                assert!(!text.contains(part), "{part:?} was printed");
            }
        }
    }
}
