//! The new status: the old one, what was planned, and what came of it.
//!
//! It may be computed more than once for the same outcome: when the write meets a conflict, the object is
//! read again and a paid-for key goes into the new status by file name and revision.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::reports::{answer, take};
use super::{Outcome, Plan, Sent, fail, is_timed, job_status, reason};
use crate::backoff;
use crate::reason::{Class, Reason, Scope};
use crate::resource::{
    Condition, File, FileState, FileStatus, FileUpload, FileUploadStatus, JobStatus, OutputStatus, Phase,
};

/// The status of `upload` after `plan` came to `outcome`.
pub fn status(upload: &FileUpload, plan: &Plan, outcome: &Outcome, now: Timestamp) -> FileUploadStatus {
    let old = upload.status.clone().unwrap_or_default();
    let current = upload.metadata.generation == Some(plan.generation);
    // A spec that changed meanwhile is planned anew; until then only keys are added to what the status says.
    let mut files = if current { merge(&plan.files, &old.files) } else { old.files.clone() };
    let sends = absorb(&upload.spec.files, &mut files, plan, outcome, now);
    let launches = launched(&mut files, plan, outcome);
    for file in &mut files {
        let dated = file.file_key.is_some() || file.state == FileState::Expired;
        let uploaded_at = file.uploaded_at.as_ref().filter(|_| dated);
        file.expires_at = uploaded_at.map(|at| Time(plan.terms.expires_at(at.0)));
    }
    let waits = [sends, launches, plan.wait.filter(|_| current)].into_iter().flatten().max();
    let verdict = verdict(upload, &files, plan, outcome);
    let uploaded = files.iter().filter(|file| file.file_key.is_some()).count();
    let awaited = files.iter().any(|file| is_awaited(file, plan.by_worker));
    let known = old.next_attempt_at.clone().filter(|time| awaited && time.0 > now);
    let next_attempt_at = waits.map(|wait| Time(later(now, wait))).or(known);
    let total = upload.spec.files.len();
    FileUploadStatus {
        observed_generation: if current { plan.generation } else { old.observed_generation },
        phase: Some(verdict.phase),
        summary: Some(format!("{uploaded}/{total}")),
        files_uploaded: count(uploaded),
        files_total: count(total),
        file_key: (total == 1 && files.len() == 1)
            .then(|| files.first().and_then(|file| file.file_key.clone()))
            .flatten(),
        attempts: attempts(&old, plan, outcome),
        next_attempt_at,
        last_handled_requested_at: if current { plan.request.clone() } else { old.last_handled_requested_at },
        credentials_version: plan.credentials_version.clone(),
        jobs: jobs(old.jobs, current, plan, outcome),
        output: outcome.output_name.clone().map(|name| OutputStatus { name }),
        conditions: conditions(&old.conditions, &verdict, plan.generation, now),
        files,
    }
}

/// The planned entries, but for keys that the status got since: those were paid for.
fn merge(planned: &[FileStatus], known: &[FileStatus]) -> Vec<FileStatus> {
    let newer = |entry: &FileStatus| {
        let same = |other: &&FileStatus| other.name == entry.name && other.revision == entry.revision;
        known.iter().find(same).filter(|other| is_newer(other, entry)).cloned()
    };
    planned.iter().map(|entry| newer(entry).unwrap_or_else(|| entry.clone())).collect()
}

/// Whether an entry has a key that was uploaded later than what another knows of.
fn is_newer(entry: &FileStatus, other: &FileStatus) -> bool {
    let uploaded_at = |entry: &FileStatus| entry.uploaded_at.as_ref().map(|time| time.0);
    entry.file_key.is_some() && uploaded_at(entry) > uploaded_at(other)
}

/// Writes what came of a Send into the entries; says how long to wait, if something may pass by itself.
fn absorb(spec: &[File], files: &mut [FileStatus], plan: &Plan, outcome: &Outcome, now: Timestamp) -> Option<Duration> {
    let mut wait = None;
    for (name, sent) in &outcome.sent {
        let Some((entry, before)) = planned(files, plan, name) else { continue };
        if matches!(sent, Sent::Failed { .. }) && is_newer(entry, before) {
            continue; // another write has brought a key meanwhile
        }
        let file_name = spec.iter().find(|file| file.name == *name).map(File::effective_name);
        take(entry, file_name, sent, now);
        if let Sent::Failed { reason, retry_after, .. } = sent
            && reason.class() == Class::Backoff
        {
            wait = wait.max(Some(backoff::delay_asked(plan.failures + 1, plan.seed, *retry_after)));
        }
    }
    share(files, outcome);
    wait
}

/// The entry of a file, if it still is about the revision that was planned, and what was planned.
fn planned<'a, 'b>(
    files: &'a mut [FileStatus],
    plan: &'b Plan,
    name: &str,
) -> Option<(&'a mut FileStatus, &'b FileStatus)> {
    let before = plan.files.iter().find(|entry| entry.name == *name)?;
    let entry = files.iter_mut().find(|entry| entry.name == *name && entry.revision == before.revision)?;
    Some((entry, before))
}

/// Writes into the entries which Jobs the API server did not take; says how long to wait.
fn launched(files: &mut [FileStatus], plan: &Plan, outcome: &Outcome) -> Option<Duration> {
    let mut wait = None;
    for launch in &plan.launch {
        let Some(Some((reason, message))) = outcome.launched.get(&launch.name) else { continue };
        for file in &launch.files {
            if let Some((entry, before)) = planned(files, plan, &file.name)
                && !is_newer(entry, before)
            {
                answer(entry, Some((*reason, message.clone())));
            }
        }
        if reason.class() == Class::Backoff {
            wait = Some(backoff::delay(plan.failures + 1, plan.seed));
        }
    }
    wait
}

/// The Jobs that are under way now: those that the status names, as another write may have added some, and those of the
/// plan, without those that were taken in. Under a spec that changed meanwhile what these reported is not in the status.
fn jobs(mut jobs: Vec<JobStatus>, current: bool, plan: &Plan, outcome: &Outcome) -> Vec<JobStatus> {
    if current {
        jobs.retain(|job| !plan.concluded.iter().any(|done| done.name == job.name));
    }
    let exist = plan.launch.iter().filter(|launch| outcome.launched.get(&launch.name) == Some(&None));
    let known = plan.jobs.iter().chain(plan.concluded.iter().filter(|_| !current)).cloned();
    for job in known.chain(exist.map(|launch| job_status(&launch.name, &launch.volume))) {
        if !jobs.iter().any(|other| other.name == job.name) {
            jobs.push(job);
        }
    }
    jobs
}

/// The highest number of an attempt so far: it never decreases.
fn attempts(old: &FileUploadStatus, plan: &Plan, outcome: &Outcome) -> i64 {
    let exist = plan.launch.iter().filter(|launch| outcome.launched.get(&launch.name) == Some(&None));
    let before = plan.attempts - count(plan.launch.len());
    let highest = exist.map(|launch| launch.attempt).max().unwrap_or_default();
    old.attempts.max(before).max(highest) + i64::from(!outcome.sent.is_empty())
}

/// A failure that would be every file's is every file's, without trying each.
fn share(files: &mut [FileStatus], outcome: &Outcome) {
    let shared = outcome.sent.values().find_map(|sent| match sent {
        Sent::Failed { reason, message, .. } if reason.scope() == Scope::Resource => Some((*reason, message.clone())),
        _ => None,
    });
    if let Some((reason, message)) = shared {
        let open = |entry: &&mut FileStatus| !matches!(entry.state, FileState::Uploaded | FileState::Expired);
        for entry in files.iter_mut().filter(open) {
            fail(entry, reason, message.clone());
        }
    }
}

/// What the conditions and the phase say.
struct Verdict {
    phase: Phase,
    ready: bool,
    available: bool,
    reason: Reason,
    message: String,
    also: Option<&'static str>,
}

fn verdict(upload: &FileUpload, files: &[FileStatus], plan: &Plan, outcome: &Outcome) -> Verdict {
    let keyed =
        !files.is_empty() && files.len() == upload.spec.files.len() && files.iter().all(|file| file.file_key.is_some());
    let available = keyed && outcome.output.is_none();
    let verdict =
        |phase, ready, reason, message: String, also| Verdict { phase, ready, available, reason, message, also };
    if upload.spec.is_suspended() {
        let message = "suspended, as spec.suspend asks; set it to false to go on";
        return verdict(Phase::Suspended, true, Reason::Suspended, message.to_owned(), None);
    }
    if let Some((reason, problem)) = &plan.rejection {
        return verdict(Phase::Failed, false, *reason, problem.clone(), Some("Stalled"));
    }
    if available {
        return verdict(Phase::Ready, true, Reason::Uploaded, "every file is uploaded".to_owned(), None);
    }
    let stalls = |file: &&FileStatus| reason(file).is_some_and(|reason| reason.class() == Class::Stalled);
    let open = || files.iter().filter(|file| file.file_key.is_none() && file.state != FileState::Expired);
    if let Some(file) = open().find(|file| !stalls(file)) {
        let phase = if open().any(|file| reason(file).is_none()) { Phase::Uploading } else { Phase::Pending };
        let reason = reason(file).unwrap_or(Reason::Uploading);
        return verdict(phase, false, reason, describe(file, reason), Some("Reconciling"));
    }
    if let Some(file) = open().next() {
        let reason = reason(file).unwrap_or(Reason::Uploading);
        return verdict(Phase::Failed, false, reason, describe(file, reason), Some("Stalled"));
    }
    let expired = files.iter().find(|file| file.state == FileState::Expired);
    if let Some(file) = expired.filter(|_| outcome.output.is_none()) {
        return verdict(Phase::Expired, true, Reason::Expired, describe(file, Reason::Expired), None);
    }
    let (reason, message) =
        outcome.output.clone().unwrap_or((Reason::Uploading, "the files are being looked at".to_owned()));
    match reason.class() {
        Class::Stalled => verdict(Phase::Failed, false, reason, message, Some("Stalled")),
        _ => verdict(Phase::Pending, false, reason, message, Some("Reconciling")),
    }
}

/// A file's message, with its name where the failure is its own.
fn describe(file: &FileStatus, reason: Reason) -> String {
    match (&file.message, reason.scope()) {
        (None, _) => "files are being uploaded".to_owned(),
        (Some(message), Scope::Resource) => message.clone(),
        (Some(message), Scope::File) => format!("file {}: {message}", file.name),
    }
}

fn conditions(old: &[Condition], verdict: &Verdict, generation: i64, now: Timestamp) -> Vec<Condition> {
    let truth = |truth| if truth { "True" } else { "False" };
    let condition = |kind: &str, status: &str, reason: Reason, message: &str| {
        let before = old.iter().find(|condition| condition.type_ == kind && condition.status == status);
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_string(),
            message: message.to_owned(),
            observed_generation: Some(generation),
            last_transition_time: before.map_or(Time(now), |condition| condition.last_transition_time.clone()),
        }
    };
    let Verdict { ready, available, reason, message, also, .. } = verdict;
    let (availability, why) = match available {
        true => (Reason::Uploaded, "every file has a live key"),
        false => (*reason, message.as_str()),
    };
    let mut conditions = vec![
        condition("Ready", truth(*ready), *reason, message),
        condition("Available", truth(*available), availability, why),
    ];
    conditions.extend(also.map(|kind| condition(kind, "True", *reason, message)));
    conditions
}

fn is_awaited(file: &FileStatus, by_worker: bool) -> bool {
    reason(file).is_some_and(|reason| is_timed(reason, by_worker))
}

fn later(now: Timestamp, wait: Duration) -> Timestamp {
    // Times are written to the second: rounded up, so that none comes too early.
    let seconds = i64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(i64::MAX);
    now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{CredentialsView, Observed, next};

    fn upload(generation: i64, names: &[&str]) -> FileUpload {
        let files: Vec<_> = names
            .iter()
            .map(|name| serde_json::json!({"name": name, "source": {"configMapKeyRef": {"name": "m", "key": name}}}))
            .collect();
        let json = serde_json::json!({
            "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload",
            "metadata": {"name": "x", "uid": "u", "generation": generation}, "spec": {"files": files},
        });
        serde_json::from_value(json).unwrap()
    }

    fn now() -> Timestamp {
        "2026-11-23T10:00:00Z".parse().unwrap()
    }

    /// The resource once its spec is written down, and the plan to send every file of it.
    fn accepted(generation: i64, names: &[&str]) -> (FileUpload, Plan) {
        let mut upload = upload(generation, names);
        let first = next(&upload, &Observed::default(), now());
        upload.status = Some(status(&upload, &first, &Outcome::default(), now()));
        let contents = names
            .iter()
            .map(|name| ((*name).to_owned(), crate::plan::Content::Found { size: 1, sha256: format!("sum-{name}") }));
        let credentials = CredentialsView::Usable { version: "7".into() };
        let plan = next(&upload, &Observed { credentials, contents: contents.collect(), ..Observed::default() }, now());
        assert_eq!(plan.send, names);
        (upload, plan)
    }

    fn outcome(sent: &[(&str, Sent)]) -> Outcome {
        let sent = sent.iter().map(|(name, sent)| ((*name).to_owned(), sent.clone())).collect();
        Outcome { sent, ..Outcome::default() }
    }

    fn stored(key: &str) -> Sent {
        Sent::Uploaded {
            file_key: key.into(),
            content_type: "text/plain".into(),
            size: 1,
            sha256: "sum".into(),
            at: now(),
        }
    }

    fn failed(reason: Reason, retry_after: Option<u64>) -> Sent {
        Sent::Failed { reason, message: "so it was".into(), retry_after: retry_after.map(Duration::from_secs) }
    }

    fn reasons(status: &FileUploadStatus) -> Vec<Option<&str>> {
        status.files.iter().map(|file| file.reason.as_deref()).collect()
    }

    #[test]
    fn a_failure_of_the_credential_is_every_open_files_and_of_a_file_its_own() {
        let (upload, plan) = accepted(1, &["a", "b", "c"]);
        let rejected = outcome(&[("a", stored("k")), ("b", failed(Reason::CredentialsRejected, None))]);
        let shared = status(&upload, &plan, &rejected, now());
        assert_eq!(reasons(&shared), [None, Some("CredentialsRejected"), Some("CredentialsRejected")]);
        assert_eq!((shared.phase, shared.summary.as_deref()), (Some(Phase::Failed), Some("1/3")));
        let large = outcome(&[("a", stored("k")), ("b", failed(Reason::TooLarge, None)), ("c", stored("l"))]);
        let own = status(&upload, &plan, &large, now());
        assert_eq!(reasons(&own), [None, Some("TooLarge"), None]);
        assert!(own.conditions.iter().any(|condition| condition.type_ == "Stalled"));
    }

    #[test]
    fn a_retry_waits_as_long_as_was_asked_and_is_forgotten_on_success() {
        let (mut upload, plan) = accepted(1, &["a"]);
        let limited = status(&upload, &plan, &outcome(&[("a", failed(Reason::RateLimited, Some(30)))]), now());
        assert_eq!(limited.next_attempt_at.clone().unwrap().0.as_second() - now().as_second(), 30);
        upload.status = Some(limited);
        let done = status(&upload, &plan, &outcome(&[("a", stored("k"))]), now());
        assert_eq!((done.next_attempt_at, done.attempts, done.file_key.as_deref()), (None, 2, Some("k")));
    }

    #[test]
    fn a_key_survives_a_status_that_changed_meanwhile() {
        let (upload, plan) = accepted(1, &["a", "b"]);
        let mut fresh = upload.clone();
        fresh.status = Some(status(&upload, &plan, &outcome(&[("b", stored("theirs"))]), now()));
        let merged = status(&fresh, &plan, &outcome(&[("a", stored("ours"))]), now());
        let keys: Vec<_> = merged.files.iter().map(|file| file.file_key.as_deref()).collect();
        assert_eq!(keys, [Some("ours"), Some("theirs")]);
    }

    #[test]
    fn a_key_for_a_spec_that_changed_meanwhile_counts_only_for_what_stayed() {
        let (accepted, plan) = accepted(1, &["a", "b"]);
        let mut fresh = upload(2, &["a", "c"]);
        fresh.status = accepted.status;
        let merged = status(&fresh, &plan, &outcome(&[("a", stored("k")), ("b", stored("unwanted"))]), now());
        assert_eq!(merged.observed_generation, 1, "the new spec is yet to be planned");
        fresh.status = Some(merged);
        let replanned = next(&fresh, &Observed::default(), now());
        let keys: Vec<_> = replanned.files.iter().map(|file| (file.name.as_str(), file.file_key.as_deref())).collect();
        assert_eq!(keys, [("a", Some("k")), ("c", None)]);
    }

    #[test]
    fn available_needs_the_output_too() {
        let (upload, plan) = accepted(1, &["a"]);
        let conflict = Some((Reason::OutputConflict, "in the way".to_owned()));
        let status = status(&upload, &plan, &Outcome { output: conflict, ..outcome(&[("a", stored("k"))]) }, now());
        let said: Vec<_> =
            status.conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str())).collect();
        let expected = ["Ready", "Available", "Stalled"]
            .map(|kind| (kind, if kind == "Stalled" { "True" } else { "False" }, "OutputConflict"));
        assert_eq!(said, expected);
    }
}
