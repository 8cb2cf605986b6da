//! ConfigMaps: the metadata of all is watched, content is fetched when it is sent.
//!
//! Of what is asked for again and again only a hash is kept, with the resourceVersion that it belongs to. What the
//! operator writes itself is in `output`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;

use super::{content_of, count_list, is_older, strip};
use crate::plan::Content;

pub(crate) use self::output::output_of;

mod output;

type Meta = PartialObjectMeta<ConfigMap>;
type Data = BTreeMap<String, String>;

/// An output as it was last written or read.
#[derive(Clone)]
struct Known {
    version: String,
    /// The uid of the `FileUpload` that it belongs to: another one may name the same ConfigMap.
    owner: Option<String>,
    data: Data,
}

/// What keys hold, by namespace, name and key: at which resourceVersion, and its SHA-256.
type Hashes = Arc<Mutex<HashMap<(String, String, String), (String, Option<String>)>>>;

type Written = Arc<Mutex<HashMap<(String, String), Known>>>;

/// The ConfigMaps of the namespaces that are watched.
pub(super) struct ConfigMaps {
    store: Store<Meta>,
    written: Written,
    hashes: Hashes,
}

impl ConfigMaps {
    /// The cache of metadata and the events that fill it; deletions are events too.
    pub(super) fn watch(
        api: Api<Meta>,
        listed: &Arc<watch::Sender<u8>>,
    ) -> (Self, impl Stream<Item = watcher::Result<Meta>> + use<>) {
        let (store, writer) = reflector::store();
        let written = Written::default();
        let hashes = Hashes::default();
        let (forget, forget_hashes) = (Arc::clone(&written), Arc::clone(&hashes));
        let events =
            watcher::watcher(api, watcher::Config::default()).map(|event| event.map(|event| event.modify(strip)));
        let events =
            reflector::reflector(writer, events).inspect(count_list(listed)).inspect(move |event| match event {
                Ok(Event::Delete(gone)) => {
                    let gone = key(gone);
                    lock(&forget).remove(&gone);
                    lock(&forget_hashes).retain(|(namespace, name, _), _| (&gone.0, &gone.1) != (namespace, name));
                }
                // What happened between two lists is not known.
                Ok(Event::Init) => lock(&forget).clear(),
                _ => {}
            });
        (Self { store, written, hashes }, events.default_backoff().touched_objects())
    }

    /// Whether there is such a ConfigMap, as far as the watch knows.
    pub(super) fn exists(&self, namespace: &str, name: &str) -> bool {
        self.store.get(&ObjectRef::new(name).within(namespace)).is_some()
    }

    /// A ConfigMap's content; no request is made for one that the watch does not know.
    pub(super) async fn get(&self, client: &Client, namespace: &str, name: &str) -> kube::Result<Option<ConfigMap>> {
        if !self.exists(namespace, name) {
            return Ok(None); // the watch wakes us when it appears
        }
        Api::<ConfigMap>::namespaced(client.clone(), namespace).get_opt(name).await
    }

    /// The SHA-256 of what a key holds; the ConfigMap is read only if it changed since that was last asked.
    pub(super) async fn hash(
        &self,
        client: &Client,
        namespace: &str,
        name: &str,
        key: &str,
    ) -> kube::Result<Option<String>> {
        let cached = self.store.get(&ObjectRef::new(name).within(namespace));
        let Some(version) = cached.and_then(|cached| cached.resource_version()) else { return Ok(None) };
        let place = (namespace.to_owned(), name.to_owned(), key.to_owned());
        if let Some((known, hash)) = lock(&self.hashes).get(&place)
            && !is_older(Some(known), Some(&version))
        {
            return Ok(hash.clone());
        }
        let found = self.get(client, namespace, name).await?;
        let content = content_of(found.as_ref(), key).0;
        if let Some(found) = &found {
            self.learn(found, key, &content);
        }
        Ok(hash_of(&content))
    }

    /// Remembers what a key of a ConfigMap holds that was just read.
    pub(super) fn learn(&self, config_map: &ConfigMap, key: &str, content: &Content) {
        let (namespace, name) = self::key(config_map);
        let version = config_map.resource_version().unwrap_or_default();
        lock(&self.hashes).insert((namespace, name, key.to_owned()), (version, hash_of(content)));
    }
}

fn hash_of(content: &Content) -> Option<String> {
    match content {
        Content::Found { sha256, .. } => Some(sha256.clone()),
        _ => None,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(config_map: &impl ResourceExt) -> (String, String) {
    (config_map.namespace().unwrap_or_default(), config_map.name_any())
}
