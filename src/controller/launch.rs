//! Creates and deletes the Jobs of workers, and knows how many run.
//!
//! `create`, never `apply`: a name comes from what the Job is for, so one that exists already is the same Job.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::batch::v1::Job;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use tracing::{info, warn};

use super::places::Seen;
use super::views::{Found, job_of};
use super::{Context, clock, views};
use crate::plan::{self, Asked, Launch, Observed, Plan, Running, Volume};
use crate::reason::Reason;
use crate::resource::{FIELD_MANAGER, FileUpload};

/// A worker that does not run after so many seconds holds no place: it may never run.
const GIVEN_UP: i64 = 60;

/// Asks for places for the Jobs that would be launched if there were no bounds.
pub(super) fn places(context: &Context, upload: &FileUpload, observed: &Observed) -> BTreeMap<Volume, usize> {
    let draft = plan::next(upload, observed, clock::now());
    let asks = draft.launch.into_iter().map(|launch| Asked {
        namespace: upload.namespace().unwrap_or_default(),
        secret: upload.spec.secret_name().to_owned(),
        workers: launch.parallelism,
        shared: launch.placement.shared,
        volume: launch.volume,
        per_credential: None,
    });
    let asks: Vec<_> = asks.collect();
    if asks.is_empty() {
        context.places.forget(&upload.uid().unwrap_or_default());
        return BTreeMap::new();
    }
    let seen = seen(context);
    let granted = context.places.ask(upload, asks, &seen);
    let running: usize = seen.iter().map(|(_, running)| running.workers).sum();
    context.metrics.workers(running, context.places.waiting());
    granted
}

/// The workers in the cache that hold a place.
fn seen(context: &Context) -> Seen {
    let now = clock::now().as_second();
    let caches = context.places.caches();
    let mut pods: HashMap<_, _> = caches.iter().flat_map(|cache| cache.pods_by_job()).collect();
    let mut running = |job: &Job| {
        let pods = pods.remove(&(job.namespace()?, job.name_any())).unwrap_or_default();
        let view = job_of(Found { name: &job.name_any(), job: Some(job), pods: &pods, gone: &[], events: &[] })?;
        let age = view.created.map_or(0, |created| now - created.as_second());
        let alive = view.pods.iter().filter(|pod| !matches!(pod.phase.as_str(), "Succeeded" | "Failed"));
        let placed = view.pods.iter().any(|pod| pod.node.is_some());
        let wanted = usize::try_from(job.spec.as_ref()?.parallelism.unwrap_or(1)).unwrap_or(1);
        let workers = if age < GIVEN_UP { wanted } else { alive.filter(|pod| pod.running).count() };
        let holds = view.ended.is_none() && workers > 0;
        let secret = views::secret_of(job)?;
        let running = Running { namespace: job.namespace()?, volume: view.volume, secret, workers, placed };
        holds.then(|| (job.name_any(), running))
    };
    caches.iter().flat_map(|cache| cache.all_jobs()).filter_map(|job| running(&job)).collect()
}

/// Creates the Jobs of a plan; says of each whether it exists now, or why the API server does not take it.
pub(super) async fn launch(
    context: &Context,
    upload: &FileUpload,
    plan: &Plan,
) -> BTreeMap<String, Option<(Reason, String)>> {
    let (mut launched, mut places) = (BTreeMap::new(), BTreeMap::new());
    for launch in &plan.launch {
        let result = create(context, upload, launch).await;
        if result.is_ok() {
            places.insert(launch.volume.clone(), launch.name.clone());
        }
        launched.insert(launch.name.clone(), result.err());
    }
    context.places.settle(&upload.uid().unwrap_or_default(), &places);
    launched
}

async fn create(context: &Context, upload: &FileUpload, launch: &Launch) -> Result<(), (Reason, String)> {
    let job = plan::job(upload, launch, &context.settings.worker)
        .map_err(|error| (Reason::WorkerPending, format!("its Job cannot be written: {error}")))?;
    let api = Api::<Job>::namespaced(context.client.clone(), &upload.namespace().unwrap_or_default());
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    match api.create(&params, &job).await {
        Ok(_) => {
            info!(job = launch.name, files = launch.files.len(), "launched a worker");
            Ok(())
        }
        Err(kube::Error::Api(refusal)) if refusal.is_already_exists() => Ok(()),
        Err(kube::Error::Api(refusal)) if (400..500).contains(&refusal.code) && refusal.code != 429 => {
            warn!(job = launch.name, cause = refusal.message, "the API server refused a worker");
            Err(plan::refused("the worker's Job", &refusal.message, &launch.name))
        }
        Err(error) => {
            warn!(job = launch.name, %error, "cannot create a worker");
            Err((Reason::WorkerPending, "the worker's Job is being created".to_owned()))
        }
    }
}

/// Deletes the Jobs that a plan no longer wants, with their Pods; says whether all are. One that is gone already is no
/// failure.
pub(super) async fn remove(context: &Context, upload: &FileUpload, plan: &Plan) -> bool {
    let mut all = true;
    let api = Api::<Job>::namespaced(context.client.clone(), &upload.namespace().unwrap_or_default());
    for removal in &plan.remove {
        let same = Preconditions { uid: Some(removal.uid.clone()), resource_version: None };
        match api.delete(&removal.name, &DeleteParams::background().preconditions(same)).await {
            Ok(_) => info!(job = removal.name, because = removal.because, "deleted a worker's Job"),
            Err(kube::Error::Api(refusal)) if refusal.is_not_found() || refusal.is_conflict() => {}
            Err(error) => {
                warn!(job = removal.name, %error, "cannot delete a worker's Job");
                all = false;
            }
        }
    }
    all
}
