//! The watches. Each is a task of its own, fills the index, and wakes the FileUploads that a change concerns.
//!
//! FileUploads are listed first, so that of everything else only what they name is kept. A watch that fails is logged once
//! per cause, is named in `/readyz`, and slows no other. Each asks for 30 s and begins again from where it was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::DefaultBackoff;
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::warn;

use self::received::{ConfigMapMetadata, Received, Watched};
use self::skipped::Skipped;
use self::source::{News, Source, is_too_old};
use super::index::{Change, Index, Key, List, Told};
use crate::plan::objects::{Job, PersistentVolumeClaim, Pod};
use crate::resource::{FIELD_MANAGER, FileUpload, LABEL_MANAGED_BY};
use crate::telemetry::{Health, Metrics};

mod pages;
pub(super) mod received;
mod skipped;
mod source;
#[cfg(test)]
mod tests;

/// A watch that ends sooner than this is not asked for again before.
const SHORTEST: Duration = Duration::from_secs(1);

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

/// What happens to objects of one kind.
enum Event<K> {
    Begins,
    Applied(Box<K>, Told),
    Deleted(Box<K>, u32),
    /// An object cannot be understood any more: it is as if it were gone.
    Lost(Key),
    Ends(List),
}

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

    fn scope(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    async fn uploads(&self, first: watch::Sender<bool>) {
        let act = |event: Event<FileUpload>| match event {
            Event::Begins => Change::default(),
            Event::Applied(upload, told) => self.index.apply_upload(*upload, told),
            Event::Deleted(upload, _) => self.index.delete_upload(&Key::of(&*upload)),
            Event::Lost(key) => self.index.delete_upload(&key),
            Event::Ends(list) => {
                let _ = first.send(true);
                self.index.sweep_uploads(self.scope(), list)
            }
        };
        self.watch("fileuploads", None, act).await;
    }

    async fn config_maps(&self) {
        let act = |event: Event<ConfigMapMetadata>| match event {
            Event::Begins => self.index.begin_config_maps(self.scope()),
            Event::Applied(map, told) => self.index.apply_config_map(&map.metadata, told),
            Event::Deleted(map, round) => self.index.delete_config_map(&map.metadata, round),
            Event::Lost(key) => self.index.lose_config_map(&key),
            Event::Ends(list) => self.index.sweep_config_maps(self.scope(), list),
        };
        self.watch("configmaps", None, act).await;
    }

    async fn claims(&self) {
        let act = |event: Event<PersistentVolumeClaim>| match event {
            Event::Begins => Change::default(),
            Event::Applied(claim, told) => self.index.apply_claim(&claim, told),
            Event::Deleted(claim, _) => self.index.delete_claim(&Key::of(&*claim)),
            Event::Lost(key) => self.index.delete_claim(&key),
            Event::Ends(list) => self.index.sweep_claims(self.scope(), list),
        };
        self.watch("persistentvolumeclaims", None, act).await;
    }

    async fn jobs(&self) {
        let act = |event: Event<Job>| match event {
            Event::Begins => Change::default(),
            Event::Applied(job, told) => self.index.apply_job(&job, told),
            Event::Deleted(job, _) => self.index.delete_job(&job),
            Event::Lost(key) => self.index.lose_job(&key),
            Event::Ends(list) => self.index.sweep_jobs(self.scope(), list),
        };
        self.watch("jobs", Some(format!("{LABEL_MANAGED_BY}={FIELD_MANAGER}")), act).await;
    }

    async fn pods(&self) {
        let act = |event: Event<Pod>| match event {
            Event::Begins => Change::default(),
            Event::Applied(pod, told) => self.index.apply_pod(&pod, told),
            Event::Deleted(pod, _) => self.index.delete_pod(&pod),
            Event::Lost(key) => self.index.lose_pod(&key),
            Event::Ends(list) => self.index.sweep_pods(self.scope(), list),
        };
        self.watch("pods", None, act).await;
    }

    /// Watches one kind for ever, by a list and a watch from there, as long as the API server knows how to go on.
    async fn watch<K: Watched>(
        &self,
        kind: &'static str,
        labels: Option<String>,
        mut act: impl FnMut(Event<K>) -> Change,
    ) {
        let name = self.scope().map_or_else(|| kind.to_owned(), |namespace| format!("{kind} in {namespace}"));
        let source = Source::<K>::new(self.client.clone(), self.scope(), labels);
        let (mut round, mut is_first, mut backoff) = (0, true, DefaultBackoff::default());
        loop {
            round = if round == u32::MAX - 1 { 1 } else { round + 1 };
            let list = List { round, began: Instant::now() };
            self.listener.hear(act(Event::Begins));
            let listed = source.list(|object| self.take(kind, object, Told::List(list), &mut act)).await;
            let mut version = match listed {
                Ok(version) => version,
                Err(error) => {
                    self.fails(&name, &error);
                    pause(&mut backoff).await;
                    continue;
                }
            };
            self.health.watch_works(&name);
            self.skipped.lock().sweep(kind, self.scope(), list, &self.metrics);
            self.listener.hear(act(Event::Ends(list)));
            if std::mem::take(&mut is_first) {
                self.listed.send_modify(|listed| *listed += 1);
            }
            loop {
                let began = Instant::now();
                let tell = |news| {
                    self.health.watch_works(&name);
                    match news {
                        News::Applied(object) => self.take(kind, object, Told::Watch(round), &mut act),
                        News::Deleted(object) => self.lose(kind, object, round, &mut act),
                    }
                };
                match source.watch(&mut version, tell).await {
                    Ok(()) => {
                        self.health.watch_works(&name);
                        backoff.reset();
                        tokio::time::sleep(SHORTEST.saturating_sub(began.elapsed())).await;
                    }
                    // A new list is what a watch is told after a long silence.
                    Err(error) if is_too_old(&error) => {
                        pause(&mut backoff).await;
                        break;
                    }
                    Err(error) => {
                        self.fails(&name, &error);
                        pause(&mut backoff).await;
                    }
                }
            }
        }
    }

    /// An object is there.
    fn take<K: Watched>(
        &self,
        kind: &'static str,
        object: Received<K>,
        told: Told,
        act: &mut impl FnMut(Event<K>) -> Change,
    ) {
        let event = match object.0 {
            Ok(object) => {
                self.skipped.lock().forget(kind, || Key::in_metadata(object.metadata()), &self.metrics);
                Event::Applied(object, told)
            }
            Err(odd) => {
                if !self.skipped.lock().skips(kind, &odd, told.round().unwrap_or_default(), &self.metrics) {
                    return; // the index has not had it since
                }
                Event::Lost(odd.key)
            }
        };
        self.listener.hear(act(event));
    }

    /// An object is gone.
    fn lose<K: Watched>(
        &self,
        kind: &'static str,
        object: Received<K>,
        round: u32,
        act: &mut impl FnMut(Event<K>) -> Change,
    ) {
        let (key, event) = match object.0 {
            Ok(object) => (Key::in_metadata(object.metadata()), Event::Deleted(object, round)),
            Err(odd) => (odd.key.clone(), Event::Lost(odd.key)),
        };
        self.skipped.lock().forget(kind, || key, &self.metrics);
        self.listener.hear(act(event));
    }

    fn fails(&self, name: &str, error: &kube::Error) {
        // The innermost cause, in one line; no body of an answer stands in it.
        let cause = crate::redact::cause(error);
        if self.health.watch_fails(name, &cause, crate::redact::is_untrusted(error)) {
            warn!(watch = name, cause, "a watch fails; trying again");
        }
    }
}

async fn pause(backoff: &mut DefaultBackoff) {
    tokio::time::sleep(backoff.next().unwrap_or(SHORTEST)).await;
}
