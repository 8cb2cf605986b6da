//! Many files: the first goes alone until it has its ticket, then as many side by side as its [`Window`] says.
//!
//! So what would fail every file (the credential, the API) costs one call. A failure that is every file's ends the
//! batch. Once it has ended, or a stop was asked for, nothing new begins, and a file whose bytes may be on their way is
//! finished: what may have been stored is not dropped. The worker, the sidecar, `upload` and the operator's Sends are
//! its callers; it keeps no list of files, and each batch adapts alone.

use futures::future::join_all;
use futures::stream::{Stream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::place::Place;
use super::{Courier, Credential, Hooks, Limits, Parcel, Source, Window};
use crate::outcome::{Trouble, Upload};
use crate::reason::Scope;

mod place;

/// How many files settle at the same time before they get their places; each takes some hundred bytes.
const SETTLING: usize = 512;

/// Many files that are sent with one courier.
pub struct Batch<'a> {
    courier: &'a Courier,
    /// A permit for each file that the window allows.
    permits: Semaphore,
    state: Mutex<State>,
    stop: CancellationToken,
    /// A child of the stop.
    end: CancellationToken,
}

struct State {
    window: Window,
    /// How many permits there are: more than the window allows while files that began before a cut hold theirs, and fewer
    /// while it grows.
    permits: usize,
    /// How many files have a place.
    under_way: usize,
}

/// What came of a file that had its place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Delivery {
    /// It is stored.
    Stored(Upload),
    /// It failed.
    Failed(Trouble),
    /// The batch ended before its bytes were on their way; with why the attempt before failed, if there was one.
    NotSent(Option<Trouble>),
}

/// What [`Batch::attempt_each`] says of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Progress {
    /// It has its place. If nothing follows, its attempt was cut off.
    Begun,
    /// Its attempt has ended; [`Delivery::NotSent`] is as if it had not begun.
    Ended(Delivery),
}

impl<'a> Batch<'a> {
    /// A batch that begins nothing new once `stop` is cancelled.
    pub fn new(courier: &'a Courier, stop: CancellationToken, window: Window) -> Self {
        let state = State { permits: window.size(), window, under_way: 0 };
        Self {
            courier,
            permits: Semaphore::new(state.permits),
            state: Mutex::new(state),
            end: stop.child_token(),
            stop,
        }
    }

    /// A batch of its own, which begins nothing new once this one has ended. Its own end leaves this one alone.
    #[must_use]
    pub fn within(&self, window: Window) -> Self {
        Self::new(self.courier, self.end.clone(), window)
    }

    /// Begins nothing new from now on.
    pub fn end(&self) {
        self.end.cancel();
    }

    /// Ends the batch if `trouble` is every file's.
    pub fn end_if_shared(&self, trouble: &Trouble) {
        if trouble.reason.scope() == Scope::Resource {
            self.end();
        }
    }

    /// Whether nothing new begins.
    pub fn has_ended(&self) -> bool {
        self.end.is_cancelled()
    }

    /// Whether a stop was asked for.
    pub fn was_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Waits until a stop is asked for.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Waits until nothing new begins.
    pub async fn ended(&self) {
        self.end.cancelled().await;
    }

    /// Waits until `source` has settled, then for a place; `None` once the batch has ended. All files may settle at
    /// the same time, and those that have settled get their places in that order.
    pub async fn place(&'a self, source: &Source) -> Option<Place<'a>> {
        tokio::select! { biased; () = self.ended() => None, () = source.settle() => self.free_place().await }
    }

    /// The same for many files, which are taken from their list as places become free.
    pub fn places<T>(
        &'a self,
        files: impl Iterator<Item = (T, Parcel)>,
    ) -> impl Stream<Item = (T, Parcel, Option<Place<'a>>)> {
        let settled = futures::stream::iter(files).map(|(file, parcel)| async {
            tokio::select! { biased; () = self.ended() => {}, () = parcel.source.settle() => {} }
            (file, parcel)
        });
        settled.buffer_unordered(SETTLING).then(|(file, parcel)| async { (file, parcel, self.free_place().await) })
    }

    /// One attempt for each parcel, in this order. `on_progress` hears of each by its index as it goes, so that what is
    /// done is known even if the whole is dropped; it does not hear of what was not begun.
    pub async fn attempt_each(
        &self,
        credential: &Credential,
        parcels: &[Parcel],
        on_progress: impl Fn(usize, Progress),
    ) {
        let on_progress = &on_progress;
        let attempts = parcels.iter().enumerate().map(|(index, parcel)| async move {
            let Some(place) = self.place(&parcel.source).await else { return };
            on_progress(index, Progress::Begun);
            let delivery = place.deliver(credential, parcel, Limits::ONE_ATTEMPT, Hooks::none()).await;
            on_progress(index, Progress::Ended(delivery));
        });
        join_all(attempts).await;
    }

    async fn free_place(&'a self) -> Option<Place<'a>> {
        let permit = tokio::select! { biased; () = self.ended() => None, permit = self.permit() => permit };
        permit.map(|permit| Place::new(self, permit))
    }

    /// Waits until the window has room.
    async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.permits.acquire().await.ok()
    }

    /// Gives back a permit; one that the window no longer allows is gone.
    fn give_back(&self, permit: SemaphorePermit<'_>) {
        let mut state = self.state.lock();
        if state.permits > state.window.size() {
            permit.forget();
            state.permits -= 1;
        }
    }

    /// Makes as many permits as the window allows, but at most so many new ones.
    fn resize(&self, state: &mut State, most_new: usize) {
        let size = state.window.size();
        if size > state.permits {
            let new = most_new.min(size - state.permits);
            self.permits.add_permits(new);
            state.permits += new;
        } else {
            state.permits -= self.permits.forget_permits(state.permits - size);
        }
    }

    fn see_ticket(&self) {
        let mut state = self.state.lock();
        if state.window.open() {
            self.resize(&mut state, usize::MAX);
        }
    }

    /// A file was stored by an attempt that began after so many cuts. With it two may begin instead of one while the window
    /// grows: many that begin at the same moment would all need a connection to the API, and keep it.
    fn see_stored(&self, cuts: u64, upload: &Upload) {
        let mut state = self.state.lock();
        let is_full = state.under_way * 4 >= state.permits * 3;
        state.window.stored(cuts, upload.size, is_full, Instant::now());
        self.resize(&mut state, 1);
    }

    /// The other side could not take an attempt that began after so many cuts.
    fn see_strain(&self, cuts: u64) {
        let mut state = self.state.lock();
        state.window.strain(cuts);
        self.resize(&mut state, 0);
    }
}
