//! Many files: the first goes alone until it has its ticket, then a few go side by side.
//!
//! So what would fail every file (the credential, the API) costs one call. A failure that is every file's ends the
//! batch. Once it has ended, or a stop was asked for, nothing new begins, and a file whose bytes may be on their way is
//! finished: what may have been stored is not dropped. The worker, the sidecar, `upload` and the operator's Sends are
//! its callers; it keeps no list of files and retries nothing that [`Courier::deliver`] does not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use super::{Candidate, Courier, Credential, Hooks, Limits, Parcel, Source};
use crate::outcome::{Trouble, Upload};
use crate::reason::Scope;

/// How many files go side by side once the first has its ticket.
const SIDE_BY_SIDE: usize = 4;
/// One attempt: what follows a failure is the caller's matter.
const ONE_ATTEMPT: Limits = Limits { attempts: 1, longest_wait: Duration::ZERO };

/// Many files that are sent with one courier.
pub struct Batch<'a> {
    courier: &'a Courier,
    /// One place until the first ticket is seen, then [`SIDE_BY_SIDE`].
    places: Semaphore,
    first_ticket_seen: AtomicBool,
    stop: CancellationToken,
    /// A child of the stop.
    end: CancellationToken,
}

/// A file's turn: as long as it lives, the file is one of those that go side by side.
pub struct Place<'a> {
    batch: &'a Batch<'a>,
    _permit: SemaphorePermit<'a>,
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
    pub fn new(courier: &'a Courier, stop: CancellationToken) -> Self {
        let (places, first_ticket_seen) = (Semaphore::new(1), AtomicBool::new(false));
        Self { courier, places, first_ticket_seen, end: stop.child_token(), stop }
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

    /// Waits until nothing new begins.
    pub async fn ended(&self) {
        self.end.cancelled().await;
    }

    /// Waits until `source` has settled, then for a place; `None` once the batch has ended. All files may settle at
    /// the same time, and those that have settled get their places in that order.
    pub async fn place(&'a self, source: &Source) -> Option<Place<'a>> {
        let place = async {
            source.settle().await;
            // The semaphore is never closed.
            self.places.acquire().await.ok()
        };
        let permit = tokio::select! { biased; () = self.ended() => None, permit = place => permit };
        permit.map(|permit| Place { batch: self, _permit: permit })
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
            let delivery = place.deliver(credential, parcel, ONE_ATTEMPT, Hooks::none()).await;
            on_progress(index, Progress::Ended(delivery));
        });
        join_all(attempts).await;
    }

    fn see_ticket(&self) {
        if !self.first_ticket_seen.swap(true, Ordering::Relaxed) {
            self.places.add_permits(SIDE_BY_SIDE - 1);
        }
    }
}

impl Place<'_> {
    /// One attempt. Its failure does not end the batch, as the caller may try the file again.
    pub async fn attempt(
        self,
        credential: &Credential,
        parcel: &Parcel,
        admit: impl FnMut(&Candidate<'_>) -> bool,
    ) -> Delivery {
        self.send(credential, parcel, ONE_ATTEMPT, Hooks { admit, on_retry: |_: &Trouble, _| {} }).await
    }

    /// Attempts within the limits. A failure that is every file's ends the batch.
    pub async fn deliver(
        self,
        credential: &Credential,
        parcel: &Parcel,
        limits: Limits,
        hooks: Hooks<impl FnMut(&Candidate<'_>) -> bool, impl FnMut(&Trouble, Duration)>,
    ) -> Delivery {
        let batch = self.batch;
        let delivery = self.send(credential, parcel, limits, hooks).await;
        if let Delivery::Failed(trouble) = &delivery {
            batch.end_if_shared(trouble);
        }
        delivery
    }

    async fn send(
        self,
        credential: &Credential,
        parcel: &Parcel,
        limits: Limits,
        hooks: Hooks<impl FnMut(&Candidate<'_>) -> bool, impl FnMut(&Trouble, Duration)>,
    ) -> Delivery {
        let (batch, Hooks { mut admit, mut on_retry }) = (self.batch, hooks);
        // From a ticket that is used until the attempt has ended.
        let (sending, mut is_sending) = watch::channel(false);
        let (mut last, mut may_send) = (None, true);
        let admit = |candidate: &Candidate<'_>| {
            batch.see_ticket();
            may_send = !batch.has_ended();
            let admitted = may_send && admit(candidate);
            sending.send_replace(admitted);
            admitted
        };
        let on_retry = |trouble: &Trouble, delay: Duration| {
            sending.send_replace(false);
            on_retry(trouble, delay);
            last = Some(trouble.clone());
        };
        let ended = async {
            batch.ended().await;
            // Its sender outlives this.
            let _ = is_sending.wait_for(|sending| !sending).await;
        };
        let deliver = batch.courier.deliver(credential, parcel, limits, Hooks { admit, on_retry });
        // Asked first, so that nothing begins after the end.
        let result = tokio::select! { biased; () = ended => None, result = deliver => Some(result) };
        match result {
            Some(Ok(upload)) => Delivery::Stored(upload),
            Some(Err(trouble)) if may_send => Delivery::Failed(trouble),
            _ => Delivery::NotSent(last),
        }
    }
}
