//! Writes the status, if it changed, and an event, if the story did.
//!
//! The write names the resourceVersion it is based on. On a conflict the object is read again and the status
//! computed anew from the same outcome: a key that was paid for is never dropped.

use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;
use tracing::{debug, warn};

use super::Context;
use crate::clock;
use crate::plan::{self, Outcome, Plan};
use crate::reason::{Class, Reason};
use crate::resource::{Condition, FIELD_MANAGER, FileUpload, FileUploadStatus};

/// Publishes what came of `plan`; returns the status that stands now, `None` if the object is gone.
pub(super) async fn publish(
    context: &Context,
    upload: &FileUpload,
    plan: &Plan,
    outcome: &Outcome,
) -> kube::Result<Option<FileUploadStatus>> {
    let api = Api::<FileUpload>::namespaced(context.client.clone(), &upload.namespace().unwrap_or_default());
    let mut current = upload.clone();
    loop {
        let status = plan::status(&current, plan, outcome, clock::now());
        if current.status.as_ref() == Some(&status) {
            return Ok(Some(status));
        }
        match write(&api, &current, &status).await {
            Ok(written) => {
                context.remember(&current, |memory| memory.written = written.resource_version());
                context.workers.forget(&current.uid().unwrap_or_default(), &status.jobs);
                announce(context, &current, &status).await;
                return Ok(Some(status));
            }
            Err(kube::Error::Api(refusal)) if refusal.is_conflict() => {
                debug!("the object changed meanwhile: reading it again");
            }
            Err(kube::Error::Api(refusal)) if refusal.is_not_found() => return Ok(None),
            Err(error) if !owes(outcome) => return Err(error),
            // What was sent must not be forgotten with the reconcile: it stays here until it is written.
            Err(error) => {
                warn!(%error, "cannot write the status; trying again");
                tokio::time::sleep(super::AFTER_ERROR).await;
            }
        }
        match api.get_opt(&upload.name_any()).await {
            Ok(Some(fresh)) if fresh.uid() == upload.uid() => current = fresh,
            Ok(_) => return Ok(None),
            Err(error) if !owes(outcome) => return Err(error),
            Err(error) => warn!(%error, "cannot read the object again"),
        }
    }
}

/// Whether something was done that must not be forgotten with the reconcile. What a Job did, it says again.
fn owes(outcome: &Outcome) -> bool {
    !outcome.sent.is_empty()
}

async fn write(api: &Api<FileUpload>, upload: &FileUpload, status: &FileUploadStatus) -> kube::Result<FileUpload> {
    // A JSON patch replaces the status as a whole, and the resourceVersion makes a stale write a conflict.
    let patch = json!([
        { "op": "replace", "path": "/metadata/resourceVersion", "value": upload.resource_version() },
        { "op": "add", "path": "/status", "value": status },
    ]);
    let patch = serde_json::from_value(patch).map_err(kube::Error::SerdeError)?;
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    api.patch_status(&upload.name_any(), &params, &Patch::<FileUpload>::Json(patch)).await
}

/// An event when the reason of Ready is another than before, and one when keys that live can no longer be renewed.
async fn announce(context: &Context, upload: &FileUpload, status: &FileUploadStatus) {
    let old = upload.status.as_ref();
    let before = old.and_then(|status| ready(&status.conditions));
    if let Some(ready) = ready(&status.conditions)
        && before.is_none_or(|before| before.reason != ready.reason || before.status != ready.status)
    {
        let class = Reason::parse(&ready.reason).map(Reason::class);
        let calm = matches!(class, Some(Class::Done | Class::Working)) || ready.reason == Reason::Suspended.as_str();
        say(context, upload, calm, &ready.reason, &ready.message).await;
    }
    if let Some(message) = plan::refresh_failure(status)
        && old.and_then(plan::refresh_failure).is_none()
    {
        say(context, upload, false, Reason::RefreshFailed.as_str(), &message).await;
    }
}

async fn say(context: &Context, upload: &FileUpload, calm: bool, reason: &str, message: &str) {
    let event = Event {
        type_: if calm { EventType::Normal } else { EventType::Warning },
        reason: reason.to_owned(),
        note: Some(message.to_owned()),
        action: "Upload".to_owned(),
        secondary: None,
    };
    if let Err(error) = context.recorder.publish(&event, &upload.object_ref(&())).await {
        warn!(%error, "cannot publish an event");
    }
}

fn ready(conditions: &[Condition]) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == "Ready")
}
