//! `spec.worker`: settings of the Pods that read the volumes of a resource.
//!
//! Every field is optional. By default a worker runs as an unprivileged user on any Linux node. Tolerations and
//! quantities have the types that Pods use.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{SELinuxOptions, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Settings of the Pods that read volumes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Worker {
    /// The uid that reads the files. Defaults to the image's (65532), or to the one that the cluster assigns. Files that
    /// only their owner may read need the owner's uid.
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
    pub se_linux_options: Option<SELinuxOptions>,
    /// Labels that a node must have to run the worker Pods. `kubernetes.io/arch` defaults to the operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 32))]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Tolerations of the worker Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub tolerations: Option<Vec<Toleration>>,
    /// Requests and limits of the worker container. Both default to the same small amounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<WorkerResources>,
}

/// Requests and limits of the worker container.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerResources {
    /// Limits by resource. If only limits are set, they are the requests too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "quantities")]
    pub limits: Option<BTreeMap<String, Quantity>>,
    /// Requests by resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "quantities")]
    pub requests: Option<BTreeMap<String, Quantity>>,
}

/// Amounts by resource, written as in a Pod: `1`, `250m`, `64Mi`.
fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {
            "pattern": r"^[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+|[kMGTPE]i?|Ki|m)?$",
            "x-kubernetes-int-or-string": true,
        },
    })
}
