//! Carries out a plan's acts: begins Sends and Launches, deletes Jobs, outputs and resources.
//!
//! Nothing is decided here, and nothing fails: what goes wrong is data. A Send or Launch is only begun; what comes of it is
//! a fact of a later reconcile.

use std::time::Duration;

use kube::api::{DeleteParams, Preconditions};
use kube::{Api, Error};
use tracing::{info, warn};

use super::deployments::Lane;
use super::index::{Key, Known};
use super::outputs::Output;
use super::{Context, launches, sends};
use crate::plan::objects::Job;
use crate::plan::{Done, Plan, Stand};
use crate::resource::FileUpload;

/// Performs the acts of a plan. The deletions may take so long in all; what remains is for the next reconcile.
pub(super) async fn perform(context: &Context, key: &Key, known: &Known, plan: &Plan<'_>, patience: Duration) -> Done {
    forget(context, known, plan);
    let begun = begin(context, key, known, plan);
    let former = former(&known.upload);
    let named = known.upload.former_folder_maps().into_iter().map(|(folder, _)| folder).collect();
    let mut done = Done { unfinished: true, former_remains: former.is_some(), absorbed: false, former_folders: named };
    let deletions = async {
        if let Some(former) = former {
            done.former_remains = !remove_output(context, known, former).await;
        }
        done.former_folders = context.folders.delete_former(known).await;
        let removed = remove(context, key, plan).await;
        let discarded = plan.stand != Stand::Finished || discard(context, key, &known.upload).await;
        let is_absorbed = context.folders.absorb(known, &plan.acts.absorb).await;
        done.absorbed = is_absorbed && !plan.acts.absorb.is_empty();
        let remains = done.former_remains || !done.former_folders.is_empty();
        done.unfinished = remains || !removed || !discarded || !is_absorbed;
    };
    let _ = tokio::time::timeout(patience, deletions).await;
    done.unfinished |= !begun;
    done
}

/// Deletes the output that the spec no longer names; says whether it is gone.
async fn remove_output(context: &Context, known: &Known, name: &str) -> bool {
    let deleted = Output::of(&context.client, &context.index, &known.upload).delete(name).await;
    if let Err(error) = &deleted {
        warn!(output = name, error = %crate::redact::cause(error), "cannot delete the output that the spec no longer names");
    }
    deleted.is_ok()
}

/// What the status has is forgotten, and places of Jobs that are over are freed.
fn forget(context: &Context, known: &Known, plan: &Plan<'_>) {
    for attempt in &plan.acts.forget {
        context.sends.forget(&known.uid, *attempt);
        context.launches.forget(&known.uid, *attempt);
        context.index.forget_attempt(&known.uid, *attempt);
    }
    for concluded in &plan.news.concluded {
        if let Some(job) = &concluded.job {
            context.launches.ended(&known.uid, &job.name);
        }
    }
}

/// Begins what is to be begun; says whether all is.
fn begin(context: &Context, key: &Key, known: &Known, plan: &Plan<'_>) -> bool {
    let mut all = true;
    if context.stop.is_cancelled() {
        return all; // nothing new is begun
    }
    let lane = || Lane::of(plan.case.deployment, key.namespace());
    if let Some(dispatch) = plan.acts.send.clone() {
        let (key, uid) = (key.clone(), known.uid.clone());
        context.sends.begin(sends::Order { key, uid, lane: lane(), generation: plan.case.generation, dispatch });
    }
    for launch in plan.acts.launch.clone() {
        let (key, uid) = (key.clone(), known.uid.clone());
        all &= context.launches.begin(launches::Order {
            key,
            uid,
            lane: lane(),
            generation: plan.case.generation,
            launch,
        });
    }
    all
}

/// Deletes the Jobs that a plan no longer wants, with their Pods; says whether all are. One that is gone already is no
/// failure.
async fn remove(context: &Context, key: &Key, plan: &Plan<'_>) -> bool {
    let mut all = true;
    let api = Api::<Job>::namespaced(context.client.clone(), key.namespace());
    for removal in &plan.acts.remove {
        let same = Preconditions { uid: Some(removal.uid.clone()), resource_version: None };
        let params = if removal.after_its_pods { DeleteParams::foreground() } else { DeleteParams::background() };
        match api.delete(&removal.name, &params.preconditions(same)).await {
            Ok(_) => info!(job = removal.name, because = removal.because, "deleted a worker's Job"),
            Err(Error::Api(refusal)) if refusal.is_not_found() || refusal.is_conflict() => {}
            Err(error) => {
                warn!(job = removal.name, error = %crate::redact::cause(&error), "cannot delete a worker's Job");
                all = false;
            }
        }
    }
    all
}

/// Deletes a resource that has finished, as it stands; says whether it is gone.
async fn discard(context: &Context, key: &Key, upload: &FileUpload) -> bool {
    let api = Api::<FileUpload>::namespaced(context.client.clone(), key.namespace());
    let metadata = &upload.metadata;
    let preconditions =
        Preconditions { uid: metadata.uid.clone(), resource_version: metadata.resource_version.clone() };
    let params = DeleteParams::background().preconditions(preconditions);
    match api.delete(key.name(), &params).await {
        Ok(_) => {
            info!("deleted, as spec.ttlSecondsAfterFinished asks");
            true
        }
        Err(error) => {
            warn!(error = %crate::redact::cause(&error), "cannot delete a FileUpload that has finished");
            false
        }
    }
}

/// The output that the status names and the spec no longer does.
fn former(upload: &FileUpload) -> Option<&str> {
    let former = upload.status.as_ref()?.output.as_ref()?.name.as_str();
    (upload.spec.output_name() != Some(former)).then_some(former)
}
