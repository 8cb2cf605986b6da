//! A launch as the Job that is created: the whole manifest, from the launch and the operator's settings.
//!
//! Its Pods meet Pod Security *restricted*, hold no API token and no right, mount the volume for reading only, and
//! carry only our own labels and those that the settings name. No credential stands in it: the Pod mounts the Secret.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::launch::Launch;
use super::revision::hex;
use super::volume::Volume;
use crate::resource::{
    ANNOTATION_ATTEMPT, ANNOTATION_CREDENTIALS_VERSION, ANNOTATION_GENERATION, ANNOTATION_SETTINGS, FIELD_MANAGER,
    FileUpload, LABEL_FILE_UPLOAD, LABEL_MANAGED_BY, LABEL_UID, SECRET_API_KEY, SECRET_TEAM_ID, Worker,
};

/// The user that workers run as unless `spec.worker` names another: nobody's.
const USER: i64 = 65532;
/// Where the volume is mounted.
pub const SOURCE: &str = "/source";
const CREDENTIALS: &str = "/credentials";
const DEFAULT_RESOURCES: [(&str, &str); 2] = [("cpu", "250m"), ("memory", "64Mi")];
/// Meshes would add a container that never ends, and need rights that a worker does not have.
const MESH_LABELS: [(&str, &str); 2] =
    [("sidecar.istio.io/inject", "false"), ("kuma.io/sidecar-injection", "disabled")];
const MESH_ANNOTATIONS: [(&str, &str); 4] = [
    ("sidecar.istio.io/inject", "false"),
    ("linkerd.io/inject", "disabled"),
    ("consul.hashicorp.com/connect-inject", "false"),
    ("kuma.io/sidecar-injection", "disabled"),
];

/// What the operator was told of its workers.
#[derive(Clone, Debug, Default)]
pub struct WorkerSettings {
    /// The API they call.
    pub api_url: String,
    /// Whether `http:` is accepted.
    pub allow_http: bool,
    /// Their image.
    pub image: String,
    /// How long a Job may take, in seconds.
    pub deadline: i64,
    /// Secrets to pull the image with; they must exist in each namespace.
    pub pull_secrets: Vec<String>,
    /// Further labels of Jobs and Pods.
    pub labels: BTreeMap<String, String>,
    /// Certificates to trust besides the system's, as PEM.
    pub ca_pem: Option<String>,
    /// `HTTPS_PROXY` and its kin, by name.
    pub proxies: BTreeMap<String, String>,
}

/// Identifies what a worker of `upload` would be made with: where it differs, a Job that has not started is made anew.
pub fn settings(upload: &FileUpload, settings: &WorkerSettings) -> String {
    let text = json!([upload.spec.worker, format!("{settings:?}")]).to_string();
    hex(&Sha256::digest(text)[..8])
}

/// The Job of a launch.
///
/// # Errors
/// None that can happen: the manifest is made here.
pub fn job(upload: &FileUpload, launch: &Launch, settings: &WorkerSettings) -> serde_json::Result<Job> {
    let mut labels = BTreeMap::from([
        (LABEL_MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned()),
        (LABEL_FILE_UPLOAD.to_owned(), upload.metadata.name.clone().unwrap_or_default()),
        (LABEL_UID.to_owned(), upload.metadata.uid.clone().unwrap_or_default()),
    ]);
    labels.extend(settings.labels.clone());
    let mut pod_labels = labels.clone();
    pod_labels.extend(MESH_LABELS.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let annotations = BTreeMap::from([
        (ANNOTATION_ATTEMPT, launch.attempt.to_string()),
        (ANNOTATION_GENERATION, upload.metadata.generation.unwrap_or_default().to_string()),
        (ANNOTATION_CREDENTIALS_VERSION, launch.credentials_version.clone()),
        (ANNOTATION_SETTINGS, launch.settings.clone()),
    ]);
    // On the Pods too: they may be all that is left of a Job.
    let mut pod_annotations = annotations.clone();
    pod_annotations.extend(MESH_ANNOTATIONS.map(|(name, value)| (name, value.to_owned())));
    let mut spec = json!({
        "activeDeadlineSeconds": settings.deadline,
        "parallelism": launch.parallelism,
        "completions": launch.shards,
        "template": {
            "metadata": { "labels": pod_labels, "annotations": pod_annotations },
            "spec": pod(upload, launch, settings),
        },
    });
    if launch.shards > 1 {
        // With a limit on all, one share that fails would take its siblings down.
        spec["completionMode"] = "Indexed".into();
        spec["backoffLimitPerIndex"] = 0.into();
    } else {
        spec["backoffLimit"] = 0.into();
    }
    serde_json::from_value(json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": launch.name,
            "namespace": upload.metadata.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload", "controller": true,
                "name": upload.metadata.name, "uid": upload.metadata.uid.as_deref().unwrap_or_default(),
            }],
        },
        "spec": spec,
    }))
}

fn pod(upload: &FileUpload, launch: &Launch, settings: &WorkerSettings) -> Value {
    let worker = upload.spec.worker.clone().unwrap_or_default();
    let mut node_selector = BTreeMap::from([("kubernetes.io/os".to_owned(), "linux".to_owned())]);
    node_selector.extend(worker.node_selector.clone().unwrap_or_default());
    let mut tolerations = worker.tolerations.clone().unwrap_or_default();
    for toleration in &launch.placement.tolerations {
        if !tolerations.contains(toleration) {
            tolerations.push(toleration.clone());
        }
    }
    let pull_secrets: Vec<_> = settings.pull_secrets.iter().map(|name| json!({ "name": name })).collect();
    json!({
        "restartPolicy": "Never",
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "securityContext": security(&worker),
        "nodeSelector": node_selector,
        "tolerations": tolerations,
        "affinity": launch.placement.node.as_ref().map(|node| json!({ "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [{
                "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [node] }],
            }]},
        }})),
        "imagePullSecrets": pull_secrets,
        "containers": [container(&worker, launch, settings)],
        "volumes": [volume(launch), credentials(upload.spec.secret_name())],
    })
}

/// No fsGroup: it would give the user's files to another group.
fn security(worker: &Worker) -> Value {
    let user = worker.run_as_user.unwrap_or(USER);
    json!({
        "runAsNonRoot": (user != 0).then_some(true),
        "runAsUser": user,
        "runAsGroup": worker.run_as_group.unwrap_or(user),
        "supplementalGroups": worker.supplemental_groups,
        "seccompProfile": { "type": "RuntimeDefault" },
    })
}

fn container(worker: &Worker, launch: &Launch, settings: &WorkerSettings) -> Value {
    let environment: Vec<_> =
        settings.proxies.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    json!({
        "name": "worker",
        "image": settings.image,
        "args": arguments(launch, settings),
        "env": environment,
        "resources": resources(worker),
        "terminationMessagePolicy": "File",
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
        "volumeMounts": [
            { "name": "source", "mountPath": SOURCE, "readOnly": true },
            { "name": "credentials", "mountPath": CREDENTIALS, "readOnly": true },
        ],
    })
}

fn arguments(launch: &Launch, settings: &WorkerSettings) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["worker", "--api-url", &settings.api_url, "--source", SOURCE, "--credentials", CREDENTIALS]
            .map(str::to_owned)
            .into();
    if settings.allow_http {
        arguments.push("--allow-http".into());
    }
    if let Some(pem) = &settings.ca_pem {
        arguments.extend(["--ca-pem".into(), pem.clone()]);
    }
    if launch.shards > 1 {
        arguments.extend(["--shards".into(), launch.shards.to_string()]);
    }
    if matches!(launch.volume, Volume::ConfigMap(_)) {
        arguments.push("--settled".into()); // the kubelet writes a ConfigMap as a whole
    }
    // The kubelet would expand `$(NAME)`, which may well stand in a path.
    arguments.extend(launch.files.iter().map(|file| json!(file).to_string().replace('$', r"\u0024")));
    arguments
}

/// The same small amounts are asked for and allowed; what the spec names takes their place.
fn resources(worker: &Worker) -> Value {
    let given = worker.resources.clone().unwrap_or_default();
    let mut limits = json!(BTreeMap::from(DEFAULT_RESOURCES));
    let mut requests = json!({});
    for (name, quantity) in given.limits.iter().flatten() {
        limits[name] = json!(quantity);
    }
    for (name, quantity) in given.requests.iter().flatten() {
        requests[name] = json!(quantity);
        if given.limits.as_ref().is_none_or(|limits| !limits.contains_key(name)) {
            limits[name] = json!(quantity);
        }
    }
    for (name, quantity) in limits.as_object().cloned().unwrap_or_default() {
        if requests.get(&name).is_none() {
            requests[&name] = quantity;
        }
    }
    json!({ "limits": limits, "requests": requests })
}

fn volume(launch: &Launch) -> Value {
    match &launch.volume {
        Volume::Claim(name) => {
            let read_only = launch.placement.read_only.then_some(true);
            json!({ "name": "source", "persistentVolumeClaim": { "claimName": name, "readOnly": read_only } })
        }
        Volume::ConfigMap(name) => json!({ "name": "source", "configMap": { "name": name, "defaultMode": 0o444 } }),
    }
}

/// A source for each key, as a Secret may lack the team's id but not the token. The mode lets any user read it.
fn credentials(secret: &str) -> Value {
    let source = |key: &str, optional: Option<bool>| json!({ "secret": { "name": secret, "optional": optional, "items": [{ "key": key, "path": key }] } });
    json!({ "name": "credentials", "projected": {
        "defaultMode": 0o444,
        "sources": [source(SECRET_API_KEY, None), source(SECRET_TEAM_ID, Some(true))],
    }})
}
