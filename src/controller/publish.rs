//! Writes the status, and an event if the story changed.
//!
//! The write names the resourceVersion that it is based on. One that meets another is dropped: all it said is still a
//! fact, the watch brings the newer object, and the plan is made again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::api::{Patch, PatchParams};
use kube::core::Request;
use kube::{Error, Resource};
use parking_lot::Mutex;
use serde_json::json;
use tracing::{debug, warn};

use super::events::{Announcement, Tone};
use super::index::Key;
use super::watches::received::Received;
use super::{Context, events};
use crate::backoff;
use crate::plan;
use crate::reason::{Class, Reason};
use crate::resource::{Condition, FIELD_MANAGER, FileUpload, FileUploadStatus};

/// What became of a status.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Published {
    /// It is written: the next step follows.
    Yes,
    /// Nothing changed by it, or the object is gone.
    NoNeed,
    /// It is not written, and still due.
    No,
}

/// Since when the statuses that the API server does not take were to be written, by uid. No status can tell.
#[derive(Default)]
pub(super) struct Unwritten(Mutex<HashMap<Arc<str>, Instant>>);

/// A status that cannot be written is tried again after this at the latest.
const REWRITE: Duration = Duration::from_secs(30);
/// How long the next step may wait for an event to be written.
pub(super) const EVENT: Duration = Duration::from_secs(5);

impl Unwritten {
    /// After how long one that could not be written is tried again: as long again as that has lasted.
    pub(super) fn again(&self, uid: &Arc<str>) -> Duration {
        let lasted = self.0.lock().entry(Arc::clone(uid)).or_insert_with(Instant::now).elapsed();
        backoff::as_long_again(lasted, u64::from(lasted.subsec_nanos()), None).min(REWRITE)
    }

    /// It is written, or nobody waits for it.
    pub(super) fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}

/// Writes `status`.
pub(super) async fn publish(context: &Context, key: &Key, upload: &FileUpload, status: &FileUploadStatus) -> Published {
    match write(context, key, upload, status).await {
        Ok(written) => {
            // The watch may have told of it first, so this alone says whether it changed.
            let changed = written.version() != upload.metadata.resource_version.as_deref();
            // What cannot be understood is named by the watch.
            if let Some(written) = written.understood() {
                context.index.wrote_upload(written);
            }
            announce(context, upload, status).await;
            if changed { Published::Yes } else { Published::NoNeed }
        }
        Err(Error::Api(refusal)) if refusal.is_conflict() => {
            debug!("the object changed meanwhile: the plan is made again");
            Published::No
        }
        Err(Error::Api(refusal)) if refusal.is_not_found() => Published::NoNeed,
        Err(error) => {
            warn!(error = %crate::redact::cause(&error), "cannot write the status");
            Published::No
        }
    }
}

async fn write(
    context: &Context,
    key: &Key,
    upload: &FileUpload,
    status: &FileUploadStatus,
) -> kube::Result<Received<FileUpload>> {
    // A JSON patch replaces the status as a whole, and the resourceVersion makes a stale write a conflict.
    let patch = json!([
        { "op": "replace", "path": "/metadata/resourceVersion", "value": upload.metadata.resource_version },
        { "op": "add", "path": "/status", "value": status },
    ]);
    let patch = Patch::<()>::Json(serde_json::from_value(patch).map_err(Error::SerdeError)?);
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let request = Request::new(FileUpload::url_path(&(), Some(key.namespace())));
    let request = request.patch_subresource("status", key.name(), &params, &patch).map_err(Error::BuildRequest)?;
    context.client.request(request).await
}

/// An event when Ready's reason is another than before, unless it only says that work goes on, and one when keys that live
/// can no longer be renewed.
async fn announce(context: &Context, upload: &FileUpload, status: &FileUploadStatus) {
    let old = upload.status.as_ref();
    let before = old.and_then(|status| ready(&status.conditions));
    if let Some(ready) = ready(&status.conditions)
        && before.is_none_or(|before| before.reason != ready.reason || before.status != ready.status)
    {
        let reason = Reason::parse(&ready.reason);
        let is_progress = reason.is_some_and(|reason| reason.class() == Class::Working || reason == Reason::Queued);
        let is_calm = reason.is_some_and(|reason| reason.class() == Class::Done || reason == Reason::Suspended);
        if !is_progress {
            let tone = if is_calm { Tone::Normal } else { Tone::Warning };
            say(context, upload, Announcement { tone, reason: &ready.reason, note: &ready.message }).await;
        }
    }
    if let Some(message) = plan::refresh_failure(status)
        && old.and_then(plan::refresh_failure).is_none()
    {
        let (tone, reason) = (Tone::Warning, Reason::RefreshFailed.as_str());
        say(context, upload, Announcement { tone, reason, note: &message }).await;
    }
}

async fn say(context: &Context, upload: &FileUpload, news: Announcement<'_>) {
    match tokio::time::timeout(EVENT, events::publish(&context.client, upload, news)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(error = %crate::redact::cause(&error), "cannot publish an event"),
        Err(_) => warn!(seconds = EVENT.as_secs(), "an event was not published in time"),
    }
}

fn ready(conditions: &[Condition]) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == "Ready")
}

#[cfg(test)]
mod tests;
