//! A sidecar as its Pod has it: inputs, a keys folder, a port of its own; and the eyes of what runs beside it.
//!
//! Whatever a run prints is searched for the credential, signed URLs and file keys by [`Beside::ended`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use cyberun_stub::{Kind, Options, Step, Stub};
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::files::{Files, bytes};
use crate::support::process::{Ended, Run, Running};

pub(crate) const DEADLINE: Duration = Duration::from_secs(40);
const AGAIN: Duration = Duration::from_millis(20);

pub(crate) struct Beside {
    pub(crate) stub: Stub,
    pub(crate) files: Files,
    pub(crate) keys: PathBuf,
    pub(crate) address: SocketAddr,
    inputs: Vec<(String, PathBuf)>,
}

impl Beside {
    /// These inputs, each of other content, on a stub that deletes nothing.
    pub(crate) async fn with(names: &[&str]) -> Self {
        Self::on(Options::default(), names).await
    }

    pub(crate) async fn on(options: Options, names: &[&str]) -> Self {
        let (stub, files) = (Stub::start(options).await.unwrap(), Files::new());
        let keys = files.folder().join("keys");
        let mut beside = Self { stub, files, keys, address: address(), inputs: Vec::new() };
        for (number, name) in names.iter().enumerate() {
            let path = beside.files.with(name, &bytes(1000 + number));
            beside.input(name, path);
        }
        beside
    }

    /// One more input, be it there or not.
    pub(crate) fn input(&mut self, name: &str, path: PathBuf) {
        self.inputs.push((name.to_owned(), path));
    }

    /// The sidecar that is to run.
    pub(crate) fn run(&self) -> Run {
        let run = Run::of("sidecar").credential(&self.stub.credential(Kind::Integration)).argument("--allow-http");
        let run = run.environment("CYBERUN_API_URL", self.stub.api_url().as_str());
        let run = run.argument("--listen").argument(self.address.to_string());
        let run = run.argument("--keys-dir").argument(&self.keys);
        let inputs = self.inputs.iter();
        inputs.fold(run, |run, (name, path)| run.argument("--input").argument(format!("{name}={}", path.display())))
    }

    /// A sidecar that runs, once it is ready.
    pub(crate) async fn ready(&self, run: Run) -> Running {
        let running = run.start();
        self.until("the probe to pass", async || self.get("/readyz").await == Some(200)).await;
        running
    }

    /// Its end after SIGTERM.
    pub(crate) async fn terminated(&self, running: Running) -> Ended {
        running.signal(Signal::TERM);
        self.ended(running, 0).await
    }

    /// No key may be logged.
    pub(crate) async fn ended(&self, running: Running, code: i32) -> Ended {
        let ended = running.ended().await.failed(code);
        assert_eq!(ended.stdout, "");
        for key in self.stub.calls().iter().filter_map(|call| call.file_key.as_deref()) {
            assert!(!ended.stderr.contains(key), "{}", ended.stderr);
        }
        ended
    }

    /// The status of `GET path`; none while nobody listens.
    pub(crate) async fn get(&self, path: &str) -> Option<u16> {
        let mut stream = TcpStream::connect(self.address).await.ok()?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        Some(answer.split(' ').nth(1).unwrap().parse().unwrap())
    }

    /// Waits until something holds.
    pub(crate) async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let begun = Instant::now();
        while !holds().await {
            let found = listed(&self.keys);
            assert!(begun.elapsed() < DEADLINE, "waited for {what}: {found:?}, {:#?}", self.stub.calls());
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// The key of an input, if it is there.
    pub(crate) fn key(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.keys.join(name)).ok()
    }

    /// All keys, if they are listed.
    pub(crate) fn all(&self) -> Option<BTreeMap<String, Value>> {
        let text = std::fs::read(self.keys.join("keys.json")).ok()?;
        Some(serde_json::from_slice(&text).unwrap_or_else(|error| panic!("keys.json is not whole: {error}")))
    }

    /// Asserts that the folder shows the keys of what these inputs hold, and is complete.
    pub(crate) fn complete(&self) {
        let (all, objects) = (self.all().unwrap(), self.stub.objects());
        assert_eq!(all.len(), self.inputs.len());
        for (name, path) in &self.inputs {
            let key = self.key(name).unwrap();
            assert_eq!(all[name]["fileKey"], key.as_str());
            assert_eq!(objects[&key].bytes.as_deref(), Some(std::fs::read(path).unwrap().as_slice()));
        }
    }

    /// How many presigns and PUTs the stub saw.
    pub(crate) fn counted(&self) -> (usize, usize) {
        let count = |step| self.stub.snapshot().of(step).count();
        (count(Step::Presign), count(Step::Put))
    }
}

/// What everybody sees in a folder, hidden files left out.
pub(crate) fn listed(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    names
}

/// Nobody else's, other test processes included.
fn address() -> SocketAddr {
    static LAST: AtomicU8 = AtomicU8::new(0);
    let [.., high, low] = std::process::id().to_be_bytes();
    SocketAddr::from(([127, high, low, LAST.fetch_add(1, Ordering::Relaxed) + 1], 8080))
}
