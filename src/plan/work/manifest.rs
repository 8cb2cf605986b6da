//! The Job of a worker, written and read side by side: the manifest of a launch, and what an existing Job or Pod says.
//!
//! What is written here and in `pod` is read here, so that both agree; a test makes the round trip.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1;
use kube::ResourceExt;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::super::acts::Launch;
use super::super::facts::objects::{Condition, Event, Job, Pod, PodSpec};
use super::super::facts::volume::{MAX_PARALLELISM, Placement, access};
use super::super::facts::{ClaimFacts, JobFacts, Said, Standing, Volume, read};
use crate::report::Assignment;
use crate::report::folder::{Folder, MAX_GLOBS, MAX_SHARES};
use crate::resource::{
    ANNOTATION_ATTEMPT, ANNOTATION_CREDENTIALS_VERSION, ANNOTATION_GENERATION, ANNOTATION_SETTINGS, FIELD_MANAGER,
    FileUpload, LABEL_FILE_UPLOAD, LABEL_MANAGED_BY, LABEL_UID,
};

pub(crate) use self::pod::WorkerSettings;
use self::pod::{NODE_NAME, SHARDS, VOLUME, WORKER};

mod pod;

/// The most files and shares that are read from a Job: anybody may write one with our labels.
const MAX_FILES: usize = 100;
/// The longest strings that are read from a Job, in characters: as long as a FileUpload's may be.
const MAX_NAME: usize = 63;
const MAX_OBJECT_NAME: usize = 253;
const MAX_HASH: usize = 64;
const MAX_PATH: usize = 4096;
const MAX_CONTENT_TYPE: usize = 127;
const MAX_IMAGE: usize = 512;

/// A hash of what a worker of `upload` would be made with: where it differs, a Job that has not started is made again.
pub(crate) fn settings_hash(upload: &FileUpload, settings: &WorkerSettings) -> String {
    let text = json!([upload.spec.worker, format!("{settings:?}")]).to_string();
    HEXLOWER.encode(&Sha256::digest(text)[..8])
}

/// The Job of a launch, with the version of the credentials that were read for it.
///
/// # Errors
/// None that can happen: the manifest is made here.
pub(crate) fn job(
    upload: &FileUpload,
    launch: &Launch,
    credentials_version: &str,
    settings: &WorkerSettings,
) -> serde_json::Result<v1::Job> {
    let mut worker = settings.of(upload);
    let mut labels = worker.labels.take().unwrap_or_default();
    labels.extend([
        (LABEL_MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned()),
        (LABEL_FILE_UPLOAD.to_owned(), upload.metadata.name.clone().unwrap_or_default()),
        (LABEL_UID.to_owned(), upload.metadata.uid.clone().unwrap_or_default()),
    ]);
    let mut annotations = worker.annotations.take().unwrap_or_default();
    annotations.extend([
        (ANNOTATION_ATTEMPT.to_owned(), launch.attempt.to_string()),
        (ANNOTATION_GENERATION.to_owned(), upload.metadata.generation.unwrap_or_default().to_string()),
        (ANNOTATION_CREDENTIALS_VERSION.to_owned(), credentials_version.to_owned()),
        (ANNOTATION_SETTINGS.to_owned(), launch.settings_hash.clone()),
    ]);
    let metadata = json!({
        "name": launch.name,
        "namespace": upload.metadata.namespace,
        "labels": labels,
        "annotations": annotations,
        "ownerReferences": [{
            "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload", "controller": true,
            "name": upload.metadata.name, "uid": upload.metadata.uid.as_deref().unwrap_or_default(),
        }],
    });
    let mut spec = json!({
        "activeDeadlineSeconds": settings.deadline,
        "parallelism": launch.parallelism,
        "completions": launch.shards,
        // A Job that is resumed while its Pod still ends would have two Pods that send the same files.
        "podReplacementPolicy": "Failed",
        "template": pod::template(upload, launch, settings, worker, &metadata),
    });
    if launch.shards > 1 {
        // With a limit on all, one share that fails would take its siblings down.
        spec["completionMode"] = "Indexed".into();
        spec["backoffLimitPerIndex"] = 0.into();
    } else {
        spec["backoffLimit"] = 0.into();
    }
    serde_json::from_value(json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec }))
}

/// What a Job of ours says, its Pods and events aside; `None` if it does not tell what it reads, or cannot be ours.
pub(crate) fn read_job(job: &Job) -> Option<JobFacts> {
    let spec = job.spec.as_ref()?;
    let template = spec.template.as_ref()?;
    let facts = read_template(template.metadata.as_ref()?.annotations.as_ref(), template.spec.as_ref()?)?;
    Some(JobFacts {
        name: job.metadata.name.clone().filter(|name| fits(name, MAX_NAME))?,
        uid: job.metadata.uid.clone().unwrap_or_default(),
        standing: ended(job).map_or(Standing::Alive, Standing::Ended),
        parallelism: spec
            .parallelism
            .and_then(|workers| usize::try_from(workers).ok())
            .unwrap_or(1)
            .min(MAX_PARALLELISM),
        deleting: job.metadata.deletion_timestamp.is_some(),
        suspended: spec.suspend == Some(true),
        suspension_changed: conditions(job).find(|condition| condition.type_ == "Suspended").and_then(changed_at),
        created: job.metadata.creation_timestamp.as_ref().map(|time| time.0),
        ..facts
    })
}

/// A Job with its Pods and what events say of them, from objects as the API server has them; `None` if there is neither.
pub(crate) fn of_objects(name: &str, job: Option<&Job>, pods: &[&Pod], events: &[Event]) -> Option<JobFacts> {
    let is_of_job = |pod: &&&Pod| pod.labels().get(read::LABEL_JOB).is_some_and(|job| job == name);
    let pods: Vec<_> = pods.iter().filter(is_of_job).collect();
    let from_pod = || pods.first().and_then(|pod| read_pod(name, pod));
    let facts = job.and_then(read_job).or_else(from_pod)?;
    let pods = pods.iter().map(|pod| read::pod(pod, false)).collect();
    let mut facts = JobFacts { pods, ..facts };
    read::add_events(&mut facts, events);
    Some(facts)
}

/// The Launch that a Job was made of, as far as it shows; where it runs is told by its claim.
pub(crate) fn launch_of(job: &JobFacts, claim: Option<&ClaimFacts>, now: Timestamp) -> Launch {
    let shared = Placement { shared: true, ..Placement::default() };
    let placement = match (&job.volume, claim) {
        (Volume::Claim(name), Some(claim)) => access(name, &claim.without(job), now).unwrap_or_default(),
        (Volume::Claim(_), None) => Placement::default(),
        (Volume::ConfigMap(_), _) => shared,
    };
    Launch {
        name: job.name.clone(),
        volume: job.volume.clone(),
        attempt: job.attempt,
        files: job.files.to_vec(),
        shards: job.shards,
        parallelism: placement.parallelism(job.shards),
        placement,
        settings_hash: job.settings_hash.clone(),
    }
}

/// What a Pod says of its Job, where it is all that is left of it.
pub(crate) fn read_pod(job: &str, pod: &Pod) -> Option<JobFacts> {
    let facts = read_template(pod.metadata.annotations.as_ref(), pod.spec.as_ref()?)?;
    Some(JobFacts { name: job.to_owned(), standing: Standing::Gone, ..facts })
}

fn read_template(annotations: Option<&BTreeMap<String, String>>, spec: &PodSpec) -> Option<JobFacts> {
    let annotation = |name: &str| annotations?.get(name).filter(|text| fits(text, MAX_HASH)).cloned();
    // A mesh may put its own container first.
    let container = spec.containers.iter().flatten().find(|container| container.name == WORKER)?;
    let arguments = container.args.as_deref().unwrap_or_default();
    let at = arguments.iter().position(|argument| argument == SHARDS);
    let shards = at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(1);
    let files =
        arguments.iter().filter_map(|argument| serde_json::from_str::<Assignment>(argument).ok()).filter(is_possible);
    Some(JobFacts {
        volume: volume_of(spec)?,
        attempt: annotation(ANNOTATION_ATTEMPT).and_then(|attempt| attempt.parse().ok()).unwrap_or_default(),
        generation: annotation(ANNOTATION_GENERATION).and_then(|generation| generation.parse().ok()),
        credentials_version: annotation(ANNOTATION_CREDENTIALS_VERSION).unwrap_or_default(),
        settings_hash: annotation(ANNOTATION_SETTINGS).unwrap_or_default(),
        node: node_of(spec),
        image: container.image.clone().filter(|image| fits(image, MAX_IMAGE)).unwrap_or_default(),
        files: files.take(MAX_FILES).collect(),
        shards: std::cmp::Ord::clamp(shards, 1, MAX_FILES),
        ..JobFacts::default()
    })
}

fn fits(text: &str, most: usize) -> bool {
    text.chars().nth(most).is_none()
}

/// Whether a FileUpload can have such a file. Without a name of its own it is stored under a part of its path.
fn is_possible(file: &Assignment) -> bool {
    fits(&file.name, MAX_NAME)
        && fits(&file.revision, MAX_HASH)
        && fits(&file.path, MAX_PATH)
        && fits(&file.file_name, MAX_PATH)
        && file.content_type.as_ref().is_none_or(|kind| fits(kind, MAX_CONTENT_TYPE))
        && file.folder.as_deref().is_none_or(is_possible_folder)
}

fn is_possible_folder(folder: &Folder) -> bool {
    let (most, longest) = MAX_GLOBS;
    let fit = |globs: &[String]| globs.len() <= most && globs.iter().all(|glob| fits(glob, longest));
    fit(&folder.include)
        && fit(&folder.exclude)
        && fits(&folder.part_name, MAX_OBJECT_NAME)
        && fits(&folder.part, MAX_HASH)
        && folder.cuts.len() < MAX_SHARES
}

/// The one node that a Pod may run on.
fn node_of(spec: &PodSpec) -> Option<String> {
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &affinity.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
    let field = terms.first()?.match_fields.as_ref()?.first().filter(|field| field.key == NODE_NAME)?;
    field.values.as_ref()?.first().filter(|node| fits(node, MAX_OBJECT_NAME)).cloned()
}

/// What a worker's Pod mounts as its source.
fn volume_of(spec: &PodSpec) -> Option<Volume> {
    let volume = spec.volumes.iter().flatten().find(|volume| volume.name.as_deref() == Some(VOLUME))?;
    let claim = volume.persistent_volume_claim.as_ref().map(|claim| Volume::Claim(claim.claim_name.clone()));
    let source = claim.or_else(|| Some(Volume::ConfigMap(volume.config_map.as_ref()?.name.clone())))?;
    fits(source.name(), MAX_OBJECT_NAME).then_some(source)
}

fn conditions(job: &Job) -> impl Iterator<Item = &Condition> {
    job.status.iter().filter_map(|status| status.conditions.as_ref()).flatten()
}

fn changed_at(condition: &Condition) -> Option<Timestamp> {
    condition.last_transition_time.as_ref().map(|time| time.0)
}

/// The condition that a Job ended with.
fn ended(job: &Job) -> Option<Said> {
    let ended = |condition: &&Condition| {
        matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True"
    };
    conditions(job).find(ended).map(|condition| Said {
        reason: condition.reason.clone().unwrap_or_default(),
        message: condition.message.clone().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests;
