//! Objects of others, which the operator must not pay for: Pods of usual size and ConfigMaps, in the same namespaces.
//!
//! No node runs: the Pods are given to one that only has a name, and their status is written by hand.

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::hands;
use crate::options::Options;
use crate::stage::namespace;

/// A node that does not exist but as an object.
pub(crate) const NODE: &str = "bench-node";

/// Makes them all.
pub(crate) async fn make(client: &Client, options: &Options) -> anyhow::Result<()> {
    hands::create(client, "Node", json!({"metadata": {"name": NODE}})).await?;
    let config_map = |number: usize| {
        let metadata = json!({"namespace": namespace(number, options), "name": format!("foreign-{number:06}")});
        json!({"metadata": metadata, "data": {"settings.yaml": "key: value, of no interest\n".repeat(38)}})
    };
    let config_maps = (0..options.foreign_config_maps).map(config_map);
    hands::create_all(client, "ConfigMap", config_maps, options.concurrency).await?;
    let pods = stream::iter(0..options.foreign_pods).map(|number| run(client, number, options));
    pods.buffer_unordered(options.concurrency).try_for_each(|()| async { Ok(()) }).await
}

/// A Pod that is created, and runs as far as its status can tell.
async fn run(client: &Client, number: usize, options: &Options) -> anyhow::Result<()> {
    let pod = hands::create(client, "Pod", pod(number, options)).await?;
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    Ok(hands::patch_status(client, "Pod", &namespace, &name, status(number)).await?)
}

fn containers(number: usize) -> &'static [&'static str] {
    if number.is_multiple_of(2) { &["server", "proxy"] } else { &["server", "proxy", "metrics"] }
}

/// Every second one names a claim.
fn pod(number: usize, options: &Options) -> Value {
    let labels = json!({
        "app.kubernetes.io/name": "server", "app.kubernetes.io/instance": format!("server-{}", number / 10),
        "app.kubernetes.io/managed-by": "Helm", "pod-template-hash": "6d4cf56db6",
    });
    let environment: Vec<_> =
        (0..8).map(|at| json!({"name": format!("SETTING_{at}"), "value": "a usual value"})).collect();
    let container = |name: &&str| {
        json!({
            "name": name, "image": format!("registry.example.com/team/{name}:1.2.3"), "env": environment,
            "ports": [{"containerPort": 8080}], "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
            "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}},
        })
    };
    let volume = if number.is_multiple_of(2) {
        json!({"name": "data", "persistentVolumeClaim": {"claimName": format!("server-{}", number % 100)}})
    } else {
        json!({"name": "data", "emptyDir": {}})
    };
    json!({
        "metadata": {"namespace": namespace(number, options), "name": format!("server-{number:06}"), "labels": labels},
        "spec": {
            "nodeName": NODE, "automountServiceAccountToken": false, "volumes": [volume],
            "containers": containers(number).iter().map(container).collect::<Vec<_>>(),
        },
    })
}

fn status(number: usize) -> Value {
    const SINCE: &str = "2026-01-01T00:00:00Z";
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": SINCE});
    let container = |name: &&str| {
        json!({
            "name": name, "image": format!("registry.example.com/team/{name}:1.2.3"), "ready": true, "started": true,
            "imageID": format!("registry.example.com/team/{name}@sha256:{:064x}", 7), "restartCount": 0,
            "containerID": format!("containerd://{number:064x}"), "state": {"running": {"startedAt": SINCE}},
        })
    };
    let conditions = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
    json!({
        "phase": "Running", "qosClass": "Burstable", "startTime": SINCE, "hostIP": "10.0.0.1", "podIP": "10.0.1.1",
        "podIPs": [{"ip": "10.0.1.1"}], "conditions": conditions.map(condition),
        "containerStatuses": containers(number).iter().map(container).collect::<Vec<_>>(),
    })
}
