//! The output: written only if it carries our label and belongs to the same `FileUpload`, or to one of its name that is
//! gone.
//!
//! What was written last is remembered with its resourceVersion, so that a Ready resource costs no request, and every
//! write names the version that it is based on.

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;

use super::{ConfigMaps, Data, Known, key, lock};
use crate::controller::is_older;
use crate::plan::OutputView;
use crate::resource::{FIELD_MANAGER, FileUpload, LABEL_FILE_UPLOAD, LABEL_MANAGED_BY};

impl ConfigMaps {
    /// What is known of the output called `name`; reads it only if it changed since it was written.
    pub(in crate::controller) async fn output(
        &self,
        client: &Client,
        upload: &FileUpload,
        name: &str,
    ) -> kube::Result<OutputView> {
        let namespace = upload.namespace().unwrap_or_default();
        let cached = self.store.get(&ObjectRef::new(name).within(&namespace));
        let known = lock(&self.written).get(&(namespace, name.to_owned())).cloned();
        match (cached, known.filter(|known| known.owner == upload.metadata.uid)) {
            (None, None) => Ok(OutputView::Absent),
            (None, Some(known)) => Ok(OutputView::Ours { data: known.data }),
            (Some(cached), Some(known)) if !is_older(Some(&known.version), cached.resource_version().as_deref()) => {
                Ok(OutputView::Ours { data: known.data })
            }
            (Some(cached), _) => match whose(&cached.metadata, upload) {
                Whose::Ours => self.read(client, upload, name).await,
                Whose::Orphaned => Ok(OutputView::Orphaned),
                Whose::Foreign => Ok(OutputView::Foreign),
            },
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
    pub(in crate::controller) async fn create(
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
                    OutputView::Orphaned => self.adopt(client, upload, name, &data).await,
                    OutputView::Foreign | OutputView::Absent => Ok(false),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Makes an output this resource's that was left behind by one of the same name; says whether it was still so.
    pub(in crate::controller) async fn adopt(
        &self,
        client: &Client,
        upload: &FileUpload,
        name: &str,
        data: &Data,
    ) -> kube::Result<bool> {
        let api = Api::<ConfigMap>::namespaced(client.clone(), &upload.namespace().unwrap_or_default());
        let found = api.get_metadata_opt(name).await?;
        let Some(found) = found.filter(|found| matches!(whose(&found.metadata, upload), Whose::Orphaned)) else {
            return Ok(false); // the watch tells whose it is by now
        };
        let patch = json!([
            { "op": "replace", "path": "/metadata/resourceVersion", "value": found.resource_version() },
            { "op": "add", "path": "/metadata/ownerReferences", "value": [owner(upload)] },
            { "op": "add", "path": "/data", "value": data },
        ]);
        self.patch(&api, upload, name, patch).await.map(|()| true)
    }

    async fn patch(
        &self,
        api: &Api<ConfigMap>,
        upload: &FileUpload,
        name: &str,
        patch: serde_json::Value,
    ) -> kube::Result<()> {
        let patch = serde_json::from_value(patch).map_err(kube::Error::SerdeError)?;
        let patched = api.patch(name, &PatchParams::apply(FIELD_MANAGER), &Patch::<ConfigMap>::Json(patch)).await?;
        self.remember(upload, &patched);
        Ok(())
    }

    /// Replaces the content of the output, provided that it is still as it was last seen.
    pub(in crate::controller) async fn replace(
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
        let api = Api::<ConfigMap>::namespaced(client.clone(), &namespace);
        let result = self.patch(&api, upload, name, patch).await;
        if result.is_err() {
            lock(&self.written).remove(&(namespace, name.to_owned()));
        }
        result
    }

    /// Deletes an output that is no longer asked for, if it is ours.
    pub(in crate::controller) async fn delete(
        &self,
        client: &Client,
        upload: &FileUpload,
        name: &str,
    ) -> kube::Result<()> {
        let namespace = upload.namespace().unwrap_or_default();
        let api = Api::<ConfigMap>::namespaced(client.clone(), &namespace);
        let Some(found) =
            api.get_opt(name).await?.filter(|found| matches!(whose(&found.metadata, upload), Whose::Ours))
        else {
            return Ok(());
        };
        let preconditions = Preconditions { uid: found.uid(), resource_version: found.resource_version() };
        lock(&self.written).remove(&(namespace, name.to_owned()));
        api.delete(name, &DeleteParams::default().preconditions(preconditions)).await.map(drop)
    }
}

/// What a ConfigMap is to the output of `upload`.
pub(crate) fn output_of(config_map: Option<&ConfigMap>, upload: &FileUpload) -> OutputView {
    match config_map {
        None => OutputView::Absent,
        Some(found) => match whose(&found.metadata, upload) {
            Whose::Ours => OutputView::Ours { data: found.data.clone().unwrap_or_default() },
            Whose::Orphaned => OutputView::Orphaned,
            Whose::Foreign => OutputView::Foreign,
        },
    }
}

/// To whom a ConfigMap belongs.
enum Whose {
    /// To this very `FileUpload`.
    Ours,
    /// To one of the same name that no longer exists.
    Orphaned,
    /// To somebody else.
    Foreign,
}

/// Only what carries our label is ours to write. Of two `FileUpload`s of one name in one namespace only one can exist:
/// so an owner of this name with another uid is gone.
fn whose(metadata: &ObjectMeta, upload: &FileUpload) -> Whose {
    let label = |label: &str| metadata.labels.as_ref().and_then(|labels| labels.get(label)).map(String::as_str);
    if label(LABEL_MANAGED_BY) != Some(FIELD_MANAGER) {
        return Whose::Foreign;
    }
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let name = upload.name_any();
    let is_gone = |owner: &OwnerReference| {
        owner.api_version == FileUpload::api_version(&()) && owner.kind == FileUpload::kind(&()) && owner.name == name
    };
    match () {
        () if owners.iter().any(|owner| Some(&owner.uid) == upload.metadata.uid.as_ref()) => Whose::Ours,
        () if label(LABEL_FILE_UPLOAD) == Some(&name) && owners.iter().all(is_gone) => Whose::Orphaned,
        () => Whose::Foreign,
    }
}

fn owner(upload: &FileUpload) -> OwnerReference {
    OwnerReference {
        api_version: FileUpload::api_version(&()).into_owned(),
        kind: FileUpload::kind(&()).into_owned(),
        name: upload.name_any(),
        uid: upload.uid().unwrap_or_default(),
        controller: Some(true),
        // Blocking its deletion would need a right on finalizers, and nobody waits for it.
        block_owner_deletion: None,
    }
}

fn new(upload: &FileUpload, name: &str, data: Data) -> ConfigMap {
    let labels = [(LABEL_MANAGED_BY, FIELD_MANAGER.to_owned()), (LABEL_FILE_UPLOAD, upload.name_any())];
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(labels.map(|(label, value)| (label.to_owned(), value)).into()),
        owner_references: Some(vec![owner(upload)]),
        ..ObjectMeta::default()
    };
    ConfigMap { metadata, data: Some(data), ..ConfigMap::default() }
}
