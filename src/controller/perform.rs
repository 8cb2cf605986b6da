//! Carries out a plan: Jobs, files, then the output. The only acts besides the status.
//!
//! Nothing is decided here, and nothing fails: what goes wrong is the outcome.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use kube::api::{DeleteParams, Preconditions};
use kube::{Api, ResourceExt};
use tracing::{info, warn};

use super::observe::Material;
use super::{Context, launch};
use crate::clock;
use crate::delivery::{Credential, Parcel, Source};
use crate::outcome::Upload;
use crate::plan::{self, Outcome, OutputAct, OutputView, Plan, Sent};
use crate::reason::{Class, Reason, Scope};
use crate::redact::quote;
use crate::resource::FileUpload;

/// Performs `plan`; the output is written before any status can say that it is.
pub(super) async fn perform(
    context: &Context,
    upload: &FileUpload,
    plan: &Plan,
    view: &OutputView,
    material: &Material,
) -> Outcome {
    if plan.discards && discard(context, upload).await {
        return Outcome { discarded: true, ..Outcome::default() };
    }
    let unfinished = !launch::remove(context, upload, plan).await || plan.discards;
    let launched = launch::launch(context, upload, plan).await;
    let mut outcome =
        Outcome { sent: send(context, upload, plan, material).await, launched, unfinished, ..Outcome::default() };
    let files = plan::status(upload, plan, &outcome, clock::now()).files;
    let act = plan::output(upload, &files, view);
    let creates = matches!(act, OutputAct::Create(_) | OutputAct::Adopt(_));
    outcome.output = output(context, upload, act).await.err();
    // What is in the way, its watch tells; all else is tried again.
    let fails = |(reason, _): &(Reason, String)| reason.class() != Class::Stalled;
    outcome.unfinished |= outcome.output.as_ref().is_some_and(fails);
    let exists = matches!(view, OutputView::Ours { .. }) || creates && outcome.output.is_none();
    outcome.output_name = upload.spec.output_name().filter(|_| exists).map(str::to_owned);
    if let Err(error) = withdraw_old(context, upload).await {
        warn!(%error, "cannot delete the output that is no longer asked for");
        outcome.output_name = former(upload).map(str::to_owned);
        outcome.unfinished = true;
    }
    outcome
}

/// Deletes a resource that has finished, as it stands; says whether it is gone.
async fn discard(context: &Context, upload: &FileUpload) -> bool {
    let api = Api::<FileUpload>::namespaced(context.client.clone(), &upload.namespace().unwrap_or_default());
    let preconditions = Preconditions { uid: upload.uid(), resource_version: upload.resource_version() };
    match api.delete(&upload.name_any(), &DeleteParams::background().preconditions(preconditions)).await {
        Ok(_) => {
            info!("deleted, as spec.ttlSecondsAfterFinished asks");
            true
        }
        Err(error) => {
            warn!(%error, "cannot delete a FileUpload that has finished");
            false
        }
    }
}

/// Sends one file after the other; a failure that would be every file's ends the round.
async fn send(context: &Context, upload: &FileUpload, plan: &Plan, material: &Material) -> BTreeMap<String, Sent> {
    let mut sent = BTreeMap::new();
    let Some(credential) = &material.credential else { return sent };
    for name in &plan.send {
        let file = upload.spec.files.iter().find(|file| file.name == *name);
        let (Some(file), Some(bytes)) = (file, material.bytes.get(name)) else { continue };
        let parcel = Parcel {
            source: Source::bytes(bytes.clone()),
            file_name: file.effective_name().to_owned(),
            content_type: file.content_type.clone(),
            sent: Arc::default(),
        };
        let result = one(context, upload, credential, name, &parcel).await;
        let ends = matches!(&result, Sent::Failed { reason, .. } if reason.scope() == Scope::Resource);
        sent.insert(name.clone(), result);
        if ends {
            break;
        }
    }
    sent
}

async fn one(context: &Context, upload: &FileUpload, credential: &Credential, name: &str, parcel: &Parcel) -> Sent {
    let begun = Instant::now();
    let result = context.courier.attempt(credential, parcel).await;
    let reason = result.as_ref().map_or_else(|failure| failure.reason, |_| Reason::Uploaded);
    let size = result.as_ref().map_or(0, |upload| upload.size);
    context.metrics.attempt(reason.as_str(), size, begun.elapsed());
    match result {
        Ok(upload) => {
            info!(file = name, size, "uploaded");
            let Upload { file_key, content_type, sha256, at, .. } = upload;
            Sent::Uploaded { file_key, content_type, size: i64::try_from(size).unwrap_or(i64::MAX), sha256, at }
        }
        Err(failure) => {
            let (reason, message, retry_after) = (failure.reason, failure.message(), failure.retry_after);
            warn!(file = name, %reason, cause = message, "not uploaded");
            Sent::Failed { reason, message: plan::of_credentials(upload, reason, message), retry_after }
        }
    }
}

async fn output(context: &Context, upload: &FileUpload, act: OutputAct) -> Result<(), (Reason, String)> {
    let name = upload.spec.output_name().unwrap_or_default();
    let (client, config_maps) = (&context.client, &context.config_maps);
    let result = match act {
        OutputAct::None => return Ok(()),
        OutputAct::Conflict => return Err(plan::conflict(upload)),
        OutputAct::Create(data) => match config_maps.create(client, upload, name, data).await {
            Ok(true) => Ok(()),
            Ok(false) => return Err(plan::conflict(upload)),
            Err(error) => Err(error),
        },
        OutputAct::Adopt(data) => match config_maps.adopt(client, upload, name, &data).await {
            Ok(true) => Ok(()),
            Ok(false) => return Err(being_written(name)),
            Err(error) => Err(error),
        },
        OutputAct::Replace(data) => config_maps.replace(client, upload, name, &data).await,
    };
    result.map_err(|error| {
        warn!(%error, output = name, "cannot write the output");
        refused(name, &error)
    })
}

/// A refusal is told; what passes by itself is only work that is not done yet.
fn refused(name: &str, error: &kube::Error) -> (Reason, String) {
    match error {
        kube::Error::Api(refusal)
            if (400..500).contains(&refusal.code) && !refusal.is_conflict() && refusal.code != 429 =>
        {
            (
                Reason::AdmissionDenied,
                format!("ConfigMap {name} (spec.output.configMap) cannot be written: {}", quote(&refusal.message)),
            )
        }
        _ => being_written(name),
    }
}

fn being_written(name: &str) -> (Reason, String) {
    (Reason::Uploading, format!("ConfigMap {name} is being written"))
}

/// The output that the status names and the spec no longer does.
fn former(upload: &FileUpload) -> Option<&str> {
    let former = upload.status.as_ref()?.output.as_ref()?.name.as_str();
    (upload.spec.output_name() != Some(former)).then_some(former)
}

async fn withdraw_old(context: &Context, upload: &FileUpload) -> kube::Result<()> {
    match former(upload) {
        Some(name) => context.config_maps.delete(&context.client, upload, name).await,
        None => Ok(()),
    }
}
