//! The life of a key: when it is renewed, when it is withdrawn, and when a finished resource goes.
//!
//! Cyberun deletes what was uploaded after some time and tells nobody. So every key is withdrawn a while before that,
//! and at one moment for all: it leaves the status and the output, and the resource is no longer Available. Everything
//! here follows from `uploadedAt` and the operator's settings; nothing else is remembered.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::observed::Observed;
use super::{Plan, reason, revision, text};
pub use crate::key_life::Terms;
use crate::reason::{Class, Reason, Scope};
use crate::resource::{FileState, FileStatus, FileUpload, FileUploadStatus};

/// Keys that were uploaded at this moment or before it are to be renewed now; none where the policy renews none.
pub(super) fn renew_before(
    upload: &FileUpload,
    files: &[FileStatus],
    terms: &Terms,
    now: Timestamp,
) -> Option<Timestamp> {
    let due = before(now, terms.renewal_age(revision::seed_of_life(upload)));
    let uploaded = files.iter().filter(|file| file.file_key.is_some()).filter_map(|file| file.uploaded_at.as_ref());
    let one = uploaded.into_iter().any(|at| at.0 <= due);
    let company = before(now, terms.company_age());
    upload.spec.renews().then_some(if one { company } else { due })
}

/// Withdraws the keys that may not be used any more. Says whether there were any.
pub(super) fn withdraw(upload: &FileUpload, observed: &Observed, now: Timestamp, files: &mut [FileStatus]) -> bool {
    let known = upload.status.as_ref().map_or(&[][..], |status| &status.files);
    let mut withdrawn = false;
    for entry in files {
        if upload.spec.renews() && entry.state == FileState::Expired {
            // The policy was changed since.
            (entry.state, entry.reason, entry.message) = (FileState::Pending, None, None);
        }
        let Some(uploaded_at) = entry.uploaded_at.as_ref().map(|time| time.0) else { continue };
        let had = entry.file_key.is_some();
        let content = observed.hashes.get(&entry.name).filter(|_| upload.spec.follows_changes());
        if (had || entry.state == FileState::Expired)
            && entry.sha256.as_ref().zip(content).is_some_and(|(was, is)| was != is)
        {
            // When it was uploaded is kept, as only what comes later may take its place.
            *entry = FileStatus::pending(&entry.name, std::mem::take(&mut entry.revision));
            entry.uploaded_at = Some(Time(uploaded_at));
        } else if had && observed.terms.withdrawn_at(uploaded_at) <= now {
            entry.file_key = None;
            end(upload, entry);
        }
        // What a report that is read again brings back is gone already.
        let stood = known
            .iter()
            .any(|known| known.name == entry.name && known.revision == entry.revision && known.file_key.is_some());
        withdrawn |= stood && entry.file_key.is_none();
    }
    withdrawn
}

/// Says of a file that its key's life is over.
fn end(upload: &FileUpload, entry: &mut FileStatus) {
    let stalled = reason(entry).is_some_and(|why| why.class() == Class::Stalled && why.scope() == Scope::File);
    if !upload.spec.renews() {
        entry.state = FileState::Expired;
        entry.reason = Some(Reason::Expired.to_string());
        entry.message = Some(text::expired(upload));
    } else if stalled {
        // Which content was refused is not known, only what the key was of: what there is is tried once.
        (entry.state, entry.size, entry.sha256) = (FileState::Failed, None, None);
    } else {
        entry.state = FileState::Pending;
    }
}

/// When the next thing happens by time alone after this moment: a key's renewal, its withdrawal, or the end of a finished
/// resource.
pub fn next_moment(upload: &FileUpload, status: &FileUploadStatus, terms: &Terms, now: Timestamp) -> Option<Timestamp> {
    let renewal = (upload.spec.renews() && !upload.spec.is_suspended())
        .then(|| terms.renewal_age(revision::seed_of_life(upload)));
    let keys = status.files.iter().filter(|file| file.file_key.is_some());
    let moments = keys.filter_map(|file| file.uploaded_at.as_ref()).flat_map(|at| {
        let renewed = renewal.map(|age| after(at.0, age));
        [Some(terms.withdrawn_at(at.0)), renewed]
    });
    moments.chain([discarded_at(upload, status)]).flatten().filter(|moment| *moment > now).min()
}

/// When a resource that has finished is deleted, if `spec.ttlSecondsAfterFinished` asks for that.
pub(super) fn discarded_at(upload: &FileUpload, status: &FileUploadStatus) -> Option<Timestamp> {
    let ttl = u64::try_from(upload.spec.ttl_seconds_after_finished?).ok()?;
    if upload.spec.is_suspended()
        || upload.spec.renews()
        || upload.metadata.generation != Some(status.observed_generation)
    {
        return None;
    }
    let finished = |condition: &&crate::resource::Condition| {
        condition.status == "True" && matches!(condition.type_.as_str(), "Ready" | "Stalled")
    };
    let since = status.conditions.iter().find(finished)?.last_transition_time.0;
    Some(after(since, Duration::from_secs(ttl)))
}

impl Plan {
    /// Whether a file is to be uploaded: it has no key, or one that is to be renewed.
    pub fn wants(&self, entry: &FileStatus) -> bool {
        match (&entry.file_key, &entry.uploaded_at) {
            (None, _) => entry.state != FileState::Expired,
            (Some(_), Some(at)) => self.renew_before.is_some_and(|before| at.0 <= before),
            (Some(_), None) => false,
        }
    }
}

/// Whether something may happen to a file without its time having come: it waits, works, or could not be renewed.
pub fn is_open(status: &FileUploadStatus) -> bool {
    let open = |file: &FileStatus| match file.file_key {
        None => file.state != FileState::Expired,
        Some(_) => file.reason.is_some(),
    };
    !status.jobs.is_empty() || status.files.iter().any(open)
}

/// Whether a renewal only waits for its turn: that is no failure.
pub(super) fn is_wait(reason: Reason) -> bool {
    matches!(reason, Reason::Queued | Reason::WorkerPending | Reason::ClaimInUse | Reason::ReportFull)
}

/// Why keys that live cannot be renewed, if that is so: of the first such file, in words.
pub fn refresh_failure(status: &FileUploadStatus) -> Option<String> {
    let fails = |file: &&FileStatus| {
        let why = file.reason.as_deref().and_then(Reason::parse).filter(|_| file.file_key.is_some());
        why.is_some_and(|why| !is_wait(why))
    };
    let file = status.files.iter().find(fails)?;
    let why = file.message.as_deref().unwrap_or_default();
    Some(format!("file {} cannot be uploaded anew, while its old key still lives: {why}", file.name))
}

fn after(moment: Timestamp, span: Duration) -> Timestamp {
    SignedDuration::try_from(span).ok().and_then(|span| moment.checked_add(span).ok()).unwrap_or(Timestamp::MAX)
}

fn before(moment: Timestamp, span: Duration) -> Timestamp {
    SignedDuration::try_from(span).ok().and_then(|span| moment.checked_sub(span).ok()).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::plan::{Content, CredentialsView, Outcome, Sent, next, status};

    const UPLOADED: &str = "2026-11-23T10:00:00Z";

    fn hours(hours: f64) -> Timestamp {
        before(UPLOADED.parse().unwrap(), Duration::ZERO) + SignedDuration::from_secs_f64(hours * 3600.0)
    }

    fn outcome(name: &str, key: &str, at: Timestamp) -> Outcome {
        let (file_key, content_type, sha256) = (key.to_owned(), "a/b".to_owned(), format!("sum-{key}"));
        let sent = Sent::Uploaded { file_key, content_type, size: 1, sha256, at };
        Outcome { sent: [(name.to_owned(), sent)].into(), ..Outcome::default() }
    }

    fn observed(upload: &FileUpload) -> Observed {
        let content = || Content::Found { size: 1, sha256: "sum".into() };
        Observed {
            credentials: CredentialsView::Usable { version: "7".into() },
            contents: upload.spec.files.iter().map(|file| (file.name.clone(), content())).collect(),
            ..Observed::default()
        }
    }

    /// A resource whose files got their keys so many hours after the first.
    fn uploaded(fields: serde_json::Value, files: &[(&str, f64)]) -> FileUpload {
        let file = |name: &str| json!({"name": name, "source": {"configMapKeyRef": {"name": "m", "key": name}}});
        let mut spec = fields;
        spec["files"] = files.iter().map(|(name, _)| file(name)).collect();
        let mut upload: FileUpload = serde_json::from_value(json!({
            "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload",
            "metadata": {"name": "x", "uid": "u", "generation": 1}, "spec": spec,
        }))
        .unwrap();
        let first = next(&upload, &Observed::default(), hours(0.0));
        upload.status = Some(status(&upload, &first, &Outcome::default(), hours(0.0)));
        for (name, at) in files {
            let plan = next(&upload, &observed(&upload), hours(*at));
            upload.status =
                Some(status(&upload, &plan, &outcome(name, &format!("key-{name}"), hours(*at)), hours(*at)));
        }
        upload
    }

    fn keys(status: &FileUploadStatus) -> Vec<Option<&str>> {
        status.files.iter().map(|file| file.file_key.as_deref()).collect()
    }

    #[test]
    fn keys_of_about_the_same_age_are_renewed_together_and_younger_ones_are_not() {
        let upload = uploaded(json!({"refreshPolicy": "BeforeExpiry"}), &[("old", 0.0), ("near", 1.0), ("young", 9.0)]);
        assert_eq!(next(&upload, &observed(&upload), hours(15.0)).send, Vec::<String>::new());
        assert_eq!(next(&upload, &observed(&upload), hours(17.3)).send, ["old", "near"]);
    }

    #[test]
    fn the_next_moment_is_that_of_the_first_key_and_lies_before_its_end() {
        let upload = uploaded(json!({"refreshPolicy": "BeforeExpiry"}), &[("a", 0.0), ("b", 2.0)]);
        let state = upload.status.clone().unwrap();
        let moment = |now| next_moment(&upload, &state, &Terms::default(), now).unwrap();
        assert!(moment(hours(2.0)) >= hours(15.3) && moment(hours(2.0)) <= hours(17.3), "{}", moment(hours(2.0)));
        assert_eq!(moment(hours(22.0)), hours(23.0), "the withdrawal of the first");
        assert_eq!(moment(hours(23.0)), hours(25.0), "and of the second");
    }

    #[test]
    fn a_key_that_was_withdrawn_does_not_come_back_with_a_write_that_met_a_conflict() {
        let upload = uploaded(json!({}), &[("a", 0.0)]);
        let plan = next(&upload, &observed(&upload), hours(23.0));
        assert!(plan.withdraws);
        // The status that is read again still has the key.
        let after = status(&upload, &plan, &Outcome::default(), hours(23.0));
        assert_eq!((keys(&after), after.files[0].state), (vec![None], FileState::Expired));
    }

    #[test]
    fn a_failure_hides_no_key_that_another_write_has_brought_meanwhile() {
        let upload = uploaded(json!({"refreshPolicy": "BeforeExpiry"}), &[("a", 0.0)]);
        let plan = next(&upload, &observed(&upload), hours(18.0));
        let mut fresh = upload.clone();
        fresh.status = Some(status(&upload, &plan, &outcome("a", "theirs", hours(18.0)), hours(18.0)));
        let failed = Sent::Failed { reason: Reason::TooLarge, message: "so it was".into(), retry_after: None };
        let ours = Outcome { sent: [("a".to_owned(), failed)].into(), ..Outcome::default() };
        let merged = status(&fresh, &plan, &ours, hours(18.0));
        assert_eq!((keys(&merged), merged.files[0].reason.as_deref()), (vec![Some("theirs")], None));
    }

    #[test]
    fn what_is_uploaded_in_the_second_in_which_the_old_key_was_is_not_lost() {
        let mut upload = uploaded(json!({"updatePolicy": "OnChange"}), &[("a", 0.0)]);
        let changed = Observed { hashes: BTreeMap::from([("a".into(), "other".into())]), ..observed(&upload) };
        let plan = next(&upload, &changed, hours(0.0));
        upload.status = Some(status(&upload, &plan, &Outcome::default(), hours(0.0)));
        assert_eq!(keys(upload.status.as_ref().unwrap()), [None]);
        let plan = next(&upload, &observed(&upload), hours(0.0));
        let after = status(&upload, &plan, &outcome("a", "new", hours(0.0)), hours(0.0));
        assert_eq!(keys(&after), [Some("new")]);
    }

    #[test]
    fn what_has_expired_is_not_sent_again_because_another_file_failed() {
        let mut upload = uploaded(json!({}), &[("a", 0.0), ("b", 20.0)]);
        let plan = next(&upload, &observed(&upload), hours(23.0));
        upload.status = Some(status(&upload, &plan, &Outcome::default(), hours(23.0)));
        // A third file is added, and what fails then would fail every file.
        upload.spec.files.push(upload.spec.files[0].clone());
        upload.spec.files[2].name = "c".into();
        upload.metadata.generation = Some(2);
        let plan = next(&upload, &Observed::default(), hours(23.0));
        upload.status = Some(status(&upload, &plan, &Outcome::default(), hours(23.0)));
        let plan = next(&upload, &observed(&upload), hours(23.0));
        assert_eq!(plan.send, ["c"]);
        let failed = Sent::Failed { reason: Reason::ApiUnavailable, message: "down".into(), retry_after: None };
        let outcome = Outcome { sent: [("c".to_owned(), failed)].into(), ..Outcome::default() };
        let after = status(&upload, &plan, &outcome, hours(23.0));
        let states: Vec<_> = after.files.iter().map(|file| file.state).collect();
        assert_eq!(states, [FileState::Expired, FileState::Uploaded, FileState::Pending]);
    }

    #[test]
    fn a_renewal_that_waits_for_its_turn_hides_not_why_the_last_try_failed() {
        let upload = uploaded(json!({"refreshPolicy": "BeforeExpiry"}), &[("a", 0.0)]);
        let mut entry = upload.status.unwrap().files.remove(0);
        let mut said = Vec::new();
        for reason in [Reason::Queued, Reason::WorkerFailed, Reason::WorkerPending, Reason::ClaimNotFound] {
            crate::plan::fail(&mut entry, reason, "so it is".into());
            said.push(entry.reason.clone().unwrap());
        }
        assert_eq!(said, ["Queued", "WorkerFailed", "WorkerFailed", "ClaimNotFound"]);
        assert_eq!(entry.state, FileState::Uploaded);
    }

    #[test]
    fn a_timer_never_passes_over_a_moment_between_two_seconds() {
        let upload = uploaded(json!({"refreshPolicy": "BeforeExpiry"}), &[("a", 0.0)]);
        let state = upload.status.clone().unwrap();
        let due = next_moment(&upload, &state, &Terms::default(), hours(1.0)).unwrap();
        let second = |second: i64| Timestamp::from_second(second).unwrap();
        for now in [second(due.as_second()), second(due.as_second() + 1)] {
            let planned = next(&upload, &observed(&upload), now);
            let timed = next_moment(&upload, &state, &Terms::default(), now) == Some(due);
            assert!(timed || planned.send == ["a"], "at {now} nothing is sent and nothing timed");
        }
    }
}
