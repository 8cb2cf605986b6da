//! What a plan is: how the resource stands, each file's entry, the acts to carry out, and what was heard of work.
//!
//! Only types: the rooms that fill them are above. A plan leaves the executor no choice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::case::Case;
use super::facts::folder::FolderFacts;
use super::facts::volume::Placement;
use super::facts::{FileId, OutputFacts, Volume};
use super::file::{Entry, Note};
use crate::outcome::Trouble;
use crate::reason::{Reason, Scope};
use crate::report::Assignment;
use crate::resource::JobStatus;

/// What is to be done about a resource.
#[derive(Clone, Debug)]
pub(crate) struct Plan<'a> {
    /// What was planned for.
    pub case: Case<'a>,
    /// How the resource stands.
    pub stand: Stand,
    /// Every file's entry, in the order of the spec.
    pub files: Vec<Entry>,
    /// What is to be begun and ended.
    pub acts: Acts,
    /// What was heard of Sends and Jobs.
    pub news: News,
    /// The attempt after which a file has what is requested: files of earlier attempts are due.
    pub requested_attempt: Option<i64>,
    /// The highest number of an attempt, with those of the acts.
    pub attempts: i64,
    /// When the next attempt is made, if the last one failed in a way that may pass.
    pub next_attempt_at: Option<Timestamp>,
    /// Identifies the content of the Secret that was used last.
    pub credentials_version: Option<String>,
    /// When to look again although nothing may have changed.
    pub look: Duration,
    /// What is known of the output.
    pub(super) output: OutputFacts,
    /// What is known of the folders' ConfigMaps.
    pub(super) folders: BTreeMap<String, FolderFacts>,
}

/// How a resource stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Stand {
    /// Files are sent as they are due.
    Open,
    /// `spec.suspend`: nothing is begun.
    Suspended,
    /// The spec cannot be carried out.
    Rejected(Trouble),
    /// It has finished, and is to be deleted.
    Finished,
}

/// What is to be begun and ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acts {
    /// The Send to begin.
    pub send: Option<Dispatch>,
    /// The Jobs to create.
    pub launch: Vec<Launch>,
    /// The Jobs to delete.
    pub remove: Vec<Removal>,
    /// The reports on folders to absorb into their keys.
    pub absorb: Vec<Absorb>,
    /// The attempts whose results the status has: this process may forget them.
    pub forget: Vec<i64>,
}

/// A Send to begin: files of one ConfigMap.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dispatch {
    /// Which attempt it is.
    pub attempt: i64,
    /// The ConfigMap.
    pub config_map: String,
    /// The files, in the order in which they are sent.
    pub files: Vec<Item>,
}

/// A file of a Send.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    /// Which file.
    pub id: FileId,
    /// The ConfigMap's key.
    pub key: String,
    /// The name to store it under.
    pub file_name: String,
    /// The MIME type; guessed if `None`.
    pub content_type: Option<String>,
    /// Nothing is sent if the content has this SHA-256.
    pub unless: Option<String>,
}

/// A Job to create.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Launch {
    /// Its name.
    pub name: String,
    /// What it reads.
    pub volume: Volume,
    /// Which attempt it is.
    pub attempt: i64,
    /// Its files.
    pub files: Vec<Assignment>,
    /// Into how many shares they are cut, each with a Pod of its own.
    pub shards: usize,
    /// How many of those run at the same time.
    pub parallelism: usize,
    /// Where it runs.
    pub placement: Placement,
    /// A hash of the settings that it is made with.
    pub settings_hash: String,
}

impl Launch {
    /// The same where it is to run by now: it may have waited for long.
    pub(crate) fn placed(&self, placement: Placement) -> Self {
        Self { parallelism: placement.parallelism(self.shards), placement, ..self.clone() }
    }
}

/// Reports on a folder that go into its keys before the status hears of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Absorb {
    /// The folder's name.
    pub folder: String,
    /// What its uploads stand for.
    pub revision: String,
    /// The attempt.
    pub attempt: i64,
    /// The digest of the keys that its workers were given; empty if they were to send all.
    pub given: String,
    /// What they reported.
    pub reports: Vec<crate::report::folder::Report>,
}

/// A Job to delete.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Removal {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Why.
    pub because: &'static str,
    /// Whether it is there until its Pods have ended, so that a queue that took its place away sees that they still run.
    pub after_its_pods: bool,
}

/// What Sends and Jobs say.
#[derive(Clone, Debug, Default)]
pub(crate) struct News {
    /// What is heard of files, keys first.
    pub(super) notes: Vec<(i64, FileId, Note)>,
    /// Failures that are every file's, each with its attempt.
    pub(super) shared: Vec<(i64, Trouble)>,
    /// Reports on folders that are not in their keys yet.
    pub(super) absorb: Vec<Absorb>,
    /// What is under way.
    pub(super) under_way: UnderWay,
    /// The Jobs that are under way.
    pub jobs: Vec<JobStatus>,
    /// The attempts that are over and whose results the status does not have yet.
    pub concluded: Vec<Concluded>,
    /// The Jobs to delete.
    pub(super) remove: Vec<Removal>,
    /// The attempts whose results the status has.
    pub(super) forget: Vec<i64>,
    /// The highest number of an attempt among them.
    pub(super) attempts: i64,
    /// How long to wait before the next attempt, at the least, as another system asked.
    pub(super) asked_wait: Option<Duration>,
    /// How soon to look again at work that is not watched.
    pub(super) look_again: Option<Duration>,
    /// Identifies the content of the Secret that the latest attempt used of which something is heard, with its number.
    pub(super) credentials_version: Option<(i64, String)>,
}

/// An attempt that is over.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Concluded {
    /// Which attempt.
    pub attempt: i64,
    /// The Job that it was, if it was one.
    pub job: Option<JobStatus>,
    /// Whether the API asked to slow down (429).
    pub limited: bool,
    /// What came of each file, and its size in bytes, for the metrics; a Send is counted as it goes.
    pub reported: Vec<(Reason, u64)>,
}

/// What is under way, as far as it keeps other work from being begun.
#[derive(Clone, Debug, Default)]
pub(super) struct UnderWay {
    /// The files.
    pub(super) files: BTreeSet<FileId>,
    /// The volumes that a worker reads.
    pub(super) volumes: BTreeSet<Volume>,
    /// Whether there is a Send.
    pub(super) sends: bool,
}

impl Concluded {
    /// An attempt of which the metrics hear nothing more.
    pub(super) fn new(attempt: i64) -> Self {
        Self { attempt, job: None, limited: false, reported: Vec::new() }
    }
}

impl News {
    /// Adds what other work says.
    pub(super) fn add(&mut self, other: Self) {
        let Self { notes, shared, absorb, under_way, jobs, concluded, remove, forget, attempts, .. } = other;
        self.notes.extend(notes);
        self.shared.extend(shared);
        self.absorb.extend(absorb);
        self.under_way.files.extend(under_way.files);
        self.under_way.volumes.extend(under_way.volumes);
        self.under_way.sends |= under_way.sends;
        self.jobs.extend(jobs);
        self.concluded.extend(concluded);
        self.remove.extend(remove);
        self.forget.extend(forget);
        self.attempts = self.attempts.max(attempts);
        self.asked_wait = self.asked_wait.max(other.asked_wait);
        self.credentials_version = self.credentials_version.take().max(other.credentials_version);
        if let Some(span) = other.look_again {
            self.look_in(span);
        }
    }

    /// Hears which content of the Secret an attempt used.
    pub(super) fn used(&mut self, attempt: i64, version: Option<&str>) {
        let version = version.filter(|version| !version.is_empty());
        self.credentials_version = version.map(|version| (attempt, version.to_owned()));
    }

    /// Hears something of a file.
    pub(super) fn note(&mut self, attempt: i64, id: &FileId, note: Note) {
        self.notes.push((attempt, id.clone(), note));
    }

    /// Hears of a failure: it may be every file's, and the other side may have asked to wait.
    pub(super) fn fail(&mut self, attempt: i64, trouble: &Trouble) {
        self.asked_wait = self.asked_wait.max(trouble.retry_after);
        if trouble.reason.scope() == Scope::Resource {
            self.shared.push((attempt, trouble.clone()));
        }
    }

    /// Looks again at least this soon.
    pub(super) fn look_in(&mut self, span: Duration) {
        self.look_again = Some(self.look_again.map_or(span, |known| known.min(span)));
    }
}
