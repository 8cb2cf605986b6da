//! ConfigMaps: the metadata of all is watched, content is fetched when it is sent.
//!
//! The output is written here, and only if it carries our label and belongs to the same `FileUpload`. What was
//! written last is remembered with its resourceVersion, so that a Ready resource costs no request.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, PartialObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;
use tokio::sync::watch;

use super::{count_list, is_older, strip};
use crate::plan::OutputView;
use crate::resource::{FIELD_MANAGER, FileUpload, LABEL_FILE_UPLOAD, LABEL_MANAGED_BY};

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

type Written = Arc<Mutex<HashMap<(String, String), Known>>>;

/// The ConfigMaps of the namespaces that are watched.
pub(super) struct ConfigMaps {
    store: Store<Meta>,
    written: Written,
}

impl ConfigMaps {
    /// The cache of metadata and the events that fill it; deletions are events too.
    pub(super) fn watch(
        api: Api<Meta>,
        listed: &Arc<watch::Sender<u8>>,
    ) -> (Self, impl Stream<Item = watcher::Result<Meta>> + use<>) {
        let (store, writer) = reflector::store();
        let written = Written::default();
        let forget = Arc::clone(&written);
        let events =
            watcher::watcher(api, watcher::Config::default()).map(|event| event.map(|event| event.modify(strip)));
        let events =
            reflector::reflector(writer, events).inspect(count_list(listed)).inspect(move |event| match event {
                Ok(Event::Delete(gone)) => drop(lock(&forget).remove(&key(gone))),
                // What happened between two lists is not known.
                Ok(Event::Init) => lock(&forget).clear(),
                _ => {}
            });
        (Self { store, written }, events.default_backoff().touched_objects())
    }

    /// Whether there is such a ConfigMap, as far as the watch knows.
    pub(super) fn exists(&self, namespace: &str, name: &str) -> bool {
        self.store.get(&ObjectRef::new(name).within(namespace)).is_some()
    }

    /// What is known of the output called `name`; reads it only if it changed since it was written.
    pub(super) async fn output(&self, client: &Client, upload: &FileUpload, name: &str) -> kube::Result<OutputView> {
        let namespace = upload.namespace().unwrap_or_default();
        let cached = self.store.get(&ObjectRef::new(name).within(&namespace));
        let known = lock(&self.written).get(&(namespace, name.to_owned())).cloned();
        match (cached, known.filter(|known| known.owner == upload.metadata.uid)) {
            (None, None) => Ok(OutputView::Absent),
            (None, Some(known)) => Ok(OutputView::Ours { data: known.data }),
            (Some(cached), Some(known)) if !is_older(Some(&known.version), cached.resource_version().as_deref()) => {
                Ok(OutputView::Ours { data: known.data })
            }
            (Some(cached), _) if !is_ours(&cached.metadata, upload) => Ok(OutputView::Foreign),
            (Some(_), _) => self.read(client, upload, name).await,
        }
    }

    async fn read(&self, client: &Client, upload: &FileUpload, name: &str) -> kube::Result<OutputView> {
        let namespace = upload.namespace().unwrap_or_default();
        let found = Api::<ConfigMap>::namespaced(client.clone(), &namespace).get_opt(name).await?;
        let view = output_of(found.as_ref(), upload);
        if let (OutputView::Ours { .. }, Some(found)) = (&view, &found) {
            self.remember(upload, found);
        }
        Ok(view)
    }

    fn remember(&self, upload: &FileUpload, config_map: &ConfigMap) {
        let version = config_map.resource_version().unwrap_or_default();
        let known = Known { version, owner: upload.uid(), data: config_map.data.clone().unwrap_or_default() };
        lock(&self.written).insert(key(config_map), known);
    }

    /// Creates the output. Should it exist by now, it is looked at: `false` if it is not ours.
    pub(super) async fn create(
        &self,
        client: &Client,
        upload: &FileUpload,
        name: &str,
        data: Data,
    ) -> kube::Result<bool> {
        let api = Api::<ConfigMap>::namespaced(client.clone(), &upload.namespace().unwrap_or_default());
        match api
            .create(
                &PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() },
                &new(upload, name, data.clone()),
            )
            .await
        {
            Ok(created) => {
                self.remember(upload, &created);
                Ok(true)
            }
            Err(kube::Error::Api(refusal)) if refusal.is_already_exists() => {
                match self.read(client, upload, name).await? {
                    OutputView::Ours { .. } => self.replace(client, upload, name, &data).await.map(|()| true),
                    OutputView::Foreign | OutputView::Absent => Ok(false),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Replaces the content of the output, provided that it is still as it was last seen.
    pub(super) async fn replace(
        &self,
        client: &Client,
        upload: &FileUpload,
        name: &str,
        data: &Data,
    ) -> kube::Result<()> {
        let namespace = upload.namespace().unwrap_or_default();
        let version = lock(&self.written).get(&(namespace.clone(), name.to_owned())).map(|known| known.version.clone());
        let patch = json!([
            { "op": "replace", "path": "/metadata/resourceVersion", "value": version },
            { "op": "add", "path": "/data", "value": data },
        ]);
        let patch = serde_json::from_value(patch).map_err(kube::Error::SerdeError)?;
        let api = Api::<ConfigMap>::namespaced(client.clone(), &namespace);
        let result = api.patch(name, &PatchParams::apply(FIELD_MANAGER), &Patch::<ConfigMap>::Json(patch)).await;
        match result {
            Ok(replaced) => self.remember(upload, &replaced),
            Err(error) => {
                lock(&self.written).remove(&(namespace, name.to_owned()));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Deletes an output that is no longer asked for, if it is ours.
    pub(super) async fn delete(&self, client: &Client, upload: &FileUpload, name: &str) -> kube::Result<()> {
        let namespace = upload.namespace().unwrap_or_default();
        let api = Api::<ConfigMap>::namespaced(client.clone(), &namespace);
        let Some(found) = api.get_opt(name).await?.filter(|found| is_ours(&found.metadata, upload)) else {
            return Ok(());
        };
        let preconditions = Preconditions { uid: found.uid(), resource_version: found.resource_version() };
        lock(&self.written).remove(&(namespace, name.to_owned()));
        api.delete(name, &DeleteParams::default().preconditions(preconditions)).await.map(drop)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(config_map: &impl ResourceExt) -> (String, String) {
    (config_map.namespace().unwrap_or_default(), config_map.name_any())
}

/// What a ConfigMap is to the output of `upload`.
pub(crate) fn output_of(config_map: Option<&ConfigMap>, upload: &FileUpload) -> OutputView {
    match config_map {
        None => OutputView::Absent,
        Some(found) if !is_ours(&found.metadata, upload) => OutputView::Foreign,
        Some(found) => OutputView::Ours { data: found.data.clone().unwrap_or_default() },
    }
}

/// Our label, and this very `FileUpload` as the owner.
fn is_ours(metadata: &ObjectMeta, upload: &FileUpload) -> bool {
    let labelled = metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(LABEL_MANAGED_BY))
        .is_some_and(|value| value == FIELD_MANAGER);
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    labelled && owners.iter().any(|owner| Some(&owner.uid) == upload.metadata.uid.as_ref())
}

fn new(upload: &FileUpload, name: &str, data: Data) -> ConfigMap {
    let labels = [(LABEL_MANAGED_BY, FIELD_MANAGER.to_owned()), (LABEL_FILE_UPLOAD, upload.name_any())];
    let owner = OwnerReference {
        api_version: FileUpload::api_version(&()).into_owned(),
        kind: FileUpload::kind(&()).into_owned(),
        name: upload.name_any(),
        uid: upload.uid().unwrap_or_default(),
        controller: Some(true),
        // Blocking its deletion would need a right on finalizers, and nobody waits for it.
        block_owner_deletion: None,
    };
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(labels.map(|(label, value)| (label.to_owned(), value)).into()),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    };
    ConfigMap { metadata, data: Some(data), ..ConfigMap::default() }
}
