//! Whether what was just written is in force: components of the cluster judge by caches of their own.
//!
//! The API server authorizes and admits by what its watches have brought, and the scheduler places by what its own have.
//! A test that relies on a rule asks the component itself until it acts by it; on a busy machine that takes seconds.

use anyhow::Context as _;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::space::Space;
use crate::world::World;
use crate::{DEADLINE, PATIENCE};

impl Space {
    /// Waits until the accounts that these manifests bind have the rights of their roles.
    pub async fn granted_by(&self, manifests: &str) -> anyhow::Result<()> {
        let documents: Vec<Value> = manifests.split("\n---\n").map(serde_yaml::from_str).collect::<Result<_, _>>()?;
        for binding in &documents {
            let Some(kind) = binding["kind"].as_str().and_then(|kind| kind.strip_suffix("Binding")) else { continue };
            let named = |role: &&Value| role["kind"] == kind && role["metadata"]["name"] == binding["roleRef"]["name"];
            let Some(role) = documents.iter().find(named) else { continue };
            let own = binding["metadata"]["namespace"].as_str().unwrap_or(&self.namespace);
            for subject in binding["subjects"].as_array().into_iter().flatten() {
                let (of, name) = (subject["namespace"].as_str().unwrap_or(own), &subject["name"]);
                let user = format!("system:serviceaccount:{of}:{}", name.as_str().unwrap_or_default());
                let namespace = if kind == "Role" { own } else { "" };
                self.granted(&user, namespace, &role["rules"][0]).await?;
            }
        }
        Ok(())
    }

    /// Waits until a user may do what a rule says, in this namespace or, if it is empty, in all. A role comes as a whole,
    /// so that its first rule tells of all; there is nothing to wait for where there is none.
    pub(crate) async fn granted(&self, user: &str, namespace: &str, rule: &Value) -> anyhow::Result<()> {
        let first = |field: &str| rule[field][0].as_str().map(str::to_owned);
        let Some(resource) = first("resources") else { return Ok(()) };
        let (resource, subresource) = resource.split_once('/').unwrap_or((&resource, ""));
        let attributes = ResourceAttributes {
            namespace: Some(namespace.to_owned()),
            verb: first("verbs"),
            group: first("apiGroups"),
            resource: Some(resource.to_owned()),
            subresource: Some(subresource.to_owned()),
            name: first("resourceNames"),
            ..ResourceAttributes::default()
        };
        let spec = SubjectAccessReviewSpec {
            user: Some(user.to_owned()),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let reviews = Api::<SubjectAccessReview>::all(self.client.clone());
        let look = async || {
            let status = reviews.create(&PostParams::default(), &review).await?.status;
            Ok((status.as_ref().is_some_and(|status| status.allowed), status))
        };
        self.wait_for(DEADLINE, &format!("{user} to have its rights"), look).await?;
        Ok(())
    }

    /// Waits until the API server would refuse to create this, with these words; nothing is created.
    pub async fn refuses(&self, kind: &str, body: Value, words: &str) -> anyhow::Result<()> {
        let refused = async || {
            let answer = self.dry_run(kind, body.clone()).await.err().map(|error| format!("{error:#}"));
            Ok((answer.as_ref().is_some_and(|answer| answer.contains(words)), answer))
        };
        self.wait_for(DEADLINE, &format!("a {kind} to be refused: {words}"), refused).await?;
        Ok(())
    }

    /// A `ResourceQuota`, once the API server refuses by it to create this.
    pub async fn quota(&self, hard: Value, (kind, body): (&str, Value)) -> anyhow::Result<()> {
        self.create("ResourceQuota", "full", json!({"spec": {"hard": hard}})).await?;
        self.refuses(kind, body, "exceeded quota: full").await
    }

    /// Waits for what every pod of a namespace needs: the controller makes it a moment after the namespace.
    pub async fn default_account(&self) -> anyhow::Result<()> {
        self.wait("ServiceAccount", "default", "the default account", Value::is_object).await.map(drop)
    }

    async fn dry_run(&self, kind: &str, mut body: Value) -> anyhow::Result<()> {
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        body["metadata"]["name"] = "probe".into();
        self.api(kind).create(&dry, &serde_json::from_value(body)?).await.context("refused")?;
        Ok(())
    }
}

impl World {
    /// Waits until the scheduler gives a node to no pod that does not tolerate its taints: one is made, again and again,
    /// until it is told so.
    pub(crate) async fn kept_off(&self, node: &str) -> anyhow::Result<()> {
        let mut tries = 0;
        let refused = async || {
            tries += 1;
            let probe = format!("kept-off-{tries}");
            let spec = json!({
                "nodeSelector": {"kubernetes.io/hostname": node}, "containers": [{"command": ["busybox", "true"]}],
            });
            self.pod(&probe, spec).await?;
            let told = |pod: &Value| pod["status"]["conditions"].to_string().contains("untolerated taint");
            let judged = |pod: &Value| pod["spec"]["nodeName"].is_string() || told(pod);
            let pod = self.wait("Pod", &probe, "the scheduler to judge a pod", judged).await?;
            self.delete("Pod", &probe).await?;
            self.wait("Pod", &probe, "the probe to be gone", Value::is_null).await?;
            Ok((told(&pod), pod))
        };
        self.wait_for(PATIENCE, &format!("{node} to get no pod"), refused).await?;
        Ok(())
    }
}
