//! `fileupload refresh NAME`: requests a fresh upload of every file, and with `--wait` waits for the new keys.
//!
//! The request is a new value of an annotation. The operator copies the value into `status.lastHandledRequestedAt` once
//! the request is done. Before that, the status does not answer this request.

use std::io::{self, Write as _};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::Parser;
use futures::StreamExt;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::cluster::{Cluster, Place, Sight};
use super::{Unmet, duration, explain, install_tls_provider, object, print, request, run_until_signal};
use crate::clock;
use crate::resource::{ANNOTATION_REQUESTED_AT, FIELD_MANAGER_COMMAND, FileStatus, FileUpload, FolderStatus};

/// Request a fresh upload of every file of a FileUpload.
///
/// Each old key stays until its new key is written. With --wait the command ends once every file has its new key, and
/// prints a line NAME=KEY for each. Exit code 3 then means that a person must act, also where the FileUpload is suspended,
/// and 4 that it timed out.
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
        run_until_signal(async {
            self.refresh().await?;
            Ok(ExitCode::SUCCESS)
        })
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
                return Err(Unmet::Stalled(format!("requested a fresh upload; {later}")).into());
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
        let mut sights = pin!(cluster.follow(&self.name));
        let mut last = asked.clone();
        // The deadline that --timeout sets.
        let mut over = pin!(tokio::time::sleep(self.timeout));
        loop {
            let sight = tokio::select! {
                sight = sights.next() => sight.ok_or_else(|| anyhow!("the watch has ended"))??,
                () = &mut over => return Err(Unmet::TimedOut(explain::by_status(&last)).into()),
            };
            last = match sight {
                Sight::There(upload) if upload.uid() == asked.uid() => *upload,
                Sight::There(_) | Sight::Absent => bail!("FileUpload {} was deleted in the meantime", self.name),
                Sight::Unseen(_) => continue,
            };
            if let Some(keys) = answered(&last, value)? {
                return Ok(keys);
            }
        }
    }
}

/// The keys, once every file has its new one; an error if that needs a person.
fn answered(upload: &FileUpload, value: &str) -> anyhow::Result<Option<String>> {
    if upload.annotations().get(ANNOTATION_REQUESTED_AT).is_none_or(|latest| latest != value) {
        bail!("another request came after this one: run it again to wait for that");
    }
    if upload.spec.is_suspended() {
        let later = "it was suspended in the meantime: it is uploaded again once spec.suspend is false";
        return Err(Unmet::Stalled(later.to_owned()).into());
    }
    let Some(status) = request::current_status(upload) else { return Ok(None) };
    if request::has_stalled_file(upload, status) || request::is_stalled(upload, status) {
        return Err(Unmet::Stalled(format!("a person must act\n{}", explain::by_status(upload))).into());
    }
    // A file that failed, and is retried, still has its old key.
    let is_new = |file: &FileStatus| file.file_key.is_some() && file.reason.is_none();
    let is_new_folder = |folder: &FolderStatus| folder.available_until.is_some() && folder.reason.is_none();
    let are_new = status.files.iter().all(is_new) && status.folders.iter().all(is_new_folder);
    if request::is_pending(upload, status) || !request::holds(status, "Available") || !are_new {
        return Ok(None);
    }
    let line = |file: &FileStatus| format!("{}={}\n", file.name, file.file_key.as_deref().unwrap_or_default());
    Ok(Some(status.files.iter().map(line).collect()))
}

/// Says something to people; keys alone go to stdout.
fn tell(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(io::stderr(), "{text}")?)
}

#[cfg(test)]
mod tests;
