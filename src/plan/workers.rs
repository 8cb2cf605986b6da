//! What the Jobs of a resource mean for its files: reports are taken in, and Jobs that are over or in the way go.
//!
//! A Job is over when none of its Pods runs. What its reports say goes into the status first; only a Job that the
//! status no longer names is deleted. So a crash at any moment finds either the report or the key.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::observed::{JobView, Observed, PodView};
use super::reports::{Told, answer, conclude, pod_of, take_in, with_entry};
use super::volume::{Rival, Volume, access, rival};
use super::{Plan, fail, job_status, reason, text, trouble};
use crate::reason::Reason;
use crate::report::Assignment;
use crate::resource::{FileState, FileUpload};

/// A volume that does not attach for so long is left to whoever has it, in seconds.
const ATTACH: i64 = 60;
/// A Pod takes so long to start anyway, in seconds.
const SOON: i64 = 3;
/// How soon to look again at a worker that does not run: what keeps it may be told in events, which nobody watches.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// A Job that is to be deleted.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct Removal {
    /// Its name.
    pub name: String,
    /// Its uid.
    #[serde(skip)]
    pub uid: String,
    /// Why.
    pub because: &'static str,
}

/// What is under way, as far as it keeps other things from being begun.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    /// Files that a worker has.
    pub(super) files: BTreeSet<String>,
    /// Volumes that a worker reads.
    pub(super) volumes: BTreeSet<Volume>,
}

/// Takes in what workers report, says how each stands, and which Jobs are to go.
pub(super) fn follow(upload: &FileUpload, observed: &Observed, now: Timestamp, plan: &mut Plan) -> UnderWay {
    let mut under_way = UnderWay::default();
    for job in &observed.jobs {
        if is_absorbed(upload, job) {
            if job.exists && !job.deleting {
                plan.remove(job, "its report is in the status");
            }
            continue;
        }
        plan.attempts = plan.attempts.max(job.attempt);
        let told = take_in(upload, job, now, plan);
        under_way.volumes.insert(job.volume.clone());
        if job.is_over() {
            // What came of them is written down before they are given to another worker.
            under_way.files.extend(conclude(upload, job, &told, now, plan));
        } else {
            plan.jobs.push(job_status(&job.name, &job.volume));
            under_way.files.extend(stand(upload, (job, claimless(observed, job)), &told, now, plan));
            withdraw(observed, job, now, plan);
        }
    }
    under_way
}

/// Whether all that the Job had to say is in the status.
fn is_absorbed(upload: &FileUpload, job: &JobView) -> bool {
    upload
        .status
        .as_ref()
        .is_some_and(|status| job.attempt <= status.attempts && !status.jobs.iter().any(|known| known.name == job.name))
}

/// How each file stands that a worker still has; returns their names.
fn stand(
    upload: &FileUpload,
    (job, claimless): (&JobView, Option<(Reason, String)>),
    told: &Told,
    now: Timestamp,
    plan: &mut Plan,
) -> Vec<String> {
    let mut names = Vec::new();
    for (index, assignment) in job.files.iter().enumerate().filter(|(index, _)| !told.files.contains(index)) {
        let pod = pod_of(job, index);
        let others = pod.is_none() && job.pods.iter().any(|pod| !pod.is_over());
        let behind = || Some((Reason::Queued, text::queued(&job.volume)));
        let why = if others { behind() } else { trouble::pending(upload, job, pod, now) };
        let why = claimless.clone().or(why);
        plan.look_again = plan.look_again.or((why.is_some() || !job.has_started()).then_some(LOOK_AGAIN));
        with_entry(assignment, &mut plan.files, |entry| {
            names.push(entry.name.clone());
            if job.deleting && reason(entry) == Some(Reason::ClaimInUse) {
                return; // it made way, and says so until it is gone
            }
            match why {
                None => (entry.state, entry.reason, entry.message) = (FileState::Uploading, None, None),
                why => answer(entry, why),
            }
        });
    }
    // A file that failed already is the Job's until that is over: then it is known what else went wrong.
    names.extend(told.files.iter().filter_map(|index| job.files.get(*index)).map(|given| given.name.clone()));
    names
}

/// The claim went away before the worker started. The scheduler may have looked before that, and not look again.
fn claimless(observed: &Observed, job: &JobView) -> Option<(Reason, String)> {
    let Volume::Claim(name) = &job.volume else { return None };
    let why = access(name, observed.claims.get(name)?).err()?;
    (why.0 == Reason::ClaimNotFound && !job.has_started()).then_some(why)
}

/// Deletes a Job that nobody wants any more, that is in somebody's way, or that would be made otherwise now.
fn withdraw(observed: &Observed, job: &JobView, now: Timestamp, plan: &mut Plan) {
    if job.deleting || !job.exists {
        return;
    }
    let is_wanted = |given: &Assignment| {
        plan.files.iter().any(|entry| entry.name == given.name && entry.revision == given.revision)
    };
    if !job.files.iter().any(is_wanted) {
        return plan.remove(job, "none of its files is wanted any more");
    }
    if !job.has_started() && !job.settings.is_empty() && job.settings != observed.settings {
        return plan.remove(job, "it has not started and would be made otherwise now");
    }
    let Volume::Claim(name) = &job.volume else { return };
    let rival = observed.claims.get(name).map_or(Rival::None, |claim| rival(job, claim, now));
    let age = job.created.map_or(0, |created| now.as_second() - created.as_second());
    let unattached = |pod: &PodView| pod.events.iter().any(|event| event.reason == "FailedAttachVolume");
    let stuck = age >= ATTACH && !job.has_started() && job.pods.iter().any(unattached);
    if rival == Rival::Waiting || stuck {
        let message = format!(
            "{} is wanted by another Pod, for which the worker made way: it is read as soon as it can be",
            job.volume.describe()
        );
        for assignment in &job.files {
            with_entry(assignment, &mut plan.files, |entry| fail(entry, Reason::ClaimInUse, message.clone()));
        }
        plan.remove(job, "another Pod waits for its claim");
    }
    if rival == Rival::Starting {
        plan.look_again = plan.look_again.or(Some(LOOK_AGAIN));
    }
}

impl Plan {
    fn remove(&mut self, job: &JobView, because: &'static str) {
        self.remove.push(Removal { name: job.name.clone(), uid: job.uid.clone(), because });
    }
}

/// Whether what keeps a Job's Pods from running may be told in events, which nobody watches.
pub fn may_be_kept(job: &JobView, now: Timestamp) -> bool {
    let age = job.created.map_or(0, |created| now.as_second() - created.as_second());
    let alive = job.exists && job.ended.is_none();
    alive && age >= SOON && (!job.pods.iter().any(|pod| pod.running) || job.pods.iter().any(|pod| pod.unready))
}

/// Whether a Job is over without the answers that its Pods should have given: then the API server itself is asked
/// before that is believed.
pub fn is_doubtful(job: &JobView) -> bool {
    let silent = |pod: &PodView| pod.terminated.as_ref().is_none_or(|ended| ended.message.is_empty());
    let unheard = (0..job.shards).any(|share| job.pods.iter().filter(|pod| pod.index == share).all(silent));
    !job.confirmed && job.is_over() && unheard
}
