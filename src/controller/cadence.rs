//! When a resource is looked at again: by the class of its reason alone, plus watches.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;

use super::{AFTER_ERROR, Context, warn_once};
use crate::backoff::fraction;
use crate::plan::{Outcome, Sent};
use crate::reason::{Class, Reason};
use crate::resource::{Condition, FileUpload, FileUploadStatus};

/// Secrets are not watched but fetched anew: within 15 s, of which the cache takes its part.
const POLL: (f64, f64) = (7.0, 10.0);
/// After an hour the same is done within 5 minutes.
const POLL_LATER: (f64, f64) = (200.0, 280.0);
const PATIENT_AFTER: i64 = 3600;
/// The status write wakes us; this is in case it changed nothing.
const AT_ONCE: Duration = Duration::from_millis(200);
const OUTPUT_RETRY: Duration = Duration::from_secs(15);

/// When to look again, given the status that stands now.
pub(super) fn next(upload: &FileUpload, status: Option<&FileUploadStatus>, now: Timestamp) -> Action {
    let Some(status) = status.or(upload.status.as_ref()) else { return Action::await_change() };
    let classes: Vec<Class> = reasons(status).map(Reason::class).collect();
    let has = |class| classes.contains(&class);
    if upload.spec.is_suspended() {
        return Action::await_change();
    }
    let jitter = fraction(seed(upload, now));
    let mut waits = Vec::new();
    if has(Class::Working) || Some(status.observed_generation) != upload.metadata.generation {
        waits.push(AT_ONCE);
    }
    if has(Class::Backoff) {
        let until = status.next_attempt_at.as_ref().map(|time| time.0.duration_since(now).unsigned_abs());
        let due = status.next_attempt_at.as_ref().is_some_and(|time| time.0 <= now);
        waits.push(if due { AT_ONCE } else { until.unwrap_or(OUTPUT_RETRY) });
    }
    if has(Class::Waiting) || has(Class::Stalled) {
        let (low, high) = if is_patient(&status.conditions, now) { POLL_LATER } else { POLL };
        waits.push(Duration::from_secs_f64(low + (high - low) * jitter));
    }
    waits.into_iter().min().map_or_else(Action::await_change, Action::requeue)
}

/// The reasons that ask for something: of files without a key, and of the whole.
fn reasons(status: &FileUploadStatus) -> impl Iterator<Item = Reason> {
    let open = status.files.iter().filter(|file| file.file_key.is_none());
    let files = open.map(|file| file.reason.as_deref().and_then(Reason::parse).unwrap_or(Reason::Uploading));
    let whole = status
        .conditions
        .iter()
        .filter(|condition| condition.type_ == "Ready")
        .filter_map(|condition| Reason::parse(&condition.reason));
    files.chain(whole)
}

fn is_patient(conditions: &[Condition], now: Timestamp) -> bool {
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
    ready.is_some_and(|ready| now.as_second() - ready.last_transition_time.0.as_second() > PATIENT_AFTER)
}

fn seed(upload: &FileUpload, now: Timestamp) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    (upload.uid(), now.as_second()).hash(&mut hasher);
    hasher.finish()
}

/// Counts failed Sends in a row; a success or a new generation begins anew.
pub(super) fn count(context: &Context, upload: &FileUpload, outcome: &Outcome) {
    if outcome.sent.is_empty() {
        return;
    }
    let may_pass = |sent: &Sent| matches!(sent, Sent::Failed { reason, .. } if reason.class() == Class::Backoff);
    let failed = outcome.sent.values().any(may_pass);
    let generation = upload.metadata.generation.unwrap_or_default();
    context.remember(upload, |memory| {
        let before = if memory.generation == generation { memory.failures } else { 0 };
        memory.failures = if failed { before + 1 } else { 0 };
        memory.generation = generation;
    });
}

/// An error of the API server: logged once here, and met again later.
pub(super) fn after_error(upload: &FileUpload, error: &kube::Error) -> Action {
    warn_once(upload, error);
    Action::requeue(AFTER_ERROR)
}
