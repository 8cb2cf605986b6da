//! The queue of resources to look at, and the bell that fills it.
//!
//! It is kube-runtime's: one resource is looked at once at a time, and again when it was woken meanwhile. Order and bounds
//! are the matter of the Gates. What waits is small: only which resource it is.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt};
use kube::api::PartialObjectMeta;
use kube::core::ObjectMeta;
use kube::runtime::controller::{Action, Config, ReconcileReason, ReconcileRequest, applier};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tracing::{debug, error};

use super::gate::Place;
use super::index::{Change, Key};
use super::watches::Listener;
use super::{Context, reconcile};
use crate::clock;
use crate::resource::FileUpload;

/// Before a reconcile that panicked is tried again.
const AFTER_PANIC: Duration = Duration::from_secs(30);

/// What a reconcile is handed: which resource.
type Handle = PartialObjectMeta<FileUpload>;

/// Tells the queue whom a change concerns, and the rest what is gone.
pub(super) struct Bell {
    wakes: mpsc::UnboundedSender<Key>,
    handles: Mutex<Writer<Handle>>,
    gone: mpsc::UnboundedSender<Arc<str>>,
}

impl Listener for Bell {
    fn hear(&self, change: Change) {
        for (key, uid) in change.gone {
            self.handles.lock().apply_watcher_event(&Event::Delete(handle(&key)));
            let _ = self.gone.send(uid);
        }
        for key in change.wakes {
            // The receiver lives as long as the operator.
            let _ = self.wakes.send(key);
        }
    }
}

impl Bell {
    /// A bell, the store that it keeps, whom it wakes, and what is gone.
    pub(super) fn new() -> (Arc<Self>, Queue, mpsc::UnboundedReceiver<Arc<str>>) {
        let (wakes, woken) = mpsc::unbounded_channel();
        let (gone, buried) = mpsc::unbounded_channel();
        let mut writer = Writer::<Handle>::new(());
        let store = writer.as_reader();
        // The index says what there is; the store only repeats it, and so is complete from the start.
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitDone);
        (Arc::new(Self { wakes, handles: Mutex::new(writer), gone }), Queue { store, woken }, buried)
    }

    fn appears(&self, key: &Key) {
        self.handles.lock().apply_watcher_event(&Event::Apply(handle(key)));
    }
}

/// What waits to be looked at.
pub(super) struct Queue {
    store: Store<Handle>,
    woken: mpsc::UnboundedReceiver<Key>,
}

/// Looks at whatever is woken, for ever.
pub(super) async fn run(context: Arc<Context>, bell: Arc<Bell>, queue: Queue) {
    let Queue { store, woken } = queue;
    let appears = Arc::clone(&bell);
    let requests = requests(woken).inspect(move |key| appears.appears(key)).map(|key| {
        let obj_ref = ObjectRef::new(key.name()).within(key.namespace());
        Ok::<_, Infallible>(ReconcileRequest { obj_ref, reason: ReconcileReason::Unknown })
    });
    let reconcile = move |handle, context| visit(handle, context, Arc::clone(&bell)).boxed();
    let after_error = |_: Arc<Handle>, _: &Infallible, _: Arc<Context>| Action::requeue(AFTER_PANIC);
    applier(reconcile, after_error, context, store, requests, Config::default())
        .for_each(|result| async {
            if let Err(error) = result {
                debug!(%error, "a FileUpload was not looked at");
            }
        })
        .await;
}

fn requests(woken: mpsc::UnboundedReceiver<Key>) -> impl Stream<Item = Key> {
    futures::stream::unfold(woken, |mut woken| async move { Some((woken.recv().await?, woken)) })
}

/// Waits for the right to call the API server, then looks at the resource in a task of its own. What waits is small.
async fn visit(handle: Arc<Handle>, context: Arc<Context>, bell: Arc<Bell>) -> Result<Action, Infallible> {
    let key = Key::of(&*handle);
    let _place = tokio::select! {
        biased;
        place = withdrawal(&context, &key) => place,
        place = context.calls.enter(key.namespace()) => place,
    };
    let _reconciling = context.health.reconcile_begins(key.to_string());
    let task = tokio::spawn(AssertUnwindSafe(reconcile(Arc::clone(&context), key.clone())).catch_unwind());
    match task.await {
        Ok(Ok(Some(look))) => Ok(Action::requeue(look)),
        Ok(Ok(None)) => {
            if !context.index.has(&key) {
                bell.disappears(&key);
            }
            Ok(Action::await_change())
        }
        Ok(Err(_)) | Err(_) => {
            error!(fileupload = %key, "a reconcile panicked: it is tried again later");
            Ok(Action::requeue(AFTER_PANIC))
        }
    }
}

/// Waits until a key of the resource is to be withdrawn, which has places of its own.
async fn withdrawal(context: &Context, key: &Key) -> Place {
    let Some(at) = context.index.withdrawn_at(key) else { return std::future::pending().await };
    // The moment at which the key is withdrawn.
    tokio::time::sleep(Duration::try_from(at.duration_since(clock::exact())).unwrap_or_default()).await;
    context.withdrawals.enter(key.namespace()).await
}

impl Bell {
    fn disappears(&self, key: &Key) {
        self.handles.lock().apply_watcher_event(&Event::Delete(handle(key)));
    }
}

fn handle(key: &Key) -> Handle {
    let metadata = ObjectMeta {
        name: Some(key.name().to_owned()),
        namespace: Some(key.namespace().to_owned()),
        ..ObjectMeta::default()
    };
    Handle { types: None, metadata, _phantom: std::marker::PhantomData }
}
