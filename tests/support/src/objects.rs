//! The test's hands in its namespace: objects as JSON, made, read, changed and waited for.
//!
//! A wait asks until a condition holds; after its deadline the error shows the last state, so that a failure explains
//! itself.

use std::time::Duration;

use anyhow::{Context as _, bail};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::space::Space;
use crate::view::{key_of, state};
use crate::world::World;

/// How long anything may take that is not waiting for a poll.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// What the cluster must first give up or schedule takes longer than other things.
pub const PATIENCE: Duration = DEADLINE.saturating_mul(2);

const AGAIN: Duration = Duration::from_millis(100);
/// Kinds whose objects are in no namespace.
const CLUSTER_WIDE: [&str; 8] = [
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "Node",
    "PersistentVolume",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
    "VolumeAttachment",
];

/// An entry of `spec.files` from a `ConfigMap`.
pub fn file(name: &str, config_map: &str, key: &str) -> Value {
    json!({"name": name, "source": {"configMapKeyRef": {"name": config_map, "key": key}}})
}

fn group_version(kind: &str) -> &'static str {
    match kind {
        "FileUpload" => "cyberun.cloud/v1alpha1",
        "Job" => "batch/v1",
        "Event" => "events.k8s.io/v1",
        "Deployment" => "apps/v1",
        "Lease" => "coordination.k8s.io/v1",
        "VolumeAttachment" => "storage.k8s.io/v1",
        "MutatingAdmissionPolicy"
        | "MutatingAdmissionPolicyBinding"
        | "ValidatingAdmissionPolicy"
        | "ValidatingAdmissionPolicyBinding"
        | "ValidatingWebhookConfiguration" => "admissionregistration.k8s.io/v1",
        _ => "v1",
    }
}

impl Space {
    /// The API of a kind, in this namespace if it has any.
    pub fn api(&self, kind: &str) -> Api<DynamicObject> {
        let (group, version) = group_version(kind).split_once('/').unwrap_or(("", group_version(kind)));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        if CLUSTER_WIDE.contains(&kind) {
            return Api::all_with(self.client.clone(), &resource);
        }
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    /// Creates an object.
    pub async fn create(&self, kind: &str, name: &str, mut body: Value) -> anyhow::Result<()> {
        body["apiVersion"] = group_version(kind).into();
        body["kind"] = kind.into();
        body["metadata"]["name"] = name.into();
        self.api(kind).create(&PostParams::default(), &serde_json::from_value(body)?).await?;
        Ok(())
    }

    /// Changes an object by a merge patch.
    pub async fn patch(&self, kind: &str, name: &str, patch: Value) -> anyhow::Result<()> {
        let patched = self.api(kind).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.with_context(|| format!("cannot patch {kind} {name}"))?;
        Ok(())
    }

    /// Deletes an object.
    pub async fn delete(&self, kind: &str, name: &str) -> anyhow::Result<()> {
        self.api(kind)
            .delete(name, &DeleteParams::default())
            .await
            .with_context(|| format!("cannot delete {kind} {name}"))?;
        Ok(())
    }

    /// An object as JSON; null if there is none.
    pub async fn read(&self, kind: &str, name: &str) -> anyhow::Result<Value> {
        Ok(serde_json::to_value(self.api(kind).get_opt(name).await?)?)
    }

    /// Every object of a kind.
    pub async fn list(&self, kind: &str) -> anyhow::Result<Vec<Value>> {
        let list = self.api(kind).list(&ListParams::default()).await?;
        list.items.into_iter().map(|item| Ok(serde_json::to_value(item)?)).collect()
    }

    /// Waits until an object is as it should be, and returns it; null stands for none.
    pub async fn wait(
        &self,
        kind: &str,
        name: &str,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        self.wait_for(DEADLINE, what, async || self.read(kind, name).await.map(|object| (holds(&object), object))).await
    }

    /// Waits until `look` says that it holds; returns what it saw then.
    pub async fn wait_for<T: std::fmt::Debug>(
        &self,
        deadline: Duration,
        what: &str,
        mut look: impl AsyncFnMut() -> anyhow::Result<(bool, T)>,
    ) -> anyhow::Result<T> {
        let until = Instant::now() + deadline;
        loop {
            let (holds, seen) = look().await?;
            if holds {
                return Ok(seen);
            }
            if Instant::now() > until {
                bail!("waited {deadline:?} for {what}; last seen: {seen:#?}");
            }
            // Until the condition holds or its deadline is over.
            sleep(AGAIN).await;
        }
    }

    /// Waits until a `FileUpload` is looked at in its present generation and is as it should be.
    pub async fn upload(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let observed = |object: &Value| object["status"]["observedGeneration"] == object["metadata"]["generation"];
        self.wait("FileUpload", name, &format!("FileUpload {name}: {what}"), |object| observed(object) && holds(object))
            .await
    }

    /// Waits until every file has a live key.
    pub async fn available(&self, name: &str) -> anyhow::Result<Value> {
        self.upload(name, "Available", |object| state(object, "Available") == "True").await
    }

    /// Makes a `ConfigMap` of texts.
    pub async fn config_map(&self, name: &str, data: &[(&str, &str)]) -> anyhow::Result<()> {
        let data: serde_json::Map<_, _> = data.iter().map(|(key, text)| ((*key).to_owned(), json!(text))).collect();
        self.create("ConfigMap", name, json!({"data": data})).await
    }

    /// Makes a `FileUpload`.
    pub async fn file_upload(&self, name: &str, spec: Value) -> anyhow::Result<()> {
        self.create("FileUpload", name, json!({"spec": spec})).await
    }

    /// The text under a key of a `ConfigMap`; none if either is not there.
    pub async fn entry(&self, config_map: &str, key: &str) -> anyhow::Result<Option<String>> {
        Ok(self.read("ConfigMap", config_map).await?["data"][key].as_str().map(str::to_owned))
    }
}

impl World {
    /// The key of each file in the status, checked against the store: it is there, under the file's name.
    pub fn stored_keys(&self, upload: &Value) -> anyhow::Result<Vec<String>> {
        let objects = self.stub.objects();
        let specified = upload["spec"]["files"].as_array().map(Vec::as_slice).unwrap_or_default();
        let key = |file: &Value| {
            let name = file["name"].as_str().unwrap_or_default();
            let key =
                key_of(upload, name).with_context(|| format!("file {name} has no key in {:#}", upload["status"]))?;
            anyhow::ensure!(objects.contains_key(key), "the store has nothing under {key}, the key of {name}");
            Ok(key.to_owned())
        };
        specified.iter().map(key).collect()
    }
}
