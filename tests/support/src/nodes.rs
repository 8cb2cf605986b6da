//! The nodes: their names, and taints that keep pods off one.

use anyhow::Context as _;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::world::World;

impl World {
    /// The nodes by name. Operators run on the first; a test may keep pods off any other.
    pub async fn node_names(&self) -> anyhow::Result<Vec<String>> {
        let nodes = self.list("Node").await?;
        let mut names: Vec<_> =
            nodes.iter().filter_map(|node| node["metadata"]["name"].as_str().map(str::to_owned)).collect();
        names.sort();
        Ok(names)
    }

    /// Keeps new pods that do not tolerate `key` (`key: Exists`) off a node, until the end of the test; returns once the
    /// scheduler does so.
    pub async fn taint(&mut self, node: &str, key: &str) -> anyhow::Result<()> {
        self.taints.push((node.to_owned(), key.to_owned()));
        self.set_taint(node, key, Some(json!({"key": key, "effect": "NoSchedule"}))).await?;
        self.kept_off(node).await
    }

    /// Lets pods onto a node again.
    pub async fn untaint(&self, node: &str, key: &str) -> anyhow::Result<()> {
        self.set_taint(node, key, None).await
    }

    async fn set_taint(&self, node: &str, key: &str, taint: Option<Value>) -> anyhow::Result<()> {
        loop {
            let seen = self.read("Node", node).await?;
            let others = seen["spec"]["taints"].as_array().cloned().unwrap_or_default();
            let others = others.into_iter().filter(|other| other["key"] != key);
            let taints: Vec<_> = others.chain(taint.clone()).collect();
            let version = &seen["metadata"]["resourceVersion"];
            let patch = Patch::Merge(json!({"metadata": {"resourceVersion": version}, "spec": {"taints": taints}}));
            match self.api("Node").patch(node, &PatchParams::default(), &patch).await {
                // Another test's taint must not be lost.
                Err(kube::Error::Api(refusal)) if refusal.code == 409 => {}
                answer => return answer.map(drop).with_context(|| format!("cannot taint {node}")),
            }
        }
    }
}
