//! The floor: how many bare status patches a second this machine does for the operator's account, and no more.
//!
//! The same library with the same settings as the operator's, on the same FileUploads, after the operator has ended:
//! each patch replaces the whole status, as the operator's do, and differs from what is there by one message.

use std::time::Instant;

use futures::stream::{self, StreamExt as _};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::hands;

/// Fewer would be over before anything is warm.
const LEAST: usize = 2000;
/// Who the operator is in `managedFields`.
const FIELD_MANAGER: &str = "fileupload-operator";

/// Patches per second.
pub(crate) async fn measure(client: &Client, concurrency: usize) -> anyhow::Result<f64> {
    let mut uploads = Vec::new();
    let keep = |mut upload: DynamicObject| {
        let id = (upload.namespace().unwrap_or_default(), upload.name_any());
        uploads.push((id, upload.data["status"].take()));
    };
    hands::for_each(&hands::everywhere(client, "FileUpload"), "", keep).await?;
    anyhow::ensure!(!uploads.is_empty(), "there is no FileUpload to patch");
    // As many as there are, again and again until it is enough.
    let rounds = LEAST.div_ceil(uploads.len());
    let began = Instant::now();
    for round in 0..rounds {
        let patches = uploads.iter().map(|((namespace, name), status)| {
            let api = hands::api(client, "FileUpload", namespace);
            let (name, status) = (name.clone(), changed(status, round));
            // On every thread, as the operator's reconciles are.
            async move { tokio::spawn(patch(api, name, status)).await? }
        });
        let mut results = stream::iter(patches).buffer_unordered(concurrency);
        while let Some(result) = results.next().await {
            result?;
        }
    }
    Ok(crate::table::count(uploads.len() * rounds) / began.elapsed().as_secs_f64())
}

fn changed(status: &Value, round: usize) -> Value {
    let mut status = status.clone();
    status["conditions"][0]["message"] = json!(format!("the floor, round {round}"));
    status
}

async fn patch(api: Api<DynamicObject>, name: String, status: Value) -> anyhow::Result<()> {
    let patch = serde_json::from_value(json!([{"op": "add", "path": "/status", "value": status}]))?;
    // Under the operator's name: another would have to take its fields over first.
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    api.patch_status(&name, &parameters, &Patch::<DynamicObject>::Json(patch)).await?;
    Ok(())
}
