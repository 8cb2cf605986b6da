//! The chart's admission policies, in force for each operator of a test.
//!
//! Tests share an account, and each operator calls a double of its own. So each has its own policies, as the chart writes
//! them for its values: with `watchNamespaces` they hold in the test's namespaces alone. A request that they refuse is
//! answered with 403, which fails the test as a lacking right does.

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::space::Space;
use crate::world::World;

impl World {
    /// Applies the policies among these manifests of the chart. They belong to the test's namespace, and go with it.
    pub(crate) async fn bound_by(&self, manifests: &str) -> anyhow::Result<()> {
        let namespace = Api::<Namespace>::all(self.client.clone()).get(&self.namespace).await?;
        let owner = json!([{
            "apiVersion": "v1", "kind": "Namespace", "name": self.namespace, "uid": namespace.metadata.uid,
        }]);
        let written = PatchParams::apply("test").force();
        for manifest in manifests.split("\n---\n").filter(|text| text.contains("\nkind: ValidatingAdmissionPolicy")) {
            let mut policy: Value = serde_yaml::from_str(manifest)?;
            policy["metadata"]["ownerReferences"] = owner.clone();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (kind, name) = (text(&policy["kind"]), text(&policy["metadata"]["name"]));
            let applied = self.api(&kind).patch(&name, &written, &Patch::Apply(policy)).await;
            applied.with_context(|| format!("the API server does not take {kind} {name}"))?;
        }
        Ok(())
    }

    /// Hands with the operator's own token, as a thief would have them, in the test's namespace.
    pub async fn thief(&mut self) -> anyhow::Result<Space> {
        let account = self.account.trim_start_matches("system:serviceaccount:").to_owned();
        let (namespace, name) = account.split_once(':').context("no operator was started")?;
        let token = self.service_account_token(namespace, name).await?;
        let client: Client = self.cluster.client_with(&token).await?;
        Ok(Space { client, ..Space::clone(self) })
    }
}
