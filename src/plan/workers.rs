//! What the Jobs of a resource mean for its files: reports are taken in, and Jobs that are over or in the way go.
//!
//! A Job is over when none of its Pods runs. What its reports say goes into the status first; only a Job that the
//! status no longer names is deleted. So a crash at any moment finds either the report or the key.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::observed::{JobView, Observed, PodView};
use super::volume::{Rival, Volume, rival};
use super::{Plan, Sent, fail, is_timed, job_status, reason, text, trouble};
use crate::backoff;
use crate::reason::{Reason, Scope};
use crate::report::{self, Assignment, Entry, Unreadable};
use crate::resource::{FileState, FileStatus, FileUpload, JobStatus};

/// A file that is not there for so long will not come: a day, in seconds.
const NEVER: i64 = 24 * 3600;
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
            conclude(upload, job, &told, now, plan);
        } else {
            plan.jobs.push(status_of(job));
            under_way.files.extend(stand(upload, job, &told, now, plan));
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

fn status_of(job: &JobView) -> JobStatus {
    job_status(&job.name, &job.volume)
}

/// What a Job's reports told.
#[derive(Default)]
struct Told {
    /// Which files of the Job have their answer, by index.
    files: BTreeSet<usize>,
    /// Shares whose report was full.
    full: BTreeSet<usize>,
    /// Shares whose report is of a version that is not known.
    unsupported: BTreeSet<usize>,
    /// Shares whose report is missing or broken.
    unreadable: BTreeSet<usize>,
    /// How long the other side asked to wait.
    retry_after: Option<Duration>,
    /// Whether the API asked to slow down.
    limited: bool,
    /// What came of each file, and its size in bytes.
    results: Vec<(Reason, u64)>,
}

/// Writes what the reports say into the entries. Doing it again changes nothing.
fn take_in(upload: &FileUpload, job: &JobView, now: Timestamp, plan: &mut Plan) -> Told {
    let mut told = Told::default();
    for pod in &job.pods {
        let Some(terminated) = &pod.terminated else { continue };
        let report = match report::read(&terminated.message, &job.files) {
            Ok(report) => report,
            Err(Unreadable::Unsupported) => {
                told.unsupported.insert(pod.index);
                continue;
            }
            Err(Unreadable::Missing | Unreadable::Garbled) => {
                told.unreadable.insert(pod.index);
                continue;
            }
        };
        told.limited |= report.limited;
        if report.full {
            told.full.insert(pod.index);
        }
        if report.garbled {
            told.unreadable.insert(pod.index);
        }
        for entry in report.entries {
            let (index, sent) = sent(upload, &job.volume, entry);
            told.results.push(match &sent {
                Sent::Uploaded { size, .. } => (Reason::Uploaded, size.unsigned_abs()),
                Sent::Failed { reason, .. } => (*reason, 0),
            });
            if let Sent::Failed { retry_after, .. } = &sent {
                told.retry_after = told.retry_after.max(*retry_after);
            }
            let share = report::share(job.files.len(), job.shards, pod.index);
            for index in index
                .map_or(share, |index| index..index + 1)
                .filter(|index| !told.files.contains(index))
                .collect::<Vec<_>>()
            {
                told.files.insert(index);
                absorb(job.files.get(index), &sent, now, &mut plan.files);
            }
            share_failure(job, &sent, plan);
        }
    }
    told
}

/// A line of a report, as what came of sending.
fn sent(upload: &FileUpload, volume: &Volume, entry: Entry) -> (Option<usize>, Sent) {
    match entry {
        Entry::Uploaded { file, file_key, content_type, size, sha256, at } => {
            let size = i64::try_from(size).unwrap_or(i64::MAX);
            (Some(file), Sent::Uploaded { file_key, content_type, size, sha256, at })
        }
        Entry::Failed { file, reason, message, retry_after } => {
            let message = if message.is_empty() { "see the log of the worker's Pod".to_owned() } else { message };
            let (reason, message) = trouble::of_volume(volume, reason, text::of_credentials(upload, reason, message));
            (file, Sent::Failed { reason, message, retry_after })
        }
    }
}

fn absorb(assignment: Option<&Assignment>, sent: &Sent, now: Timestamp, files: &mut [FileStatus]) {
    let same = |entry: &&mut FileStatus| {
        assignment.is_some_and(|given| given.name == entry.name && given.revision == entry.revision)
    };
    if let Some(entry) = files.iter_mut().find(same) {
        take(entry, assignment.map(|given| given.file_name.as_str()), sent, now);
    }
}

/// Writes what came of sending one file into its entry.
pub(super) fn take(entry: &mut FileStatus, file_name: Option<&str>, sent: &Sent, now: Timestamp) {
    match sent {
        Sent::Uploaded { file_key, content_type, size, sha256, at } => {
            if entry.uploaded_at.as_ref().is_some_and(|known| known.0 >= *at) {
                return;
            }
            entry.state = FileState::Uploaded;
            (entry.reason, entry.message, entry.missing_since) = (None, None, None);
            entry.file_key = Some(file_key.clone());
            entry.file_name = file_name.map(str::to_owned);
            entry.content_type = Some(content_type.clone());
            (entry.size, entry.sha256) = (Some(*size), Some(sha256.clone()));
            entry.uploaded_at = Some(Time(*at));
        }
        Sent::Failed { .. } if entry.file_key.is_some() => {}
        Sent::Failed { reason: Reason::FileNotFound, message, .. } => {
            let since = entry.missing_since.get_or_insert(Time(now)).0;
            if now.as_second() - since.as_second() >= NEVER {
                fail(
                    entry,
                    Reason::FileNeverAppeared,
                    format!("{message}: it was not there for a day: put it there, then change the spec"),
                );
            } else {
                fail(entry, Reason::FileNotFound, message.clone());
            }
        }
        Sent::Failed { reason, message, .. } => {
            entry.missing_since = None;
            fail(entry, *reason, message.clone());
        }
    }
}

/// A failure that would be every file's is every file's, under the Secret that the worker had.
fn share_failure(job: &JobView, sent: &Sent, plan: &mut Plan) {
    if let Sent::Failed { reason, message, .. } = sent
        && reason.scope() == Scope::Resource
    {
        plan.credentials_version = Some(job.credentials_version.clone());
        for entry in plan.files.iter_mut().filter(|entry| entry.file_key.is_none()) {
            fail(entry, *reason, message.clone());
        }
    }
}

/// The Job is over: every file of it that has no answer gets one, and the next attempt its time.
fn conclude(upload: &FileUpload, job: &JobView, told: &Told, now: Timestamp, plan: &mut Plan) {
    if job.files.is_empty() {
        vanished(upload, job, plan);
    }
    for (index, assignment) in job.files.iter().enumerate().filter(|(index, _)| !told.files.contains(index)) {
        let pod = pod_of(job, index);
        let share = pod.map_or(0, |pod| pod.index);
        let mut set =
            |why: Option<(Reason, String)>| with_entry(assignment, &mut plan.files, |entry| answer(entry, why.clone()));
        let interrupted = job.ended.is_none() && !job.has_started();
        if told.full.contains(&share) {
            set(Some((Reason::ReportFull, "the report of its worker was full: it follows at once".to_owned())));
        } else if interrupted {
            set(None);
        } else if told.unsupported.contains(&share) {
            let fix = "let the operator and --worker-image be of the same version";
            set(Some((
                Reason::ReportUnsupported,
                format!("the worker wrote a report that this operator cannot read: {fix}"),
            )));
        } else {
            set(Some(unexplained(upload, job, pod, told.unreadable.contains(&share), now)));
        }
    }
    let mine = |entry: &&FileStatus| {
        entry.file_key.is_none()
            && job.files.iter().any(|given| given.name == entry.name && given.revision == entry.revision)
    };
    if plan.files.iter().filter(mine).any(|entry| reason(entry).is_some_and(|reason| is_timed(reason, plan.by_worker)))
    {
        let wait = backoff::delay_asked(plan.failures + 1, plan.seed, told.retry_after);
        plan.wait = plan.wait.max(Some(wait));
    }
    plan.concluded.push(status_of(job));
    plan.limited |= told.limited;
    plan.reported.extend(told.results.iter().copied());
}

/// The Job of which nothing is left, not even which files it had: those on its volume that were being sent.
fn vanished(upload: &FileUpload, job: &JobView, plan: &mut Plan) {
    let message = "the worker's Job and its Pods are gone, and with them their report".to_owned();
    let of_job = |name: &str| {
        upload
            .spec
            .files
            .iter()
            .any(|file| file.name == name && Volume::of(file, plan.by_worker).as_ref() == Some(&job.volume))
    };
    let lost: Vec<_> = plan
        .files
        .iter()
        .filter(|entry| entry.state == FileState::Uploading && of_job(&entry.name))
        .map(|entry| entry.name.clone())
        .collect();
    for entry in plan.files.iter_mut().filter(|entry| lost.contains(&entry.name)) {
        fail(entry, Reason::ReportMissing, message.clone());
    }
    if !lost.is_empty() {
        plan.wait = plan.wait.max(Some(backoff::delay(plan.failures + 1, plan.seed)));
    }
}

fn unexplained(
    upload: &FileUpload,
    job: &JobView,
    pod: Option<&PodView>,
    unreadable: bool,
    now: Timestamp,
) -> (Reason, String) {
    let clean_exit = pod
        .and_then(|pod| pod.terminated.as_ref())
        .is_some_and(|ended| matches!(ended.exit_code, 0..=2) && ended.reason != "OOMKilled");
    if unreadable && clean_exit {
        let fix = "see that --worker-image names this operator's own image, and the log of the Pod";
        return (Reason::ReportMissing, format!("the worker ended without a report that can be read: {fix}"));
    }
    trouble::ended(upload, job, pod, now)
}

/// The Pod that has the file, the latest of its share.
fn pod_of(job: &JobView, file: usize) -> Option<&PodView> {
    let has = |pod: &&PodView| report::share(job.files.len(), job.shards, pod.index).contains(&file);
    job.pods.iter().rev().find(has)
}

fn with_entry(assignment: &Assignment, files: &mut [FileStatus], act: impl FnOnce(&mut FileStatus)) {
    let same = |entry: &&mut FileStatus| entry.name == assignment.name && entry.revision == assignment.revision;
    if let Some(entry) = files.iter_mut().find(same).filter(|entry| entry.file_key.is_none()) {
        act(entry);
    }
}

/// Gives an entry its reason. A text that the cluster gave is frozen at first sight: it varies, and would never rest.
fn answer(entry: &mut FileStatus, why: Option<(Reason, String)>) {
    match why {
        None => (entry.state, entry.reason, entry.message) = (FileState::Pending, None, None),
        Some((why, _)) if reason(entry) == Some(why) => {}
        Some((why, message)) => fail(entry, why, message),
    }
}

/// How each file stands that a worker still has; returns their names.
fn stand(upload: &FileUpload, job: &JobView, told: &Told, now: Timestamp, plan: &mut Plan) -> Vec<String> {
    let mut names = Vec::new();
    for (index, assignment) in job.files.iter().enumerate().filter(|(index, _)| !told.files.contains(index)) {
        let pod = pod_of(job, index);
        let others = pod.is_none() && job.pods.iter().any(|pod| !pod.is_over());
        let why = match others {
            true => Some((Reason::Queued, text::queued(&job.volume))),
            false => trouble::pending(upload, job, pod, now),
        };
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
    if !job.has_started() && job.settings != observed.settings {
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
