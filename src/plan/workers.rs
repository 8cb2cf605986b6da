//! What the Jobs of a resource mean for its files: reports are taken in, and Jobs that are over or in the way go.
//!
//! A Job is over when none of its Pods runs. What its reports say goes into the status first; only a Job that the
//! status no longer names is deleted. So a crash at any moment finds either the report or the key.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::observed::{JobView, Observed, PodView};
use super::reports::{Told, answer, conclude, made_way, pod_of, take_in, with_entry};
use super::volume::{Rival, Volume, access, rival};
use super::{Plan, begun, fail, job_status, text, trouble};
use crate::reason::Reason;
use crate::report::Assignment;
use crate::resource::FileUpload;

/// A volume that does not attach for so long is left to whoever has it, in seconds.
const ATTACH: i64 = 60;
/// No plan launches more Jobs than a resource has files.
const MOST: i64 = 100;
/// That a worker has started is heard of by then, in seconds.
const UNHEARD: i64 = 10;
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
        plan.attempts = plan.attempts.max(job.attempt.min(plan.attempts.saturating_add(MOST)));
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
        with_entry(assignment, plan, |entry| {
            names.push(entry.name.clone());
            if made_way(job, entry) {
                return; // and says so until it is gone
            }
            match why {
                None => begun(entry),
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
    let age = job.created.map_or(0, |created| now.as_second() - created.as_second());
    if age >= UNHEARD && !job.has_started() && !job.settings.is_empty() && job.settings != observed.settings {
        return plan.remove(job, "it has not started and would be made otherwise now");
    }
    let Volume::Claim(name) = &job.volume else { return };
    let rival = observed.claims.get(name).map_or(Rival::None, |claim| rival(job, claim, now));
    let unattached = |pod: &PodView| pod.events.iter().any(|event| event.reason == "FailedAttachVolume");
    let stuck = age >= ATTACH && !job.has_started() && job.pods.iter().any(unattached);
    if rival == Rival::Waiting || stuck {
        let (claim, later) = (job.volume.describe(), "it is read as soon as it can be");
        let message = if stuck {
            format!("{claim} could not be attached for a minute, as another node may have it: {later}")
        } else {
            format!("{claim} is wanted by another Pod, for which the worker made way: {later}")
        };
        for assignment in &job.files {
            with_entry(assignment, plan, |entry| fail(entry, Reason::ClaimInUse, message.clone()));
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::{CredentialsView, Outcome, Terminated, next, status};

    fn now() -> Timestamp {
        "2026-11-23T10:00:00Z".parse().unwrap()
    }

    /// A resource whose only file waits because its worker made way, and that worker, whose Job is gone already.
    fn called_off(pod: PodView) -> (FileUpload, Observed) {
        let file = json!({"name": "a", "source": {"persistentVolumeClaim": {"claimName": "c", "path": "a"}}});
        let mut upload: FileUpload = serde_json::from_value(json!({
            "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload",
            "metadata": {"name": "x", "uid": "u", "generation": 1}, "spec": {"files": [file]},
        }))
        .unwrap();
        let first = next(&upload, &Observed::default(), now());
        let mut accepted = status(&upload, &first, &Outcome::default(), now());
        let revision = accepted.files[0].revision.clone();
        accepted.files[0].reason = Some("ClaimInUse".into());
        accepted.files[0].message = Some("it made way".into());
        (accepted.attempts, accepted.jobs) = (1, vec![job_status("x-1", &Volume::Claim("c".into()))]);
        upload.status = Some(accepted);
        let given = json!({"name": "a", "revision": revision, "path": "a", "fileName": "a"});
        let job = JobView {
            name: "x-1".into(),
            uid: String::new(),
            volume: Volume::Claim("c".into()),
            attempt: 1,
            generation: Some(1),
            credentials_version: "7".into(),
            settings: String::new(),
            image: String::new(),
            exists: false,
            deleting: false,
            created: Some(now()),
            files: vec![serde_json::from_value(given).unwrap()],
            shards: 1,
            ended: None,
            events: Vec::new(),
            pods: vec![pod],
            confirmed: true,
        };
        let credentials = CredentialsView::Usable { version: "7".into() };
        (upload, Observed { credentials, jobs: vec![job], ..Observed::default() })
    }

    #[test]
    fn a_worker_that_made_way_says_so_until_it_is_gone_and_that_is_no_failure() {
        let running = PodView { running: true, phase: "Running".into(), deleting: true, ..PodView::default() };
        let (upload, observed) = called_off(running);
        let plan = next(&upload, &observed, now());
        assert_eq!((plan.files[0].reason.as_deref(), plan.launch.len()), (Some("ClaimInUse"), 0));
        let ended = Terminated { exit_code: 1, ..Terminated::default() };
        let over = PodView { terminated: Some(ended), phase: "Failed".into(), gone: true, ..PodView::default() };
        let (upload, observed) = called_off(over);
        let plan = next(&upload, &observed, now());
        assert_eq!((plan.files[0].reason.as_deref(), plan.wait, plan.concluded.len()), (None, None, 1));
    }
}
