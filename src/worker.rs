//! The worker of an upload Job: sends its share of the files of one volume and reports each as it ends.
//!
//! It knows nothing of Kubernetes: files, credential and report are paths that its pod has mounted. An upload begins
//! only if the report has room to tell of it. How many go at the same time, and what a stop does, is the matter of
//! [`Batch`].

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::progress::Progress;
use crate::delivery::{
    Batch, Candidate, Courier, Credential, Delivery, Hooks, Limits, Parcel, Source, USUAL_LIMIT, Window,
};
use crate::outcome::{Trouble, Upload};
use crate::reason::{Reason, Scope};
use crate::redact::Secret;
use crate::report::{Assignment, Entry, NoRoom, Writer};

pub(crate) mod folder;
mod progress;

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
    let report = RefCell::new(Writer::new(report, work.files.clone(), work.share.clone()));
    let batch = Batch::new(&work.courier, stop, Window::small());
    let worker = Worker { work: &work, report, batch, failed: Cell::new(false) };
    // All settle at the same time, and those that have settled go in that order.
    join_all(work.share.clone().map(|file| worker.send(file))).await;
    worker.write(Writer::finish);
    !worker.failed.get()
}

struct Worker<'a> {
    work: &'a Work,
    report: RefCell<Writer<File>>,
    batch: Batch<'a>,
    failed: Cell<bool>,
}

impl Worker<'_> {
    fn parcel(&self, file: usize) -> Parcel {
        let Assignment { path, file_name, content_type, .. } = self.work.files[file].clone();
        let source = Source::beneath(&self.work.source, &path);
        let source = if self.work.settled { source.settled() } else { source };
        Parcel { source, file_name, content_type, sent: Arc::default() }
    }

    /// Sends one file and reports it, unless none is begun any more.
    async fn send(&self, file: usize) {
        let parcel = self.parcel(file);
        let Some(place) = self.batch.place(&parcel.source).await else { return self.not_sent(file, None) };
        let credential = match credential(&self.work.credentials) {
            Ok(credential) => credential,
            Err(problem) => return self.fail(file, Trouble::new(Reason::CredentialsInvalid, problem)),
        };
        let (no_room, progress) = (Cell::new(None), Progress::of(&parcel.sent));
        let admit = |candidate: &Candidate<'_>| {
            progress.begin(candidate.size);
            no_room.set(self.admit(file, candidate).err());
            no_room.get().is_none()
        };
        let on_retry = |trouble: &Trouble, delay: Duration| {
            self.report_limit(trouble);
            let (reason, message, delay) = (trouble.reason, trouble.message(), delay.as_secs());
            info!(file = self.name(file), %reason, message, delay, "trying again");
        };
        let on_progress = |sent, size, rate| info!(file = self.name(file), sent, size, rate, "uploading");
        let delivery = tokio::select! {
            delivery = place.deliver(&credential, &parcel, LIMITS, Hooks { admit, on_retry }) => delivery,
            never = progress.watch(on_progress) => match never {},
        };
        match (delivery, no_room.get()) {
            (Delivery::Stored(upload), _) => self.uploaded(file, upload),
            (Delivery::Failed(_), Some(NoRoom::Left)) => self.full(),
            (Delivery::Failed(_), Some(NoRoom::Ever)) => self.fail(file, too_long()),
            (Delivery::Failed(trouble), None) => self.fail(file, trouble),
            (Delivery::NotSent(last), _) => self.not_sent(file, last),
        }
    }

    fn name(&self, file: usize) -> &str {
        &self.work.files[file].name
    }

    /// Whether the report has room for this upload.
    fn admit(&self, file: usize, candidate: &Candidate<'_>) -> Result<(), NoRoom> {
        let &Candidate { file_key, content_type, size } = candidate;
        if size > USUAL_LIMIT {
            warn!(file = self.name(file), size, "larger than 500 MB, which the hosted platform may refuse");
        }
        self.report.borrow_mut().reserve(file, file_key, content_type, size)
    }

    fn uploaded(&self, file: usize, upload: Upload) {
        let (size, sha256) = (upload.size, upload.sha256.clone());
        // First, so that whatever was said to be uploaded is reported, even after SIGKILL.
        self.write(|report| report.append(&Entry::Uploaded { file, upload }));
        info!(file = self.name(file), size, sha256, "uploaded");
    }

    fn full(&self) {
        if !self.batch.has_ended() {
            info!("the report is full; another worker sends the remaining files");
        }
        self.batch.end();
        self.write(Writer::full);
    }

    /// A file that is left alone because the batch has ended. Only a stop leaves work that nobody else is told of.
    fn not_sent(&self, file: usize, last: Option<Trouble>) {
        if let Some(trouble) = last {
            self.fail(file, trouble);
        } else if self.batch.was_stopped() {
            self.failed.set(true);
        }
    }

    fn fail(&self, file: usize, trouble: Trouble) {
        warn!(file = self.name(file), reason = %trouble.reason, message = trouble.message(), "failed");
        self.failed.set(true);
        self.batch.end_if_shared(&trouble);
        self.report_limit(&trouble);
        let shared = trouble.reason.scope() == Scope::Resource;
        if shared && self.report.borrow().has_shared_failure() {
            return;
        }
        let file = (!shared).then_some(file);
        self.write(|report| report.append(&Entry::Failed { file, trouble }));
    }

    /// Reports that less should be asked at the same time, if that is the trouble.
    fn report_limit(&self, trouble: &Trouble) {
        if trouble.is_strain() {
            self.write(Writer::limited);
        }
    }

    /// Writes to the report. If that fails nothing new begins, as it could not be reported.
    fn write(&self, line: impl FnOnce(&mut Writer<File>) -> io::Result<()>) {
        if let Err(error) = line(&mut self.report.borrow_mut()) {
            error!(%error, "cannot write to the report");
            self.batch.end();
            self.failed.set(true);
        }
    }
}

fn too_long() -> Trouble {
    Trouble::new(Reason::InvalidResponse, "the Cyberun API answered with a file_key that is too long for any report")
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
