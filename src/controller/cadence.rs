//! When a resource is looked at again: by the class of its reason alone, plus watches.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use tracing::info;

use super::{AFTER_ERROR, Context, warn_once};
use crate::backoff::fraction;
use crate::clock;
use crate::plan::{self, Outcome, Plan, Sent, Volume};
use crate::reason::{Class, Reason};
use crate::resource::{FileStatus, FileUpload, FileUploadStatus, JobStatus};

/// Secrets are not watched but fetched anew: within 15 s, of which the cache takes its part.
const POLL: (f64, f64) = (7.0, 10.0);
/// After an hour the same is done within 5 minutes.
const POLL_LATER: (f64, f64) = (200.0, 280.0);
const PATIENT_AFTER: i64 = 3600;
/// The status write wakes us; this is in case it changed nothing.
const AT_ONCE: Duration = Duration::from_millis(200);
/// An output that cannot be written is tried again after this.
const OUTPUT_RETRY: Duration = Duration::from_secs(5);

/// When to look again, given the status that stands now, after what was planned at this moment.
pub(super) fn next(
    upload: &FileUpload,
    plan: &Plan,
    status: Option<&FileUploadStatus>,
    look_again: Option<Duration>,
    planned_at: Timestamp,
) -> Action {
    let Some(status) = status.or(upload.status.as_ref()) else { return Action::await_change() };
    if Some(status.observed_generation) != upload.metadata.generation {
        return Action::requeue(AT_ONCE);
    }
    let look = Look { upload, plan, status, now: clock::now() };
    let moment = plan::next_moment(upload, status, &plan.terms, planned_at).map(|moment| look.until(moment));
    let rests = upload.spec.is_suspended() || plan.rejection.is_some();
    let work = if rests { None } else { look.work() };
    [look_again, moment, work].into_iter().flatten().min().map_or_else(Action::await_change, Action::requeue)
}

/// What decides when to look again.
struct Look<'a> {
    upload: &'a FileUpload,
    plan: &'a Plan,
    status: &'a FileUploadStatus,
    now: Timestamp,
}

impl Look<'_> {
    /// When something is to be done, or looked for.
    fn work(&self) -> Option<Duration> {
        let Self { upload, plan, status, .. } = *self;
        // What a worker does, its Job and Pods tell.
        let open: Vec<_> =
            status.files.iter().filter(|file| plan.wants(file) && !is_with_a_worker(upload, status, file)).collect();
        if open.is_empty() && status.jobs.is_empty() {
            // It may be the output that is not done.
            let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready")?;
            let waited = self.now.as_second() - ready.last_transition_time.0.as_second();
            return self.wait(Reason::parse(&ready.reason)?.class(), OUTPUT_RETRY, waited);
        }
        // The next step follows what was just written; where nothing was, it waits for something else.
        let at_once = if upload.status.as_ref() == Some(status) { OUTPUT_RETRY } else { AT_ONCE };
        let of_file = |file: &FileStatus| file.reason.as_deref().and_then(Reason::parse).unwrap_or(Reason::Uploading);
        let waits = open.into_iter().map(|file| match of_file(file) {
            // Who waits in line is told when a place is free, but by no watch of another namespace.
            Reason::Queued => Some(self.spread(POLL)),
            reason => self.wait(reason.class(), at_once, self.waited(file)),
        });
        waits.flatten().min()
    }

    /// How long a class waits; `work` is for what goes on by itself, `waited` for how many seconds it has been so.
    fn wait(&self, class: Class, work: Duration, waited: i64) -> Option<Duration> {
        match class {
            Class::Done => None,
            Class::Working => Some(work),
            Class::Backoff => Some(match &self.status.next_attempt_at {
                Some(time) if time.0 > self.now => self.until(time.0),
                Some(_) => work,
                None => OUTPUT_RETRY,
            }),
            Class::Waiting | Class::Stalled => {
                Some(self.spread(if waited > PATIENT_AFTER { POLL_LATER } else { POLL }))
            }
        }
    }

    /// For how many seconds a file has been without the key that it wants: since the resource is not Ready, or since the
    /// key is due for renewal.
    fn waited(&self, file: &FileStatus) -> i64 {
        let due = file.uploaded_at.as_ref().filter(|_| file.file_key.is_some());
        if let (Some(uploaded_at), Some(before)) = (due, self.plan.renew_before) {
            return before.as_second() - uploaded_at.0.as_second();
        }
        let ready = self.status.conditions.iter().find(|condition| condition.type_ == "Ready");
        ready.map_or(0, |ready| self.now.as_second() - ready.last_transition_time.0.as_second())
    }

    fn until(&self, moment: Timestamp) -> Duration {
        Duration::try_from(moment.duration_since(self.now)).unwrap_or_default()
    }

    /// A moment between two, so that not all look at the same time.
    fn spread(&self, (low, high): (f64, f64)) -> Duration {
        Duration::from_secs_f64(low + (high - low) * fraction(seed(self.upload, self.now)))
    }
}

/// Whether a Job is under way on the volume of a file.
fn is_with_a_worker(upload: &FileUpload, status: &FileUploadStatus, file: &FileStatus) -> bool {
    let spec = upload.spec.files.iter().find(|spec| spec.name == file.name);
    let volume = spec.and_then(|spec| Volume::of(spec, true));
    let reads = |job: &JobStatus| volume.as_ref().is_some_and(|volume| *job == plan::job_status(&job.name, volume));
    status.jobs.iter().any(reads)
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
