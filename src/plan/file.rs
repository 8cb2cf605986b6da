//! A file's entry: what key there is, and what is being done. Two facts, and one room where they change.
//!
//! [`Entry::hear`] and [`Entry::expire`] are the only functions that change an entry; the status is derived from it in
//! [`Entry::shown`]. What is heard counts only if it is about the same revision and of a later attempt. A key that lives
//! is not touched by what goes wrong meanwhile.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::case::Case;
use super::facts::{Content, FileId};
use super::{messages, moments, revision};
use crate::outcome::{Trouble, Upload};
use crate::reason::{Class, Reason, Scope};
use crate::resource::{File, FileState, FileStatus, LONGEST_FILE_NAME, LONGEST_MESSAGE};

/// A file that is not there for so long will not come.
const NEVER: Duration = Duration::from_hours(24);

/// A file of the spec and what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// Which file, and what its upload stands for.
    pub id: FileId,
    /// The attempt that gave the key or the trouble; of a file that is new to a status, one that gave nothing.
    pub attempt: i64,
    /// Since when it is in trouble.
    pub since: Option<Timestamp>,
    /// The resourceVersion of the ConfigMap when it was last read.
    pub source_version: Option<String>,
    /// The content that was read last; none once the file has a key.
    pub content: Option<Content>,
    /// What key there is.
    pub key: Key,
    /// What is being done.
    pub work: Work,
    /// The name it is uploaded under.
    file_name: String,
}

/// What key there is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Key {
    /// None.
    None,
    /// One that lives.
    Live(Upload),
    /// One that has expired, of which the key itself is forgotten, and that nobody renews.
    Expired(Upload),
}

/// What is being done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Work {
    /// Nothing.
    Idle,
    /// It is being sent.
    Sending,
    /// It waits, or failed.
    Held(Trouble),
}

/// What is heard of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Note {
    /// It is being sent.
    Sending,
    /// It waits for something.
    Waiting(Trouble),
    /// It takes longer than usual, and nothing is known of the cause.
    Slow(Trouble),
    /// It is stored; with the resourceVersion of its ConfigMap.
    Stored(Upload, Option<String>),
    /// Its content is what it was.
    Unchanged(String),
    /// It is not stored; with the resourceVersion of its ConfigMap and the content that was read.
    Failed(Trouble, Option<String>, Option<Content>),
    /// Its work is over and says nothing of it.
    Unanswered,
}

/// The entry of each file of the spec: the one that the status has, if it is about the same revision.
pub(super) fn entries(case: &Case<'_>) -> Vec<Entry> {
    let known = case.status.map_or(&[][..], |status| &status.files);
    let entry = |file: &File| {
        let name = file.name.clone();
        let id = FileId { name, revision: revision::revision(file, case.receiver()) };
        let same = known.iter().find(|entry| entry.name == id.name && entry.revision == id.revision);
        Entry::restore(id, file.effective_name().to_owned(), same, case)
    };
    case.upload.spec.files.iter().map(entry).collect()
}

impl Entry {
    /// What is known of it, for this case.
    pub(super) fn restore(id: FileId, file_name: String, known: Option<&FileStatus>, case: &Case<'_>) -> Self {
        // An attempt that gave nothing, so that what earlier ones say of a revision that the spec has again is not believed:
        // it was withdrawn with that, and its content may be another by now.
        let attempts = case.status.map_or(0, |status| status.attempts);
        let none = attempts.checked_add(1).filter(|first| *first > 1).unwrap_or(0);
        let mut entry = Self::read(id, file_name, known.ok_or(none), case.now);
        if !case.is_observed() {
            entry.forgive();
        }
        if case.upload.spec.renews() && matches!(entry.key, Key::Expired(_)) {
            entry.key = Key::None; // the policy was changed since
        }
        entry
    }

    /// What is known of it, or the attempt after which something may be heard of it. A moment after `now` was written before
    /// our clock was set back: it is taken for now, and so written again once.
    fn read(id: FileId, file_name: String, known: Result<&FileStatus, i64>, now: Timestamp) -> Self {
        let (attempt, since, source_version) = (known.err().unwrap_or_default(), None, None);
        let new =
            Self { id, attempt, since, source_version, content: None, key: Key::None, work: Work::Idle, file_name };
        let Ok(known) = known else { return new };
        let size = known.size.and_then(|size| u64::try_from(size).ok());
        let upload = known.uploaded_at.as_ref().map(|at| Upload {
            file_key: known.file_key.clone().unwrap_or_default(),
            content_type: known.content_type.clone().unwrap_or_default(),
            size: size.unwrap_or_default(),
            sha256: known.sha256.clone().unwrap_or_default(),
            at: at.0.min(now),
        });
        let (key, content) = match upload {
            Some(upload) if known.file_key.is_some() => (Key::Live(upload), None),
            Some(upload) => (Key::Expired(upload), None),
            None => (Key::None, size.zip(known.sha256.clone()).map(|(size, sha256)| Content { size, sha256 })),
        };
        let reason = known.reason.as_deref().and_then(Reason::parse).filter(|reason| *reason != Reason::Expired);
        let work = match reason {
            Some(reason) => Work::Held(Trouble::new(reason, known.message.clone().unwrap_or_default())),
            None if known.state == FileState::Uploading => Work::Sending,
            None => Work::Idle,
        };
        let since = known.since.as_ref().map(|since| since.0.min(now));
        let (attempt, source_version) = (known.attempt, known.source_version.clone());
        Self { attempt, since, source_version, content, key, work, ..new }
    }

    /// A new spec is a new chance for what failed under the old one.
    fn forgive(&mut self) {
        if let Work::Held(_) = self.work {
            (self.work, self.since) = (Work::Idle, None);
        }
        if self.key == Key::None {
            (self.content, self.source_version) = (None, None);
        }
    }

    /// Whether what is heard of it from this attempt is new.
    pub(super) fn counts(&self, attempt: i64, note: &Note, case: &Case<'_>) -> bool {
        match note {
            // An attempt that was given up may have stored the file all the same: its key is not lost.
            Note::Stored(upload, _) if attempt == self.attempt => {
                let at = upload.at.min(case.now);
                let is_later = self.live().is_none_or(|live| at > live.at && upload.file_key != live.file_key);
                is_later && case.deployment.terms.withdrawn_at(upload.at) > case.now
            }
            Note::Unanswered => attempt > self.attempt && self.is_turn_waiting(),
            _ => attempt > self.attempt,
        }
    }

    /// Takes in what is heard of it from this attempt.
    pub(super) fn hear(&mut self, attempt: i64, note: Note, case: &Case<'_>) {
        match note {
            Note::Sending => self.begin(),
            Note::Slow(trouble) if self.trouble().is_some_and(|known| known.reason == trouble.reason) => {}
            Note::Waiting(trouble) | Note::Slow(trouble) => self.hold(trouble, case.now, false),
            Note::Unanswered => self.work = Work::Idle,
            Note::Unchanged(version) => {
                (self.attempt, self.source_version) = (attempt, Some(version));
                // What was refused is refused still, for the same content.
                if !self.is_refused() {
                    (self.work, self.since) = (Work::Idle, None);
                }
            }
            Note::Stored(upload, version) => {
                // The clocks of other machines may be ahead: a key never lives longer for that.
                let at = upload.at.max(Timestamp::UNIX_EPOCH).min(case.now);
                (self.attempt, self.source_version, self.since) = (attempt, version, None);
                (self.key, self.work, self.content) = (Key::Live(Upload { at, ..upload }), Work::Idle, None);
            }
            Note::Failed(trouble, version, content) => {
                let changed = self.live().zip(content.as_ref()).is_some_and(|(key, read)| key.sha256 != read.sha256);
                if changed && case.follows_changes() {
                    self.key = Key::None; // it stands for something else than the ConfigMap holds
                }
                if self.live().is_none() && content.is_some() {
                    self.content = content;
                }
                self.attempt = attempt;
                self.source_version = version.or(self.source_version.take());
                self.hold(self.lasting(trouble, case.now), case.now, true);
            }
        }
    }

    /// A file that was not there for a day will not come.
    fn lasting(&self, trouble: Trouble, now: Timestamp) -> Trouble {
        let lasts = self.since.is_some_and(|since| moments::age(since, now) >= NEVER);
        if trouble.reason == Reason::FileNotFound && lasts { messages::never_appeared(&trouble) } else { trouble }
    }

    /// It is being sent. One whose key lives goes on to say why it was not renewed until it is, and one whose content was
    /// refused until there is another content.
    fn begin(&mut self) {
        if self.live().is_some() || self.is_refused() && self.content.is_some() {
            return;
        }
        if self.trouble().is_some_and(|trouble| !continues(trouble.reason)) {
            self.since = None; // what was waited for is there: the run of trouble is over
        }
        self.work = Work::Sending;
    }

    /// Whether it is only said that it is being sent, or waits for its turn.
    fn is_turn_waiting(&self) -> bool {
        match &self.work {
            Work::Idle => false,
            Work::Sending => true,
            Work::Held(trouble) => is_wait(trouble.reason),
        }
    }

    fn hold(&mut self, trouble: Trouble, now: Timestamp, was_tried: bool) {
        let waits = is_wait(trouble.reason);
        if let Work::Held(known) = &self.work {
            if self.live().is_some() && waits && !is_wait(known.reason) {
                return; // waiting for the next attempt must not overwrite why the last one failed
            }
            // To wait for the next attempt neither ends nor begins a run of trouble.
            if !waits && !is_wait(known.reason) && known.reason.class() != trouble.reason.class()
                || waits && !continues(known.reason)
            {
                self.since = None;
            }
            if known.reason == trouble.reason && messages::is_frozen(&known.what, &trouble) {
                self.mark(waits, now, was_tried);
                return;
            }
        }
        self.mark(waits, now, was_tried);
        self.work = Work::Held(trouble);
    }

    /// Begins a run of trouble, unless it only waits for its turn.
    fn mark(&mut self, waits: bool, now: Timestamp, was_tried: bool) {
        if was_tried || !waits {
            self.since.get_or_insert(now);
        }
    }

    /// Ends a key whose life is over; another may be on its way, or requested.
    pub(super) fn expire(&mut self, case: &Case<'_>, is_replaced: bool) {
        let Key::Live(upload) = &self.key else { return };
        if case.deployment.terms.withdrawn_at(upload.at) > case.now {
            return;
        }
        if case.upload.spec.renews() {
            self.key = Key::None;
            return;
        }
        self.key = Key::Expired(Upload { file_key: String::new(), ..upload.clone() });
        match &self.work {
            _ if !is_replaced => (self.work, self.since) = (Work::Idle, None),
            Work::Held(trouble) if is_wait(trouble.reason) => {}
            _ => self.begin(),
        }
    }

    /// The upload of a key that lives.
    pub(crate) fn live(&self) -> Option<&Upload> {
        match &self.key {
            Key::Live(upload) => Some(upload),
            _ => None,
        }
    }

    /// What was uploaded last, whether its key lives or has expired.
    pub(super) fn uploaded(&self) -> Option<&Upload> {
        match &self.key {
            Key::Live(upload) | Key::Expired(upload) => Some(upload),
            Key::None => None,
        }
    }

    /// Whether it has its answer since that attempt. To have made way, or to have had no room in a report, is none.
    pub(super) fn answers(&self, attempt: i64) -> bool {
        self.attempt > attempt && !self.trouble().is_some_and(|trouble| is_wait(trouble.reason))
    }

    /// Whether it can be sent only once something about it is another, that is its content.
    pub(super) fn is_refused(&self) -> bool {
        let reason = self.trouble().map(|trouble| trouble.reason);
        reason.is_some_and(|reason| reason.class() == Class::Stalled && reason.scope() == Scope::File)
    }

    /// Why it waits, or failed.
    pub(crate) fn trouble(&self) -> Option<&Trouble> {
        match &self.work {
            Work::Held(trouble) => Some(trouble),
            _ => None,
        }
    }

    /// Whether nothing more is to come: its key has expired, and nobody asked for another.
    pub(super) fn has_expired(&self) -> bool {
        matches!(self.key, Key::Expired(_)) && self.work == Work::Idle
    }

    /// The entry as the status shows it.
    pub(super) fn shown(&self, case: &Case<'_>) -> FileStatus {
        let upload = self.uploaded();
        let sha256 = upload.map(|upload| &upload.sha256).or(self.content.as_ref().map(|content| &content.sha256));
        let sha256 = sha256.filter(|sha256| !sha256.is_empty());
        let size = upload.map(|upload| upload.size).or(self.content.as_ref().map(|content| content.size));
        let size = size.filter(|size| *size > 0 || sha256.is_some());
        let (reason, message) = match self.trouble() {
            Some(trouble) => (Some(trouble.reason), Some(trouble.message())),
            None if self.has_expired() => (Some(Reason::Expired), Some(messages::expired(case.upload))),
            None => (None, None),
        };
        FileStatus {
            name: self.id.name.clone(),
            state: self.state(),
            revision: self.id.revision.clone(),
            attempt: self.attempt,
            since: self.since.map(Time),
            source_version: self.source_version.clone(),
            file_key: self.live().map(|upload| upload.file_key.clone()),
            // No file has a longer name, whatever a path in the spec says.
            file_name: upload
                .map(|_| self.file_name.clone())
                .filter(|name| !name.is_empty() && name.chars().count() <= LONGEST_FILE_NAME),
            content_type: upload.map(|upload| upload.content_type.clone()).filter(|kind| !kind.is_empty()),
            size: size.map(|size| i64::try_from(size).unwrap_or(i64::MAX)),
            sha256: sha256.cloned(),
            uploaded_at: upload.map(|upload| Time(upload.at)),
            expires_at: upload.map(|upload| Time(case.deployment.terms.expires_at(upload.at))),
            reason: reason.map(|reason| reason.to_string()),
            // Anybody may have written a report.
            message: message.map(|message| message.chars().take(LONGEST_MESSAGE).collect()),
        }
    }

    fn state(&self) -> FileState {
        match (&self.key, &self.work) {
            (Key::Live(_), _) => FileState::Uploaded,
            (Key::Expired(_), Work::Idle) => FileState::Expired,
            (_, Work::Sending) => FileState::Uploading,
            (_, Work::Held(trouble)) if trouble.reason.class() == Class::Stalled => FileState::Failed,
            _ => FileState::Pending,
        }
    }
}

/// Whether trouble for this reason goes on while the next attempt is under way.
fn continues(reason: Reason) -> bool {
    reason.class() == Class::Backoff || is_wait(reason)
}

/// Whether the reason means that the file waits for its turn and has not failed.
pub(super) fn is_wait(reason: Reason) -> bool {
    matches!(reason, Reason::Queued | Reason::WorkerPending | Reason::ClaimInUse | Reason::ReportFull)
}
