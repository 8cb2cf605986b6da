//! What is served: some namespaces or all. Each has watches of its own, and no other waits for its lists.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use futures::future::{join, join_all, select_all};
use kube::Client;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::Context;
use super::index::{Change, Index, Key};
use super::queue::Waker;
use super::watches::{Listener, OTHERS, Watches};
use crate::telemetry::{Health, Metrics};

/// What the watches of all scopes share.
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) waker: Arc<Waker>,
    pub(super) health: Health,
    pub(super) metrics: Metrics,
}

/// A namespace, or all. It is served once its lists are complete and the operator leads.
pub(super) struct Scope {
    namespace: Option<String>,
    wakes: Arc<Wakes>,
    /// How many of its lists are complete.
    complete: watch::Receiver<usize>,
}

/// What the watches of a scope wake waits until the scope is open.
struct Wakes {
    waker: Arc<Waker>,
    /// None once it is open.
    waiting: Mutex<Option<HashSet<Key>>>,
}

impl Wakes {
    fn open(&self) {
        let wakes = self.waiting.lock().take().into_iter().flatten().collect();
        self.waker.hear(Change { wakes, gone: Vec::new() });
    }
}

impl Listener for Wakes {
    fn hear(&self, mut change: Change) {
        if let Some(waiting) = &mut *self.waiting.lock() {
            waiting.extend(std::mem::take(&mut change.wakes));
        }
        self.waker.hear(change);
    }
}

/// Begins to watch these namespaces, or all if none is named. The future ends if a watch does, which none ever should.
pub(super) fn watch(
    namespaces: BTreeSet<String>,
    index: &Index,
    shared: Shared,
) -> (Vec<Scope>, impl Future<Output = ()> + use<>) {
    let Shared { client, waker, health, metrics } = shared;
    let namespaces: Vec<_> =
        if namespaces.is_empty() { vec![None] } else { namespaces.into_iter().map(Some).collect() };
    let skipped = Arc::default();
    let (mut scopes, mut watches) = (Vec::new(), Vec::new());
    for namespace in namespaces {
        let (listed, complete) = watch::channel(0);
        let wakes = Wakes { waker: Arc::clone(&waker), waiting: Mutex::new(Some(HashSet::new())) };
        let scope = Scope { namespace: namespace.clone(), wakes: Arc::new(wakes), complete };
        let watch = Watches {
            client: client.clone(),
            namespace,
            index: index.clone(),
            listener: Arc::clone(&scope.wakes) as _,
            health: health.clone(),
            metrics: metrics.clone(),
            skipped: Arc::clone(&skipped),
            listed: Arc::new(listed),
        };
        scopes.push(scope);
        watches.push(tokio::spawn(watch.run()));
    }
    (scopes, async { drop(select_all(watches).await) })
}

/// Opens each scope as soon as it may be served. It never ends.
pub(super) async fn open(scopes: &[Scope], context: &Context, leads: &CancellationToken) {
    let listed = async {
        join_all(scopes.iter().map(Scope::listed)).await;
        context.health.lists_complete();
        info!(fileuploads = context.index.len(), "the first lists are complete");
    };
    let served = join_all(scopes.iter().map(|scope| scope.open(context, leads)));
    join(listed, served).await;
    std::future::pending::<()>().await;
}

impl Scope {
    async fn listed(&self) {
        // Its sender lives as long as its watches, whose end ends the operator.
        let _ = self.complete.clone().wait_for(|listed| *listed > OTHERS).await;
    }

    async fn open(&self, context: &Context, leads: &CancellationToken) {
        join(self.listed(), leads.cancelled()).await;
        context.launches.adopt(self.namespace.as_deref(), context.settings.limits.workers_per_namespace);
        self.wakes.open();
    }
}
