//! The worker of an upload Job: sends its share of the files of one volume and reports each as it ends.
//!
//! It knows nothing of Kubernetes: files, credential and report are paths that its pod has mounted. An upload begins
//! only if the report has room to tell of it. The first file goes alone, so that what would fail every file costs one
//! call; then a few go side by side. A stop begins nothing new, and what is being sent is finished.

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::delivery::{Candidate, Courier, Credential, Hooks, Limits, Parcel, Source, USUAL_LIMIT};
use crate::outcome::{Trouble, Upload};
use crate::reason::{Reason, Scope};
use crate::redact::Secret;
use crate::report::{Assignment, Entry, NoRoom, Writer};

/// Where the kubelet looks for what a container has to say; it makes the file.
pub const TERMINATION_LOG: &str = "/dev/termination-log";
/// The file in the credentials folder that holds the credential.
pub const API_KEY: &str = "CYBERUN_API_KEY";
/// The file there that holds the team's id, for user JWTs.
pub const TEAM_ID: &str = "CYBERUN_TEAM_ID";

/// More than a Job has files: as many may settle at the same time.
const MANY: usize = 1000;
/// Uploads that run at the same time.
const CONCURRENT: usize = 4;
/// What takes longer is left to the next Job: a worker that waits holds its volume.
const LIMITS: Limits = Limits { attempts: 5, longest_wait: Duration::from_mins(1) };

/// What a worker is to do.
pub struct Work {
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
pub fn open_report(path: &Path) -> io::Result<File> {
    let ours = path != Path::new(TERMINATION_LOG);
    let file = OpenOptions::new().append(true).create(ours).open(path)?;
    // The kubelet keeps only so much of the end: lines of another run would push ours out.
    if file.metadata()?.len() > 0 { Err(io::Error::other("it is not empty")) } else { Ok(file) }
}

/// Does the work, or as much of it as can be done until `stop` is true; says whether nothing failed.
pub async fn run(work: Work, report: File, stop: watch::Receiver<bool>) -> io::Result<bool> {
    let report = RefCell::new(Writer::begin(report, work.files.clone(), work.share.clone())?);
    let (proven, halted, everyone, failed) = Default::default();
    let worker = Worker { work, report, stop, proven, halted, everyone, failed };
    // All settle at the same time, and whichever has settled is next.
    let settled = stream::iter(worker.work.share.clone()).map(|file| worker.settle(file)).buffer_unordered(MANY);
    let mut files = std::pin::pin!(settled);
    while !worker.proven.get()
        && let Some((file, source)) = files.next().await
    {
        worker.take(file, source).await;
    }
    files.map(|(file, source)| worker.take(file, source)).buffer_unordered(CONCURRENT).collect::<()>().await;
    Ok(!worker.failed.get())
}

struct Worker {
    work: Work,
    report: RefCell<Writer<File>>,
    stop: watch::Receiver<bool>,
    /// A ticket was had: neither the credential nor the API is what would fail every file.
    proven: Cell<bool>,
    /// No further file is begun.
    halted: Cell<bool>,
    /// A failure that is every file's was reported.
    everyone: Cell<bool>,
    failed: Cell<bool>,
}

impl Worker {
    fn source(&self, file: usize) -> Source {
        let source = Source::beneath(&self.work.source, &self.work.files[file].path);
        if self.work.settled { source.settled() } else { source }
    }

    /// A file and its source, once nobody seems to be writing to it.
    async fn settle(&self, file: usize) -> (usize, Source) {
        let source = self.source(file);
        tokio::select! { () = source.settle() => {}, () = stopped(self.stop.clone()) => {} }
        (file, source)
    }

    /// Sends one file and reports it, unless none is begun any more.
    async fn take(&self, file: usize, source: Source) {
        if self.halted.get() {
            return;
        }
        match credential(&self.work.credentials) {
            Ok(credential) => self.send(file, source, &credential).await,
            Err(problem) => self.fail(file, Trouble::new(Reason::CredentialsInvalid, problem)),
        }
    }

    async fn send(&self, file: usize, source: Source, credential: &Credential) {
        let Assignment { file_name, content_type, .. } = self.work.files[file].clone();
        let parcel = Parcel { source, file_name, content_type, sent: Arc::default() };
        // From a ticket that is used until the answer: what may have been stored is not dropped.
        let (sending, mut is_sending) = watch::channel(false);
        let (refused, before) = (Cell::new(None), RefCell::new(None));
        let admit = |candidate: &Candidate<'_>| {
            refused.set(self.admit(file, candidate).err());
            sending.send_replace(refused.get().is_none());
            refused.get().is_none()
        };
        let on_retry = |trouble: &Trouble, delay: Duration| {
            sending.send_replace(false);
            self.note(trouble);
            info!(file = self.name(file), reason = %trouble.reason, message = trouble.message(), delay = delay.as_secs(), "trying again");
            before.replace(Some(trouble.clone()));
        };
        // Asked first, so that after a stop nothing is begun.
        let stopped = async {
            stopped(self.stop.clone()).await;
            let _ = is_sending.wait_for(|sending| !sending).await;
        };
        let deliver = self.work.courier.deliver(credential, &parcel, LIMITS, Hooks { admit, on_retry });
        let result = tokio::select! { biased; () = stopped => None, result = deliver => Some(result) };
        match (result, refused.get()) {
            (Some(Ok(upload)), _) => self.uploaded(file, upload),
            (Some(Err(_)), Some(NoRoom::Left)) => self.full(),
            (Some(Err(_)), Some(NoRoom::Ever)) => self.fail(file, too_long()),
            (Some(Err(trouble)), None) => self.fail(file, trouble),
            (None, _) => {
                self.failed.set(true);
                if let Some(trouble) = before.take() {
                    self.fail(file, trouble);
                }
            }
        }
    }

    fn name(&self, file: usize) -> &str {
        &self.work.files[file].name
    }

    /// Whether the report has room for this upload.
    fn admit(&self, file: usize, candidate: &Candidate<'_>) -> Result<(), NoRoom> {
        let &Candidate { file_key, content_type, size } = candidate;
        self.proven.set(true);
        if size > USUAL_LIMIT {
            warn!(file = self.name(file), size, "larger than 500 MB, which the hosted platform may refuse");
        }
        self.report.borrow_mut().reserve(file, file_key, content_type, size)
    }

    fn uploaded(&self, file: usize, upload: Upload) {
        info!(file = self.name(file), size = upload.size, sha256 = upload.sha256, "uploaded");
        self.say(|report| report.append(&Entry::Uploaded { file, upload }));
    }

    fn full(&self) {
        if !self.halted.replace(true) {
            info!("the report is full; what is left is another worker's");
        }
        self.say(Writer::full);
    }

    fn fail(&self, file: usize, trouble: Trouble) {
        warn!(file = self.name(file), reason = %trouble.reason, message = trouble.message(), "failed");
        self.failed.set(true);
        self.note(&trouble);
        let everyones = trouble.reason.scope() == Scope::Resource;
        self.halted.set(self.halted.get() || everyones);
        if everyones && self.everyone.replace(true) {
            return;
        }
        let file = (!everyones).then_some(file);
        self.say(|report| report.append(&Entry::Failed { file, trouble }));
    }

    /// Tells of an API that asks to slow down.
    fn note(&self, trouble: &Trouble) {
        if trouble.reason == Reason::RateLimited {
            self.say(Writer::limited);
        }
    }

    /// What cannot be reported is not begun.
    fn say(&self, line: impl FnOnce(&mut Writer<File>) -> io::Result<()>) {
        if let Err(error) = line(&mut self.report.borrow_mut()) {
            error!(%error, "cannot write to the report");
            self.halted.set(true);
            self.failed.set(true);
        }
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // Nobody is left to ask for it.
        std::future::pending::<()>().await;
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
