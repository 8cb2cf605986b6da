//! Credentials, read one Secret at a time: the operator may get a Secret, never list or watch them.
//!
//! A Secret is read when a Send or a Launch has its place; reads at the same time are one. One that is waited for is read
//! every 10 s by one task, which wakes the FileUploads that wait for it when its content changes. No token is kept.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use k8s_openapi::api::core::v1::Secret as SecretObject;
use kube::{Api, Client};
use parking_lot::Mutex;
use ring::hmac;
use tokio::sync::Notify;
use tracing::{debug, error};

use super::gate::Gate;
use super::index::{Change, Index, Key};
use super::watches::Listener;
use crate::delivery::Credential;
use crate::plan::SecretFacts;
use crate::redact::Secret;
use crate::resource::{SECRET_API_KEY, SECRET_TEAM_ID};

/// A Secret that is waited for is read this often.
const POLL: Duration = Duration::from_secs(10);
/// After it was waited for so long, only this often.
const PATIENT_AFTER: Duration = Duration::from_hours(1);
const POLL_LATER: Duration = Duration::from_mins(5);
/// How many are read so at the same time, per namespace and in all.
const POLLS: (usize, usize) = (2, 8);
/// The longest value that is looked at, in bytes: no token is as long.
const LONGEST_VALUE: usize = 64 * 1024;

/// What a Secret holds, as it was read.
#[derive(Clone)]
pub(super) struct Fetched(Arc<Held>);

enum Held {
    Missing,
    Forbidden,
    /// What is wrong, and what stands for the content.
    Invalid(String, Vec<u8>),
    Usable(Credential, Vec<u8>),
}

impl Fetched {
    /// What a plan may know of it, for the FileUpload of this uid: the version tells no two of them that they share it.
    pub(super) fn facts(&self, uid: &str) -> SecretFacts {
        match &*self.0 {
            Held::Missing => SecretFacts::Missing,
            Held::Forbidden => SecretFacts::Forbidden,
            Held::Invalid(problem, content) => {
                SecretFacts::Invalid { version: version(uid, content), problem: problem.clone() }
            }
            Held::Usable(_, content) => SecretFacts::Usable { version: version(uid, content) },
        }
    }

    /// The credential, if it holds one.
    pub(super) fn credential(&self) -> Option<&Credential> {
        match &*self.0 {
            Held::Usable(credential, _) => Some(credential),
            _ => None,
        }
    }
}

/// 8 bytes of HMAC-SHA256(uid, content), in hex.
fn version(uid: &str, content: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, uid.as_bytes()), content);
    HEXLOWER.encode(&tag.as_ref()[..8])
}

type Read = Shared<BoxFuture<'static, Result<Fetched, Arc<kube::Error>>>>;

/// A read whose task panicked.
#[derive(Debug, thiserror::Error)]
#[error("the operator failed: see its log")]
struct Panicked;

/// Reads Secrets. Clones share what is under way.
#[derive(Clone)]
pub(super) struct Secrets(Arc<State>);

struct State {
    client: Client,
    reads: Mutex<HashMap<Key, Read>>,
    waits: Mutex<Waits>,
    /// For the reads of those that are waited for: that they are many, or hang, delays nothing else.
    polls: Gate,
    index: Index,
    listener: Arc<dyn Listener>,
}

#[derive(Default)]
struct Waits {
    of: HashMap<Key, Wait>,
    /// By uid, the one Secret that the FileUpload waits for.
    secrets: HashMap<Arc<str>, Key>,
}

/// A Secret that is waited for.
struct Wait {
    /// When the last of those who wait came, and how its task learns of the next.
    since: Instant,
    newcomer: Arc<Notify>,
    /// By uid, the FileUpload and what was told of the Secret last.
    uploads: HashMap<Arc<str>, (Key, SecretFacts)>,
}

impl Waits {
    /// The task of a Secret that nobody waits for finds that, and ends.
    fn leave(&mut self, uid: &str) {
        if let Some(wait) = self.secrets.remove(uid).and_then(|secret| self.of.get_mut(&secret)) {
            wait.uploads.remove(uid);
        }
    }
}

impl Secrets {
    pub(super) fn new(client: Client, index: Index, listener: Arc<dyn Listener>) -> Self {
        let (reads, waits) = Default::default();
        let polls = Gate::new(POLLS.0, POLLS.1);
        Self(Arc::new(State { client, reads, waits, polls, index, listener }))
    }

    /// What the Secret holds now.
    pub(super) async fn read(&self, key: &Key) -> Result<Fetched, Arc<kube::Error>> {
        let read = {
            let mut reads = self.0.reads.lock();
            let start = || {
                let (state, key) = (Arc::clone(&self.0), key.clone());
                // A task: what nobody waits for any more must not be left half read, and answer the next who asks.
                let read = tokio::spawn(async move {
                    let read = AssertUnwindSafe(state.fetch(&key)).catch_unwind().await;
                    state.reads.lock().remove(&key);
                    read.unwrap_or_else(|_| Err(kube::Error::Service(Panicked.into()))).map_err(Arc::new)
                });
                read.map(|read| read.unwrap_or_else(|_| Err(Arc::new(kube::Error::Service(Panicked.into())))))
                    .boxed()
                    .shared()
            };
            reads.entry(key.clone()).or_insert_with(start).clone()
        };
        read.await
    }

    /// What is known of a Secret that this FileUpload waits for.
    pub(super) fn facts(&self, secret: &Key, uid: &str) -> SecretFacts {
        let waits = self.0.waits.lock();
        let facts = waits.of.get(secret).and_then(|wait| wait.uploads.get(uid)).map(|(_, facts)| facts.clone());
        facts.unwrap_or_default()
    }

    /// From now on the FileUpload is woken when the content of the Secret changes, or no more.
    pub(super) fn set_waiting(&self, secret: &Key, uid: &Arc<str>, upload: &Key, waits_for_it: bool) {
        let mut waits = self.0.waits.lock();
        if !waits_for_it || !self.0.index.is(upload, uid) {
            return waits.leave(uid);
        }
        if waits.of.get(secret).is_some_and(|wait| wait.uploads.contains_key(uid)) {
            return;
        }
        waits.leave(uid);
        waits.secrets.insert(Arc::clone(uid), secret.clone());
        let wait = waits.of.entry(secret.clone()).or_insert_with(|| {
            tokio::spawn(Arc::clone(&self.0).supervised(secret.clone()));
            Wait { since: Instant::now(), newcomer: Arc::default(), uploads: HashMap::new() }
        });
        wait.uploads.insert(Arc::clone(uid), (upload.clone(), SecretFacts::Unknown));
        wait.since = Instant::now();
        wait.newcomer.notify_one();
    }

    /// A FileUpload that is gone waits for nothing.
    pub(super) fn forget(&self, uid: &str) {
        self.0.waits.lock().leave(uid);
    }
}

impl State {
    async fn fetch(&self, key: &Key) -> kube::Result<Fetched> {
        let api = Api::<SecretObject>::namespaced(self.client.clone(), key.namespace());
        let held = match api.get_opt(key.name()).await {
            Ok(None) => Held::Missing,
            Ok(Some(secret)) => read(&secret, key.name()),
            // A chart may name the Secrets that the operator may read.
            Err(kube::Error::Api(refusal)) if refusal.is_forbidden() => Held::Forbidden,
            Err(error) => return Err(error),
        };
        let fetched = Fetched(Arc::new(held));
        self.tell(key, &fetched);
        Ok(fetched)
    }

    /// Whoever waits for a Secret whose task has panicked begins another at its next look.
    async fn supervised(self: Arc<Self>, key: Key) {
        if AssertUnwindSafe(self.poll(&key)).catch_unwind().await.is_err() {
            error!(secret = %key, "the task that reads a Secret panicked");
            self.waits.lock().of.remove(&key);
        }
    }

    /// Reads a Secret again and again as long as somebody waits for it.
    async fn poll(&self, key: &Key) {
        let mut last = Instant::now();
        loop {
            let (pause, newcomer) = {
                let mut waits = self.waits.lock();
                let Some(wait) = waits.of.get(key) else { return };
                if wait.uploads.is_empty() {
                    waits.of.remove(key);
                    return;
                }
                let pause = if wait.since.elapsed() > PATIENT_AFTER { POLL_LATER } else { POLL };
                (pause, Arc::clone(&wait.newcomer))
            };
            // The interval at which it is read.
            if tokio::time::timeout_at((last + pause).into(), newcomer.notified()).await.is_ok() {
                continue;
            }
            let _place = self.polls.enter(key.namespace()).await;
            last = Instant::now();
            if let Err(error) = self.fetch(key).await {
                debug!(secret = %key, %error, "cannot read a Secret that is waited for");
            }
        }
    }

    /// Wakes those for whom the Secret is another than it was.
    fn tell(&self, key: &Key, fetched: &Fetched) {
        let mut wakes = Vec::new();
        if let Some(wait) = self.waits.lock().of.get_mut(key) {
            for (uid, (upload, known)) in &mut wait.uploads {
                let facts = fetched.facts(uid);
                if *known != facts {
                    *known = facts;
                    wakes.push(upload.clone());
                }
            }
        }
        if !wakes.is_empty() {
            self.listener.hear(Change { wakes, gone: Vec::new() });
        }
    }
}

/// What a Secret called `name` holds, as a plan for the FileUpload of this uid sees it.
pub(crate) fn secret_facts(secret: Option<&SecretObject>, name: &str, uid: &str) -> SecretFacts {
    let held = secret.map_or(Held::Missing, |secret| read(secret, name));
    Fetched(Arc::new(held)).facts(uid)
}

fn read(secret: &SecretObject, name: &str) -> Held {
    let value = |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).map(|value| value.0.as_slice());
    let (token, team) = (value(SECRET_API_KEY), value(SECRET_TEAM_ID));
    let mut content = Vec::new();
    for part in [token, team] {
        content.extend_from_slice(&(part.map_or(u64::MAX, |part| part.len() as u64)).to_be_bytes());
        content.extend_from_slice(part.unwrap_or_default());
    }
    match credential(token, team) {
        Ok(credential) => Held::Usable(credential, content),
        Err(problem) => Held::Invalid(format!("Secret {name}: {problem}"), content),
    }
}

fn credential(token: Option<&[u8]>, team: Option<&[u8]>) -> Result<Credential, String> {
    let Some(token) = token else {
        return Err(format!("it has no key {SECRET_API_KEY}: put the team's sk- or dk- key there"));
    };
    for (key, value) in [(SECRET_API_KEY, Some(token)), (SECRET_TEAM_ID, team)] {
        if value.is_some_and(|value| value.len() > LONGEST_VALUE) {
            return Err(format!("key {key}: it is too long to be one of Cyberun's: put the right value there"));
        }
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Credential::parse(Secret::new(&text(token)), team.map(text).as_deref())
        .map_err(|error| format!("key {SECRET_API_KEY}: {error}"))
}

#[cfg(test)]
mod tests;
