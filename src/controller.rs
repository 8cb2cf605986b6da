//! The operator: watches `FileUpload`s and carries out what `crate::plan` decides, one step at a time.
//!
//! ```text
//! observe (reads only) ▶ plan::next (pure) ▶ perform (the only acts) ▶ plan::status (pure) ▶ publish
//! ```
//!
//! The requeue is the retry; nothing here loops over attempts. A failed act is data, so that the status is
//! always written. Correctness never rests on being the only instance.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::watch;
use tracing::{debug, warn};

use self::config_maps::ConfigMaps;
use self::places::Places;
use self::secrets::Secrets;
use self::workers::{Apis, Workers};
use crate::clock;
use crate::delivery::Courier;
use crate::plan::{self, Limits, Terms, WorkerSettings};
use crate::resource::{FIELD_MANAGER, FileUpload};
use crate::telemetry::Metrics;

pub(crate) use self::config_maps::output_of;
pub(crate) use self::observe::content_of;
pub(crate) use self::secrets::credentials_of;
pub(crate) use self::views::{Found, LABEL_JOB, claim_of, job_of, vanished};

mod cadence;
mod config_maps;
#[expect(dead_code, reason = "what tells of changes still uses kube's Recorder")]
mod events;
#[cfg_attr(not(test), expect(dead_code, reason = "the work that asks it for places is not written yet"))]
mod gate;
mod launch;
mod observe;
mod perform;
mod places;
mod publish;
mod secrets;
#[cfg_attr(not(test), expect(dead_code, reason = "the tasks that it is to supervise are not written yet"))]
mod supervise;
mod views;
mod wake;
mod workers;

/// Resources that are worked on at the same time.
const CONCURRENT: u16 = 8;
/// What is watched: FileUploads, ConfigMaps, Jobs, Pods and claims.
const LISTS: u8 = 5;

/// Everything a reconcile needs.
struct Context {
    client: Client,
    courier: Arc<Courier>,
    metrics: Metrics,
    secrets: Secrets,
    config_maps: ConfigMaps,
    workers: Arc<Workers>,
    places: Arc<Places>,
    settings: Arc<Settings>,
    recorder: Recorder,
    memory: Memories,
    synced: watch::Receiver<u8>,
}

/// What is remembered of a resource between two reconciles, by uid. Losing it costs a shorter backoff.
#[derive(Clone, Debug, Default)]
struct Memory {
    /// The resourceVersion of our last write: an older view is not planned on.
    written: Option<String>,
    /// Sends in a row that failed in a way that may pass by itself.
    failures: u32,
    /// The generation those failures belong to.
    generation: i64,
}

/// By uid.
type Memories = Arc<Mutex<HashMap<String, Memory>>>;

impl Context {
    fn memory(&self, upload: &FileUpload) -> Memory {
        let memories = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        upload.metadata.uid.as_ref().and_then(|uid| memories.get(uid).cloned()).unwrap_or_default()
    }

    fn remember(&self, upload: &FileUpload, change: impl FnOnce(&mut Memory)) {
        let mut memories = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        change(memories.entry(upload.uid().unwrap_or_default()).or_default());
    }
}

/// How the operator was told to work.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether it sends files of ConfigMaps itself, rather than by workers.
    pub direct: bool,
    /// How workers are made.
    pub worker: WorkerSettings,
    /// How many workers there may be.
    pub limits: Limits,
    /// How long keys live.
    pub terms: Terms,
}

/// What the operator needs from outside.
#[derive(Clone)]
pub struct Operator {
    /// The cluster.
    pub client: Client,
    /// Carries the files.
    pub courier: Arc<Courier>,
    /// How it was told to work.
    pub settings: Arc<Settings>,
    /// Where it is counted.
    pub metrics: Metrics,
    /// Stops it, once true, after the acts under way.
    pub stop: watch::Receiver<bool>,
}

impl Operator {
    /// Serves these namespaces, or all if none is named; `on_synced` is called for each once everything was listed.
    ///
    /// They have their watches each for itself, and the places for workers together.
    pub async fn run(self, namespaces: BTreeSet<String>, on_synced: impl FnOnce() + Clone + Send + 'static) {
        let places = Arc::new(Places::new(self.settings.limits));
        let mut scopes: Vec<_> = namespaces.into_iter().map(Some).collect();
        if scopes.is_empty() {
            scopes.push(None);
        }
        let serve = |scope: Option<String>| {
            let (operator, places, on_synced) = (self.clone(), Arc::clone(&places), on_synced.clone());
            async move { Box::pin(operator.serve(scope.as_deref(), places, on_synced)).await }
        };
        futures::future::join_all(scopes.into_iter().map(serve)).await;
    }

    async fn serve(self, namespace: Option<&str>, places: Arc<Places>, on_synced: impl FnOnce()) {
        let (listed, synced) = watch::channel(0u8);
        let listed = Arc::new(listed);
        let memory = Memories::default();
        let (uploads, upload_events) = uploads(scoped(&self.client, namespace), &listed, &memory, &places);
        let (config_maps, config_map_events) = ConfigMaps::watch(scoped(&self.client, namespace), &listed);
        let apis = Apis {
            jobs: scoped(&self.client, namespace),
            pods: scoped(&self.client, namespace),
            claims: scoped(&self.client, namespace),
        };
        let (workers, events) = Workers::watch(self.client.clone(), apis, &listed);
        let workers = Arc::new(workers);
        places.serve(&workers);
        let reporter = Reporter { controller: FIELD_MANAGER.into(), instance: None };
        let context = Arc::new(Context {
            recorder: Recorder::new(self.client.clone(), reporter),
            secrets: Secrets::new(self.client.clone()),
            client: self.client,
            courier: self.courier,
            metrics: self.metrics,
            config_maps,
            workers,
            places: Arc::clone(&places),
            settings: self.settings,
            memory,
            synced: synced.clone(),
        });
        let mut stop = self.stop;
        let (by_config_map, by_pod, by_claim) = (uploads.clone(), uploads.clone(), uploads.clone());
        let controller = Controller::for_stream(upload_events, uploads)
            .with_config(Config::default().concurrency(CONCURRENT))
            .watches_stream(config_map_events, move |config_map| wake::on_config_map(&by_config_map, &config_map))
            .watches_stream(events.jobs, move |job| wake::on_job(&places, &job))
            .watches_stream(events.pods, move |pod| wake::on_pod(&by_pod, &pod))
            .watches_stream(events.claims, move |claim| {
                wake::on_claim(&by_claim, claim.metadata.namespace.as_deref(), &claim.name_any())
            })
            .graceful_shutdown_on(async move { drop(stop.wait_for(|stop| *stop).await) })
            .run(reconcile, |upload, error, _| cadence::after_error(&upload, error), context)
            .for_each(|result| async {
                if let Err(error) = result {
                    debug!(%error, "reconcile ended with an error");
                }
            });
        let mut synced = synced;
        let announce = async move {
            if synced.wait_for(|lists| *lists >= LISTS).await.is_ok() {
                on_synced();
            }
        };
        tokio::join!(controller, announce);
    }
}

fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// A cache of all `FileUpload`s and the events that fill it.
///
/// The stream itself says when the first list is complete: the store's own waiting wakes only one waiter.
fn uploads(
    api: Api<FileUpload>,
    listed: &Arc<watch::Sender<u8>>,
    memory: &Memories,
    places: &Arc<Places>,
) -> (Store<FileUpload>, impl Stream<Item = watcher::Result<FileUpload>> + use<>) {
    let (store, writer) = reflector::store();
    let (memory, places) = (Arc::clone(memory), Arc::clone(places));
    let forget = move |event: &watcher::Result<Event<FileUpload>>| {
        if let Ok(Event::Delete(gone)) = event {
            let uid = gone.uid().unwrap_or_default();
            memory.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
            places.forget(&uid);
        }
    };
    let events = watcher::watcher(api, watcher::Config::default()).map(|event| event.map(|event| event.modify(strip)));
    let events = reflector::reflector(writer, events).inspect(count_list(listed)).inspect(forget);
    (store, events.default_backoff().applied_objects())
}

/// What nobody here reads is not kept.
fn strip<K: ResourceExt>(object: &mut K) {
    object.managed_fields_mut().clear();
    object.annotations_mut().remove("kubectl.kubernetes.io/last-applied-configuration");
}

/// Counts the first complete list of a watch.
fn count_list<K>(listed: &Arc<watch::Sender<u8>>) -> impl FnMut(&watcher::Result<Event<K>>) + use<K> {
    let (listed, mut first) = (Arc::clone(listed), true);
    move |event| {
        if matches!(event, Ok(Event::InitDone)) && std::mem::take(&mut first) {
            listed.send_modify(|lists| *lists += 1);
        }
    }
}

/// One step for one resource.
#[tracing::instrument(skip_all, fields(namespace = upload.namespace(), fileupload = upload.name_any(), generation = upload.metadata.generation))]
async fn reconcile(upload: Arc<FileUpload>, context: Arc<Context>) -> Result<Action, kube::Error> {
    let mut synced = context.synced.clone();
    let _ = synced.wait_for(|lists| *lists >= LISTS).await;
    if upload.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let memory = context.memory(&upload);
    if is_older(upload.resource_version().as_deref(), memory.written.as_deref()) {
        return Ok(Action::await_change()); // our own write is on its way here
    }
    // One moment for all that is decided: what comes due after it has its own timer.
    let now = clock::now();
    let (observed, material) = observe::observe(&context, &upload, &memory, now).await?;
    let plan = plan::next(&upload, &observed, now);
    let outcome = perform::perform(&context, &upload, &plan, &observed.output, &material).await;
    if outcome.discarded {
        return Ok(Action::await_change());
    }
    let status = publish::publish(&context, &upload, &plan, &outcome).await?;
    cadence::count(&context, &upload, &plan, &outcome);
    let undone = outcome.unfinished.then_some(if plan.discards { AFTER_REFUSAL } else { AFTER_ERROR });
    let look_again = [plan.look_again, undone].into_iter().flatten().min();
    Ok(cadence::next(&upload, &plan, status.as_ref(), look_again, now))
}

/// Whether a resourceVersion is older than another: they compare as numbers (KEP-5504).
fn is_older(seen: Option<&str>, written: Option<&str>) -> bool {
    let number = |version: Option<&str>| version.and_then(|version| version.parse::<u64>().ok());
    matches!((number(seen), number(written)), (Some(seen), Some(written)) if seen < written)
}

/// Waits a little before an error of the API server is met again.
const AFTER_ERROR: Duration = Duration::from_secs(5);
/// Waits longer before a deletion is tried again that may be refused for good.
const AFTER_REFUSAL: Duration = Duration::from_secs(30);

fn warn_once(upload: &FileUpload, error: &kube::Error) {
    warn!(namespace = upload.namespace(), fileupload = upload.name_any(), %error, "the API server refused");
}
