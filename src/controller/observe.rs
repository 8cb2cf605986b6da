//! Looks at the world: reads only, and only what the plan may need.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use sha2::{Digest, Sha256};
use tracing::warn;

use super::{Context, Memory, launch};
use crate::delivery::{Credential, hex};
use crate::plan::{self, Content, CredentialsView, Observed};
use crate::resource::{ConfigMapKeyReference, File, FileUpload};

/// What an attempt needs and a plan must not see.
#[derive(Default)]
pub(super) struct Material {
    pub(super) credential: Option<Credential>,
    /// Exactly the bytes whose hash is in the plan, by file name.
    pub(super) bytes: HashMap<String, Bytes>,
}

/// Observes what [`plan::next`] needs for this resource.
pub(super) async fn observe(
    context: &Context,
    upload: &FileUpload,
    memory: &Memory,
    now: Timestamp,
) -> kube::Result<(Observed, Material)> {
    let namespace = upload.namespace().unwrap_or_default();
    let mut observed = Observed {
        jobs: context.workers.jobs(upload, now).await?,
        settings: plan::settings(upload, &context.settings.worker),
        by_worker: !context.settings.direct,
        terms: context.settings.terms,
        ..Observed::default()
    };
    let mut material = Material::default();
    if memory.generation == upload.metadata.generation.unwrap_or_default() {
        observed.failures = memory.failures;
    }
    if let Some(name) = upload.spec.output_name() {
        observed.output = context.config_maps.output(&context.client, upload, name).await?;
    }
    observed.hashes = hashes(context, upload).await?;
    let open = plan::wanted(upload, &observed, now).credentials;
    if open || !observed.jobs.is_empty() {
        let claims = upload.spec.files.iter().filter_map(|file| file.source.persistent_volume_claim.as_ref());
        observed.claims = context.workers.claims(&namespace, claims.map(|file| file.claim_name.clone()));
    }
    if plan::wanted(upload, &observed, now).credentials {
        look_at_credentials(context, upload, &mut observed).await;
        contents_of(context, upload, &mut observed, &mut material, now).await?;
    }
    observed.slots = Some(launch::places(context, upload, &observed));
    refresh_credentials(context, upload, &mut observed, &mut material, now).await?;
    Ok((observed, material))
}

/// What ConfigMaps hold now, where a change of it would withdraw a key.
async fn hashes(context: &Context, upload: &FileUpload) -> kube::Result<BTreeMap<String, String>> {
    let mut hashes = BTreeMap::new();
    if !upload.spec.follows_changes() || !context.settings.direct {
        return Ok(hashes);
    }
    let uploaded = |file: &&File| {
        let mut entries = upload.status.iter().flat_map(|status| &status.files);
        entries.any(|entry| entry.name == file.name && entry.uploaded_at.is_some())
    };
    for file in upload.spec.files.iter().filter(uploaded) {
        let Some(ConfigMapKeyReference { name, key }) = &file.source.config_map_key_ref else { continue };
        let namespace = upload.namespace().unwrap_or_default();
        let hash = context.config_maps.hash(&context.client, &namespace, name, key).await?;
        hashes.extend(hash.map(|hash| (file.name.clone(), hash)));
    }
    Ok(hashes)
}

/// The contents of ConfigMap files; where workers send them, only whether there is such a ConfigMap.
async fn contents_of(
    context: &Context,
    upload: &FileUpload,
    observed: &mut Observed,
    material: &mut Material,
    now: Timestamp,
) -> kube::Result<()> {
    let contents = plan::wanted(upload, observed, now).contents;
    let mut read = HashMap::new();
    for file in upload.spec.files.iter().filter(|file| contents.contains(&file.name)) {
        let Some(reference) = &file.source.config_map_key_ref else { continue };
        if observed.by_worker {
            let exists = context.config_maps.exists(&upload.namespace().unwrap_or_default(), &reference.name);
            let view = if exists { Content::Unread } else { Content::NoConfigMap };
            observed.contents.insert(file.name.clone(), view);
            continue;
        }
        if !read.contains_key(&reference.name) {
            read.insert(reference.name.clone(), config_map(context, upload, &reference.name).await?);
        }
        let config_map = read.get(&reference.name).and_then(Option::as_ref);
        let (found, bytes) = content_of(config_map, &reference.key);
        if let (Some(config_map), true) = (config_map, upload.spec.follows_changes()) {
            // The watch may be behind what is sent now.
            context.config_maps.learn(config_map, &reference.key, &found);
        }
        observed.contents.insert(file.name.clone(), found);
        material.bytes.extend(bytes.map(|bytes| (file.name.clone(), bytes)));
    }
    Ok(())
}

/// The Secret, as it was seen within the last seconds: enough to decide whether anything is to be sent.
async fn look_at_credentials(context: &Context, upload: &FileUpload, observed: &mut Observed) {
    if observed.by_worker {
        observed.credentials = CredentialsView::LeftToWorkers;
        return;
    }
    let namespace = upload.namespace().unwrap_or_default();
    match context.secrets.shared(&namespace, upload.spec.secret_name()).await {
        Ok(fetched) => observed.credentials = fetched.view,
        // Nothing is begun without them; what workers report and what expires is written down all the same.
        Err(error) => warn!(secret = upload.spec.secret_name(), %error, "cannot read the credentials"),
    }
}

/// What is sent with is fetched anew; whoever only waits costs no request.
async fn refresh_credentials(
    context: &Context,
    upload: &FileUpload,
    observed: &mut Observed,
    material: &mut Material,
    now: Timestamp,
) -> kube::Result<()> {
    let draft = plan::next(upload, observed, now);
    if observed.by_worker || draft.send.is_empty() && draft.launch.is_empty() {
        return Ok(());
    }
    let fresh = context.secrets.fresh(&upload.namespace().unwrap_or_default(), upload.spec.secret_name()).await?;
    (observed.credentials, material.credential) = (fresh.view, fresh.credential);
    Ok(())
}

async fn config_map(context: &Context, upload: &FileUpload, name: &str) -> kube::Result<Option<ConfigMap>> {
    let namespace = upload.namespace().unwrap_or_default();
    context.config_maps.get(&context.client, &namespace, name).await
}

/// What `key` of a ConfigMap holds: for the plan, and the bytes themselves.
pub(crate) fn content_of(config_map: Option<&ConfigMap>, key: &str) -> (Content, Option<Bytes>) {
    let Some(config_map) = config_map else { return (Content::NoConfigMap, None) };
    let text =
        config_map.data.as_ref().and_then(|data| data.get(key)).map(|text| Bytes::copy_from_slice(text.as_bytes()));
    let binary =
        || config_map.binary_data.as_ref().and_then(|data| data.get(key)).map(|bytes| Bytes::copy_from_slice(&bytes.0));
    match text.or_else(binary) {
        None => (Content::NoKey, None),
        Some(bytes) => {
            let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
            (Content::Found { size, sha256: hex(&Sha256::digest(&bytes)) }, Some(bytes))
        }
    }
}
