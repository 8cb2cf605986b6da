//! Which workers to launch: one Job at a time for each volume of a resource, with all files that are due on it.
//!
//! A retry is a new Job with only the files that still have no key. Its name comes from the resource's uid, the due
//! revisions and the number of the attempt, which never decreases: so creating it twice is harmless, and no name
//! comes back.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::observed::{ClaimView, Observed};
use super::revision::hex;
use super::volume::{Placement, Volume, access};
use super::workers::UnderWay;
use super::{Plan, begun, fail, text};
use crate::reason::Reason;
use crate::report::{Assignment, PER_REPORT};
use crate::resource::{File, FileStatus, FileUpload, JobStatus};

/// The most workers of one Job that run at the same time: as many as a claim may have.
const PARALLEL: usize = 4;
/// Job names keep room for what the Job controller adds to name its Pods.
const NAME: usize = 40;

/// A Job to create.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Launch {
    /// Its name.
    pub name: String,
    /// What it reads.
    #[serde(skip)]
    pub volume: Volume,
    /// Which attempt it is.
    pub attempt: i64,
    /// Its files.
    #[serde(skip)]
    pub files: Vec<Assignment>,
    /// Into how many shares they are cut, each with a Pod of its own.
    pub shards: usize,
    /// How many of those run at the same time.
    pub parallelism: usize,
    /// Where it runs.
    #[serde(skip)]
    pub placement: Placement,
    /// The resourceVersion of the Secret.
    #[serde(skip)]
    pub credentials_version: String,
    /// Identifies the settings it is made with.
    #[serde(skip)]
    pub settings: String,
}

/// Files that are due, by volume.
pub(super) type Due<'a> = BTreeMap<Volume, Vec<&'a File>>;

/// Plans a Job for each volume that is free, as far as there are slots; what waits says for what.
pub(super) fn launch(
    upload: &FileUpload,
    observed: &Observed,
    version: &str,
    due: Due<'_>,
    under_way: &UnderWay,
    plan: &mut Plan,
) {
    for (volume, files) in due {
        let placement = match &volume {
            Volume::Claim(name) => access(name, observed.claims.get(name).unwrap_or(&ClaimView::default())),
            Volume::ConfigMap(_) => Ok(Placement { shared: true, ..Placement::default() }),
        };
        let placement = match placement {
            Ok(placement) => placement,
            Err((reason, message)) => {
                each(&files, plan, |entry| fail(entry, reason, message.clone()));
                continue;
            }
        };
        let shards = files.len().div_ceil(PER_REPORT);
        let wanted = if placement.shared { shards.min(PARALLEL) } else { 1 };
        let slots = observed.slots.as_ref().map_or(wanted, |slots| slots.get(&volume).copied().unwrap_or_default());
        if under_way.volumes.contains(&volume) || slots == 0 {
            let message = text::queued(&volume);
            each(&files, plan, |entry| fail(entry, Reason::Queued, message.clone()));
            continue;
        }
        each(&files, plan, begun);
        let assignments: Vec<_> = files.iter().map(|file| assignment(file, &plan.files)).collect();
        plan.attempts += 1;
        plan.launch.push(Launch {
            name: name(upload, plan.attempts, &volume, &assignments),
            volume,
            attempt: plan.attempts,
            files: assignments,
            shards,
            parallelism: wanted.min(slots),
            placement,
            credentials_version: version.to_owned(),
            settings: observed.settings.clone(),
        });
    }
}

fn each(files: &[&File], plan: &mut Plan, act: impl Fn(&mut FileStatus)) {
    plan.files.iter_mut().filter(|entry| files.iter().any(|file| file.name == entry.name)).for_each(act);
}

fn assignment(file: &File, entries: &[FileStatus]) -> Assignment {
    let revision = entries.iter().find(|entry| entry.name == file.name).map(|entry| entry.revision.clone());
    Assignment {
        name: file.name.clone(),
        revision: revision.unwrap_or_default(),
        path: Volume::path(file).to_owned(),
        file_name: file.effective_name().to_owned(),
        content_type: file.content_type.clone(),
    }
}

fn name(upload: &FileUpload, attempt: i64, volume: &Volume, files: &[Assignment]) -> String {
    let uid = upload.metadata.uid.as_deref().unwrap_or_default();
    let mut hasher = Sha256::new();
    hasher.update(format!("{uid}/{attempt}/{}", volume.describe()));
    for file in files {
        hasher.update(format!("/{}={}", file.name, file.revision));
    }
    let own = upload.metadata.name.as_deref().unwrap_or_default().replace('.', "-");
    let own: String = own.chars().take(NAME).collect();
    format!("{}-{}", own.trim_end_matches('-'), hex(&hasher.finalize()[..5]))
}

/// How the status names a Job.
pub fn job_status(name: &str, volume: &Volume) -> JobStatus {
    let (claim_name, config_map_name) = match volume {
        Volume::Claim(claim) => (Some(claim.clone()), None),
        Volume::ConfigMap(config_map) => (None, Some(config_map.clone())),
    };
    JobStatus { name: name.to_owned(), claim_name, config_map_name }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::plan::{CredentialsView, Outcome, next, status};

    fn now() -> Timestamp {
        "2026-11-23T10:00:00Z".parse().unwrap()
    }

    /// A resource with so many files on one claim, once its spec is written down.
    fn upload(files: usize) -> FileUpload {
        let file = |at: usize| json!({"name": format!("f{at}"), "source": {"persistentVolumeClaim": {"claimName": "c", "path": format!("f{at}")}}});
        let mut upload: FileUpload = serde_json::from_value(json!({
            "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload",
            "metadata": {"name": "a.rather.long.name.that.no.pod.could.have.as.it.stands.here", "uid": "u", "generation": 1},
            "spec": {"files": (0..files).map(file).collect::<Vec<_>>()},
        }))
        .unwrap();
        let first = next(&upload, &Observed::default(), now());
        upload.status = Some(status(&upload, &first, &Outcome::default(), now()));
        upload
    }

    fn observed(modes: &[&str], slots: Option<usize>) -> Observed {
        let access_modes = modes.iter().map(|mode| (*mode).to_owned()).collect();
        let claim = ClaimView { phase: "Bound".into(), access_modes, ..ClaimView::default() };
        Observed {
            credentials: CredentialsView::Usable { version: "7".into() },
            claims: [("c".to_owned(), claim)].into(),
            slots: slots.map(|slots| [(Volume::Claim("c".into()), slots)].into()),
            ..Observed::default()
        }
    }

    #[test]
    fn a_hundred_files_are_four_shares_and_run_as_far_as_claim_and_places_allow() {
        for (modes, slots, parallelism) in [
            (&["ReadWriteMany"][..], None, 4),
            (&["ReadOnlyMany"], Some(4), 4),
            (&["ReadWriteMany"], Some(2), 2),
            (&["ReadWriteOnce"], Some(4), 1),
        ] {
            let plan = next(&upload(100), &observed(modes, slots), now());
            let launch = &plan.launch[0];
            assert_eq!(
                (plan.launch.len(), launch.shards, launch.parallelism),
                (1, 4, parallelism),
                "{modes:?} {slots:?}"
            );
            assert_eq!(launch.files.len(), 100);
        }
    }

    #[test]
    fn without_a_place_files_are_queued_and_no_attempt_is_counted() {
        let upload = upload(1);
        let plan = next(&upload, &observed(&["ReadWriteMany"], Some(0)), now());
        assert_eq!((plan.launch.len(), plan.files[0].reason.as_deref()), (0, Some("Queued")));
        assert_eq!(status(&upload, &plan, &Outcome::default(), now()).attempts, 0);
    }

    #[test]
    fn names_fit_what_a_pod_can_be_called_and_never_come_back() {
        let mut upload = upload(2);
        let mut seen = std::collections::BTreeSet::new();
        for attempt in 1..=3 {
            let plan = next(&upload, &observed(&["ReadWriteMany"], None), now());
            let launch = plan.launch[0].clone();
            assert_eq!(launch, next(&upload, &observed(&["ReadWriteMany"], None), now()).launch[0], "made again");
            assert!(launch.name.len() <= 52 && !launch.name.contains('.'), "{}", launch.name);
            assert!(seen.insert(launch.name.clone()), "{} came back", launch.name);
            let launched = [(launch.name, None)].into();
            let mut after = status(&upload, &plan, &Outcome { launched, ..Outcome::default() }, now());
            assert_eq!((after.attempts, after.jobs.len()), (attempt, 1));
            after.jobs.clear();
            upload.status = Some(after);
        }
    }

    #[test]
    fn a_job_that_the_api_server_refuses_is_said_of_its_files_and_tried_later() {
        let upload = upload(1);
        let plan = next(&upload, &observed(&["ReadWriteMany"], None), now());
        let why = Some((Reason::QuotaExceeded, "no room".to_owned()));
        let launched = [(plan.launch[0].name.clone(), why)].into();
        let after = status(&upload, &plan, &Outcome { launched, ..Outcome::default() }, now());
        assert_eq!(after.files[0].reason.as_deref(), Some("QuotaExceeded"));
        assert_eq!((after.jobs.len(), after.attempts, after.next_attempt_at.is_some()), (0, 0, true));
    }

    #[test]
    fn under_a_spec_that_changed_meanwhile_a_job_is_kept_until_its_report_is_in_the_status() {
        let mut upload = upload(1);
        let plan = next(&upload, &observed(&["ReadWriteMany"], None), now());
        let launched = [(plan.launch[0].name.clone(), None)].into();
        upload.status = Some(status(&upload, &plan, &Outcome { launched, ..Outcome::default() }, now()));
        // The Job is over and taken in, but the write meets a newer generation.
        let mut over = next(&upload, &observed(&["ReadWriteMany"], None), now());
        (over.jobs, over.launch) = (Vec::new(), Vec::new());
        over.concluded = upload.status.clone().unwrap().jobs;
        let current = status(&upload, &over, &Outcome::default(), now());
        assert_eq!(current.jobs, [], "its report is in this status");
        upload.metadata.generation = Some(2);
        let newer = status(&upload, &over, &Outcome::default(), now());
        assert_eq!(newer.jobs.len(), 1, "its report is in no status yet");
    }
}
