//! `spec.worker`: settings of the Pods that read the volumes of a resource, in Kubernetes' own names and types.
//!
//! Every field is optional. By default a worker runs as an unprivileged user on any Linux node. The operator's own
//! defaults have the same shape. What is wrong with either is found by `check`.

#![expect(unreachable_pub, reason = "KubeSchema derives through a type of its own that cannot be reached")]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{SELinuxOptions, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::metadata;

pub use self::bounds::why_refused;

mod bounds;
mod check;
mod merge;

/// Settings of the Pods that read volumes.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[schemars(transform = bounds::with_moved)]
#[x_kube(validation = Rule::new("!has(self.priorityClassName) || !self.priorityClassName.startsWith('system-')").message("priorityClassName must not begin with system-: a worker is not part of the cluster's own system"))]
#[serde(rename_all = "camelCase")]
pub struct Worker {
    /// Who reads the files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_context: Option<WorkerSecurityContext>,
    /// Labels that a node must have to run the worker Pods. `kubernetes.io/arch` defaults to the operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "metadata::node_labels")]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Tolerations of the worker Pods, besides those of a Pod that uses the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::tolerations")]
    pub tolerations: Option<Vec<Toleration>>,
    /// Requests and limits of the worker container. Defaults to requests of 250m CPU and 64Mi memory, and a limit of 64Mi
    /// memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<WorkerResources>,
    /// The `PriorityClass` of the worker Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub priority_class_name: Option<String>,
    /// Labels of the worker Jobs and Pods. They do not override the operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "metadata::worker_labels")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations of the worker Jobs and Pods. They do not override the operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "metadata::annotations")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// Who reads the files.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[schemars(transform = bounds::with_fs_group)]
#[x_kube(validation = Rule::new("!has(self.runAsUser) || self.runAsUser != 0").message(bounds::ROOT))]
#[serde(rename_all = "camelCase")]
pub struct WorkerSecurityContext {
    /// The uid that reads the files, but 0. Defaults to the image's (65532), or to the one that the cluster assigns. Files
    /// that only their owner may read need the owner's uid. Files of root are for a sidecar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub run_as_user: Option<i64>,
    /// The gid that reads the files. Defaults to the number of `runAsUser`, if that is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub run_as_group: Option<i64>,
    /// Supplemental groups of the worker Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), inner(range(min = 0, max = 2_147_483_647)))]
    pub supplemental_groups: Option<Vec<i64>>,
    /// The SELinux labels of the worker Pods. By default the level of a Pod that uses the claim, if it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::se_linux_options")]
    pub se_linux_options: Option<SELinuxOptions>,
}

/// Requests and limits of the worker container.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerResources {
    /// Limits by resource. A resource that has only a limit requests the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::quantities")]
    pub limits: Option<BTreeMap<String, Quantity>>,
    /// Requests by resource. A resource other than `cpu` that has only a request is limited to the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::quantities")]
    pub requests: Option<BTreeMap<String, Quantity>>,
}
