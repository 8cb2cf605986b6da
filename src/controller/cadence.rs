//! When a resource is looked at again: by the class of its reason alone, plus watches.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use tracing::info;

use super::{AFTER_ERROR, Context, warn_once};
use crate::backoff::fraction;
use crate::plan::{self, Outcome, Plan, Sent, Volume};
use crate::reason::{Class, Reason};
use crate::resource::{Condition, FileState, FileStatus, FileUpload, FileUploadStatus, JobStatus};

/// Secrets are not watched but fetched anew: within 15 s, of which the cache takes its part.
const POLL: (f64, f64) = (7.0, 10.0);
/// After an hour the same is done within 5 minutes.
const POLL_LATER: (f64, f64) = (200.0, 280.0);
const PATIENT_AFTER: i64 = 3600;
/// The status write wakes us; this is in case it changed nothing.
const AT_ONCE: Duration = Duration::from_millis(200);
/// An output that cannot be written is tried again after this.
const OUTPUT_RETRY: Duration = Duration::from_secs(5);

/// When to look again, given the status that stands now.
pub(super) fn next(
    upload: &FileUpload,
    status: Option<&FileUploadStatus>,
    look_again: Option<Duration>,
    now: Timestamp,
) -> Action {
    let Some(status) = status.or(upload.status.as_ref()) else { return Action::await_change() };
    if Some(status.observed_generation) != upload.metadata.generation {
        return Action::requeue(AT_ONCE);
    }
    let whole = reason_of_ready(status);
    if matches!(whole, Some(Reason::Suspended | Reason::InvalidSpec)) {
        return look_again.map_or_else(Action::await_change, Action::requeue);
    }
    // What a worker does, its Job and Pods tell.
    let open = status.files.iter().filter(|file| file.file_key.is_none() && !is_with_a_worker(upload, status, file));
    let of_file = |file: &FileStatus| file.reason.as_deref().and_then(Reason::parse).unwrap_or(Reason::Uploading);
    let files = open.map(|file| wait(of_file(file).class(), AT_ONCE, upload, status, now));
    // Where every file has its key, it is the output that is not done.
    let output = whole.filter(|_| status.files_uploaded == status.files_total);
    let output = output.map(|reason| wait(reason.class(), OUTPUT_RETRY, upload, status, now));
    files.chain(output).chain([look_again]).flatten().min().map_or_else(Action::await_change, Action::requeue)
}

/// Whether a worker is at a file.
fn is_with_a_worker(upload: &FileUpload, status: &FileUploadStatus, file: &FileStatus) -> bool {
    let spec = upload.spec.files.iter().find(|spec| spec.name == file.name);
    let volume = spec.and_then(|spec| Volume::of(spec, true));
    let reads = |job: &JobStatus| volume.as_ref().is_some_and(|volume| *job == plan::job_status(&job.name, volume));
    file.state == FileState::Uploading && file.reason.is_none() && status.jobs.iter().any(reads)
}

fn reason_of_ready(status: &FileUploadStatus) -> Option<Reason> {
    status.conditions.iter().find(|condition| condition.type_ == "Ready").and_then(|ready| Reason::parse(&ready.reason))
}

/// How long a class waits; `work` is for what goes on by itself.
fn wait(
    class: Class,
    work: Duration,
    upload: &FileUpload,
    status: &FileUploadStatus,
    now: Timestamp,
) -> Option<Duration> {
    match class {
        Class::Done => None,
        Class::Working => Some(work),
        Class::Backoff => Some(match &status.next_attempt_at {
            Some(time) if time.0 > now => time.0.duration_since(now).unsigned_abs(),
            Some(_) => work,
            None => OUTPUT_RETRY,
        }),
        Class::Waiting | Class::Stalled => {
            let (low, high) = if is_patient(&status.conditions, now) { POLL_LATER } else { POLL };
            Some(Duration::from_secs_f64(low + (high - low) * fraction(seed(upload, now))))
        }
    }
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

/// Counts what came of attempts. Failed ones in a row are remembered; a success or a new generation begins anew.
pub(super) fn count(context: &Context, upload: &FileUpload, plan: &Plan, outcome: &Outcome) {
    let refused = outcome.launched.values().flatten().any(|(reason, _)| reason.class() == Class::Backoff);
    let may_pass = |sent: &Sent| matches!(sent, Sent::Failed { reason, .. } if reason.class() == Class::Backoff);
    let failed = refused || plan.wait.is_some() || outcome.sent.values().any(may_pass);
    if !failed && outcome.sent.is_empty() && plan.concluded.is_empty() {
        return;
    }
    for (reason, size) in &plan.reported {
        context.metrics.reported(reason.as_str(), *size);
    }
    for job in &plan.concluded {
        info!(job = job.name, "took in what a worker reported");
        context.places.ended(&job.name);
    }
    if !plan.concluded.is_empty() {
        let credential = (upload.namespace().unwrap_or_default(), upload.spec.secret_name().to_owned());
        context.places.paced(credential, plan.limited);
    }
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
