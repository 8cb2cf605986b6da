//! The worker of a folder: lists it, sends what has no key yet, and reports each file with its path.
//!
//! The keys so far are mounted into its Pod; what its report cannot hold is left to others, and it says where to cut that.
//! Only when it finds nothing left is the folder complete.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{LIMITS, credential, too_long};
use crate::delivery::{
    Batch, Candidate, Courier, Delivery, Found, Globs, Hooks, Parcel, Source, Window, list, of_listing,
};
use crate::outcome::{Trouble, Upload};
use crate::reason::{Reason, Scope};
use crate::report::folder::{self, Folder, LONGEST_PATH, Part, Writer, place};
use crate::report::{Assignment, NoRoom};

/// The key of the ConfigMap that holds the keys so far.
pub(crate) const PART: &str = "part.json";
/// No report holds so many files.
const MOST: usize = 60;
/// How long the mounted keys may be behind, and how often they are looked at.
const MOUNT: (Duration, Duration) = (Duration::from_secs(100), Duration::from_millis(200));

/// What a worker is to do with a folder.
pub(crate) struct FolderWork {
    /// Carries the files.
    pub courier: Courier,
    /// The folder of the credential, which may be rotated meanwhile.
    pub credentials: PathBuf,
    /// Where the volume is mounted.
    pub source: PathBuf,
    /// Where the keys so far are mounted.
    pub parts: PathBuf,
    /// The folder.
    pub assignment: Assignment,
    /// Which share of it.
    pub share: usize,
}

/// Does the work, or as much of it as can be done until `stop` is cancelled; says whether nothing failed.
pub(crate) async fn run(work: FolderWork, report: File, stop: CancellationToken) -> bool {
    let folder = work.assignment.folder.as_deref().cloned().unwrap_or_default();
    let batch = Batch::new(&work.courier, stop, Window::small());
    let report = RefCell::new(Writer::new(report));
    let worker = Worker { work: &work, folder, report, batch, failed: Cell::new(false), settled: RefCell::default() };
    if let Err(trouble) = worker.send_all().await {
        worker.fail(None, &trouble);
    }
    !worker.failed.get()
}

struct Worker<'a> {
    work: &'a FolderWork,
    folder: Folder,
    report: RefCell<Writer<File>>,
    batch: Batch<'a>,
    failed: Cell<bool>,
    /// The files that are done with, by their number.
    settled: RefCell<Vec<usize>>,
}

impl Worker<'_> {
    async fn send_all(&self) -> Result<(), Trouble> {
        let (part, digest) = self.part().await;
        let globs = Globs::new(&self.folder.include, &self.folder.exclude)
            .map_err(|problem| Trouble::new(Reason::RequestRejected, problem))?;
        let most = self.folder.max_files.min(folder::MAX_FILES);
        let path = &self.work.assignment.path;
        let listing = list(&self.work.source, path, &globs, most, LONGEST_PATH).map_err(|error| of_listing(&error))?;
        self.write(|report| report.found(listing.count));
        if listing.count > most {
            return Err(Trouble::new(
                Reason::TooManyFiles,
                format!("{} files match, and maxFiles is {most}", listing.count),
            ));
        }
        if listing.count < self.folder.min_files {
            let wanted = self.folder.min_files;
            return Err(Trouble::new(
                Reason::FileNotFound,
                format!("{} files match, and minFiles is {wanted}: waiting for the others", listing.count),
            ));
        }
        if let Some(name) = listing.unnamed {
            let fix = "rename it, or leave it out by exclude";
            return Err(Trouble::new(
                Reason::RequestRejected,
                format!("the name of {name} is longer than {LONGEST_PATH} bytes or no UTF-8: {fix}"),
            ));
        }
        let is_whole = self.folder.cuts.is_empty();
        let has_key = |file: &Found| {
            part.files
                .get(&file.path)
                .is_some_and(|held| (held.size, held.modified_at) == (file.size, file.modified_at))
        };
        let mine = |order: &[u8; 32]| self.folder.has(self.work.share, u16::from_be_bytes([order[0], order[1]]));
        let there: BTreeSet<&str> = listing.files.iter().map(|file| file.path.as_str()).collect();
        let gone: Vec<_> = part.files.keys().filter(|path| !there.contains(path.as_str())).collect();
        let gone: Vec<_> = gone.into_iter().filter(|path| mine(&place(path).0)).collect();
        let mut left: Vec<_> = listing.files.iter().filter(|file| mine(&file.order) && !has_key(file)).collect();
        info!(files = listing.count, left = left.len(), gone = gone.len(), "listed the folder");
        if left.is_empty() && gone.is_empty() {
            if is_whole {
                self.write(|report| report.done(&digest));
            }
            return Ok(());
        }
        // What failed before goes last, so that it takes no room from the others.
        let has_failed = |file: &&Found| part.meta.failures.iter().any(|failure| failure.path == file.path);
        left.sort_by_key(has_failed);
        if is_whole {
            let shares = left.len().div_ceil(self.report.borrow().capacity());
            self.report.borrow_mut().keep_cuts(shares);
        }
        for path in gone {
            let mut fits = true;
            self.write(|report| report.gone(path).map(|fitted| fits = fitted));
            if !fits {
                self.full();
            }
        }
        join_all(left.iter().take(MOST).enumerate().map(|(number, file)| self.send(number, file))).await;
        if is_whole {
            self.cut(&left);
        }
        Ok(())
    }

    /// Says where to cut what is left, unless another worker can do it alone.
    fn cut(&self, left: &[&Found]) {
        let settled = self.settled.borrow();
        let rest = left.iter().enumerate().filter(|(number, _)| !settled.contains(number));
        let mut places: Vec<_> = rest.map(|(_, file)| place(&file.path).1).collect();
        places.sort_unstable();
        let shares = places.len().div_ceil(self.report.borrow().capacity());
        if shares > 1 && !self.batch.was_stopped() {
            self.write(|report| report.cut(&folder::cuts(&places, shares)));
        }
    }

    /// The keys so far and their digest, once those that are meant are mounted: the kubelet may be behind.
    async fn part(&self) -> (Part, String) {
        let begun = tokio::time::Instant::now();
        if self.folder.part.is_empty() {
            return (Part::default(), String::new());
        }
        loop {
            let text = std::fs::read_to_string(self.work.parts.join(PART)).unwrap_or_default();
            let digest = Part::digest(&text);
            let is_meant = digest == self.folder.part;
            if is_meant || begun.elapsed() >= MOUNT.0 || self.batch.has_ended() {
                if !is_meant {
                    warn!("the keys so far are not mounted as they were written");
                }
                return (serde_json::from_str(&text).unwrap_or_default(), digest);
            }
            tokio::time::sleep(MOUNT.1).await;
        }
    }

    /// Sends one file and reports it, unless none is begun any more.
    async fn send(&self, number: usize, file: &Found) {
        let folder = Path::new(&self.work.assignment.path);
        let path = folder.join(&file.path).to_string_lossy().into_owned();
        let name = file.path.rsplit('/').next().unwrap_or_default().to_owned();
        let source = Source::beneath(&self.work.source, &path);
        let parcel = Parcel { source, file_name: name, content_type: None, sent: Arc::default() };
        let Some(place) = self.batch.place(&parcel.source).await else { return };
        let credential = match credential(&self.work.credentials) {
            Ok(credential) => credential,
            Err(problem) => return self.fail(None, &Trouble::new(Reason::CredentialsInvalid, problem)),
        };
        let no_room = Cell::new(None);
        let admit = |candidate: &Candidate<'_>| {
            let &Candidate { file_key, size, .. } = candidate;
            no_room.set(self.report.borrow_mut().reserve(number, &file.path, file_key, size).err());
            no_room.get().is_none()
        };
        let on_retry = |trouble: &Trouble, delay: Duration| {
            self.report_limit(trouble);
            let (reason, message, delay) = (trouble.reason, trouble.message(), delay.as_secs());
            info!(file = file.path, %reason, message, delay, "trying again");
        };
        let delivery = place.deliver(&credential, &parcel, LIMITS, Hooks { admit, on_retry }).await;
        if !matches!(delivery, Delivery::Stored(_)) {
            self.report.borrow_mut().release(number);
        }
        match (delivery, no_room.get()) {
            (Delivery::Stored(upload), _) => self.stored(number, file, &upload),
            (Delivery::Failed(_), Some(NoRoom::Left)) => self.full(),
            (Delivery::Failed(_), Some(NoRoom::Ever)) => self.fail(Some((number, file)), &too_long()),
            // What went away since it was listed is no longer of the folder.
            (Delivery::Failed(trouble), None) if trouble.reason == Reason::FileNotFound => {
                self.settled.borrow_mut().push(number);
            }
            (Delivery::Failed(trouble), None) | (Delivery::NotSent(Some(trouble)), _) => {
                self.fail(Some((number, file)), &trouble);
            }
            (Delivery::NotSent(None), _) => {
                if self.batch.was_stopped() {
                    self.failed.set(true);
                }
            }
        }
    }

    fn stored(&self, number: usize, file: &Found, upload: &Upload) {
        // First, so that whatever was said to be uploaded is reported, even after SIGKILL.
        self.write(|report| report.stored(number, &file.path, file.modified_at, upload));
        self.settled.borrow_mut().push(number);
        info!(file = file.path, size = upload.size, sha256 = upload.sha256, "uploaded");
    }

    fn full(&self) {
        if !self.batch.has_ended() {
            info!("the report is full; other workers send the remaining files");
        }
        self.batch.end();
        self.write(Writer::full);
    }

    fn fail(&self, file: Option<(usize, &Found)>, trouble: &Trouble) {
        let is_shared = trouble.reason.scope() == Scope::Resource;
        let path = file.map(|(_, file)| file.path.as_str());
        warn!(file = path, reason = %trouble.reason, message = trouble.message(), "failed");
        self.failed.set(true);
        self.batch.end_if_shared(trouble);
        self.report_limit(trouble);
        if is_shared && self.report.borrow().has_shared_failure() {
            return;
        }
        let mut fits = true;
        self.write(|report| report.failed(path.filter(|_| !is_shared), trouble).map(|fitted| fits = fitted));
        if !fits {
            return self.full();
        }
        self.settled.borrow_mut().extend(file.map(|(number, _)| number).filter(|_| !is_shared));
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
