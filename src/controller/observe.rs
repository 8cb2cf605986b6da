//! Looks at the world: reads only, and only what the plan may need.

use std::collections::HashMap;

use bytes::Bytes;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt};
use sha2::{Digest, Sha256};

use super::secrets::Fetched;
use super::{Context, Memory};
use crate::clock;
use crate::delivery::{Credential, hex};
use crate::plan::{self, Content, CredentialsView, Observed, OutputView};
use crate::resource::FileUpload;

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
) -> kube::Result<(Observed, Material)> {
    let mut observed = Observed::default();
    let mut material = Material::default();
    if memory.generation == upload.metadata.generation.unwrap_or_default() {
        observed.failures = memory.failures;
    }
    if let Some(name) = upload.spec.output_name() {
        observed.output = context.config_maps.output(&context.client, upload, name).await?;
    }
    if plan::wanted(upload, &CredentialsView::Unseen, clock::now()).credentials {
        let (fetched, contents) = credentials(context, upload).await?;
        (observed.credentials, material.credential) = (fetched.view, fetched.credential);
        let mut read = HashMap::new();
        for file in upload.spec.files.iter().filter(|file| contents.contains(&file.name)) {
            let Some(reference) = &file.source.config_map_key_ref else { continue };
            if !read.contains_key(&reference.name) {
                read.insert(reference.name.clone(), config_map(context, upload, &reference.name).await?);
            }
            let (found, bytes) = content_of(read.get(&reference.name).and_then(Option::as_ref), &reference.key);
            observed.contents.insert(file.name.clone(), found);
            material.bytes.extend(bytes.map(|bytes| (file.name.clone(), bytes)));
        }
    }
    if upload.spec.output.is_none() {
        observed.output = OutputView::Absent;
    }
    Ok((observed, material))
}

/// The Secret: a shared look decides whether anything is to be sent, and what is sent with is fetched anew.
async fn credentials(
    context: &Context,
    upload: &FileUpload,
) -> kube::Result<(Fetched, std::collections::BTreeSet<String>)> {
    let (namespace, name) = (upload.namespace().unwrap_or_default(), upload.spec.secret_name());
    let shared = context.secrets.shared(&namespace, name).await?;
    let wanted = plan::wanted(upload, &shared.view, clock::now());
    if wanted.contents.is_empty() {
        return Ok((shared, wanted.contents));
    }
    let fresh = context.secrets.fresh(&namespace, name).await?;
    let wanted = plan::wanted(upload, &fresh.view, clock::now());
    Ok((fresh, wanted.contents))
}

async fn config_map(context: &Context, upload: &FileUpload, name: &str) -> kube::Result<Option<ConfigMap>> {
    let namespace = upload.namespace().unwrap_or_default();
    if !context.config_maps.exists(&namespace, name) {
        return Ok(None); // the watch wakes us when it appears
    }
    Api::<ConfigMap>::namespaced(context.client.clone(), &namespace).get_opt(name).await
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
