//! The worker of a folder: lists it, sends what has no key yet, and reports each file with its path.
//!
//! The keys so far are mounted into its Pod; what its report cannot hold is left to others, and it says where to cut that.
//! Only when it finds nothing left is the folder complete.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::sender::{Sender, Sent};
use crate::delivery::{Candidate, Courier, Found, Globs, Parcel, Source, list, of_listing};
use crate::outcome::{Trouble, Upload};
use crate::reason::{Reason, Scope};
use crate::report::Assignment;
use crate::report::folder::{self, Folder, LONGEST_PATH, Part, Writer, place};

/// The key of the ConfigMap that holds the keys so far.
pub(crate) const PART: &str = "part.json";
/// No report holds so many files; those that fail make way for others.
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
    let sender = Sender::new(&work.courier, &work.credentials, Writer::new(report), stop);
    let worker = Worker { work: &work, folder, sender, settled: RefCell::default() };
    if let Err(trouble) = worker.send_all().await {
        worker.fail(None, &trouble);
    }
    worker.sender.succeeded()
}

struct Worker<'a> {
    work: &'a FolderWork,
    folder: Folder,
    sender: Sender<'a, Writer<File>>,
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
        self.sender.write(|report| report.found(listing.count));
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
                self.sender.write(|report| report.done(&digest));
            }
            return Ok(());
        }
        // What failed before goes last, so that it takes no room from the others.
        let has_failed = |file: &&Found| part.meta.failures.iter().any(|failure| failure.path == file.path);
        left.sort_by_key(has_failed);
        if is_whole {
            let shares = left.len().div_ceil(self.sender.ask(|report| report.capacity()));
            self.sender.ask(|report| report.keep_cuts(shares));
        }
        for path in gone {
            if !self.sender.write(|report| report.gone(path)) {
                self.sender.full();
            }
        }
        stream::iter(left.iter().enumerate()).for_each_concurrent(MOST, |(number, file)| self.send(number, file)).await;
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
        let shares = places.len().div_ceil(self.sender.ask(|report| report.capacity()));
        if shares > 1 && !self.sender.was_stopped() {
            self.sender.write(|report| report.cut(&folder::cuts(&places, shares)));
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
            if is_meant || begun.elapsed() >= MOUNT.0 || self.sender.has_ended() {
                if !is_meant {
                    warn!("the keys so far are not mounted as they were written");
                }
                return (serde_json::from_str(&text).unwrap_or_default(), digest);
            }
            // The kubelet writes the mount when it next looks; the loop ends with MOUNT.
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
        let reserve = |report: &mut Writer<File>, candidate: &Candidate<'_>| {
            report.reserve(number, &file.path, candidate.file_key, candidate.size)
        };
        let sent = self.sender.send(&file.path, &parcel, reserve).await;
        if !matches!(sent, Sent::Stored(_)) {
            self.sender.ask(|report| report.release(number));
        }
        match sent {
            Sent::Stored(upload) => self.stored(number, file, &upload),
            // What went away since it was listed is no longer of the folder.
            Sent::Failed(trouble) if trouble.reason == Reason::FileNotFound => self.settled.borrow_mut().push(number),
            Sent::Failed(trouble) => self.fail(Some((number, file)), &trouble),
            Sent::Left => {}
        }
    }

    fn stored(&self, number: usize, file: &Found, upload: &Upload) {
        // First, so that whatever was said to be uploaded is reported, even after SIGKILL.
        self.sender.write(|report| report.stored(number, &file.path, file.modified_at, upload));
        self.settled.borrow_mut().push(number);
        info!(file = file.path, size = upload.size, sha256 = upload.sha256, "uploaded");
    }

    fn fail(&self, file: Option<(usize, &Found)>, trouble: &Trouble) {
        let path = file.map(|(_, file)| file.path.as_str());
        let Some(scope) = self.sender.failed(path, trouble) else { return };
        let (path, number) =
            if scope == Scope::Resource { (None, None) } else { (path, file.map(|(number, _)| number)) };
        // Where many fail the report names some; no other worker is begun for the rest of them.
        self.sender.write(|report| report.failed(path, trouble));
        self.settled.borrow_mut().extend(number);
    }
}
