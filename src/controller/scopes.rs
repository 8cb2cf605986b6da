//! What is served: some namespaces or all. Each has watches of its own, and no other waits for its lists.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::{join, join_all, select_all};
use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::Context;
use super::index::{Change, Index};
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

/// Before the scope is open nothing that its watches wake is looked at; then every FileUpload is. A standby may wait for
/// months, so it keeps no list.
struct Wakes {
    waker: Arc<Waker>,
    is_open: AtomicBool,
}

impl Wakes {
    /// A change is in the index before it is told. So one that is told before this is seen here, and a later one is passed on.
    fn open(&self, index: &Index, namespace: Option<&str>) {
        self.is_open.store(true, Ordering::Release);
        self.waker.hear(Change { wakes: index.keys(namespace), gone: Vec::new() });
    }
}

impl Listener for Wakes {
    fn hear(&self, mut change: Change) {
        if !self.is_open.load(Ordering::Acquire) {
            change.wakes.clear();
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
        let wakes = Wakes { waker: Arc::clone(&waker), is_open: AtomicBool::new(false) };
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
        self.wakes.open(&context.index, self.namespace.as_deref());
    }
}

#[cfg(test)]
mod tests {
    use super::super::index::{Key, Told};
    use super::super::queue::Woken;
    use super::*;
    use crate::controller::Deployments;
    use crate::resource::FileUpload;

    fn upload(namespace: &str, name: &str) -> FileUpload {
        let metadata = serde_json::json!({"name": name, "namespace": namespace, "uid": name, "resourceVersion": "1"});
        let upload = serde_json::json!({
            "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload", "metadata": metadata, "spec": {"files": []},
        });
        serde_json::from_value(upload).unwrap()
    }

    #[test]
    fn who_is_gone_before_a_scope_is_open_is_not_woken_and_nobody_is_missed() {
        let index = Index::new(Arc::<Deployments>::default());
        let (waker, Woken { wakes: mut woken, gone: mut told_gone }) = Waker::new();
        let scope = Wakes { waker, is_open: AtomicBool::new(false) };
        for name in ["a", "b", "gone"] {
            scope.hear(index.apply_upload(upload("team", name), Told::Watch(1)));
        }
        index.apply_upload(upload("of-another-scope", "c"), Told::Watch(1));
        scope.hear(index.delete_upload(&Key::new("team", "gone")));
        assert!(woken.try_recv().is_err(), "it is not open");
        assert_eq!(told_gone.try_recv().as_deref(), Ok("gone"));
        scope.open(&index, Some("team"));
        let mut all: Vec<_> = std::iter::from_fn(|| woken.try_recv().ok()).collect();
        all.sort();
        assert_eq!(all, [Key::new("team", "a"), Key::new("team", "b")]);
        scope.hear(index.apply_upload(upload("team", "d"), Told::Watch(1)));
        assert_eq!(woken.try_recv(), Ok(Key::new("team", "d")));
    }
}
