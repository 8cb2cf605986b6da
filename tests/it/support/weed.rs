//! SeaweedFS on loopback: an S3 store whose signature check and conditional PUT are none of ours.
//!
//! The program comes from `TEST_WEED`, which `make test` sets; without it the test fails, as a check that was skipped
//! is no check.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use cyberun_stub::ExternalS3;
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use tempfile::TempDir;
use tokio::process::{Child, Command};

const DEADLINE: Duration = Duration::from_mins(1);
const ONE_MINUTE: Duration = Duration::from_mins(1);

/// A running store with one bucket; it ends with its handle.
pub(crate) struct Weed {
    bucket: Bucket,
    credentials: Credentials,
    pub(crate) settings: ExternalS3,
    http: reqwest::Client,
    _server: Child,
    _folder: TempDir,
}

impl Weed {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (server, port) = spawn(&folder);
        let settings = ExternalS3 {
            endpoint: format!("http://127.0.0.1:{port}").parse().unwrap(),
            bucket: "inputs".into(),
            region: "us-east-1".into(),
            access_key: ACCESS_KEY.into(),
            secret_key: SECRET_KEY.into(),
        };
        let bucket = Bucket::new(settings.endpoint.clone(), UrlStyle::Path, "inputs", "us-east-1").unwrap();
        let http = reqwest::Client::builder().no_proxy().timeout(DEADLINE).build().unwrap();
        let credentials = Credentials::new(ACCESS_KEY, SECRET_KEY);
        let weed = Self { bucket, credentials, settings, http, _server: server, _folder: folder };
        weed.create_bucket().await;
        weed
    }

    /// Asks until the store is up and does it.
    async fn create_bucket(&self) {
        let begun = Instant::now();
        loop {
            let url = self.bucket.create_bucket(&self.credentials).sign(ONE_MINUTE);
            let answer = self.http.put(url).send().await;
            if answer.as_ref().is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            assert!(begun.elapsed() < DEADLINE, "SeaweedFS made no bucket within {DEADLINE:?}: {answer:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The content of an object.
    pub(crate) async fn get(&self, key: &str) -> Vec<u8> {
        let url = self.bucket.get_object(Some(&self.credentials), key).sign(ONE_MINUTE);
        let answer = self.http.get(url).send().await.unwrap().error_for_status().unwrap();
        answer.bytes().await.unwrap().to_vec()
    }

    /// A URL to put this key with, signed as Cyberun signs.
    pub(crate) fn sign_put(&self, key: &str, size: usize) -> String {
        let mut action = self.bucket.put_object(Some(&self.credentials), key);
        action.headers_mut().insert("content-length", size.to_string());
        action.headers_mut().insert("if-none-match", "*");
        action.sign(ONE_MINUTE).into()
    }
}

const ACCESS_KEY: &str = "TESTACCESSKEY";
const SECRET_KEY: &str = "test-secret-key";

fn spawn(folder: &TempDir) -> (Child, u16) {
    let weed = option_env("TEST_WEED");
    let config = serde_json::json!({"identities": [{
        "name": "cyberun",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List"],
    }]});
    let config_path = folder.path().join("s3.json");
    std::fs::write(&config_path, config.to_string()).unwrap();
    let ports = free_ports();
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let mut command = Command::new(weed);
    command.args(["server", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"]);
    command.args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.volumeSizeLimitMB=256"]);
    // By default it stores nothing on a disk that is 99 % full, however large that disk is.
    command.arg("-volume.minFreeSpace=512MiB");
    command.arg(format!("-dir={}", folder.path().display())).arg(format!("-s3.config={}", config_path.display()));
    for (flag, port) in PORTS.iter().zip(ports) {
        command.arg(format!("-{flag}={port}"));
    }
    let server = command.env_clear().env("HOME", folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let child = server.kill_on_drop(true).spawn();
    (child.unwrap_or_else(|error| panic!("TEST_WEED names no program that runs: {error}")), ports[0])
}

const PORTS: [&str; 8] = [
    "s3.port",
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
];

/// All are held until all are known, so that they differ.
fn free_ports() -> [u16; PORTS.len()] {
    let held = PORTS.map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

#[expect(clippy::disallowed_methods, reason = "where the program lies is the environment's to say")]
fn option_env(name: &str) -> std::ffi::OsString {
    let hint = "set it to the path that tests/seaweedfs/prepare prints, as make test does";
    std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: {hint}"))
}
