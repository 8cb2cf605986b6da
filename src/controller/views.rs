//! Objects of the cluster as the facts that a plan is made from: pure, the same for caches and for manifests.
//!
//! Nothing is judged here, and what a plan does not ask for is left out.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::{ContainerStatus, PersistentVolumeClaim, Pod, PodCondition, PodSpec};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use crate::plan::{ClaimUser, ClaimView, JobView, PodView, Said, Terminated, Volume};
use crate::resource::{
    ANNOTATION_ATTEMPT, ANNOTATION_CREDENTIALS_VERSION, ANNOTATION_GENERATION, ANNOTATION_SETTINGS, FIELD_MANAGER,
    FileUpload, LABEL_MANAGED_BY, LABEL_UID,
};

/// The label by which the Job controller names a Pod's Job, and the annotation for its share.
pub(crate) const LABEL_JOB: &str = "batch.kubernetes.io/job-name";
const ANNOTATION_INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// A claim and the Pods that name it.
pub(crate) fn claim_of<'a>(claim: Option<&PersistentVolumeClaim>, pods: impl Iterator<Item = &'a Pod>) -> ClaimView {
    let Some(claim) = claim else { return ClaimView::default() };
    let (name, namespace) = (claim.name_any(), claim.namespace());
    let (spec, status) = (claim.spec.as_ref(), claim.status.as_ref());
    let uses = |pod: &&Pod| pod.namespace() == namespace && !has_ended(pod) && claims_of(pod).any(|used| used == name);
    ClaimView {
        phase: status.and_then(|status| status.phase.clone()).unwrap_or_else(|| "Pending".to_owned()),
        deleting: claim.metadata.deletion_timestamp.is_some(),
        block: spec.and_then(|spec| spec.volume_mode.as_deref()) == Some("Block"),
        access_modes: status
            .and_then(|status| status.access_modes.clone())
            .or_else(|| spec.and_then(|spec| spec.access_modes.clone()))
            .unwrap_or_default(),
        users: pods.filter(uses).map(user).collect(),
    }
}

/// The claims that a Pod names.
pub(crate) fn claims_of(pod: &Pod) -> impl Iterator<Item = &str> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.as_str()))
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn user(pod: &Pod) -> ClaimUser {
    let spec = pod.spec.as_ref();
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let has_started = |status: &ContainerStatus| {
        status.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    };
    let is_worker = pod.labels().get(LABEL_MANAGED_BY).is_some_and(|manager| manager == FIELD_MANAGER);
    ClaimUser {
        node: spec.and_then(|spec| spec.node_name.clone()),
        started: statuses.into_iter().any(has_started),
        tolerations: spec.and_then(|spec| spec.tolerations.clone()).unwrap_or_default(),
        worker_of: pod.labels().get(LABEL_JOB).filter(|_| is_worker).cloned(),
        created: created(&pod.metadata),
    }
}

/// What the API server has of a Job, and of its Pods: some of them may be gone, or all that is left of it.
#[derive(Clone, Copy)]
pub(crate) struct Found<'a> {
    pub(crate) name: &'a str,
    pub(crate) job: Option<&'a Job>,
    pub(crate) pods: &'a [Pod],
    pub(crate) gone: &'a [Pod],
    pub(crate) events: &'a [Event],
}

/// A Job of ours; `None` if nothing tells what it reads.
pub(crate) fn job_of(found: Found<'_>) -> Option<JobView> {
    let template = found.job.and_then(|job| job.spec.as_ref()).map(|spec| &spec.template);
    let any_pod = found.pods.iter().chain(found.gone).next();
    let pod_spec = template.and_then(|template| template.spec.as_ref()).or(any_pod.and_then(|pod| pod.spec.as_ref()))?;
    let metadata = template.and_then(|template| template.metadata.as_ref()).or(any_pod.map(|pod| &pod.metadata));
    let annotation = |name: &str| metadata.and_then(|metadata| metadata.annotations.as_ref()?.get(name).cloned());
    let arguments: &[String] =
        pod_spec.containers.first().and_then(|container| container.args.as_deref()).unwrap_or_default();
    let shards =
        arguments.iter().position(|argument| argument == "--shards").and_then(|at| arguments.get(at + 1)?.parse().ok());
    let job = found.job;
    let pods = found.pods.iter().map(|pod| (pod, false)).chain(found.gone.iter().map(|pod| (pod, true)));
    Some(JobView {
        name: found.name.to_owned(),
        uid: job.and_then(ResourceExt::uid).unwrap_or_default(),
        volume: volume_of(pod_spec)?,
        attempt: annotation(ANNOTATION_ATTEMPT).and_then(|attempt| attempt.parse().ok()).unwrap_or_default(),
        generation: annotation(ANNOTATION_GENERATION).and_then(|generation| generation.parse().ok()),
        credentials_version: annotation(ANNOTATION_CREDENTIALS_VERSION).unwrap_or_default(),
        settings: annotation(ANNOTATION_SETTINGS).unwrap_or_default(),
        image: pod_spec.containers.first().and_then(|container| container.image.clone()).unwrap_or_default(),
        exists: job.is_some(),
        deleting: job.is_some_and(|job| job.metadata.deletion_timestamp.is_some()),
        created: job.and_then(|job| created(&job.metadata)),
        files: arguments.iter().filter_map(|argument| serde_json::from_str(argument).ok()).collect(),
        shards: shards.unwrap_or(1),
        ended: job.and_then(ended),
        events: said_of(found.events, job.and_then(ResourceExt::uid).as_deref()),
        pods: pods.map(|(pod, gone)| pod_of(pod, gone, found.events)).collect(),
        confirmed: false,
    })
}

/// What a worker's Pod mounts as its source.
fn volume_of(spec: &PodSpec) -> Option<Volume> {
    let volume = spec.volumes.iter().flatten().find(|volume| volume.name == "source")?;
    let claim = volume.persistent_volume_claim.as_ref().map(|claim| Volume::Claim(claim.claim_name.clone()));
    claim.or_else(|| Some(Volume::ConfigMap(volume.config_map.as_ref()?.name.clone())))
}

/// The condition that a Job ended with.
fn ended(job: &Job) -> Option<Said> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let ended = |condition: &&JobCondition| {
        matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True"
    };
    conditions.iter().find(ended).map(|condition| said(condition.reason.as_ref(), condition.message.as_ref()))
}

fn pod_of(pod: &Pod, gone: bool, events: &[Event]) -> PodView {
    let status = pod.status.clone().unwrap_or_default();
    let condition = |kind: &str, truth: &str| {
        let conditions = status.conditions.as_deref().unwrap_or_default();
        let is_it = |condition: &&PodCondition| condition.type_ == kind && condition.status == truth;
        conditions.iter().find(is_it).map(|condition| said(condition.reason.as_ref(), condition.message.as_ref()))
    };
    let container =
        status.container_statuses.as_deref().unwrap_or_default().iter().find(|status| status.name == "worker");
    let state = container.and_then(|status| status.state.clone()).unwrap_or_default();
    PodView {
        name: pod.name_any(),
        index: pod.annotations().get(ANNOTATION_INDEX).and_then(|index| index.parse().ok()).unwrap_or_default(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        phase: status.phase.clone().unwrap_or_default(),
        said: status.reason.as_ref().map(|_| said(status.reason.as_ref(), status.message.as_ref())),
        deleting: pod.metadata.deletion_timestamp.is_some(),
        gone,
        unschedulable: condition("PodScheduled", "False").filter(|said| said.reason == "Unschedulable"),
        disrupted: condition("DisruptionTarget", "True"),
        waiting: state.waiting.as_ref().map(|waiting| said(waiting.reason.as_ref(), waiting.message.as_ref())),
        running: state.running.is_some(),
        unready: state.running.is_some() && condition("Ready", "False").is_some(),
        terminated: state.terminated.map(|ended| Terminated {
            reason: ended.reason.unwrap_or_default(),
            exit_code: ended.exit_code,
            message: ended.message.unwrap_or_default(),
        }),
        events: said_of(events, pod.uid().as_deref()),
    }
}

/// What events say of one object, latest last.
fn said_of(events: &[Event], uid: Option<&str>) -> Vec<Said> {
    let mut about: Vec<_> = events
        .iter()
        .filter(|event| event.regarding.as_ref().and_then(|regarding| regarding.uid.as_deref()) == uid)
        .collect();
    about.sort_by_key(|event| time_of(event));
    about.into_iter().map(|event| said(event.reason.as_ref(), event.note.as_ref())).collect()
}

fn time_of(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().map(|series| series.last_observed_time.0);
    series
        .or(event.deprecated_last_timestamp.as_ref().map(|time| time.0))
        .or(event.event_time.as_ref().map(|time| time.0))
        .or_else(|| created(&event.metadata))
}

fn created(metadata: &ObjectMeta) -> Option<Timestamp> {
    metadata.creation_timestamp.as_ref().map(|time| time.0)
}

fn said(reason: Option<&String>, message: Option<&String>) -> Said {
    Said { reason: reason.cloned().unwrap_or_default(), message: message.cloned().unwrap_or_default() }
}

/// Whose worker a Job or Pod is, by its labels: the `FileUpload`'s uid.
pub(crate) fn upload_uid(labels: &BTreeMap<String, String>) -> Option<&String> {
    labels.get(LABEL_MANAGED_BY).filter(|manager| *manager == FIELD_MANAGER)?;
    labels.get(LABEL_UID)
}

/// The Secret that a worker's Job mounts.
pub(crate) fn secret_of(job: &Job) -> Option<String> {
    let spec = job.spec.as_ref()?.template.spec.as_ref()?;
    let projected = spec.volumes.iter().flatten().find_map(|volume| volume.projected.as_ref())?;
    projected.sources.iter().flatten().find_map(|source| Some(source.secret.as_ref()?.name.clone()))
}

/// A Job that the status names and of which nothing else is found.
pub(crate) fn vanished(upload: &FileUpload, name: &str) -> Option<JobView> {
    let known = upload.status.as_ref()?.jobs.iter().find(|job| job.name == name)?;
    let claim = known.claim_name.clone().map(Volume::Claim);
    let volume = claim.or_else(|| known.config_map_name.clone().map(Volume::ConfigMap))?;
    Some(JobView {
        name: name.to_owned(),
        uid: String::new(),
        volume,
        attempt: 0,
        generation: None,
        credentials_version: String::new(),
        settings: String::new(),
        image: String::new(),
        exists: false,
        deleting: false,
        created: None,
        files: Vec::new(),
        shards: 1,
        ended: None,
        events: Vec::new(),
        pods: Vec::new(),
        confirmed: false,
    })
}
