//! How a `FileUpload` stands now: its status, and where Jobs, Pods and claims tell more, what the operator will write.
//!
//! The operator may be late, or not run at all, so what the cluster says is judged here by the production planner. What
//! nobody but the operator may see (Secrets, contents) stays as the status has it.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::look::Seen;
use crate::controller::{Found, LABEL_JOB, claim_of, job_of};
use crate::plan::{self, CredentialsView, JobView, Observed, Outcome, Terms, Volume};
use crate::reason::{Reason, Scope};
use crate::resource::{FileStatus, FileUploadStatus};

/// The status as the operator would write it now; as it is where that cannot be told; none if there is none.
pub(super) fn status(seen: &Seen, now: Timestamp) -> Option<FileUploadStatus> {
    let status = seen.upload.status.as_ref().filter(|status| status.observed_generation >= 0)?;
    let is_current = Some(status.observed_generation) == seen.upload.metadata.generation;
    // Half of what the cluster says would be taken for the whole.
    if !is_current || !seen.is_read(&["Jobs", "Pods", "Events"]) {
        return Some(status.clone());
    }
    let observed = observe(seen, status);
    let mut plan = plan::next(&seen.upload, &observed, now);
    let entries = plan.files.iter().zip(&status.files);
    let files: Vec<_> = entries.map(|(planned, known)| choose(planned, known, &observed.jobs).clone()).collect();
    if files == status.files {
        return Some(status.clone());
    }
    plan.files = files;
    let outcome = Outcome { output: output_trouble(status), ..Outcome::default() };
    let mut written = plan::status(&seen.upload, &plan, &outcome, now);
    // How long keys live is the operator's setting, of which only this is known.
    for (entry, known) in written.files.iter_mut().zip(&status.files).filter(|(_, known)| known.file_key.is_some()) {
        entry.expires_at.clone_from(&known.expires_at);
    }
    Some(written)
}

fn observe(seen: &Seen, status: &FileUploadStatus) -> Observed {
    let jobs = jobs(seen);
    let by_worker = jobs.iter().any(|job| matches!(job.volume, Volume::ConfigMap(_)));
    let mut observed = Observed { jobs, by_worker, terms: terms(status), ..Observed::default() };
    let named = seen.upload.spec.files.iter().filter_map(|file| file.source.persistent_volume_claim.as_ref());
    if !seen.is_read(&["PersistentVolumeClaims"]) {
        return observed;
    }
    for name in named.map(|file| &file.claim_name) {
        let claim = seen.claims.iter().find(|claim| claim.name_any() == *name);
        observed.claims.insert(name.clone(), claim_of(claim, seen.pods.iter()));
    }
    let of_all = |entry: &FileStatus| reason(entry).is_some_and(|reason| reason.scope() == Scope::Resource);
    if let Some(version) = status.credentials_version.clone().filter(|_| !status.files.iter().any(of_all)) {
        observed.credentials =
            if by_worker { CredentialsView::LeftToWorkers } else { CredentialsView::Usable { version } };
    }
    observed
}

/// How long keys live, as far as the status shows the operator's settings.
fn terms(status: &FileUploadStatus) -> Terms {
    let life = |entry: &FileStatus| {
        let life = entry.expires_at.as_ref()?.0.duration_since(entry.uploaded_at.as_ref()?.0);
        Duration::try_from(life).ok()
    };
    match status.files.iter().filter_map(life).max() {
        Some(retention) => Terms { retention, minimum_life: Duration::ZERO },
        None => Terms::default(),
    }
}

/// The Jobs that there are. One of which nothing is left may have been taken in since the status was read.
fn jobs(seen: &Seen) -> Vec<JobView> {
    let mut names: BTreeSet<String> = seen.jobs.iter().map(ResourceExt::name_any).collect();
    names.extend(seen.own_pods().filter_map(|pod| pod.labels().get(LABEL_JOB).cloned()));
    let view = |name: &String| {
        let job = seen.jobs.iter().find(|job| job.name_any() == *name);
        let of_job = |pod: &&Pod| pod.labels().get(LABEL_JOB) == Some(name);
        let pods: Vec<Pod> = seen.own_pods().filter(of_job).cloned().collect();
        let view = job_of(Found { name, job, pods: &pods, gone: &[], events: &seen.events })?;
        Some(JobView { confirmed: true, ..view })
    };
    let mut views: Vec<_> = names.iter().filter_map(view).collect();
    views.sort_by_key(|view| view.attempt);
    views
}

/// What is true of a file: what is planned where a worker or a claim tells it, otherwise what the status says.
fn choose<'a>(planned: &'a FileStatus, known: &'a FileStatus, jobs: &[JobView]) -> &'a FileStatus {
    let of_claim = |entry: &FileStatus| {
        matches!(reason(entry), Some(Reason::ClaimNotFound | Reason::ClaimNotBound | Reason::ClaimInUse))
    };
    let has_worker = jobs.iter().flat_map(|job| &job.files).any(|given| given.name == known.name);
    let tells = has_worker || planned.reason.is_some() || of_claim(known);
    let takes_the_key = known.file_key.is_some() && planned.file_key.is_none();
    if tells && !takes_the_key { planned } else { known }
}

/// Why the output is not written, as the status has it: only the operator looks at it.
fn output_trouble(status: &FileUploadStatus) -> Option<(Reason, String)> {
    let is_whole = status.files.iter().all(|entry| entry.file_key.is_some());
    let available = status.conditions.iter().find(|condition| condition.type_ == "Available")?;
    let reason = Reason::parse(&available.reason).filter(|_| is_whole && available.status != "True")?;
    Some((reason, available.message.clone()))
}

fn reason(entry: &FileStatus) -> Option<Reason> {
    entry.reason.as_deref().and_then(Reason::parse)
}
