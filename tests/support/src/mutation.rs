//! What the API server changes in each object that is created in this namespace, as the webhooks of a cluster do: a
//! container is added, or a field is set.
//!
//! A `MutatingAdmissionPolicy`, which Kubernetes has from 1.36 on, and its binding. They belong to the namespace and go
//! with it.

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::DEADLINE;
use crate::space::Space;
use crate::world::World;

impl Space {
    /// Lets the API server change each new object of `kind`, whose resource is `GROUP/RESOURCE`, by a CEL expression for
    /// the list of a JSON patch's operations; returns once `probe` would come out as it should.
    pub async fn mutate(
        &self,
        (kind, resource): (&str, &str),
        patch: &str,
        mut probe: Value,
        is_changed: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<()> {
        let (group, resource) = resource.split_once('/').unwrap_or(("", resource));
        let name = format!("{}-changes-{resource}", self.namespace);
        let namespace = Api::<Namespace>::all(self.client.clone()).get(&self.namespace).await?;
        let owner = json!([{
            "apiVersion": "v1", "kind": "Namespace", "name": self.namespace, "uid": namespace.metadata.uid,
        }]);
        let rule = json!({
            "apiGroups": [group], "apiVersions": ["*"], "resources": [resource], "operations": ["CREATE"],
        });
        let spec = json!({
            "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "matchConstraints": {"resourceRules": [rule]},
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
        });
        let body = json!({"metadata": {"ownerReferences": owner.clone()}, "spec": spec});
        self.create("MutatingAdmissionPolicy", &name, body).await?;
        let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": self.namespace}});
        let spec = json!({"policyName": name, "matchResources": {"namespaceSelector": selector}});
        let body = json!({"metadata": {"ownerReferences": owner}, "spec": spec});
        self.create("MutatingAdmissionPolicyBinding", &name, body).await?;

        probe["metadata"]["name"] = "probe".into();
        let probe = serde_json::from_value(probe)?;
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let look = async || {
            let made = serde_json::to_value(self.api(kind).create(&dry, &probe).await?)?;
            Ok((is_changed(&made), made))
        };
        self.wait_for(DEADLINE, &format!("a {kind} to be changed by the policy"), look).await.map(drop)
    }
}

impl World {
    /// Lets the API server put a container of each of these names, which runs this script, before those of each new pod.
    pub async fn inject(&self, names: &[&str], script: &str) -> anyhow::Result<()> {
        let image = self.cluster.busybox()?;
        let containers = names.iter().map(|name| {
            let container = container("containers", name, image, script);
            format!(r#"JSONPatch{{op: "add", path: "/spec/containers/0", value: {container}}}"#)
        });
        let patch = format!("[{}]", containers.collect::<Vec<_>>().join(", "));
        let all = |pod: &Value| pod["spec"]["containers"].as_array().map_or(0, Vec::len) == names.len() + 1;
        self.mutate_pods(&patch, all).await
    }

    /// Lets the API server put an init container of this name, which runs this script, into each new pod.
    pub async fn inject_init(&self, name: &str, script: &str) -> anyhow::Result<()> {
        let container = container("initContainers", name, self.cluster.busybox()?, script);
        // The API server panics at a list of typed objects.
        let list = r#"JSONPatch{op: "add", path: "/spec/initContainers", value: []}"#;
        let patch = format!(r#"[{list}, JSONPatch{{op: "add", path: "/spec/initContainers/-", value: {container}}}]"#);
        self.mutate_pods(&patch, |pod| pod["spec"]["initContainers"].is_array()).await
    }

    async fn mutate_pods(&self, patch: &str, is_changed: impl Fn(&Value) -> bool) -> anyhow::Result<()> {
        self.default_account().await?;
        let probe = self.pod_body(json!({"containers": [{"command": ["busybox", "true"]}]}))?;
        self.mutate(("Pod", "/pods"), patch, probe, is_changed).await
    }
}

/// A container, as CEL has it, that Pod Security `restricted` admits.
fn container(field: &str, name: &str, image: &str, script: &str) -> String {
    format!(
        r#"Object.spec.{field}{{
            name: "{name}", image: "{image}", command: ["sh", "-c", {script:?}],
            securityContext: Object.spec.{field}.securityContext{{
                runAsUser: 65532, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true,
                capabilities: Object.spec.{field}.securityContext.capabilities{{drop: ["ALL"]}}
            }}
        }}"#
    )
}
