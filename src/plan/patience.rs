//! What waits for its time: after an attempt failed, the next one is not made before `nextAttemptAt`.
//!
//! A failure that would be every file's holds all of them back, until its time or until the Secret is another.

use jiff::Timestamp;

use super::{Plan, reason};
use crate::reason::{Class, Reason, Scope};
use crate::resource::{FileStatus, FileUpload};

fn waits_until(upload: &FileUpload) -> Option<Timestamp> {
    upload.status.as_ref()?.next_attempt_at.as_ref().map(|time| time.0)
}

/// Whether the next attempt has its time. With a Secret and ConfigMaps that only workers read, nobody sees them change.
pub(super) fn is_timed(reason: Reason, by_worker: bool) -> bool {
    use Reason::{ConfigMapKeyNotFound, CredentialsInvalid, CredentialsRejected, FeatureNotLicensed};
    let unseen = [ConfigMapKeyNotFound, CredentialsInvalid, CredentialsRejected, FeatureNotLicensed];
    reason.class() == Class::Backoff || by_worker && unseen.contains(&reason)
}

pub(super) fn backs_off(upload: &FileUpload, plan: &Plan, entry: &FileStatus, now: Timestamp) -> bool {
    let timed = reason(entry).is_some_and(|reason| is_timed(reason, plan.by_worker));
    timed && waits_until(upload).is_some_and(|until| until > now)
}

/// Whether a failure of one file, that would be every file's, holds all of them back.
pub(super) fn held_back(upload: &FileUpload, plan: &Plan, version: &str, now: Timestamp) -> bool {
    let known = upload.status.as_ref().and_then(|status| status.credentials_version.as_deref()) == Some(version);
    plan.files.iter().any(|entry| match reason(entry) {
        Some(reason) if reason.scope() == Scope::Resource => match reason.class() {
            Class::Stalled if plan.by_worker => backs_off(upload, plan, entry, now),
            Class::Stalled => known,
            Class::Backoff => backs_off(upload, plan, entry, now),
            _ => false,
        },
        _ => false,
    })
}
