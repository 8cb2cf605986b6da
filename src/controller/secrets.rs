//! Credentials, fetched one Secret at a time: the operator may get a Secret, never list or watch them.
//!
//! For an attempt a Secret is fetched anew. Resources that only wait for one to change share what was
//! fetched within the last few seconds.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret as SecretObject;
use kube::{Api, Client, ResourceExt};
use tokio::sync::Mutex;

use crate::delivery::Credential;
use crate::plan::CredentialsView;
use crate::redact::Secret;
use crate::resource::{SECRET_API_KEY, SECRET_TEAM_ID};

/// How long what was fetched is shared. With the poll interval this stays below 15 s.
const SHARED: Duration = Duration::from_secs(4);

/// What a Secret holds: the view for the plan, and the credential for the attempt.
#[derive(Clone)]
pub(super) struct Fetched {
    pub(super) view: CredentialsView,
    pub(super) credential: Option<Credential>,
}

type Key = (String, String);

/// Fetches Secrets.
pub(super) struct Secrets {
    client: Client,
    recent: Mutex<HashMap<Key, (Instant, Fetched)>>,
}

impl Secrets {
    pub(super) fn new(client: Client) -> Self {
        Self { client, recent: Mutex::default() }
    }

    /// What the Secret holds, not older than a few seconds.
    pub(super) async fn shared(&self, namespace: &str, name: &str) -> kube::Result<Fetched> {
        let key = (namespace.to_owned(), name.to_owned());
        let recent = self
            .recent
            .lock()
            .await
            .get(&key)
            .filter(|(at, _)| at.elapsed() < SHARED)
            .map(|(_, fetched)| fetched.clone());
        match recent {
            Some(fetched) => Ok(fetched),
            None => self.fresh(namespace, name).await,
        }
    }

    /// What the Secret holds now.
    pub(super) async fn fresh(&self, namespace: &str, name: &str) -> kube::Result<Fetched> {
        let fetched = match Api::<SecretObject>::namespaced(self.client.clone(), namespace).get_opt(name).await {
            Ok(secret) => read(secret.as_ref(), name),
            // A chart may name the Secrets that the operator may read.
            Err(kube::Error::Api(refusal)) if refusal.is_forbidden() => without(CredentialsView::Forbidden),
            Err(error) => return Err(error),
        };
        let mut recent = self.recent.lock().await;
        recent.retain(|_, (at, _)| at.elapsed() < SHARED);
        recent.insert((namespace.to_owned(), name.to_owned()), (Instant::now(), fetched.clone()));
        Ok(fetched)
    }
}

/// What a Secret called `name` holds, as the plan sees it.
pub(crate) fn credentials_of(secret: Option<&SecretObject>, name: &str) -> CredentialsView {
    read(secret, name).view
}

fn read(secret: Option<&SecretObject>, name: &str) -> Fetched {
    let Some(secret) = secret else { return without(CredentialsView::Missing) };
    let version = secret.resource_version().unwrap_or_default();
    match credential(secret) {
        Ok(credential) => Fetched { view: CredentialsView::Usable { version }, credential: Some(credential) },
        Err(problem) => {
            let problem = format!("Secret {name}: {problem}");
            without(CredentialsView::Invalid { version, problem })
        }
    }
}

fn without(view: CredentialsView) -> Fetched {
    Fetched { view, credential: None }
}

fn credential(secret: &SecretObject) -> Result<Credential, String> {
    let value = |key: &str| {
        secret.data.as_ref().and_then(|data| data.get(key)).map(|value| String::from_utf8_lossy(&value.0).into_owned())
    };
    let Some(token) = value(SECRET_API_KEY) else {
        return Err(format!("it has no key {SECRET_API_KEY}: put the team's sk- or dk- key there"));
    };
    let team = value(SECRET_TEAM_ID);
    Credential::parse(Secret::new(&token), team.as_deref()).map_err(|error| format!("key {SECRET_API_KEY}: {error}"))
}
