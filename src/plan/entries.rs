//! The entries of files: which ones a spec has, what the status says of them already, and how they are marked.
//!
//! An entry is about one revision of a file. A key that lives is never touched here: what goes wrong meanwhile is written
//! beside it.

use super::life::is_wait;
use super::workers::UnderWay;
use super::{Plan, is_free, revision, text};
use crate::reason::{Class, Reason};
use crate::resource::{ANNOTATION_REQUESTED_AT, File, FileState, FileStatus, FileUpload};

/// The entry of each file of the spec: the one the status has, if it is about the same revision.
pub(super) fn entries(upload: &FileUpload) -> Vec<FileStatus> {
    let known = upload.status.as_ref().map_or(&[][..], |status| &status.files);
    let entry = |file: &File| {
        let revision = revision::revision(file, upload.spec.secret_name(), requested(upload));
        let same = known.iter().find(|entry| entry.name == file.name && entry.revision == revision);
        same.cloned().unwrap_or_else(|| FileStatus::pending(&file.name, revision))
    };
    upload.spec.files.iter().map(entry).collect()
}

/// The request for a fresh upload that holds: the annotation, or after it was taken away the one that was heeded last.
pub(super) fn requested(upload: &FileUpload) -> Option<&str> {
    let asked = request(upload).filter(|request| text::is_short(request));
    asked.or_else(|| upload.status.as_ref()?.last_handled_requested_at.as_deref())
}

/// The request for a fresh upload as it is written.
pub(super) fn request(upload: &FileUpload) -> Option<&str> {
    Some(upload.metadata.annotations.as_ref()?.get(ANNOTATION_REQUESTED_AT)?.as_str())
}

/// Whether the status is already about this spec.
pub(super) fn is_accepted(upload: &FileUpload) -> bool {
    upload.status.as_ref().is_some_and(|status| {
        Some(status.observed_generation) == upload.metadata.generation && status.files == entries(upload)
    })
}

pub(super) fn reason(entry: &FileStatus) -> Option<Reason> {
    entry.reason.as_deref().and_then(Reason::parse)
}

pub(super) fn fail_open(plan: &mut Plan, under_way: &UnderWay, reason: Reason, message: &str) {
    for at in 0..plan.files.len() {
        if is_free(&plan.files[at], plan, under_way) {
            fail(&mut plan.files[at], reason, message.to_owned());
        }
    }
}

/// Marks a file as being sent. One that still has its key keeps saying so, and why it was not renewed, until it is.
pub(super) fn begun(entry: &mut FileStatus) {
    if entry.file_key.is_none() {
        (entry.state, entry.reason, entry.message) = (FileState::Uploading, None, None);
    }
}

/// Marks a file as failed, or as waiting where that is what its reason means. A key that lives is not touched.
pub(super) fn fail(entry: &mut FileStatus, reason: Reason, message: String) {
    let renewal = entry.file_key.is_some();
    if renewal && is_wait(reason) && self::reason(entry).is_some_and(|known| !is_wait(known)) {
        return; // that it waits for its next try hides not why the last one failed
    }
    if !renewal {
        entry.state = if reason.class() == Class::Stalled { FileState::Failed } else { FileState::Pending };
    }
    entry.reason = Some(reason.to_string());
    entry.message = Some(message);
}
