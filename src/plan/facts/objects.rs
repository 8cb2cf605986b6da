//! Pods, Jobs, claims and events as far as they are read: nothing else in them is even parsed.
//!
//! Anybody may write them, and API servers of other versions know other fields. So only a field that a plan asks for can
//! make an object unreadable, and a large one costs no more than these fields. Names are those of `k8s-openapi`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::api::{batch::v1 as batch, core::v1 as core, events::v1 as events};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference, Time};
use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};

/// The most bytes that are read of what a status or an event says: more than is quoted. It may be as long as a request.
const MAX_TEXT: usize = 2 << 10;

/// Declares types whose fields may all be missing or null.
macro_rules! parts {
    ($($(#[$doc:meta])* $name:ident { $($(#[$attribute:meta])* $field:ident: $kind:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub(crate) struct $name { $($(#[$attribute])* pub(crate) $field: $kind,)* }
    )*};
}

/// Declares kinds of the cluster.
macro_rules! kinds {
    ($($name:ident is $known:ty,)*) => {$(
        impl Resource for $name {
            type DynamicType = ();
            type Scope = NamespaceResourceScope;

            fn kind((): &()) -> Cow<'_, str> {
                <$known as Resource>::kind(&())
            }

            fn group((): &()) -> Cow<'_, str> {
                <$known as Resource>::group(&())
            }

            fn version((): &()) -> Cow<'_, str> {
                <$known as Resource>::version(&())
            }

            fn plural((): &()) -> Cow<'_, str> {
                <$known as Resource>::plural(&())
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    )*};
}

kinds! {
    Pod is core::Pod,
    Job is batch::Job,
    PersistentVolumeClaim is core::PersistentVolumeClaim,
    Event is events::Event,
}

parts! {
    /// A Pod.
    Pod {
        #[serde(deserialize_with = "metadata")]
        metadata: ObjectMeta,
        spec: Option<PodSpec>,
        status: Option<PodStatus>,
    }
    PodSpec {
        node_name: Option<String>,
        affinity: Option<Affinity>,
        tolerations: Option<Vec<Toleration>>,
        volumes: Option<Vec<Volume>>,
        containers: Option<Vec<Container>>,
        security_context: Option<SecurityContext>,
    }
    Affinity {
        node_affinity: Option<NodeAffinity>,
    }
    NodeAffinity {
        required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
    }
    NodeSelector {
        node_selector_terms: Vec<NodeSelectorTerm>,
    }
    NodeSelectorTerm {
        match_fields: Option<Vec<NodeSelectorField>>,
    }
    NodeSelectorField {
        key: String,
        values: Option<Vec<String>>,
    }
    Volume {
        name: Option<String>,
        persistent_volume_claim: Option<ClaimSource>,
        config_map: Option<ConfigMapSource>,
    }
    ClaimSource {
        claim_name: String,
    }
    ConfigMapSource {
        name: String,
    }
    Container {
        name: String,
        image: Option<String>,
        args: Option<Vec<String>>,
        security_context: Option<SecurityContext>,
    }
    SecurityContext {
        se_linux_options: Option<SeLinuxOptions>,
    }
    SeLinuxOptions {
        level: Option<String>,
    }
    PodStatus {
        phase: Option<String>,
        #[serde(deserialize_with = "text")]
        reason: Option<String>,
        #[serde(deserialize_with = "text")]
        message: Option<String>,
        conditions: Option<Vec<Condition>>,
        init_container_statuses: Option<Vec<ContainerStatus>>,
        container_statuses: Option<Vec<ContainerStatus>>,
    }
    /// A condition of a Pod or of a Job.
    Condition {
        #[serde(rename = "type")]
        type_: String,
        status: String,
        #[serde(deserialize_with = "text")]
        reason: Option<String>,
        #[serde(deserialize_with = "text")]
        message: Option<String>,
        last_transition_time: Option<Time>,
    }
    ContainerStatus {
        name: String,
        state: Option<ContainerState>,
    }
    ContainerState {
        running: Option<IgnoredAny>,
        terminated: Option<Terminated>,
        waiting: Option<Waiting>,
    }
    Terminated {
        exit_code: i32,
        #[serde(deserialize_with = "text")]
        reason: Option<String>,
        message: Option<String>,
    }
    Waiting {
        #[serde(deserialize_with = "text")]
        reason: Option<String>,
        #[serde(deserialize_with = "text")]
        message: Option<String>,
    }

    /// A Job.
    Job {
        #[serde(deserialize_with = "metadata")]
        metadata: ObjectMeta,
        spec: Option<JobSpec>,
        status: Option<JobStatus>,
    }
    JobSpec {
        parallelism: Option<i32>,
        suspend: Option<bool>,
        template: Option<PodTemplate>,
    }
    PodTemplate {
        metadata: Option<TemplateMetadata>,
        spec: Option<PodSpec>,
    }
    TemplateMetadata {
        annotations: Option<BTreeMap<String, String>>,
    }
    JobStatus {
        conditions: Option<Vec<Condition>>,
    }

    /// A claim.
    PersistentVolumeClaim {
        #[serde(deserialize_with = "metadata")]
        metadata: ObjectMeta,
        spec: Option<ClaimSpec>,
        status: Option<ClaimStatus>,
    }
    ClaimSpec {
        access_modes: Option<Vec<String>>,
        volume_mode: Option<String>,
        data_source: Option<IgnoredAny>,
        data_source_ref: Option<IgnoredAny>,
    }
    ClaimStatus {
        access_modes: Option<Vec<String>>,
        phase: Option<String>,
    }

    /// An event.
    Event {
        #[serde(deserialize_with = "metadata")]
        metadata: ObjectMeta,
        regarding: Option<Regarding>,
        #[serde(deserialize_with = "text")]
        reason: Option<String>,
        #[serde(deserialize_with = "text")]
        note: Option<String>,
        series: Option<EventSeries>,
        #[serde(rename = "eventTime")]
        time: Option<MicroTime>,
        deprecated_last_timestamp: Option<Time>,
    }
    Regarding {
        uid: Option<String>,
    }
    EventSeries {
        last_observed_time: Option<MicroTime>,
    }
}

/// Metadata without its `managedFields`, whose parsing would be most of the work.
pub(crate) fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Asked {
        annotations: Option<BTreeMap<String, String>>,
        creation_timestamp: Option<Time>,
        deletion_timestamp: Option<Time>,
        generation: Option<i64>,
        labels: Option<BTreeMap<String, String>>,
        name: Option<String>,
        namespace: Option<String>,
        owner_references: Option<Vec<OwnerReference>>,
        resource_version: Option<String>,
        uid: Option<String>,
    }
    let asked = Option::<Asked>::deserialize(deserializer)?.ok_or_else(|| D::Error::custom("metadata is null"))?;
    Ok(ObjectMeta {
        annotations: asked.annotations,
        creation_timestamp: asked.creation_timestamp,
        deletion_timestamp: asked.deletion_timestamp,
        generation: asked.generation,
        labels: asked.labels,
        name: asked.name,
        namespace: asked.namespace,
        owner_references: asked.owner_references,
        resource_version: asked.resource_version,
        uid: asked.uid,
        ..ObjectMeta::default()
    })
}

/// The beginning of a text.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.map(|text| text[..text.floor_char_boundary(MAX_TEXT)].to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    /// A moment that the program's clock cannot hold.
    const BEYOND: &str = "9999-12-31T23:59:59Z";

    #[test]
    fn what_is_not_asked_for_makes_nothing_unreadable() {
        let metadata = json!({
            "name": "x", "managedFields": [{"time": BEYOND}], "selfLink": 1, "finalizers": "none", "deletionGracePeriodSeconds": "",
        });
        let pod = json!({"containers": [{"name": "a", "env": 1, "ports": BEYOND}], "nodeName": "n", "overhead": []});
        let job = json!({"template": {"metadata": {"creationTimestamp": BEYOND}, "spec": pod}, "completions": "many"});
        let read = |spec: &Value, status: Value| json!({"metadata": metadata, "spec": spec, "status": status});
        let state = json!({"running": {"startedAt": BEYOND}});
        let pod: Pod =
            from_value(read(&pod, json!({"startTime": BEYOND, "containerStatuses": [{"state": state}]}))).unwrap();
        assert_eq!((pod.metadata.name.as_deref(), pod.spec.unwrap().node_name.as_deref()), (Some("x"), Some("n")));
        let job: Job = from_value(read(&job, json!({"startTime": BEYOND}))).unwrap();
        assert!(job.spec.unwrap().template.unwrap().spec.is_some());
        let claim: PersistentVolumeClaim =
            from_value(read(&json!({"resources": 1}), json!({"capacity": 1, "phase": "Bound"}))).unwrap();
        assert_eq!(claim.status.unwrap().phase.as_deref(), Some("Bound"));
    }

    #[test]
    fn of_what_a_status_says_only_the_beginning_is_read() {
        let long = "ä".repeat(100_000);
        let said = json!({"type": "PodScheduled", "reason": long, "message": long});
        let status = json!({
            "reason": long, "message": long, "conditions": [said],
            "containerStatuses": [{"state": {"waiting": said, "terminated": {"reason": long}}}],
        });
        let pod: Pod = from_value(json!({"metadata": {}, "status": status})).unwrap();
        let job: Job = from_value(json!({"metadata": {}, "status": {"conditions": [said]}})).unwrap();
        let event: Event = from_value(json!({"metadata": {}, "reason": long, "note": long})).unwrap();
        let read = format!("{pod:?}{job:?}{event:?}");
        assert!(read.matches("ä").count() == 11 * MAX_TEXT / 2, "{}", read.matches("ä").count());
    }

    #[test]
    fn what_is_null_is_missing() {
        let spec = json!({"nodeName": null, "containers": null, "volumes": null});
        let pod: Pod = from_value(json!({"metadata": {}, "spec": spec, "status": null})).unwrap();
        assert!(pod.spec.is_some() && pod.status.is_none());
    }
}
