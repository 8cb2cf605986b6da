//! What the API server refuses for a while, in this namespace alone: so that a step can be stopped exactly there.
//!
//! A `ValidatingAdmissionPolicy` and its binding. They belong to the namespace and go with it. Refusals are
//! answered with 422, which no lack of rights is.

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::DEADLINE;
use crate::audit::Request;
use crate::space::Space;
use crate::world::World;

impl Space {
    /// Refuses requests of `verb` (`CREATE`, `UPDATE`, `DELETE`) for `resource` (`GROUP/RESOURCE`) for which the CEL
    /// expression is false, with these words; returns once that holds.
    pub async fn forbid(
        &self,
        name: &str,
        (verb, resource): (&str, &str),
        allowed: &str,
        words: &str,
    ) -> anyhow::Result<()> {
        let (group, resource) = resource.split_once('/').unwrap_or(("", resource));
        let name = format!("{}-{name}", self.namespace);
        let namespace = Api::<Namespace>::all(self.client.clone()).get(&self.namespace).await?;
        let owner = json!([{
            "apiVersion": "v1", "kind": "Namespace", "name": self.namespace, "uid": namespace.metadata.uid,
        }]);
        let rule = |group: &str, resource: &str, verb: &str| json!({"apiGroups": [group], "apiVersions": ["*"], "resources": [resource], "operations": [verb]});
        // What nobody makes tells when the policy is in force.
        let is_probed = "request.resource.resource == 'configmaps' && request.operation == 'CREATE'";
        let probe = format!("!({is_probed}) || object.metadata.name != '{name}'");
        let judged = match (resource, verb) {
            ("configmaps", "CREATE") => allowed.to_owned(),
            _ => format!("({is_probed}) || ({allowed})"),
        };
        let spec = json!({
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [rule(group, resource, verb), rule("", "configmaps", "CREATE")]},
            "validations": [{"expression": probe, "message": "in force"}, {"expression": judged, "message": words}],
        });
        self.create(
            "ValidatingAdmissionPolicy",
            &name,
            json!({"metadata": {"ownerReferences": owner.clone()}, "spec": spec}),
        )
        .await?;
        let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": self.namespace}});
        let spec = json!({
            "policyName": name, "validationActions": ["Deny"], "matchResources": {"namespaceSelector": selector},
        });
        self.create(
            "ValidatingAdmissionPolicyBinding",
            &name,
            json!({"metadata": {"ownerReferences": owner}, "spec": spec}),
        )
        .await?;
        self.in_force(&name, true).await
    }

    /// Takes a [`Space::forbid`] back; returns once that holds.
    pub async fn permit(&self, name: &str) -> anyhow::Result<()> {
        let name = format!("{}-{name}", self.namespace);
        self.delete("ValidatingAdmissionPolicyBinding", &name).await?;
        self.delete("ValidatingAdmissionPolicy", &name).await?;
        self.in_force(&name, false).await
    }

    async fn in_force(&self, name: &str, expected: bool) -> anyhow::Result<()> {
        let probe = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
        }));
        let (probe, dry) = (probe?, PostParams { dry_run: true, ..PostParams::default() });
        let refused = async || {
            let answer = self.api("ConfigMap").create(&dry, &probe).await;
            let refused = answer.err().map(|error| error.to_string());
            Ok((refused.as_ref().is_some_and(|error| error.contains("in force")) == expected, refused))
        };
        self.wait_for(DEADLINE, &format!("policy {name} in force: {expected}"), refused).await?;
        Ok(())
    }
}

impl World {
    /// Waits until a policy has refused the operator this, as the audit log calls it (`patch`, `fileuploads/status`).
    pub async fn was_refused(&self, verb: &str, resource: &str) -> anyhow::Result<()> {
        let is_it = |request: &Request| request.verb == verb && request.resource == resource && request.code == 422;
        let look = async || {
            let count = self.requests()?.map(|requests| requests.iter().filter(|request| is_it(request)).count());
            Ok((count != Some(0), count))
        };
        self.wait_for(DEADLINE * 4, &format!("a refused {verb} of {resource}"), look).await?;
        Ok(())
    }
}
