//! The workers' Jobs and Pods, and the claims they read: watched, remembered past their deletion, looked up anew in doubt.
//!
//! A Pod's report is in its status only as long as the Pod exists, so what a deleted Pod last said is kept until the
//! status has it. Events are not watched: they are read for a worker that does not run.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::events::v1::Event as ClusterEvent;
use kube::api::ListParams;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::watch;

use super::views::{Found, LABEL_JOB, claim_of, job_of, upload_uid, vanished};
use super::{count_list, strip};
use crate::plan::{self, ClaimView, JobView};
use crate::resource::{FIELD_MANAGER, FileUpload, JobStatus, LABEL_FILE_UPLOAD, LABEL_MANAGED_BY};

/// The last words of deleted Pods, by the uid of the `FileUpload` they worked for.
type Graves = Arc<Mutex<HashMap<String, Vec<Pod>>>>;

/// What is known of Jobs, Pods and claims.
pub(super) struct Workers {
    client: Client,
    jobs: Store<Job>,
    pods: Store<Pod>,
    claims: Store<PersistentVolumeClaim>,
    graves: Graves,
}

/// The events that fill it; deletions are events too.
pub(super) struct Streams {
    pub(super) jobs: BoxStream<'static, watcher::Result<Job>>,
    pub(super) pods: BoxStream<'static, watcher::Result<Pod>>,
    pub(super) claims: BoxStream<'static, watcher::Result<PersistentVolumeClaim>>,
}

/// The APIs of what is watched.
pub(super) struct Apis {
    pub(super) jobs: Api<Job>,
    pub(super) pods: Api<Pod>,
    pub(super) claims: Api<PersistentVolumeClaim>,
}

impl Workers {
    /// The caches and the events that fill them.
    pub(super) fn watch(client: Client, apis: Apis, listed: &Arc<watch::Sender<u8>>) -> (Self, Streams) {
        let graves = Graves::default();
        let ours = watcher::Config::default().labels(&format!("{LABEL_MANAGED_BY}={FIELD_MANAGER}"));
        let all = watcher::Config::default();
        let bury = Arc::clone(&graves);
        let bury = move |event: &watcher::Result<Event<Pod>>| {
            if let Ok(Event::Delete(pod)) = event {
                entomb(&bury, pod);
            }
        };
        let (jobs, job_events) = cached(watcher::watcher(apis.jobs, ours), strip, |_| {}, listed);
        let (pods, pod_events) = cached(watcher::watcher(apis.pods, all.clone()), slim, bury, listed);
        let (claims, claim_events) = cached(watcher::watcher(apis.claims, all), strip, |_| {}, listed);
        let workers = Self { client, jobs, pods, claims, graves };
        (workers, Streams { jobs: job_events, pods: pod_events, claims: claim_events })
    }

    /// Every Job of ours, as the watch knows them.
    pub(super) fn all_jobs(&self) -> Vec<Arc<Job>> {
        self.jobs.state()
    }

    /// The Pods of all Jobs of ours, by the Job's namespace and name.
    pub(super) fn pods_by_job(&self) -> HashMap<(String, String), Vec<Pod>> {
        let mut pods: HashMap<_, Vec<Pod>> = HashMap::new();
        for pod in self.pods.state().into_iter().filter(|pod| upload_uid(pod.labels()).is_some()) {
            if let (Some(namespace), Some(job)) = (pod.namespace(), pod.labels().get(LABEL_JOB)) {
                pods.entry((namespace, job.clone())).or_default().push((*pod).clone());
            }
        }
        pods
    }

    /// The claims of `names`.
    pub(super) fn claims(&self, namespace: &str, names: impl Iterator<Item = String>) -> BTreeMap<String, ClaimView> {
        let pods = self.pods.state();
        let view = |name: String| {
            let claim = self.claims.get(&ObjectRef::new(&name).within(namespace));
            (name, claim_of(claim.as_deref(), pods.iter().map(AsRef::as_ref)))
        };
        names.map(view).collect()
    }

    /// The Jobs of `upload` that exist, that its status names, or whose Pods may still tell something.
    pub(super) async fn jobs(&self, upload: &FileUpload, now: Timestamp) -> kube::Result<Vec<JobView>> {
        let uid = upload.uid().unwrap_or_default();
        let is_mine = |labels: &BTreeMap<String, String>| upload_uid(labels) == Some(&uid);
        let jobs: Vec<_> = self.jobs.state().into_iter().filter(|job| is_mine(job.labels())).collect();
        let pods: Vec<_> = self.pods.state().into_iter().filter(|pod| is_mine(pod.labels())).collect();
        let in_status = upload.status.iter().flat_map(|status| &status.jobs).map(|job| job.name.clone());
        let mut names: BTreeSet<String> = jobs.iter().map(|job| job.name_any()).chain(in_status).collect();
        names.extend(pods.iter().filter_map(|pod| pod.labels().get(LABEL_JOB).cloned()));
        let mut views = Vec::new();
        for name in names {
            let of_job = |pod: &&Pod| pod.labels().get(LABEL_JOB) == Some(&name);
            let job = jobs.iter().find(|job| job.name_any() == name).map(|job| (**job).clone());
            let pods: Vec<Pod> = pods.iter().map(AsRef::as_ref).filter(of_job).cloned().collect();
            let gone: Vec<Pod> = lock(&self.graves).get(&uid).into_iter().flatten().filter(of_job).cloned().collect();
            views.extend(self.job(upload, &name, (job, pods, gone), now).await?);
        }
        views.sort_by_key(|view: &JobView| view.attempt);
        Ok(views)
    }

    async fn job(
        &self,
        upload: &FileUpload,
        name: &str,
        found: (Option<Job>, Vec<Pod>, Vec<Pod>),
        now: Timestamp,
    ) -> kube::Result<Option<JobView>> {
        let (job, pods, gone) = &found;
        let view = job_of(Found { name, job: job.as_ref(), pods, gone, events: &[] });
        let view = view.or_else(|| vanished(upload, name));
        let Some(view) = view else { return Ok(None) };
        if plan::is_doubtful(&view) {
            return self.confirm(upload, view, &found.2).await.map(Some);
        }
        if !plan::may_be_kept(&view, now) {
            return Ok(Some(view));
        }
        let events = self.events(upload, &view, pods).await?;
        Ok(job_of(Found { name, job: job.as_ref(), pods, gone, events: &events }))
    }

    /// Asks the API server itself for a Job and its Pods: a cache may be behind.
    async fn confirm(&self, upload: &FileUpload, view: JobView, gone: &[Pod]) -> kube::Result<JobView> {
        let namespace = upload.namespace().unwrap_or_default();
        let uid = upload.uid().unwrap_or_default();
        let job = Api::<Job>::namespaced(self.client.clone(), &namespace).get_opt(&view.name).await?;
        let job = job.filter(|job| upload_uid(job.labels()) == Some(&uid));
        let of_job = ListParams::default().labels(&format!("{LABEL_JOB}={}", view.name));
        let mut pods = Api::<Pod>::namespaced(self.client.clone(), &namespace).list(&of_job).await?.items;
        pods.retain(|pod| upload_uid(pod.labels()) == Some(&uid));
        let gone: Vec<Pod> =
            gone.iter().filter(|dead| pods.iter().all(|pod| pod.uid() != dead.uid())).cloned().collect();
        let found = Found { name: &view.name, job: job.as_ref(), pods: &pods, gone: &gone, events: &[] };
        let mut fresh = job_of(found).unwrap_or(view);
        (fresh.confirmed, fresh.exists) = (true, job.is_some());
        Ok(fresh)
    }

    /// What the cluster says of a Job and its Pods.
    async fn events(&self, upload: &FileUpload, view: &JobView, pods: &[Pod]) -> kube::Result<Vec<ClusterEvent>> {
        let api = Api::<ClusterEvent>::namespaced(self.client.clone(), &upload.namespace().unwrap_or_default());
        let mut about = vec![("Job", view.name.clone())];
        about.extend(pods.iter().map(|pod| ("Pod", pod.name_any())));
        let mut events = Vec::new();
        for (kind, name) in about {
            let regarding = format!("regarding.kind={kind},regarding.name={name}");
            events.extend(api.list(&ListParams::default().fields(&regarding)).await?.items);
        }
        Ok(events)
    }

    /// Forgets the last words of a `FileUpload`'s Pods, but for those of Jobs that its status still names.
    pub(super) fn forget(&self, uid: &str, kept: &[JobStatus]) {
        let mut graves = lock(&self.graves);
        if let Some(dead) = graves.get_mut(uid) {
            dead.retain(|pod| kept.iter().any(|job| pod.labels().get(LABEL_JOB) == Some(&job.name)));
        }
        graves.retain(|_, dead| !dead.is_empty());
    }
}

/// A cache of what a watch tells, and its events.
fn cached<K>(
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    trim: fn(&mut K),
    see: impl FnMut(&watcher::Result<Event<K>>) + Send + 'static,
    listed: &Arc<watch::Sender<u8>>,
) -> (Store<K>, BoxStream<'static, watcher::Result<K>>)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let events = events.map(move |event| event.map(|event| event.modify(trim)));
    let events = reflector::reflector(writer, events).inspect(count_list(listed)).inspect(see);
    (store, events.default_backoff().touched_objects().boxed())
}

/// The `FileUpload` that a Job or Pod of ours works for.
pub(super) fn works_for(object: &impl ResourceExt) -> Option<ObjectRef<FileUpload>> {
    upload_uid(object.labels())?;
    let name = object.labels().get(LABEL_FILE_UPLOAD)?;
    Some(ObjectRef::new(name).within(&object.namespace()?))
}

/// Keeps what a Pod last said; nobody asks for what others said an hour before.
fn entomb(graves: &Graves, pod: &Pod) {
    const OLD: i64 = 3600;
    let Some(uid) = upload_uid(pod.labels()) else { return };
    let end = |pod: &Pod| pod.metadata.deletion_timestamp.as_ref().map_or(i64::MAX, |time| time.0.as_second());
    let mut graves = lock(graves);
    graves.entry(uid.clone()).or_default().push(pod.clone());
    graves.retain(|_, dead| {
        dead.retain(|other| end(pod).saturating_sub(end(other)) < OLD);
        !dead.is_empty()
    });
}

/// Of other people's Pods only what tells who uses a claim is kept.
fn slim(pod: &mut Pod) {
    strip(pod);
    if upload_uid(pod.labels()).is_some() {
        return;
    }
    pod.metadata.annotations = None;
    if let Some(spec) = pod.spec.take() {
        let volumes = spec
            .volumes
            .map(|volumes| volumes.into_iter().filter(|volume| volume.persistent_volume_claim.is_some()).collect());
        pod.spec = Some(k8s_openapi::api::core::v1::PodSpec {
            node_name: spec.node_name,
            tolerations: spec.tolerations,
            volumes,
            ..Default::default()
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
