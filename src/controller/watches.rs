//! The watches. Each is a task of its own, fills the index, and wakes the FileUploads that a change concerns.
//!
//! FileUploads are listed first, so that of everything else only what they name is kept. A watch that fails is logged once
//! per cause, is named in `/readyz`, and slows no other. Each asks for 30 s and begins again from where it was.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use kube::core::NamespaceResourceScope;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_of};
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;

use self::received::Metadata;
use super::index::{Change, Index, Key, Told, is_in};
use crate::resource::{FIELD_MANAGER, LABEL_MANAGED_BY};
use crate::telemetry::{Health, Metrics};

pub(super) use self::received::Received;

mod received;

/// For how long a watch is asked for, in seconds.
const WATCH: u32 = 30;
/// A failing watch that fails no more for this long works: longer than the longest wait between two attempts, and what an
/// attempt takes to fail.
const QUIET: Duration = Duration::from_mins(2);
/// Objects in a page of a list: small pages keep the peak of memory low.
const PAGE: u32 = 50;

/// Who is told of changes.
pub(super) trait Listener: Send + Sync {
    /// These FileUploads are to be looked at again, and those are gone.
    fn hear(&self, change: Change);
}

/// What the watches of one namespace, or of all, need.
#[derive(Clone)]
pub(super) struct Watches {
    pub(super) client: Client,
    pub(super) namespace: Option<String>,
    pub(super) index: Index,
    pub(super) listener: Arc<dyn Listener>,
    pub(super) health: Health,
    pub(super) metrics: Metrics,
    /// Objects that this version cannot understand, of all watches.
    pub(super) skipped: Arc<Mutex<Skipped>>,
    /// How many lists are complete.
    pub(super) listed: Arc<watch::Sender<usize>>,
}

/// The kinds that are watched besides FileUploads.
pub(super) const OTHERS: usize = 4;

impl Watches {
    /// Runs them all; ends only if one ends, which none does.
    pub(super) async fn run(self) {
        let (first, mut listed) = watch::channel(false);
        let uploads = self.uploads(first);
        let others = async {
            // Its sender lives in the future beside this one.
            let _ = listed.wait_for(|listed| *listed).await;
            tokio::join!(self.config_maps(), self.claims(), self.jobs(), self.pods());
        };
        tokio::join!(uploads, others);
    }

    async fn uploads(&self, first: watch::Sender<bool>) {
        let act = |event, round| match event {
            Event::Apply(upload) => self.apply_upload(upload, Told::Watch(round)),
            Event::InitApply(upload) => self.apply_upload(upload, Told::List(round)),
            Event::Delete(gone) => {
                self.skipped.lock().understands(&gone, &self.metrics);
                self.index.delete_upload(&Key::of(&gone))
            }
            Event::Init => Change::default(),
            Event::InitDone => {
                let _ = first.send(true);
                self.skipped.lock().sweep(self.namespace.as_deref(), round, &self.metrics);
                self.index.sweep_uploads(self.namespace.as_deref(), round)
            }
        };
        self.watch::<Received>("fileuploads", watcher::Config::default(), act).await;
    }

    fn apply_upload(&self, received: Received, told: Told) -> Change {
        match received.0 {
            Ok(upload) => {
                self.skipped.lock().understands(&*upload, &self.metrics);
                self.index.apply_upload(*upload, told)
            }
            Err(odd) => {
                let key = Key::in_metadata(&odd.metadata);
                self.skipped.lock().skips(&key, told.round().unwrap_or_default(), &odd.why, &self.metrics);
                self.index.delete_upload(&key)
            }
        }
    }

    async fn config_maps(&self) {
        let act = |event: Event<Metadata<ConfigMap>>, round| match event {
            Event::Apply(meta) => self.index.apply_config_map(meta.meta(), Told::Watch(round)),
            Event::InitApply(meta) => self.index.apply_config_map(meta.meta(), Told::List(round)),
            Event::Delete(gone) => self.index.delete_config_map(gone.meta(), round),
            Event::Init => self.index.begin_config_maps(self.namespace.as_deref()),
            Event::InitDone => self.index.sweep_config_maps(self.namespace.as_deref(), round),
        };
        self.watch("configmaps", watcher::Config::default(), act).await;
    }

    async fn claims(&self) {
        let act = |event, round| match event {
            Event::Apply(claim) | Event::InitApply(claim) => self.index.apply_claim(&claim, round),
            Event::Delete(gone) => self.index.delete_claim(&Key::of(&gone)),
            Event::Init => Change::default(),
            Event::InitDone => self.index.sweep_claims(self.namespace.as_deref(), round),
        };
        self.watch::<PersistentVolumeClaim>("persistentvolumeclaims", watcher::Config::default(), act).await;
    }

    async fn jobs(&self) {
        let ours = watcher::Config::default().labels(&format!("{LABEL_MANAGED_BY}={FIELD_MANAGER}"));
        let act = |event, round| match event {
            Event::Apply(job) | Event::InitApply(job) => self.index.apply_job(&job, Some(round)),
            Event::Delete(gone) => self.index.delete_job(&gone),
            Event::Init => Change::default(),
            Event::InitDone => self.index.sweep_jobs(self.namespace.as_deref(), round),
        };
        self.watch::<Job>("jobs", ours, act).await;
    }

    async fn pods(&self) {
        let act = |event, round| match event {
            Event::Apply(pod) | Event::InitApply(pod) => self.index.apply_pod(&pod, round),
            Event::Delete(gone) => self.index.delete_pod(&gone),
            Event::Init => Change::default(),
            Event::InitDone => self.index.sweep_pods(self.namespace.as_deref(), round),
        };
        self.watch::<Pod>("pods", watcher::Config::default(), act).await;
    }

    /// Watches one kind for ever. `act` takes each event in, with the number of the list that it belongs to.
    async fn watch<K>(&self, kind: &'static str, config: watcher::Config, mut act: impl FnMut(Event<K>, u32) -> Change)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let name =
            self.namespace.as_ref().map_or_else(|| kind.to_owned(), |namespace| format!("{kind} in {namespace}"));
        let config = config.timeout(WATCH).page_size(PAGE);
        let mut events = std::pin::pin!(watch_of(self.api(), config).default_backoff());
        let (mut round, mut is_first, mut is_failing) = (0, true, false);
        loop {
            let event = match next_of(&mut events, is_failing).await {
                Some(Ok(event)) => event,
                // The list is made again, which is what a watch is told after a long silence.
                Some(Err(watcher::Error::WatchError(said))) if said.code == 410 => continue,
                Some(Err(error)) => {
                    is_failing = true;
                    self.fails(&name, &error);
                    continue;
                }
                None if is_failing => {
                    is_failing = false;
                    self.health.watch_works(&name);
                    continue;
                }
                None => return,
            };
            let is_complete = matches!(event, Event::InitDone);
            if matches!(event, Event::Init) {
                round = if round == u32::MAX - 1 { 1 } else { round + 1 };
            } else {
                is_failing = false;
                self.health.watch_works(&name);
            }
            self.listener.hear(act(event, round));
            if is_complete && std::mem::take(&mut is_first) {
                self.listed.send_modify(|listed| *listed += 1);
            }
        }
    }

    fn api<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>>(&self) -> Api<K> {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    fn fails(&self, name: &str, error: &watcher::Error) {
        let cause = cause(error);
        if self.health.watch_fails(name, &cause, crate::redact::is_untrusted(error)) {
            warn!(watch = name, cause, "a watch fails; trying again");
        }
    }
}

/// The next event of a watch; none if it failed before and has not failed again for long, so that it works. Of a watch that
/// works but has nothing to tell, nothing is heard.
async fn next_of<S: Stream + Unpin>(events: &mut S, is_failing: bool) -> Option<S::Item> {
    if is_failing { timeout(QUIET, events.next()).await.ok().flatten() } else { events.next().await }
}

/// The innermost cause, in one line; no body of an answer stands in it.
fn cause(error: &watcher::Error) -> String {
    crate::redact::cause(error)
}

/// Objects that this version cannot understand: each is named once, counted, and left out. With the list of each.
#[derive(Default)]
pub(super) struct Skipped(HashMap<Key, u32>);

impl Skipped {
    fn skips(&mut self, key: &Key, round: u32, why: &str, metrics: &Metrics) {
        if self.0.insert(key.clone(), round).is_none() {
            let (namespace, name, why) = (key.namespace(), key.name(), crate::redact::quote(why));
            warn!(namespace, fileupload = name, why, "a FileUpload that this version cannot understand is skipped");
        }
        metrics.skipped_objects(self.0.len());
    }

    /// A list is complete: those that it lacks are gone.
    fn sweep(&mut self, namespace: Option<&str>, round: u32, metrics: &Metrics) {
        self.0.retain(|key, seen| *seen == round || !is_in(key, namespace));
        metrics.skipped_objects(self.0.len());
    }

    fn understands(&mut self, object: &impl ResourceExt, metrics: &Metrics) {
        if !self.0.is_empty() && self.0.remove(&Key::of(object)).is_some() {
            metrics.skipped_objects(self.0.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_failed_works_once_nothing_is_heard_of_it_for_long() {
        let mut events = stream::iter([1]).chain(stream::pending());
        assert_eq!(next_of(&mut events, true).await, Some(1));
        assert_eq!(next_of(&mut events, true).await, None);
        let forever = timeout(2 * QUIET, next_of(&mut events, false)).await;
        assert!(forever.is_err(), "nothing is to be found out of one that works");
    }
}
