//! The queue of FileUploads to look at, and the waker that fills it.
//!
//! Each is looked at by one task at a time, and once more if it was woken meanwhile. Order and bounds are the matter of
//! the Gates. It is not kube-runtime's, whose store and timers keep several objects for each FileUpload (docs/adr/0010).

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{error, warn};

use super::gate::Place;
use super::index::{Change, Key};
use super::watches::Listener;
use super::{Context, reconcile};
use crate::clock;

#[cfg(test)]
mod tests;

/// Before a reconcile that panicked is tried again.
const AFTER_PANIC: Duration = Duration::from_secs(30);
/// How long a look may take: each call of it has its deadline, but they add up. Less than what `/livez` allows.
const LONGEST: Duration = Duration::from_mins(4);

/// Tells the queue whom a change concerns, and the rest what is gone.
pub(super) struct Waker {
    wakes: mpsc::UnboundedSender<Key>,
    gone: mpsc::UnboundedSender<Arc<str>>,
}

/// The other end of a waker.
pub(super) struct Woken {
    /// Who is to be looked at.
    pub(super) wakes: mpsc::UnboundedReceiver<Key>,
    /// The uids of those that are gone.
    pub(super) gone: mpsc::UnboundedReceiver<Arc<str>>,
}

impl Waker {
    pub(super) fn new() -> (Arc<Self>, Woken) {
        let (wakes, woken) = mpsc::unbounded_channel();
        let (gone, buried) = mpsc::unbounded_channel();
        (Arc::new(Self { wakes, gone }), Woken { wakes: woken, gone: buried })
    }
}

impl Listener for Waker {
    fn hear(&self, change: Change) {
        // The receivers live as long as the operator.
        for uid in change.gone {
            let _ = self.gone.send(uid);
        }
        for key in change.wakes {
            let _ = self.wakes.send(key);
        }
    }
}

/// Looks at whatever is woken, for ever.
pub(super) async fn run(context: Arc<Context>, wakes: mpsc::UnboundedReceiver<Key>) {
    let enter = |key| enter(Arc::clone(&context), key);
    let look = |key, place| look(Arc::clone(&context), key, place);
    serve(wakes, enter, look).await;
}

/// Waits for the right to call the API server.
async fn enter(context: Arc<Context>, key: Key) -> (Key, Place) {
    let place = tokio::select! {
        biased;
        place = withdrawal(&context, &key) => place,
        place = context.calls.enter(key.namespace()) => place,
    };
    (key, place)
}

/// Waits until a key of the resource is to be withdrawn, which has places of its own.
async fn withdrawal(context: &Context, key: &Key) -> Place {
    let Some(at) = context.index.withdrawn_at(key) else { return std::future::pending().await };
    // The moment at which the key is withdrawn.
    tokio::time::sleep(Duration::try_from(at.duration_since(clock::exact())).unwrap_or_default()).await;
    context.withdrawals.enter(key.namespace()).await
}

/// Looks at a resource in a task of its own; says when to look again.
async fn look(context: Arc<Context>, key: Key, _place: Place) -> (Key, Option<Duration>) {
    let _reconciling = context.health.reconcile_begins(key.to_string());
    let next = ended(&key, reconcile(Arc::clone(&context), key.clone())).await;
    (key, next)
}

/// Waits for a reconcile, which neither panics nor runs for long.
async fn ended(key: &Key, reconcile: impl Future<Output = Option<Duration>> + Send + 'static) -> Option<Duration> {
    let reconcile = tokio::time::timeout(LONGEST, reconcile);
    match tokio::spawn(AssertUnwindSafe(reconcile).catch_unwind()).await {
        Ok(Ok(Ok(next))) => next,
        Ok(Ok(Err(_))) => {
            warn!(fileupload = %key, seconds = LONGEST.as_secs(), "a reconcile took too long: it is begun again");
            Some(Duration::ZERO)
        }
        _ => {
            error!(fileupload = %key, "a reconcile panicked: it is tried again later");
            Some(AFTER_PANIC)
        }
    }
}

/// Serves keys as they are woken or their time comes: `enter` waits for a place, `look` says after how long to look again.
/// Ends with the channel.
async fn serve<P, E, L>(mut wakes: mpsc::UnboundedReceiver<Key>, enter: impl Fn(Key) -> E, look: impl Fn(Key, P) -> L)
where
    E: Future<Output = (Key, P)>,
    L: Future<Output = (Key, Option<Duration>)>,
{
    let (mut book, mut entering, mut looking) = (Book::default(), FuturesUnordered::new(), FuturesUnordered::new());
    loop {
        let due = tokio::select! {
            woken = wakes.recv() => match woken {
                Some(key) => book.wake(key),
                None => return,
            },
            Some((key, place)) = entering.next() => {
                book.begins(&key);
                looking.push(look(key, place));
                None
            }
            Some((key, next)) = looking.next() => book.ended(key, next.map(|next| Instant::now() + next)),
            () = until(book.first()) => book.due(),
        };
        if let Some(key) = due {
            entering.push(enter(key));
        }
    }
}

/// The moment for which the first timer is set.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// What becomes of each key. What is not in it waits for being woken.
#[derive(Default)]
struct Book {
    stages: HashMap<Key, Stage>,
    timers: BTreeSet<(Instant, Key)>,
}

enum Stage {
    /// It is looked at then.
    Timed(Instant),
    /// It waits for a place: what happens meanwhile will be seen.
    Entering,
    /// It is looked at.
    Looking { woken: bool },
}

impl Book {
    /// It is to be looked at now. Returns it if it is to enter.
    fn wake(&mut self, key: Key) -> Option<Key> {
        match self.stages.get_mut(&key) {
            Some(Stage::Entering) => return None,
            Some(Stage::Looking { woken }) => {
                *woken = true;
                return None;
            }
            Some(Stage::Timed(at)) => {
                let timer = (*at, key.clone());
                self.timers.remove(&timer);
            }
            None => {}
        }
        self.stages.insert(key.clone(), Stage::Entering);
        Some(key)
    }

    fn begins(&mut self, key: &Key) {
        if let Some(stage) = self.stages.get_mut(key) {
            *stage = Stage::Looking { woken: false };
        }
    }

    /// A look has ended. Returns the key if it is to enter again.
    fn ended(&mut self, key: Key, next: Option<Instant>) -> Option<Key> {
        let was_woken = matches!(self.stages.remove(&key), Some(Stage::Looking { woken: true }));
        match next {
            _ if was_woken => self.wake(key),
            Some(at) if at <= Instant::now() => self.wake(key),
            Some(at) => {
                self.stages.insert(key.clone(), Stage::Timed(at));
                self.timers.insert((at, key));
                None
            }
            None => None,
        }
    }

    fn first(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The time of the first timer has come.
    fn due(&mut self) -> Option<Key> {
        let (_, key) = self.timers.pop_first()?;
        self.stages.remove(&key);
        self.wake(key)
    }
}
