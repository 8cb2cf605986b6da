//! Objects of the cluster as the facts that a plan is made from: pure, the same for watches and for manifests.
//!
//! Nothing is judged here, and what a plan does not ask for is left out. What a worker's Job looks like is the matter of
//! `work::manifest`.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};
use sha2::{Digest, Sha256};

use super::objects::{Condition, ContainerStatus, Event, PersistentVolumeClaim, Pod, PodSpec, PodStatus};
use super::{ClaimFacts, ClaimUser, Container, Content, JobFacts, OutputFacts, PodFacts, Presence, Said, Terminated};
use crate::resource::{FIELD_MANAGER, FileUpload, LABEL_FILE_UPLOAD, LABEL_MANAGED_BY, LABEL_UID};

/// The label by which the Job controller names a Pod's Job, and the annotation for its share.
pub(crate) const LABEL_JOB: &str = "batch.kubernetes.io/job-name";
const ANNOTATION_INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// The longest SELinux level that is taken over, in bytes: anybody may write Pods. Those of containers have 11.
const MAX_LEVEL: usize = 64;
/// The most owners of an output that are kept, and the longest uid of one in bytes. Those of API servers have 36.
const MAX_OWNERS: (usize, usize) = (16, 64);

/// A claim, without the Pods that name it.
pub(crate) fn claim(claim: &PersistentVolumeClaim) -> ClaimFacts {
    let (spec, status) = (claim.spec.as_ref(), claim.status.as_ref());
    let access_modes = status
        .and_then(|status| status.access_modes.clone())
        .or_else(|| spec.and_then(|spec| spec.access_modes.clone()));
    ClaimFacts {
        phase: status.and_then(|status| status.phase.clone()).unwrap_or_else(|| "Pending".to_owned()),
        deleting: claim.metadata.deletion_timestamp.is_some(),
        block: spec.and_then(|spec| spec.volume_mode.as_deref()) == Some("Block"),
        access_modes: access_modes.unwrap_or_default(),
        has_data_source: spec.is_some_and(|spec| spec.data_source.is_some() || spec.data_source_ref.is_some()),
        users: Vec::new(),
    }
}

/// The claims that a Pod names.
pub(crate) fn claims_of(pod: &Pod) -> impl Iterator<Item = &str> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.as_str()))
}

/// Whether a Pod's phase says that it has ended.
pub(crate) fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// A Pod as a user of the claims that it names.
pub(crate) fn claim_user(pod: &Pod) -> ClaimUser {
    let spec = pod.spec.as_ref();
    let status = pod.status.as_ref();
    let containers = |of: fn(&PodStatus) -> &Option<Vec<ContainerStatus>>| {
        status.into_iter().flat_map(move |s| of(s).iter().flatten())
    };
    let has_started = |status: &ContainerStatus| {
        status.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    };
    let mut statuses =
        containers(|status| &status.init_container_statuses).chain(containers(|status| &status.container_statuses));
    let is_worker = pod.labels().get(LABEL_MANAGED_BY).is_some_and(|manager| manager == FIELD_MANAGER);
    ClaimUser {
        node: spec.and_then(|spec| spec.node_name.clone()),
        started: statuses.any(has_started),
        deleting: pod.metadata.deletion_timestamp.is_some(),
        tolerations: spec.and_then(|spec| spec.tolerations.clone()).unwrap_or_default(),
        level: spec.and_then(level),
        worker_of: pod.labels().get(LABEL_JOB).filter(|_| is_worker).cloned(),
        created: created(&pod.metadata),
    }
}

/// The SELinux level of a Pod, or else of the first of its containers that names one.
fn level(spec: &PodSpec) -> Option<Box<str>> {
    let of_pod = spec.security_context.as_ref().and_then(|context| context.se_linux_options.as_ref());
    let contexts = spec.containers.iter().flatten().filter_map(|container| container.security_context.as_ref());
    let mut options = of_pod.into_iter().chain(contexts.filter_map(|context| context.se_linux_options.as_ref()));
    let level = options.find_map(|options| options.level.as_deref())?;
    (level.len() <= MAX_LEVEL).then(|| level.into())
}

/// A Pod of a worker; `gone` if it no longer exists.
pub(crate) fn pod(pod: &Pod, gone: bool) -> PodFacts {
    let status = pod.status.as_ref();
    let condition = |kind: &str, truth: &str| {
        let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let is_it = |condition: &&Condition| condition.type_ == kind && condition.status == truth;
        conditions.iter().find(is_it).map(|condition| said(condition.reason.as_ref(), condition.message.as_ref()))
    };
    let statuses = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    let state = statuses.iter().find(|status| status.name == "worker").and_then(|status| status.state.clone());
    let state = state.unwrap_or_default();
    let container = match (state.running, state.terminated) {
        (_, Some(ended)) => Container::Ended(Terminated {
            reason: ended.reason.unwrap_or_default(),
            exit_code: ended.exit_code,
            message: ended.message.unwrap_or_default(),
        }),
        (Some(_), None) => Container::Running { ready: condition("Ready", "False").is_none() },
        (None, None) => Container::Waiting(
            state.waiting.as_ref().map(|waiting| said(waiting.reason.as_ref(), waiting.message.as_ref())),
        ),
    };
    let is_deleting = pod.metadata.deletion_timestamp.is_some();
    let of_pod = status.filter(|status| status.reason.is_some());
    PodFacts {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        index: pod.annotations().get(ANNOTATION_INDEX).and_then(|index| index.parse().ok()).unwrap_or_default(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        created: created(&pod.metadata),
        presence: if gone {
            Presence::Gone
        } else if is_deleting {
            Presence::Deleting
        } else {
            Presence::There
        },
        has_ended: has_ended(pod),
        said: of_pod.map(|status| said(status.reason.as_ref(), status.message.as_ref())),
        unschedulable: condition("PodScheduled", "False").filter(|said| said.reason == "Unschedulable"),
        disrupted: condition("DisruptionTarget", "True"),
        container,
        events: Vec::new(),
    }
}

/// Adds what events say of a Job and its Pods.
pub(crate) fn add_events(job: &mut JobFacts, events: &[Event]) {
    job.events = said_of(events, &job.uid);
    for pod in &mut job.pods {
        pod.events = said_of(events, &pod.uid);
    }
}

/// What events say of one object, latest last. Anybody may write events: of each reason only the latest is kept.
pub(crate) fn said_of(events: &[Event], uid: &str) -> Vec<Said> {
    let is_about = |event: &&Event| {
        event.regarding.as_ref().and_then(|regarding| regarding.uid.as_deref()).unwrap_or_default() == uid
    };
    let mut about: Vec<_> = events.iter().filter(is_about).filter(|event| may_tell(event)).collect();
    about.sort_by_key(|event| time_of(event));
    let latest: BTreeMap<_, _> = about.into_iter().map(|event| (event.reason.as_deref(), event)).collect();
    let mut latest: Vec<_> = latest.into_values().collect();
    latest.sort_by_key(|event| time_of(event));
    latest.into_iter().map(|event| said(event.reason.as_ref(), event.note.as_ref())).collect()
}

/// Whether an event may tell why a worker does not run: `work::trouble` asks for no other.
fn may_tell(event: &Event) -> bool {
    match event.reason.as_deref() {
        Some("FailedCreate" | "FailedMount" | "FailedAttachVolume" | "NodeNotReady") => true,
        // The kubelet says with the same word that it backs off, which tells no cause.
        Some("Failed") => event.note.as_ref().is_some_and(|note| note.contains("pull")),
        _ => false,
    }
}

fn time_of(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    series
        .or(event.deprecated_last_timestamp.as_ref().map(|time| time.0))
        .or(event.time.as_ref().map(|time| time.0))
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

/// What `key` of a ConfigMap holds.
pub(crate) fn content_of(config_map: &ConfigMap, key: &str) -> Option<Content> {
    bytes_of(config_map, key).map(content)
}

/// The bytes under a key, in `data` or `binaryData`.
pub(crate) fn bytes_of<'a>(config_map: &'a ConfigMap, key: &str) -> Option<&'a [u8]> {
    let text = config_map.data.as_ref().and_then(|data| data.get(key)).map(String::as_bytes);
    text.or_else(|| config_map.binary_data.as_ref()?.get(key).map(|bytes| bytes.0.as_slice()))
}

/// What identifies these bytes.
pub(crate) fn content(bytes: &[u8]) -> Content {
    Content { size: bytes.len() as u64, sha256: HEXLOWER.encode(&Sha256::digest(bytes)) }
}

/// Whose output a ConfigMap is, by its metadata. It is kept for each output, and so is small.
#[derive(Debug, Default)]
pub(crate) struct Ownership {
    /// The uids of its owners, where it carries our label.
    owners: Box<[Box<str>]>,
    /// The FileUpload that its label names, where every owner is one of that name.
    made_for: Option<Box<str>>,
}

impl Ownership {
    /// What the metadata says. Anybody may write it: what no output of ours has is not kept, and makes it foreign.
    pub(crate) fn of(metadata: &ObjectMeta) -> Self {
        let label = |label: &str| metadata.labels.as_ref().and_then(|labels| labels.get(label)).map(String::as_str);
        if label(LABEL_MANAGED_BY) != Some(FIELD_MANAGER) {
            return Self::default();
        }
        let owners = metadata.owner_references.as_deref().unwrap_or_default();
        let (most, longest) = MAX_OWNERS;
        if owners.len() > most || owners.iter().any(|owner| owner.uid.len() > longest) {
            return Self::default();
        }
        let is_of = |name: &str, owner: &OwnerReference| {
            owner.api_version == FileUpload::api_version(&())
                && owner.kind == FileUpload::kind(&())
                && owner.name == name
        };
        let made_for = label(LABEL_FILE_UPLOAD).filter(|name| owners.iter().all(|owner| is_of(name, owner)));
        Self {
            owners: owners.iter().map(|owner| owner.uid.as_str().into()).collect(),
            made_for: made_for.map(Into::into),
        }
    }

    /// What it is to `upload`; `hash` is that of its data, if known. Only what carries our label and belongs to this very
    /// resource is ours to write. Two FileUploads of one name cannot exist: an owner of this name with another uid is gone.
    pub(crate) fn output(&self, upload: &FileUpload, hash: Option<String>) -> OutputFacts {
        let (name, uid) = (upload.metadata.name.as_deref(), upload.metadata.uid.as_deref());
        match () {
            () if self.owners.iter().any(|owner| Some(&**owner) == uid) => OutputFacts::Ours { hash },
            () if !self.owners.is_empty() && self.made_for.as_deref() == name => OutputFacts::Orphaned,
            () => OutputFacts::Foreign,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_whose_init_container_runs_has_its_claim_already() {
        let status = |state: &serde_json::Value| json!([{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state}]);
        for (state, started) in [
            (json!({"running": {}}), true),
            (json!({"terminated": {"exitCode": 0}}), true),
            (json!({"waiting": {"reason": "PodInitializing"}}), false),
        ] {
            let waiting = status(&json!({"waiting": {"reason": "PodInitializing"}}));
            let pod = json!({
                "metadata": {"name": "a"}, "spec": {"containers": [], "nodeName": "n1"},
                "status": {"phase": "Pending", "initContainerStatuses": status(&state), "containerStatuses": waiting},
            });
            let pod: Pod = serde_json::from_value(pod).unwrap();
            assert_eq!(claim_user(&pod).started, started, "{state}");
        }
    }

    /// A ConfigMap with our label that these own, and FileUpload x with uid `u`.
    fn owned_by(uids: impl Iterator<Item = String>) -> OutputFacts {
        let owner =
            |uid| json!({"apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload", "name": "x", "uid": uid});
        let owners: Vec<_> = uids.map(owner).collect();
        let labels = json!({LABEL_MANAGED_BY: FIELD_MANAGER, LABEL_FILE_UPLOAD: "x"});
        let metadata = serde_json::from_value(json!({"labels": labels, "ownerReferences": owners})).unwrap();
        let upload = json!({
            "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload",
            "metadata": {"name": "x", "namespace": "team", "uid": "u"}, "spec": {"files": []},
        });
        Ownership::of(&metadata).output(&serde_json::from_value(upload).unwrap(), None)
    }

    #[test]
    fn a_config_map_with_more_owners_than_are_kept_is_foreign() {
        let owners = |number: usize| std::iter::once("u".to_owned()).chain((1..number).map(|other| other.to_string()));
        assert_eq!(owned_by(owners(16)), OutputFacts::Ours { hash: None });
        assert_eq!(owned_by(owners(17)), OutputFacts::Foreign);
        assert_eq!(owned_by(owners(2).chain(["l".repeat(65)])), OutputFacts::Foreign, "a uid that no API server gives");
        assert_eq!(owned_by(["gone".to_owned()].into_iter()), OutputFacts::Orphaned);
    }

    #[test]
    fn of_events_only_the_latest_that_tells_why_a_worker_does_not_run_is_kept_and_only_its_beginning() {
        let event = |second: usize, uid: &str, reason: &str, note: &str| {
            json!({
                "metadata": {"name": format!("e-{second}")}, "regarding": {"uid": uid}, "reason": reason,
                "note": format!("{note} {second}: {}", "ä".repeat(5000)),
                "deprecatedLastTimestamp": format!("2026-11-23T10:00:{second:02}Z"),
            })
        };
        let mut events = Vec::new();
        for second in (0..20).rev() {
            events.push(event(second, "p", "FailedMount", "mount"));
            events.push(event(second, "p", "Failed", "Failed to pull image"));
            events.push(event(second + 20, "p", "Failed", "Error: ErrImagePull"));
            events.push(event(second, "p", "Scheduled", "scheduled"));
            events.push(event(second, "j", "FailedCreate", "create"));
            events.push(event(second, "another", "FailedMount", "mount"));
        }
        let events: Vec<_> = events.into_iter().map(|event| serde_json::from_value(event).unwrap()).collect();
        let pod = PodFacts { uid: "p".to_owned(), ..PodFacts::default() };
        let mut job = JobFacts { uid: "j".to_owned(), pods: vec![pod], ..JobFacts::default() };
        add_events(&mut job, &events);
        let words = |said: &[Said]| {
            let told = said.iter().map(|said| {
                assert!(said.message.len() <= 4096, "{} {}", said.reason, said.message.len());
                format!("{} {}", said.reason, said.message.split(':').next().unwrap())
            });
            let mut told: Vec<_> = told.collect();
            told.sort();
            told
        };
        assert_eq!(words(&job.events), ["FailedCreate create 19"]);
        assert_eq!(words(&job.pods[0].events), ["Failed Failed to pull image 19", "FailedMount mount 19"]);
    }
}
