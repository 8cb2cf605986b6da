//! `fileupload refresh NAME`: requests a fresh upload of every file, and with `--wait` waits for the new keys.
//!
//! The request is a new value of an annotation. The operator copies the value into `status.lastHandledRequestedAt` once
//! the request is done. Before that, the status does not answer this request.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::Parser;
use futures::StreamExt;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use serde_json::json;

use super::cluster::{Cluster, Place};
use super::explain::Answer;
use super::{duration, install_tls_provider, object, print, until_signal};
use crate::clock;
use crate::resource::{ANNOTATION_REQUESTED_AT, Condition, FIELD_MANAGER_COMMAND, FileUpload};

/// Request a fresh upload of every file of a FileUpload.
///
/// Each old key stays until its new key is written. With --wait the command ends once every file has its new key, and
/// prints a line NAME=KEY for each.
#[derive(Parser)]
pub(super) struct Refresh {
    /// The FileUpload
    #[arg(value_parser = object::parse)]
    name: String,
    /// Wait for the new keys and print them
    #[arg(long)]
    wait: bool,
    /// Timeout of --wait, such as 90s, 10m or 1h
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration::parse, requires = "wait")]
    timeout: Duration,
    #[command(flatten)]
    place: Place,
}

impl Refresh {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        install_tls_provider();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(until_signal(self.refresh()))?;
        Ok(ExitCode::SUCCESS)
    }

    async fn refresh(&self) -> anyhow::Result<()> {
        let cluster = self.place.find().await?;
        let value = clock::unique();
        let patch = json!({"metadata": {"annotations": {ANNOTATION_REQUESTED_AT: value}}});
        let params = PatchParams { field_manager: Some(FIELD_MANAGER_COMMAND.to_owned()), ..PatchParams::default() };
        let (uploads, patch) = (cluster.uploads(), Patch::Merge(patch));
        let upload = cluster.ask(&self.name, uploads.patch(&self.name, &params, &patch)).await?;
        let what = format!("{}/{}", cluster.namespace, self.name);
        if upload.spec.is_suspended() {
            let later = format!("{what} is suspended: it is uploaded again once spec.suspend is false");
            if self.wait {
                bail!("{later}");
            }
            return tell(&format!("requested a fresh upload; {later}"));
        }
        tell(&format!("requested a fresh upload of {what}"))?;
        if self.wait {
            print(&self.keys(&cluster, &upload, &value).await?)?;
        }
        Ok(())
    }

    /// Waits for the new keys.
    async fn keys(&self, cluster: &Cluster, asked: &FileUpload, value: &str) -> anyhow::Result<String> {
        let mut states = watch_object(cluster.uploads(), &self.name).default_backoff().boxed();
        let mut last = asked.clone();
        // The deadline that --timeout sets.
        let over = tokio::time::sleep(self.timeout);
        tokio::pin!(over);
        loop {
            let state = tokio::select! {
                state = states.next() => state.ok_or_else(|| anyhow!("the watch has ended"))?,
                () = &mut over => bail!("timed out (--timeout)\n{}", explain(&last)),
            };
            // A broken watch is restarted. A forbidden one never works.
            last = match state {
                Ok(Some(state)) if state.uid() == asked.uid() => state,
                Ok(_) => bail!("FileUpload {} was deleted in the meantime", self.name),
                Err(error) => match refusal(error) {
                    Some(error) => return Err(cluster.complain(&self.name, error)),
                    None => continue,
                },
            };
            if let Some(keys) = answered(&last, value)? {
                return Ok(keys);
            }
        }
    }
}

/// The keys, once the request is done; an error if it never will be.
fn answered(upload: &FileUpload, value: &str) -> anyhow::Result<Option<String>> {
    if upload.annotations().get(ANNOTATION_REQUESTED_AT).is_none_or(|latest| latest != value) {
        bail!("another request came after this one: run it again to wait for that");
    }
    if upload.spec.is_suspended() {
        bail!("it was suspended in the meantime: it is uploaded again once spec.suspend is false");
    }
    let Some(status) = &upload.status else { return Ok(None) };
    let is_current = Some(status.observed_generation) == upload.metadata.generation;
    if !is_current || status.last_handled_requested_at.as_deref() != Some(value) {
        return Ok(None);
    }
    let holds = |kind: &str| {
        let is_it = |condition: &Condition| condition.type_ == kind && condition.status == "True";
        status.conditions.iter().any(is_it)
    };
    if holds("Stalled") {
        bail!("a person must act\n{}", explain(upload));
    }
    let line = |entry: &crate::resource::FileStatus| {
        format!("{}={}\n", entry.name, entry.file_key.as_deref().unwrap_or_default())
    };
    Ok(holds("Available").then(|| status.files.iter().map(line).collect()))
}

fn explain(upload: &FileUpload) -> String {
    let status = upload.status.as_ref().filter(|status| status.observed_generation >= 0);
    Answer { upload, status, unread: &[], now: clock::now() }.text().trim_end().to_owned()
}

/// What the API server forbids.
fn refusal(error: kube::runtime::watcher::Error) -> Option<kube::Error> {
    use kube::runtime::watcher::Error;
    let (Error::InitialListFailed(error) | Error::WatchStartFailed(error)) = error else { return None };
    matches!(&error, kube::Error::Api(said) if said.is_forbidden() || said.code == 401).then_some(error)
}

/// Says something to people; keys alone go to stdout.
fn tell(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(io::stderr(), "{text}")?)
}
