//! The nodes: their names, and taints that keep pods off one.

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

    /// Keeps new pods that do not tolerate `key` (`key: Exists`) off a node, until the end of the test.
    pub async fn taint(&mut self, node: &str, key: &str) -> anyhow::Result<()> {
        self.taints.push((node.to_owned(), key.to_owned()));
        let mut taints = self.taints_but(node, key).await?;
        taints.push(json!({"key": key, "effect": "NoSchedule"}));
        self.patch("Node", node, json!({"spec": {"taints": taints}})).await
    }

    /// Lets pods onto a node again.
    pub async fn untaint(&self, node: &str, key: &str) -> anyhow::Result<()> {
        let taints = self.taints_but(node, key).await?;
        self.patch("Node", node, json!({"spec": {"taints": taints}})).await
    }

    async fn taints_but(&self, node: &str, key: &str) -> anyhow::Result<Vec<Value>> {
        let taints = self.read("Node", node).await?["spec"]["taints"].as_array().cloned().unwrap_or_default();
        Ok(taints.into_iter().filter(|taint| taint["key"] != key).collect())
    }
}
