//! The command line: one file per command, and the only place that reads the environment and prints.
//!
//! It parses the arguments; the command then runs on a runtime of its own. Exit codes: 0 done, 1 failed, 2 usage. A failure
//! is printed once, with its causes. A command that waits for a FileUpload also ends with 3 (a person must act) or 4 (timed
//! out).

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::operating::Operating;
use crate::controller::Settings;
use crate::cyberun::{self, Credential};
use crate::delivery::{Courier, printable};
use crate::redact::Secret;

mod cluster;
mod controller;
mod crd;
mod deployments;
mod docs;
mod duration;
mod explain;
mod fields;
mod folders;
mod list;
mod listen;
mod logging;
mod named;
mod object;
mod operating;
mod refresh;
mod render;
mod request;
mod sidecar;
mod upload;
mod wait;
mod worker;
mod worker_defaults;

/// Uploads files to Cyberun: as a Kubernetes operator, or from the machine that it runs on.
#[derive(Parser)]
#[command(name = "fileupload", version, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Upload(upload::Upload),
    Sidecar(sidecar::Sidecar),
    Controller(controller::Controller),
    Worker(worker::Worker),
    Render(render::Render),
    Explain(explain::Explain),
    Wait(wait::Wait),
    Refresh(refresh::Refresh),
    Crd(crd::Crd),
    Docs(docs::Docs),
}

/// Wrong usage of a command: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{}", printable(.0))]
struct Usage(String);

/// Why a wait ended without what was waited for.
#[derive(Debug, thiserror::Error)]
enum Unmet {
    /// A person must act: exit code 3.
    #[error("{0}")]
    Stalled(String),
    /// The time is over: exit code 4.
    #[error("timed out (--timeout)\n{0}")]
    TimedOut(String),
}

impl Arguments {
    /// Parses the arguments of the process. Wrong ones, and help, end the process.
    ///
    /// kubectl runs a program called `kubectl-fileupload` as its own command. The help then uses that name.
    pub fn typed(words: impl Iterator<Item = OsString>) -> Self {
        let words: Vec<OsString> = words.collect();
        let program = words.first().and_then(|word| Path::new(word).file_stem()).and_then(|name| name.to_str());
        let mut command = without_blanks(Self::command());
        if let Some(of_kubectl) = program.and_then(|name| name.strip_prefix("kubectl-")) {
            command = command.bin_name(format!("kubectl {}", of_kubectl.replace('-', " ")));
        }
        let parsed = command.clone().try_get_matches_from(words);
        parsed
            .and_then(|matches| Self::from_arg_matches(&matches))
            .unwrap_or_else(|error| error.format(&mut command).exit())
    }

    /// Runs the command and returns its exit code.
    pub fn run(self) -> ExitCode {
        let result = match self.command {
            Command::Upload(command) => command.run(),
            Command::Sidecar(command) => command.run(),
            Command::Controller(command) => command.run(),
            Command::Worker(command) => command.run(),
            Command::Render(command) => command.run(),
            Command::Explain(command) => command.run(),
            Command::Wait(command) => command.run(),
            Command::Refresh(command) => command.run(),
            Command::Crd(command) => command.run(),
            Command::Docs(command) => command.run(),
        };
        match result {
            Ok(code) => code,
            Err(error) => {
                let _ = writeln!(io::stderr(), "error: {error:#}");
                ExitCode::from(code(&error))
            }
        }
    }
}

/// The exit code of a failure.
fn code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref() {
        Some(Unmet::Stalled(_)) => 3,
        Some(Unmet::TimedOut(_)) => 4,
        None if error.is::<Usage>() => 2,
        None => 1,
    }
}

/// An environment variable that is empty or blank counts as not set: CI systems make one of a value that is not there.
fn without_blanks(command: clap::Command) -> clap::Command {
    command.mut_args(without_blank).mut_subcommands(without_blanks)
}

#[expect(clippy::disallowed_methods, reason = "clap has read it, but does not tell the value")]
fn without_blank(argument: Arg) -> Arg {
    let value = argument.get_env().and_then(std::env::var_os);
    let is_blank = value.is_some_and(|value| value.to_str().is_some_and(|value| value.trim().is_empty()));
    if is_blank { argument.env(Resettable::Reset) } else { argument }
}

/// How the API is reached.
#[derive(Args)]
struct Api {
    /// Allow `http:` URLs for the API and the storage; for tests only
    #[arg(long)]
    allow_http: bool,
}

impl Api {
    /// A courier to the API at `url`, which `--api-url` or its variable gave.
    fn courier(&self, url: &str, ca_pem: Option<&str>) -> Result<Courier, Usage> {
        self.check(url)?;
        courier(url, self.allow_http, ca_pem)
    }

    /// The operator's settings, for the API at `url` or for the deployments that a file names.
    fn settings(&self, operating: &Operating, url: Option<&str>) -> Result<Settings, Usage> {
        if operating.names_deployments() && url.is_some() {
            let fix = "put the URL into the file, and leave the other out";
            return Err(Usage(format!("--deployments and --api-url (or CYBERUN_API_URL) exclude each other: {fix}")));
        }
        if let Some(url) = url {
            self.check(url)?;
        }
        operating.settings(url.unwrap_or_default(), self.allow_http)
    }

    /// Refuses a URL to which no courier can go.
    fn check(&self, url: &str) -> Result<(), Usage> {
        let checked = cyberun::base_url(url, self.allow_http);
        checked.map(drop).map_err(|error| Usage(format!("--api-url, or CYBERUN_API_URL: {error}")))
    }
}

fn courier(url: &str, allow_http: bool, ca_pem: Option<&str>) -> Result<Courier, Usage> {
    Courier::new(url, allow_http, ca_pem).map_err(|error| Usage(format!("{:#}", anyhow::Error::from(error))))
}

/// The credential. It comes only from the environment, because every process can see arguments.
#[derive(Args)]
struct Key {
    #[arg(long = "api-key-is-read-from-the-environment", env = "CYBERUN_API_KEY", hide = true, hide_env_values = true)]
    api_key: Option<OsString>,
    /// The team's id; only a user JWT needs it
    #[arg(long, value_name = "ID", env = "CYBERUN_TEAM_ID")]
    team_id: Option<String>,
}

impl Key {
    fn credential(&self) -> Result<Credential, Usage> {
        let Some(key) = &self.api_key else {
            return Err(Usage(
                "CYBERUN_API_KEY is not set, or empty: put the team's sk- or dk- key into this environment variable"
                    .into(),
            ));
        };
        let Some(key) = key.to_str() else {
            return Err(Usage("CYBERUN_API_KEY holds bytes that no Cyberun credential has: paste it again".into()));
        };
        Credential::parse(Secret::new(key), self.team_id.as_deref())
            .map_err(|error| Usage(format!("CYBERUN_API_KEY: {error}")))
    }
}

/// Writes data to stdout. A closed pipe is not an error.
fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn on_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Installs the one TLS provider: with two in the dependency tree, rustls chooses none.
fn install_tls_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Runs a command that waits for others. SIGTERM and SIGINT end it at once, with the exit code that a shell shows.
///
/// They are handled because the first process of a container is not ended by a signal that it does not handle.
fn run_until_signal(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    on_this_thread(async {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            _ = terminate.recv() => Ok(ExitCode::from(128 + 15)),
            _ = interrupt.recv() => Ok(ExitCode::from(128 + 2)),
            result = work => result,
        }
    })
}

/// Runs `work` to its end on this thread: on few cores a second one makes an upload slower.
fn on_this_thread<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    // A thread that a disk blocks, or a look-up of a host name that does not end, must not hold it.
    runtime.shutdown_background();
    result
}

/// Is cancelled at SIGTERM or SIGINT: running work is finished, and nothing new starts.
fn stop_on_signal() -> std::io::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        info!("stopping after what is under way");
        stop.cancel();
    });
    Ok(stopped)
}
