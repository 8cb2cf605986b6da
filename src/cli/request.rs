//! What a status says of the latest request for a fresh upload, and of what stalls it. Pure.
//!
//! A failure of before the request says nothing of the request: the file is tried again for it.

use crate::reason::{Class, Reason, Scope};
use crate::resource::{ANNOTATION_REQUESTED_AT, Condition, FileUpload, FileUploadStatus};

/// The status, if it is of the current spec.
pub(super) fn current_status(upload: &FileUpload) -> Option<&FileUploadStatus> {
    upload.status.as_ref().filter(|status| Some(status.observed_generation) == upload.metadata.generation)
}

/// Whether a request is not done yet.
pub(super) fn is_pending(upload: &FileUpload, status: &FileUploadStatus) -> bool {
    value(upload).is_some_and(|value| status.last_handled_requested_at.as_ref() != Some(value))
}

/// Whether a file stalled at an attempt after the latest request.
pub(super) fn has_stalled_file(upload: &FileUpload, status: &FileUploadStatus) -> bool {
    let noted = status.requested_attempt.filter(|_| status.requested_at.as_ref() == value(upload));
    let is_pending = is_pending(upload, status);
    let is_after = |attempt: i64| !is_pending || noted.is_some_and(|noted| attempt > noted);
    attempts_that_stalled(status).any(is_after)
}

/// Whether a person must act, whatever the latest request brings.
pub(super) fn is_stalled(upload: &FileUpload, status: &FileUploadStatus) -> bool {
    let stalled = condition(status, "Stalled").filter(|condition| condition.status == "True");
    stalled.is_some_and(|stalled| {
        // What is no file's, the spec or the output, does not wait for a file.
        let is_of_all = Reason::parse(&stalled.reason).is_some_and(|reason| reason.scope() == Scope::Resource);
        let is_no_files = is_of_all && attempts_that_stalled(status).next().is_none();
        !is_pending(upload, status) || is_no_files || has_stalled_file(upload, status)
    })
}

/// Whether this condition is true.
pub(super) fn holds(status: &FileUploadStatus, kind: &str) -> bool {
    condition(status, kind).is_some_and(|condition| condition.status == "True")
}

/// The condition of this type.
pub(super) fn condition<'a>(status: &'a FileUploadStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.type_ == kind)
}

fn value(upload: &FileUpload) -> Option<&String> {
    upload.metadata.annotations.as_ref()?.get(ANNOTATION_REQUESTED_AT)
}

/// The attempts of files and folders that only a person can help.
fn attempts_that_stalled(status: &FileUploadStatus) -> impl Iterator<Item = i64> {
    let files = status.files.iter().map(|file| (&file.reason, file.attempt));
    let folders = status.folders.iter().map(|folder| (&folder.reason, folder.attempt));
    let stalls = |reason: &Option<String>| {
        let reason = reason.as_deref().and_then(Reason::parse);
        reason.is_some_and(|reason| reason.class() == Class::Stalled)
    };
    files.chain(folders).filter(move |(reason, _)| stalls(reason)).map(|(_, attempt)| attempt)
}
