//! The state of a `FileUpload` now: its status, or what the operator will write if Jobs, Pods and claims say more.
//!
//! The operator may be late or not running, so the production planner judges what the cluster says. What only the
//! operator may see (Secrets, contents) stays as it is in the status.

use std::collections::BTreeSet;

use jiff::Timestamp;
use kube::ResourceExt;

use super::look::Seen;
use crate::controller::shown_terms;
use crate::outcome::Trouble;
use crate::plan::objects::Pod;
use crate::plan::{
    self, Case, ClaimFacts, Deployment, Done, Facts, JobFacts, Senders, Volume, WorkFacts, Written, read,
};
use crate::reason::Reason;
use crate::resource::{FileUploadStatus, Folder};

/// The status as the operator would write it now. It is unchanged if that is not known, and absent if there is none.
pub(super) fn status(seen: &Seen, now: Timestamp) -> Option<FileUploadStatus> {
    let status = seen.upload.status.as_ref().filter(|status| status.observed_generation >= 0)?;
    let is_current = Some(status.observed_generation) == seen.upload.metadata.generation;
    // The planner would take a part of the facts for all of them.
    if !is_current || !seen.is_read(&["Jobs", "Pods", "Events"]) {
        return Some(status.clone());
    }
    let jobs = jobs(seen);
    let by_workers = jobs.iter().any(|job| matches!(job.volume, Volume::ConfigMap(_)));
    let senders = if by_workers { Senders::Workers } else { Senders::Operator };
    let refused = refused(status);
    let name = status.deployment.as_deref().unwrap_or_default();
    let deployment = Deployment { name, terms: shown_terms(status).unwrap_or_default(), refused: refused.as_ref() };
    let case = Case::new(&seen.upload, now, deployment, senders);
    let facts =
        Facts { work: jobs.into_iter().map(WorkFacts::Job).collect(), claims: claims(seen), ..Facts::default() };
    let plan = plan::plan(&case, &facts);
    let settled = plan::settle(&plan, Done::default());
    let mut shown = settled.status(&Written { trouble: output_trouble(status), exists: status.output.is_some() });
    // How long keys live is a setting of the operator, and only the status shows it.
    for (entry, known) in
        shown.files.iter_mut().zip(&status.files).filter(|(entry, known)| entry.file_key == known.file_key)
    {
        entry.expires_at.clone_from(&known.expires_at);
    }
    if shown.files.iter().map(|entry| &entry.file_key).eq(status.files.iter().map(|entry| &entry.file_key)) {
        shown.available_until.clone_from(&status.available_until);
    }
    Some(if shown.files == status.files { status.clone() } else { shown })
}

/// Why it may not use its deployment, according to the status: only the operator knows which there are.
fn refused(status: &FileUploadStatus) -> Option<Trouble> {
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready")?;
    let reason = Reason::parse(&ready.reason).filter(|reason| *reason == Reason::DeploymentUnknown)?;
    Some(Trouble::new(reason, ready.message.clone()))
}

/// The claims that the spec names, if they could be read.
fn claims(seen: &Seen) -> std::collections::BTreeMap<String, ClaimFacts> {
    let named = seen.upload.spec.files.iter().filter_map(|file| file.source.persistent_volume_claim.as_ref());
    let named = named.map(|file| file.claim_name.as_str()).chain(seen.upload.spec.folders.iter().map(Folder::claim));
    let claim = |name: &str| {
        let Some(claim) = seen.claims.iter().find(|claim| claim.name_any() == name) else {
            return ClaimFacts::default();
        };
        let names_it = |pod: &&Pod| !read::has_ended(pod) && read::claims_of(pod).any(|used| used == name);
        ClaimFacts { users: seen.pods.iter().filter(names_it).map(read::claim_user).collect(), ..read::claim(claim) }
    };
    let is_read = seen.is_read(&["PersistentVolumeClaims"]);
    named.filter(|_| is_read).map(|name| (name.to_owned(), claim(name))).collect()
}

/// The existing Jobs. The operator may have absorbed a Job that is gone since the status was read.
fn jobs(seen: &Seen) -> Vec<JobFacts> {
    let pods: Vec<_> = seen.own_pods().collect();
    let mut names: BTreeSet<String> = seen.jobs.iter().map(ResourceExt::name_any).collect();
    names.extend(pods.iter().filter_map(|pod| pod.labels().get(read::LABEL_JOB).cloned()));
    let job = |name: &String| {
        let job = seen.jobs.iter().find(|job| job.name_any() == *name);
        Some(JobFacts { confirmed: true, ..plan::manifest::of_objects(name, job, &pods, &seen.events)? })
    };
    let mut jobs: Vec<_> = names.iter().filter_map(job).collect();
    jobs.sort_by_key(|job| job.attempt);
    jobs
}

/// Why the output is not written, according to the status: only the operator reads the output.
fn output_trouble(status: &FileUploadStatus) -> Option<Trouble> {
    let is_whole = status.files.iter().all(|entry| entry.file_key.is_some());
    let available = status.conditions.iter().find(|condition| condition.type_ == "Available")?;
    let reason = Reason::parse(&available.reason).filter(|_| is_whole && available.status != "True")?;
    Some(Trouble::new(reason, available.message.clone()))
}
