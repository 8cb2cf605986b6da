//! The Pod of a worker, as its Job makes it.
//!
//! It meets Pod Security *restricted*, holds no API token and no right, mounts the volume for reading only, and carries our
//! own labels besides those that the spec and the operator's defaults name. No credential stands in it: it mounts the
//! Secret. It runs as the image's own user unless another is named, so that a cluster which assigns users can.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Value, json};

use super::super::super::acts::Launch;
use super::super::super::facts::Volume;
use crate::resource::{FileUpload, SECRET_API_KEY, SECRET_TEAM_ID, Worker, WorkerResources, WorkerSecurityContext};

/// The container's name, and the command that it runs.
pub(super) const WORKER: &str = "worker";
/// The name of the volume that is read.
pub(super) const VOLUME: &str = "source";
/// The flag that says into how many shares the files are cut.
pub(super) const SHARDS: &str = "--shards";
/// The field that names a node.
pub(super) const NODE_NAME: &str = "metadata.name";
/// Where the volume is mounted.
const SOURCE: &str = "/source";
const CREDENTIALS: &str = "/credentials";
const DEFAULT_REQUESTS: [(&str, &str); 2] = [("cpu", "250m"), ("memory", "64Mi")];
/// The keys of a folder so far, and where they are mounted.
const PART: &str = "part";
const PART_PATH: &str = "/part";
/// Meshes would add a container that never ends, and need rights that a worker does not have.
const MESH_LABELS: [(&str, &str); 2] =
    [("sidecar.istio.io/inject", "false"), ("kuma.io/sidecar-injection", "disabled")];
const MESH_ANNOTATIONS: [(&str, &str); 4] = [
    ("sidecar.istio.io/inject", "false"),
    ("linkerd.io/inject", "disabled"),
    ("consul.hashicorp.com/connect-inject", "false"),
    ("kuma.io/sidecar-injection", "disabled"),
];
/// Consolidation would end an upload, which begins again at its first byte.
const EVICTION_ANNOTATIONS: [(&str, &str); 2] =
    [("karpenter.sh/do-not-disrupt", "true"), ("cluster-autoscaler.kubernetes.io/safe-to-evict", "false")];
/// The architecture that this program is built for, as nodes name it. Workers run the same image.
const ARCHITECTURE: Option<&str> = if cfg!(target_arch = "x86_64") {
    Some("amd64")
} else if cfg!(target_arch = "aarch64") {
    Some("arm64")
} else {
    None
};

/// What the operator was told of its workers.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkerSettings {
    /// The API they call.
    pub api_url: String,
    /// Whether `http:` is accepted.
    pub allow_http: bool,
    /// Their image.
    pub image: String,
    /// When a node pulls it, as Kubernetes names it; by default the cluster decides by the tag.
    pub pull_policy: Option<String>,
    /// How long a Job may take, in seconds.
    pub deadline: i64,
    /// Secrets to pull the image with; they must exist in each namespace.
    pub pull_secrets: Vec<String>,
    /// What holds where the spec says nothing.
    pub defaults: Worker,
    /// Certificates to trust besides the system's, as PEM.
    pub ca_pem: Option<String>,
    /// `HTTPS_PROXY` and its kin, by name.
    pub proxies: BTreeMap<String, String>,
}

impl WorkerSettings {
    /// The settings of the workers of a resource.
    pub(super) fn of(&self, upload: &FileUpload) -> Worker {
        upload.spec.worker.as_ref().map_or_else(|| self.defaults.clone(), |worker| worker.or(&self.defaults))
    }
}

/// The template of the Pods of a Job that has these labels and annotations. The Pods carry them too: they may be all that
/// is left of a Job.
pub(super) fn template(
    upload: &FileUpload,
    launch: &Launch,
    settings: &WorkerSettings,
    worker: Worker,
    job: &Value,
) -> Value {
    let mut metadata = json!({ "labels": job["labels"], "annotations": job["annotations"] });
    for (name, value) in MESH_LABELS {
        metadata["labels"][name] = value.into();
    }
    for (name, value) in MESH_ANNOTATIONS.into_iter().chain(EVICTION_ANNOTATIONS) {
        metadata["annotations"][name] = value.into();
    }
    json!({ "metadata": metadata, "spec": pod(upload, launch, settings, worker) })
}

fn pod(upload: &FileUpload, launch: &Launch, settings: &WorkerSettings, worker: Worker) -> Value {
    let own = [Some(("kubernetes.io/os", "linux")), ARCHITECTURE.map(|name| ("kubernetes.io/arch", name))];
    let own = own.into_iter().flatten().map(|(label, value)| (label.to_owned(), value.to_owned()));
    let mut node_selector: BTreeMap<_, _> = own.collect();
    node_selector.extend(worker.node_selector.unwrap_or_default());
    let mut tolerations = worker.tolerations.unwrap_or_default();
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
        // All names that a worker looks up are whole: search domains only delay or distort them.
        "dnsConfig": { "options": [{ "name": "ndots", "value": "1" }] },
        "securityContext": security(&worker.security_context.unwrap_or_default(), launch),
        "nodeSelector": node_selector,
        "tolerations": tolerations,
        "affinity": launch.placement.node.as_ref().map(|node| json!({ "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [{
                "matchFields": [{ "key": NODE_NAME, "operator": "In", "values": [node] }],
            }]},
        }})),
        "imagePullSecrets": pull_secrets,
        "priorityClassName": worker.priority_class_name,
        "containers": [container(worker.resources.unwrap_or_default(), launch, settings)],
        "volumes": volumes(upload, launch),
    })
}

/// No fsGroup: it would give the user's files to another group. The SELinux level is that of a Pod which uses the claim, or
/// the runtime would relabel the volume for the worker alone.
fn security(worker: &WorkerSecurityContext, launch: &Launch) -> Value {
    let level = launch.placement.level.as_ref().map(|level| json!({ "level": level }));
    json!({
        "runAsNonRoot": true,
        "runAsUser": worker.run_as_user,
        "runAsGroup": worker.run_as_group.or(worker.run_as_user),
        "supplementalGroups": worker.supplemental_groups,
        "seLinuxOptions": worker.se_linux_options.as_ref().map(|options| json!(options)).or(level),
        "seccompProfile": { "type": "RuntimeDefault" },
    })
}

fn container(resources: WorkerResources, launch: &Launch, settings: &WorkerSettings) -> Value {
    let environment: Vec<_> =
        settings.proxies.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    json!({
        "name": WORKER,
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        "args": arguments(launch, settings),
        "env": environment,
        "resources": completed(resources),
        // What a crash before the first line of a report leaves.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
        "volumeMounts": mounts(launch),
    })
}

fn arguments(launch: &Launch, settings: &WorkerSettings) -> Vec<String> {
    let mut arguments: Vec<String> =
        [WORKER, "--api-url", &settings.api_url, "--source", SOURCE, "--credentials", CREDENTIALS]
            .map(str::to_owned)
            .into();
    if settings.allow_http {
        arguments.push("--allow-http".into());
    }
    if let Some(pem) = &settings.ca_pem {
        arguments.extend(["--ca-pem".into(), pem.clone()]);
    }
    if launch.shards > 1 {
        arguments.extend([SHARDS.into(), launch.shards.to_string()]);
    }
    if matches!(launch.volume, Volume::ConfigMap(_)) {
        arguments.push("--settled".into()); // the kubelet writes a ConfigMap as a whole
    }
    // The kubelet would expand `$(NAME)`, which may well stand in a path.
    arguments.extend(launch.files.iter().map(|file| json!(file).to_string().replace('$', r"\u0024")));
    arguments
}

/// Small amounts for what nobody names.
fn completed(named: WorkerResources) -> Value {
    let defaults = DEFAULT_REQUESTS.map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned())));
    let defaults = WorkerResources { limits: None, requests: Some(defaults.into()) };
    json!(named.or(defaults).completed())
}

fn mounts(launch: &Launch) -> Vec<Value> {
    let mount = |name: &str, path: &str| json!({ "name": name, "mountPath": path, "readOnly": true });
    let part = part_name(launch).map(|_| mount(PART, PART_PATH));
    [mount(VOLUME, SOURCE), mount("credentials", CREDENTIALS)].into_iter().chain(part).collect()
}

fn volumes(upload: &FileUpload, launch: &Launch) -> Vec<Value> {
    // A worker that does not find what it was told of waits for it, and then sends all.
    let part =
        |name: &str| json!({ "name": PART, "configMap": { "name": name, "defaultMode": 0o444, "optional": true } });
    let own = [volume(launch), credentials(upload.spec.secret_name())];
    own.into_iter().chain(part_name(launch).map(part)).collect()
}

/// The ConfigMap with the keys of a folder so far, if a worker builds on them.
fn part_name(launch: &Launch) -> Option<&str> {
    let folder = launch.files.iter().find_map(|file| file.folder.as_deref())?;
    (!folder.part.is_empty()).then_some(folder.part_name.as_str())
}

fn volume(launch: &Launch) -> Value {
    match &launch.volume {
        Volume::Claim(name) => {
            let read_only = launch.placement.read_only.then_some(true);
            json!({ "name": VOLUME, "persistentVolumeClaim": { "claimName": name, "readOnly": read_only } })
        }
        Volume::ConfigMap(name) => json!({ "name": VOLUME, "configMap": { "name": name, "defaultMode": 0o444 } }),
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
