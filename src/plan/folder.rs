//! A folder in the plan: an entry like a file's, whose key stands for the complete keys of all its files.
//!
//! So due, backoff, expiry, renewal, requests and suspension are the same as for files. What differs is here: on which keys
//! a worker builds, when the complete keys are lost, and what becomes of their ConfigMap.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::case::Case;
use super::facts::folder::{FolderFacts, Kept, Progress};
use super::facts::{Facts, FileId};
use super::file::{Entry, Key};
use super::messages;
use super::revision;
use crate::outcome::Trouble;
use crate::reason::Reason;
use crate::report::{Assignment, folder};
use crate::resource::{FailureStatus, FileStatus, Folder, FolderStatus};

/// How soon to look again where the ConfigMaps of a folder could not be read.
pub(super) const UNREAD: Duration = Duration::from_secs(2);

/// What is to happen to the ConfigMap of a folder's complete keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct KeysAct {
    /// The folder.
    pub folder: String,
    /// What happens.
    pub what: KeysWhat,
}

/// What happens to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum KeysWhat {
    /// It gets all keys, made of the keys so far with this digest.
    Write(String),
    /// It is emptied.
    Withdraw,
    /// This ConfigMap, of the complete keys or of those so far, is deleted: a FileUpload of the same name has left it, which
    /// the second says.
    Discard(String, Trouble),
    /// It is in the way: why.
    Held(Trouble),
}

impl KeysAct {
    /// Why a person has to act before a folder is uploaded.
    pub(super) fn conflict(&self) -> Option<&Trouble> {
        match &self.what {
            KeysWhat::Held(trouble) => Some(trouble),
            _ => None,
        }
    }
}

/// The entry of each folder of the spec.
pub(super) fn entries(case: &Case<'_>) -> Vec<Entry> {
    let known = case.status.map_or(&[][..], |status| &status.folders);
    let entry = |folder: &Folder| {
        let id = FileId { name: folder.name.clone(), revision: revision::of_folder(folder, case.receiver()) };
        let same = known.iter().find(|entry| entry.name == id.name && entry.revision == id.revision);
        Entry::restore(id, String::new(), same.map(as_file).as_ref(), case)
    };
    case.upload.spec.folders.iter().map(entry).collect()
}

/// A folder's entry in the terms of a file's.
fn as_file(folder: &FolderStatus) -> FileStatus {
    FileStatus {
        name: folder.name.clone(),
        state: folder.state,
        revision: folder.revision.clone(),
        attempt: folder.attempt,
        since: folder.since.clone(),
        source_version: None,
        file_key: folder.available_until.as_ref().and(folder.sha256.clone()),
        file_name: None,
        content_type: None,
        size: folder.uploaded_at.as_ref().map(|_| folder.bytes),
        sha256: folder.sha256.clone(),
        uploaded_at: folder.uploaded_at.clone(),
        expires_at: None,
        reason: folder.reason.clone(),
        message: folder.message.clone(),
    }
}

/// The folder of the spec that an entry is about.
pub(super) fn of_entry<'a>(case: &Case<'a>, entry: &Entry) -> Option<&'a Folder> {
    case.upload.spec.folders.iter().find(|folder| folder.name == entry.id.name)
}

/// Forgets complete keys that are nowhere any more.
pub(super) fn lose_keys(case: &Case<'_>, facts: &Facts, entries: &mut [Entry]) {
    for entry in entries.iter_mut().filter(|entry| of_entry(case, entry).is_some()) {
        let Some(digest) = entry.live().map(|upload| upload.file_key.clone()) else { continue };
        let Some(known) = facts.folders.get(&entry.id.name) else { continue };
        let is_written = match &known.keys {
            Kept::Unknown => true,
            Kept::Ours(of) => of.as_ref() == Some(&digest),
            _ => false,
        };
        let can_be_written = match &known.part {
            Kept::Unknown => true,
            _ => known.progress().is_some_and(|progress| progress.digest == digest),
        };
        if !is_written && !can_be_written {
            entry.key = Key::None;
        }
    }
}

/// The keys on which the next worker builds; none if all files are to be sent.
pub(super) fn base<'f>(case: &Case<'_>, entry: &Entry, known: &'f FolderFacts) -> Option<&'f Progress> {
    let progress = known.progress().filter(|progress| progress.meta.revision == entry.id.revision)?;
    let (terms, now) = (&case.deployment.terms, case.now);
    let is_requested = case.requested_attempt().is_some_and(|requested| progress.meta.round <= requested);
    let is_old = progress.first.is_some_and(|first| {
        let renewed = || case.upload.spec.renews() && terms.renewed_at(first, case.seed_of_life()) <= now;
        terms.withdrawn_at(first) <= now || renewed()
    });
    // Keys that are complete and live are replaced as a whole.
    let is_complete = entry.live().is_some_and(|upload| upload.file_key == progress.digest);
    (!is_requested && !is_old && !is_complete).then_some(progress)
}

/// What a worker on a folder is given, and into how many shares it is cut.
pub(super) fn assignment(case: &Case<'_>, entry: &Entry, spec: &Folder, known: &FolderFacts) -> (Assignment, usize) {
    let base = base(case, entry, known);
    let cuts = base.map(|base| base.meta.cuts.clone()).unwrap_or_default();
    let shares = cuts.len() + 1;
    let output = case.upload.spec.output_name().unwrap_or_default();
    let folder = folder::Folder {
        include: spec.include.clone().unwrap_or_default(),
        exclude: spec.exclude.clone().unwrap_or_default(),
        min_files: spec.least(),
        max_files: spec.most(),
        part_name: Folder::part_name(output, &spec.name),
        part: base.map(|base| base.digest.clone()).unwrap_or_default(),
        cuts,
    };
    let assignment = Assignment {
        name: entry.id.name.clone(),
        revision: entry.id.revision.clone(),
        path: spec.path().to_owned(),
        file_name: String::new(),
        content_type: None,
        folder: Some(Box::new(folder)),
    };
    (assignment, shares)
}

/// What has to happen before the ConfigMaps of a folder can be written.
pub(super) fn obstacle(case: &Case<'_>, name: &str, known: &FolderFacts) -> Option<KeysWhat> {
    let output = case.upload.spec.output_name().unwrap_or_default();
    let (keys, part) = (Folder::keys_name(output, name), Folder::part_name(output, name));
    let foreign = |map: &str| {
        let fix = "delete it, or choose another name for the folder or the output";
        let what = format!("ConfigMap {map} exists and was not made for spec.folders[{name}]: {fix}");
        KeysWhat::Held(Trouble::new(Reason::OutputConflict, what))
    };
    let orphaned = |map: String| {
        let trouble = messages::discarded(&map);
        KeysWhat::Discard(map, trouble)
    };
    match (&known.keys, &known.part) {
        (Kept::Foreign, _) => Some(foreign(&keys)),
        (_, Kept::Foreign) => Some(foreign(&part)),
        (Kept::Orphaned, _) => Some(orphaned(keys)),
        (_, Kept::Orphaned) => Some(orphaned(part)),
        _ => None,
    }
}

/// What is to happen to the ConfigMap of the complete keys.
pub(super) fn keys_act(case: &Case<'_>, entry: &Entry, known: &FolderFacts) -> Option<KeysAct> {
    let act = |what| Some(KeysAct { folder: entry.id.name.clone(), what });
    if let Some(what) = obstacle(case, &entry.id.name, known) {
        return act(what);
    }
    match (entry.live(), &known.keys) {
        (Some(upload), Kept::Ours(of)) if of.as_ref() == Some(&upload.file_key) => None,
        (Some(upload), _) => act(KeysWhat::Write(upload.file_key.clone())),
        (None, Kept::Ours(None) | Kept::Absent) => None,
        (None, _) => act(KeysWhat::Withdraw),
    }
}

/// A folder's entry as the status shows it; `file` is the same in the terms of a file.
pub(super) fn shown(case: &Case<'_>, entry: &Entry, file: FileStatus, known: Option<&FolderFacts>) -> FolderStatus {
    let mut before = case.status.map_or(&[][..], |status| &status.folders).iter();
    let before = before.rfind(|before| before.name == file.name && before.revision == file.revision);
    let progress = known.and_then(FolderFacts::progress).filter(|progress| progress.meta.revision == file.revision);
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let failure = |failure: &folder::Failure| FailureStatus {
        path: failure.path.clone(),
        reason: failure.reason.to_string(),
        message: failure.message.chars().take(512).collect(),
    };
    let withdrawn_at = |upload: &crate::outcome::Upload| Time(case.deployment.terms.withdrawn_at(upload.at));
    let is_uploading = entry.live().is_none() && !entry.has_expired();
    let (files, uploaded, bytes) = match (progress, before) {
        (Some(progress), _) if is_uploading => {
            (count(progress.meta.found), count(progress.files), i64::try_from(progress.bytes).unwrap_or(i64::MAX))
        }
        (Some(progress), _) if entry.live().is_some_and(|upload| upload.file_key == progress.digest) => {
            (count(progress.files), count(progress.files), i64::try_from(progress.bytes).unwrap_or(i64::MAX))
        }
        (_, Some(before)) if entry.live().is_some() => (before.files, before.uploaded, before.bytes),
        (_, Some(before)) => (before.files, 0, 0),
        (_, None) => (0, 0, 0),
    };
    FolderStatus {
        name: file.name,
        state: file.state,
        revision: file.revision,
        attempt: file.attempt,
        since: file.since,
        files,
        uploaded,
        bytes,
        output: case.upload.spec.output_name().map(str::to_owned),
        sha256: file.uploaded_at.as_ref().and(file.sha256),
        uploaded_at: file.uploaded_at,
        available_until: entry.live().map(withdrawn_at),
        reason: file.reason,
        message: file.message,
        failures: progress.map(|progress| progress.meta.failures.iter().map(failure).collect()).unwrap_or_default(),
    }
}
