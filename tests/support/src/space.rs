//! A namespace and the hands in it: what needs neither the double nor an operator.
//!
//! A [`World`] is one with all else that a test has; [`World::space`] makes further ones, for tests of
//! what one namespace may cost another.

use std::sync::{Arc, Mutex, PoisonError};

use cyberun_stub::{Credential, Kind};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::cluster::Cluster;
use crate::world::World;

/// A namespace of the test's own, in which Pod Security `restricted` is enforced.
#[derive(Clone)]
pub struct Space {
    /// Its name.
    pub namespace: String,
    /// The cluster it is in.
    pub cluster: &'static Cluster,
    /// The admin's client.
    pub client: kube::Client,
    /// What must never be seen anywhere.
    pub(crate) secrets: Secrets,
}

/// The secrets of a test, which all its spaces share.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Arc<Mutex<Vec<String>>>);

impl Secrets {
    pub(crate) fn add(&self, secret: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(secret.to_owned());
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Space {
    pub(crate) async fn new(
        cluster: &'static Cluster,
        client: kube::Client,
        namespace: String,
        secrets: Secrets,
    ) -> anyhow::Result<Self> {
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        let object = serde_json::from_value(json!({"metadata": {"name": namespace, "labels": labels}}))?;
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await?;
        Ok(Self { namespace, cluster, client, secrets })
    }

    /// The same hands in a namespace that is there already.
    #[must_use]
    pub fn at(&self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self.clone() }
    }

    /// Makes a Secret, or replaces its content; its values must never be seen anywhere.
    pub async fn secret(&self, name: &str, values: &[(&str, &str)]) -> anyhow::Result<()> {
        for (_, token) in values.iter().filter(|(key, _)| *key == "CYBERUN_API_KEY") {
            self.secrets.add(token);
        }
        let data: serde_json::Map<_, _> = values.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        if self.read("Secret", name).await?.is_null() {
            return self.create("Secret", name, json!({"stringData": data})).await;
        }
        self.patch("Secret", name, json!({"data": null, "stringData": data})).await
    }

    pub(crate) async fn remove(&self) -> anyhow::Result<()> {
        Api::<Namespace>::all(self.client.clone()).delete(&self.namespace, &DeleteParams::background()).await?;
        Ok(())
    }
}

impl World {
    /// A further namespace of the test's own, with a credential of its own in the default Secret, by which the double
    /// tells its calls from others.
    pub async fn space(&mut self, suffix: &str) -> anyhow::Result<(Space, Credential)> {
        let namespace = format!("{}-{suffix}", self.namespace);
        let space = Space::new(self.cluster, self.client.clone(), namespace, self.secrets.clone()).await?;
        self.others.push(space.clone());
        let credential = self.stub.mint(Kind::Integration);
        space.secret("cyberun", &[("CYBERUN_API_KEY", credential.token())]).await?;
        Ok((space, credential))
    }
}
