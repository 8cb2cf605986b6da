//! The admin's hands: objects as JSON, made many at a time.

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::Value;

/// The most objects in one page of a list.
const PAGE: u32 = 500;

/// The resource that a kind is.
pub(crate) fn resource(kind: &str) -> ApiResource {
    let (group, version) = match kind {
        "FileUpload" => ("cyberun.cloud", "v1alpha1"),
        "Job" => ("batch", "v1"),
        _ => ("", "v1"),
    };
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// The API of a kind in one namespace.
pub(crate) fn api(client: &Client, kind: &str, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &resource(kind))
}

/// The API of a kind in all namespaces.
pub(crate) fn everywhere(client: &Client, kind: &str) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &resource(kind))
}

/// Creates one object, in its namespace if it names one.
pub(crate) async fn create(client: &Client, kind: &str, mut object: Value) -> anyhow::Result<DynamicObject> {
    let resource = resource(kind);
    object["apiVersion"] = resource.api_version.into();
    object["kind"] = kind.into();
    let object: DynamicObject = serde_json::from_value(object)?;
    let api = object.metadata.namespace.as_ref().map(|namespace| api(client, kind, namespace));
    let api = api.unwrap_or_else(|| everywhere(client, kind));
    Ok(api.create(&PostParams::default(), &object).await?)
}

/// Creates all of these, so many at a time, in their order as far as that goes.
pub(crate) async fn create_all(
    client: &Client,
    kind: &str,
    objects: impl Iterator<Item = Value>,
    concurrency: usize,
) -> anyhow::Result<()> {
    let made = stream::iter(objects).map(|object| create(client, kind, object)).buffered(concurrency);
    made.try_for_each(|_| async { Ok(()) }).await
}

/// Writes into the status of an object.
pub(crate) async fn patch_status(
    client: &Client,
    kind: &str,
    namespace: &str,
    name: &str,
    status: Value,
) -> kube::Result<()> {
    let patch = Patch::Merge(serde_json::json!({ "status": status }));
    api(client, kind, namespace).patch_status(name, &PatchParams::default(), &patch).await.map(drop)
}

/// How many objects there are, without reading them.
pub(crate) async fn count(api: &Api<DynamicObject>) -> anyhow::Result<usize> {
    let first = api.list_metadata(&ListParams::default().limit(1)).await?;
    Ok(first.items.len() + usize::try_from(first.metadata.remaining_item_count.unwrap_or_default())?)
}

/// Hands over every object that the selector names, page by page.
pub(crate) async fn for_each(
    api: &Api<DynamicObject>,
    selector: &str,
    mut look: impl FnMut(DynamicObject),
) -> anyhow::Result<()> {
    let mut parameters = ListParams::default().labels(selector).limit(PAGE);
    loop {
        let page = api.list(&parameters).await?;
        page.items.into_iter().for_each(&mut look);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(()),
        }
    }
}
