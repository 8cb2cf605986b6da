//! The worker of an upload Job: sends its share of the files of one volume and reports each as it ends.
//!
//! It knows nothing of Kubernetes: files, credential and report are paths that its pod has mounted. An upload begins
//! only if the report has room to tell of it. How many go at the same time, and what a stop does, is the matter of
//! [`crate::delivery::Batch`].

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::sender::{Sender, Sent};
use crate::delivery::{Candidate, Courier, Credential, Limits, Parcel, Source};
use crate::reason::Scope;
use crate::redact::Secret;
use crate::report::{Assignment, Entry, Writer};

pub(crate) mod folder;
mod progress;
mod sender;

/// Where the kubelet looks for what a container has to say; it makes the file.
pub(crate) const TERMINATION_LOG: &str = "/dev/termination-log";
/// The file in the credentials folder that holds the credential.
pub(crate) const API_KEY: &str = "CYBERUN_API_KEY";
/// The file there that holds the team's id, for user JWTs.
pub(crate) const TEAM_ID: &str = "CYBERUN_TEAM_ID";

/// What takes longer is left to the next Job: a worker that waits holds its volume.
const LIMITS: Limits = Limits { attempts: 5, longest_wait: Duration::from_mins(1) };

/// What a worker is to do.
pub(crate) struct Work {
    /// Carries the files.
    pub courier: Courier,
    /// The folder of the credential, which may be rotated meanwhile.
    pub credentials: PathBuf,
    /// Where the volume is mounted.
    pub source: PathBuf,
    /// All files of the Job.
    pub files: Vec<Assignment>,
    /// Which of them are this worker's.
    pub share: Range<usize>,
    /// Whether nobody can be writing to them.
    pub settled: bool,
}

/// Opens the report at `path` for lines to be added.
pub(crate) fn open_report(path: &Path) -> io::Result<File> {
    let ours = path != Path::new(TERMINATION_LOG);
    let file = OpenOptions::new().append(true).create(ours).open(path)?;
    // The kubelet keeps only so much of the end: lines of another run would push ours out.
    if file.metadata()?.len() > 0 { Err(io::Error::other("it is not empty")) } else { Ok(file) }
}

/// Does the work, or as much of it as can be done until `stop` is true; says whether nothing failed.
pub(crate) async fn run(work: Work, report: File, stop: CancellationToken) -> bool {
    let report = Writer::new(report, work.files.clone(), work.share.clone());
    let sender = Sender::new(&work.courier, &work.credentials, report, stop);
    // All settle at the same time, and those that have settled go in that order.
    join_all(work.share.clone().map(|file| send(&sender, &work, file))).await;
    sender.write(|report| report.as_mut().finish());
    sender.succeeded()
}

/// Sends one file and reports it, unless none is begun any more.
async fn send(sender: &Sender<'_, Writer<File>>, work: &Work, file: usize) {
    let Assignment { name, path, file_name, content_type, .. } = work.files[file].clone();
    let source = Source::beneath(&work.source, &path);
    let source = if work.settled { source.settled() } else { source };
    let parcel = Parcel { source, file_name, content_type, sent: Arc::default() };
    let reserve = |report: &mut Writer<File>, candidate: &Candidate<'_>| {
        let &Candidate { file_key, content_type, size } = candidate;
        report.reserve(file, file_key, content_type, size)
    };
    match sender.send(&name, &parcel, reserve).await {
        Sent::Stored(upload) => {
            let (size, sha256) = (upload.size, upload.sha256.clone());
            // First, so that whatever was said to be uploaded is reported, even after SIGKILL.
            sender.write(|report| report.append(&Entry::Uploaded { file, upload }));
            info!(file = name, size, sha256, "uploaded");
        }
        Sent::Failed(trouble) => {
            if let Some(scope) = sender.failed(Some(&name), &trouble) {
                let file = (scope != Scope::Resource).then_some(file);
                sender.write(|report| report.append(&Entry::Failed { file, trouble }));
            }
        }
        Sent::Left => {}
    }
}

/// The credential as it is now; what is wrong with it is told without the name of its Secret, which is not known here.
fn credential(folder: &Path) -> Result<Credential, String> {
    let read = |name: &str| match std::fs::read(folder.join(name)) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("key {name}: cannot be read: {}", error.kind())),
    };
    let Some(token) = read(API_KEY)? else {
        return Err(format!("it has no key {API_KEY}: put the team's sk- or dk- key there"));
    };
    Credential::parse(Secret::new(&token), read(TEAM_ID)?.as_deref()).map_err(|error| format!("key {API_KEY}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource;

    #[test]
    fn the_files_of_a_credential_are_called_as_the_keys_of_its_secret() {
        assert_eq!((API_KEY, TEAM_ID), (resource::SECRET_API_KEY, resource::SECRET_TEAM_ID));
    }
}
