//! What a Job's reports mean for its files: what they tell is taken in, and what they do not tell is explained.
//!
//! Taking a report in again changes nothing. Once its Job is over, every file that has no answer gets one: the report
//! was full, or whatever ended the worker.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::life::is_wait;
use super::observed::{JobView, PodView};
use super::volume::Volume;
use super::{Plan, Sent, fail, is_timed, job_status, reason, text, trouble};
use crate::backoff;
use crate::outcome::{Trouble, Upload};
use crate::reason::{Class, Reason, Scope};
use crate::report::{self, Assignment, Entry, Unreadable};
use crate::resource::{FileState, FileStatus, FileUpload};

/// A file that is not there for so long will not come: a day, in seconds.
const NEVER: i64 = 24 * 3600;

/// What a Job's reports told.
#[derive(Default)]
pub(super) struct Told {
    /// Which files of the Job have their answer, by index.
    pub(super) files: BTreeSet<usize>,
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
    /// The lines, each with the share that wrote it, until they are taken in.
    entries: Vec<(usize, Entry)>,
    /// What came of each file, and its size in bytes.
    results: Vec<(Reason, u64)>,
}

/// Writes what the reports say into the entries. Doing it again changes nothing.
pub(super) fn take_in(upload: &FileUpload, job: &JobView, now: Timestamp, plan: &mut Plan) -> Told {
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
        told.entries.extend(report.entries.into_iter().map(|entry| (pod.index, entry)));
    }
    // Keys first: a failure that is every file's may have been written while others were still on their way.
    let is_failure = |(_, entry): &(usize, Entry)| matches!(entry, Entry::Failed { .. });
    let (failures, uploads): (Vec<_>, Vec<_>) = std::mem::take(&mut told.entries).into_iter().partition(is_failure);
    for (share, entry) in uploads.into_iter().chain(failures) {
        let (index, sent) = sent(upload, &job.volume, entry);
        tell(job, share, index, &sent, now, &mut told, plan);
    }
    told
}

/// Takes in one line: what came of one file, or of all of a share that have no line of their own.
fn tell(
    job: &JobView,
    share: usize,
    index: Option<usize>,
    sent: &Sent,
    now: Timestamp,
    told: &mut Told,
    plan: &mut Plan,
) {
    told.results.push(match sent {
        Sent::Uploaded { size, .. } => (Reason::Uploaded, size.unsigned_abs()),
        Sent::Failed { reason, .. } => (*reason, 0),
    });
    if let Sent::Failed { retry_after, .. } = sent {
        told.retry_after = told.retry_after.max(*retry_after);
    }
    let outdated = is_outdated(job, sent, plan);
    let share = report::share(job.files.len(), job.shards, share);
    for index in index.map_or(share, |index| index..index + 1) {
        let Some(assignment) = job.files.get(index).filter(|_| told.files.insert(index)) else { continue };
        if outdated {
            with_entry(assignment, plan, |entry| answer(entry, None));
        } else {
            absorb(assignment, sent, now, plan);
        }
    }
    if !outdated {
        share_failure(job, sent, plan);
    }
}

/// Whether a worker says what only a person can mend, of a spec that was changed since: that is a new chance.
fn is_outdated(job: &JobView, sent: &Sent, plan: &Plan) -> bool {
    let stalls = matches!(sent, Sent::Failed { reason, .. } if reason.class() == Class::Stalled);
    stalls && job.generation.is_some_and(|generation| generation < plan.generation)
}

/// A line of a report, as what came of sending.
fn sent(upload: &FileUpload, volume: &Volume, entry: Entry) -> (Option<usize>, Sent) {
    match entry {
        Entry::Uploaded { file, upload: Upload { file_key, content_type, size, sha256, at } } => {
            let size = i64::try_from(size).unwrap_or(i64::MAX);
            (Some(file), Sent::Uploaded { file_key, content_type, size, sha256, at })
        }
        Entry::Failed { file, trouble } => {
            let (Trouble { reason, retry_after, .. }, message) = (&trouble, trouble.message());
            let (reason, retry_after) = (*reason, *retry_after);
            let message = if message.is_empty() { "see the log of the worker's Pod".to_owned() } else { message };
            let (reason, message) = trouble::of_volume(volume, reason, text::of_credentials(upload, reason, message));
            (file, Sent::Failed { reason, message, retry_after })
        }
    }
}

fn absorb(assignment: &Assignment, sent: &Sent, now: Timestamp, plan: &mut Plan) {
    let Some(at) = entry_of(assignment, plan) else { return };
    // A failure says nothing of a key that is there and good.
    if matches!(sent, Sent::Uploaded { .. }) || plan.wants(&plan.files[at]) {
        take(&mut plan.files[at], Some(&assignment.file_name), sent, now);
    }
}

/// Writes what came of sending one file into its entry.
pub(super) fn take(entry: &mut FileStatus, file_name: Option<&str>, sent: &Sent, now: Timestamp) {
    match sent {
        Sent::Uploaded { file_key, content_type, size, sha256, at } => {
            // Times are written to the second, in which a key may be replaced.
            if entry.uploaded_at.as_ref().is_some_and(|known| known.0 > *at) {
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
        Sent::Failed { reason: Reason::FileNotFound, message, .. } => {
            let since = entry.missing_since.get_or_insert(Time(now)).0;
            if now.as_second() - since.as_second() >= NEVER {
                fail(
                    entry,
                    Reason::FileNeverAppeared,
                    format!(
                        "{message}: it was not there for a day: put it there, then ask for a fresh upload with fileupload refresh"
                    ),
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
        for at in 0..plan.files.len() {
            if plan.wants(&plan.files[at]) {
                fail(&mut plan.files[at], *reason, message.clone());
            }
        }
    }
}

/// The Job is over: every file of it that has no answer gets one, and the next attempt its time. Returns its files.
pub(super) fn conclude(
    upload: &FileUpload,
    job: &JobView,
    told: &Told,
    now: Timestamp,
    plan: &mut Plan,
) -> Vec<String> {
    for (index, assignment) in job.files.iter().enumerate().filter(|(index, _)| !told.files.contains(index)) {
        let why = silence(upload, job, told, index, now);
        with_entry(assignment, plan, |entry| {
            // To make way is no failure: the file follows as soon as the claim can be used.
            answer(entry, if made_way(job, entry) { None } else { why });
        });
    }
    let given =
        |entry: &FileStatus| job.files.iter().any(|given| given.name == entry.name && given.revision == entry.revision);
    let mut files: Vec<String> =
        plan.files.iter().filter(|entry| given(entry)).map(|entry| entry.name.clone()).collect();
    if job.files.is_empty() {
        files = vanished(upload, job, plan);
    }
    let mine = |entry: &&FileStatus| plan.wants(entry) && files.contains(&entry.name);
    let timed = |entry: &FileStatus| reason(entry).is_some_and(|reason| is_timed(reason, plan.by_worker));
    if plan.files.iter().filter(mine).any(timed) {
        let wait = backoff::delay_asked(plan.failures + 1, plan.seed, told.retry_after);
        plan.wait = plan.wait.max(Some(wait));
    }
    plan.concluded.push(job_status(&job.name, &job.volume));
    plan.limited |= told.limited;
    plan.reported.extend(told.results.iter().copied());
    files
}

/// Whether a file has no answer because its worker was called off for another Pod. A Job is gone before its Pods are.
pub(super) fn made_way(job: &JobView, entry: &FileStatus) -> bool {
    (job.deleting || !job.exists) && reason(entry) == Some(Reason::ClaimInUse)
}

/// Why a Job's report says nothing of a file; `None` if it was called off before it began.
fn silence(upload: &FileUpload, job: &JobView, told: &Told, file: usize, now: Timestamp) -> Option<(Reason, String)> {
    let pod = pod_of(job, file);
    let share = share_of(job, file);
    if told.full.contains(&share) {
        return Some((Reason::ReportFull, "the report of its worker was full: it follows at once".to_owned()));
    }
    if job.ended.is_none() && !job.has_started() {
        return None;
    }
    if told.unsupported.contains(&share) {
        let fix = "let the operator and --worker-image be of the same version";
        let message = format!("the worker wrote a report that this operator cannot read: {fix}");
        return Some((Reason::ReportUnsupported, message));
    }
    Some(unexplained(upload, job, pod, told.unreadable.contains(&share), now))
}

/// The Job of which nothing is left, not even which files it had: those on its volume that were being sent.
fn vanished(upload: &FileUpload, job: &JobView, plan: &mut Plan) -> Vec<String> {
    let message = "the worker's Job and its Pods are gone, and with them their report";
    let of_job = |name: &str| {
        let mut files = upload.spec.files.iter();
        files.any(|file| file.name == name && Volume::of(file, plan.by_worker).as_ref() == Some(&job.volume))
    };
    let was_sent = |entry: &FileStatus| {
        let renewed = entry.file_key.is_some() && plan.wants(entry);
        (entry.state == FileState::Uploading || renewed) && of_job(&entry.name)
    };
    let lost: Vec<_> = plan.files.iter().filter(|entry| was_sent(entry)).map(|entry| entry.name.clone()).collect();
    for entry in plan.files.iter_mut().filter(|entry| lost.contains(&entry.name)) {
        fail(entry, Reason::ReportMissing, message.to_owned());
    }
    lost
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

/// The share that has the file.
fn share_of(job: &JobView, file: usize) -> usize {
    let has = |share: &usize| report::share(job.files.len(), job.shards, *share).contains(&file);
    (0..job.shards).find(has).unwrap_or_default()
}

/// The Pod that has the file, the latest of its share.
pub(super) fn pod_of(job: &JobView, file: usize) -> Option<&PodView> {
    let share = share_of(job, file);
    job.pods.iter().rev().find(|pod| pod.index == share)
}

/// Acts on the entry of a file that a worker was given, if it still wants to be uploaded.
pub(super) fn with_entry(assignment: &Assignment, plan: &mut Plan, act: impl FnOnce(&mut FileStatus)) {
    if let Some(at) = entry_of(assignment, plan).filter(|at| plan.wants(&plan.files[*at])) {
        act(&mut plan.files[at]);
    }
}

fn entry_of(assignment: &Assignment, plan: &Plan) -> Option<usize> {
    plan.files.iter().position(|entry| entry.name == assignment.name && entry.revision == assignment.revision)
}

/// Gives an entry its reason. A text that the cluster gave is frozen at first sight: it varies, and would never rest.
/// Another kind of cause, which the words before the colon tell, or a cause where none was known, takes its place.
pub(super) fn answer(entry: &mut FileStatus, why: Option<(Reason, String)>) {
    let Some((why, message)) = why else {
        if entry.file_key.is_none() {
            entry.state = FileState::Pending;
        }
        // Why a key was not renewed is said until it is.
        if entry.file_key.is_none() || reason(entry).is_some_and(is_wait) {
            (entry.reason, entry.message) = (None, None);
        }
        return;
    };
    let head = |text: &str| text.split(": ").next().unwrap_or_default().to_owned();
    let same = entry.message.as_deref().is_some_and(|known| head(known) == head(&message));
    if reason(entry) != Some(why) || !same && !trouble::is_vague(&message) {
        fail(entry, why, message);
    }
}
