//! `fileupload worker`: what an upload Job runs. Its arguments are written by the operator, not by people.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tokio_util::sync::CancellationToken;

use super::{Api, Usage, install_tls_provider, on_this_thread, stop_on_signal};
use crate::report::{Assignment, share};
use crate::telemetry::{self, LogFormat};
use crate::worker::folder::{self, FolderWork};
use crate::worker::{self, TERMINATION_LOG, Work};

/// The exit code that SIGTERM gives, so that the Pod does not look like a failure.
const ASKED_TO_END: u8 = 143;

/// Upload files of a volume and report them; run by the operator's Jobs.
#[derive(Parser)]
#[command(hide = true)]
pub(super) struct Worker {
    /// The files of the Job, each as JSON
    #[arg(value_name = "ASSIGNMENT", required = true, value_parser = assignment)]
    files: Vec<Assignment>,
    /// The Cyberun API, with its /api/v1
    #[arg(long)]
    api_url: String,
    /// Additional CA certificates, as PEM
    // PEM begins with dashes.
    #[arg(long, value_name = "PEM", allow_hyphen_values = true)]
    ca_pem: Option<String>,
    /// The folder that holds the credential
    #[arg(long, value_name = "FOLDER", default_value = "/credentials")]
    credentials: PathBuf,
    /// The mount of the volume
    #[arg(long, value_name = "FOLDER", default_value = "/source")]
    source: PathBuf,
    /// The mount of the keys of a folder so far
    #[arg(long, value_name = "FOLDER", default_value = "/part")]
    part: PathBuf,
    /// Where to report
    #[arg(long, value_name = "FILE", default_value = TERMINATION_LOG)]
    report: PathBuf,
    /// How many workers share the files
    #[arg(long, value_name = "N", default_value_t = 1)]
    shards: usize,
    /// The index of this worker, from 0
    #[arg(long, value_name = "I", env = "JOB_COMPLETION_INDEX", default_value_t = 0)]
    shard: usize,
    /// The files cannot change, so do not wait for them to settle
    #[arg(long)]
    settled: bool,
    #[command(flatten)]
    api: Api,
}

impl Worker {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        install_tls_provider();
        telemetry::log(LogFormat::Json, "info")?;
        if self.shard >= self.shards {
            return Err(Usage(format!("there is no shard {} of {} (--shards)", self.shard, self.shards)).into());
        }
        let courier = self.api.courier(&self.api_url, self.ca_pem.as_deref())?;
        let report = worker::open_report(&self.report)
            .with_context(|| format!("cannot write the report {} (--report)", self.report.display()))?;
        if let Some(assignment) = self.files.iter().find(|file| file.folder.is_some()).cloned() {
            let (credentials, source, parts) = (self.credentials, self.source, self.part);
            let work = FolderWork { courier, credentials, source, parts, assignment, share: self.shard };
            return finish(async |stop| folder::run(work, report, stop).await);
        }
        let work = Work {
            courier,
            credentials: self.credentials,
            source: self.source,
            share: share(self.files.len(), self.shards, self.shard),
            files: self.files,
            settled: self.settled,
        };
        finish(async |stop| worker::run(work, report, stop).await)
    }
}

/// Does the work, which says whether it is done, until it is asked to end.
fn finish(work: impl AsyncFnOnce(CancellationToken) -> bool) -> anyhow::Result<ExitCode> {
    on_this_thread(async {
        let stop = stop_on_signal()?;
        let done = work(stop.clone()).await;
        Ok(match (done, stop.is_cancelled()) {
            (true, _) => ExitCode::SUCCESS,
            (false, true) => ExitCode::from(ASKED_TO_END),
            (false, false) => ExitCode::FAILURE,
        })
    })
}

fn assignment(text: &str) -> Result<Assignment, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}
