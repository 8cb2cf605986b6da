//! A file's turn in its batch: its attempts, and what they say of the window.
//!
//! The loop of attempts is here, because between two of them the window may have become smaller: then a file that waits
//! gives up its permit and begins again once there is room. It keeps its place, so that no other file begins instead.
//! A file whose source takes long or fails lets another begin: the window is for the API and the storage.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::{SemaphorePermit, watch};

use super::super::{Candidate, Credential, Hooks, Limits, Opened, Parcel, Source, of_source};
use super::{Batch, Delivery};
use crate::outcome::Trouble;

/// While a source takes longer to open than this, its permit is for others.
const PROMPT: Duration = Duration::from_secs(1);

/// A file's turn: as long as it lives, the file is under way.
pub struct Place<'a> {
    batch: &'a Batch<'a>,
    /// `None` while it waits for its source, and for room in a window that has become smaller.
    permit: Option<SemaphorePermit<'a>>,
}

impl<'a> Place<'a> {
    pub(super) fn new(batch: &'a Batch<'a>, permit: SemaphorePermit<'a>) -> Self {
        batch.state.lock().under_way += 1;
        Self { batch, permit: Some(permit) }
    }

    /// One attempt. Its failure does not end the batch, as the caller may try the file again.
    pub async fn attempt(
        self,
        credential: &Credential,
        parcel: &Parcel,
        admit: impl FnMut(&Candidate<'_>) -> bool,
    ) -> Delivery {
        self.send(credential, parcel, Limits::ONE_ATTEMPT, Hooks { admit, on_retry: |_: &Trouble, _| {} }).await
    }

    /// Attempts until it succeeds, cannot, or the limits are reached. A failure that is every file's ends the batch.
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
        mut self,
        credential: &Credential,
        parcel: &Parcel,
        limits: Limits,
        hooks: Hooks<impl FnMut(&Candidate<'_>) -> bool, impl FnMut(&Trouble, Duration)>,
    ) -> Delivery {
        let (batch, Hooks { mut admit, mut on_retry }) = (self.batch, hooks);
        // From a ticket that is used until the attempt has ended.
        let (sending, mut is_sending) = watch::channel(false);
        let (mut last, mut may_send) = (None, true);
        let mut admit = |candidate: &Candidate<'_>| {
            batch.see_ticket();
            may_send = !batch.has_ended();
            let admitted = may_send && admit(candidate);
            sending.send_replace(admitted);
            admitted
        };
        let ended = async {
            batch.ended().await;
            // Its sender outlives this.
            let _ = is_sending.wait_for(|sending| !sending).await;
        };
        let deliver = async {
            let mut failures = 0;
            loop {
                let cuts = batch.state.lock().window.cuts();
                let on_strain = || batch.see_strain(cuts);
                let result = match self.open(&parcel.source).await {
                    Ok(opened) => batch.courier.send(credential, parcel, opened, &mut admit, on_strain).await,
                    Err(trouble) => Err(trouble),
                };
                let trouble = match result {
                    Ok(upload) => return Ok((upload, cuts)),
                    Err(trouble) => trouble,
                };
                if trouble.is_strain() {
                    batch.see_strain(cuts);
                }
                failures += 1;
                let Some(delay) = limits.wait_after(failures, &trouble) else { return Err(trouble) };
                sending.send_replace(false);
                on_retry(&trouble, delay);
                last = Some(trouble);
                self.make_room();
                tokio::time::sleep(delay).await;
                self.wait_for_room().await;
            }
        };
        // Asked first, so that nothing begins after the end.
        let result = tokio::select! { biased; () = ended => None, result = deliver => Some(result) };
        match result {
            Some(Ok((upload, cuts))) => {
                batch.see_stored(cuts, &upload);
                Delivery::Stored(upload)
            }
            Some(Err(trouble)) if may_send => Delivery::Failed(trouble),
            _ => Delivery::NotSent(last),
        }
    }

    /// Opens the source, and has a permit once it is open.
    async fn open(&mut self, source: &Source) -> Result<Opened, Trouble> {
        let mut opening = pin!(source.open());
        let opened = if let Ok(opened) = tokio::time::timeout(PROMPT, &mut opening).await {
            opened
        } else {
            self.leave();
            opening.await
        };
        match opened {
            Ok(opened) => {
                self.wait_for_room().await;
                Ok(opened)
            }
            Err(error) => {
                self.leave();
                Err(of_source(&error))
            }
        }
    }

    /// Lets another file begin.
    fn leave(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.batch.give_back(permit);
        }
    }

    /// Gives up a permit that the window no longer allows.
    fn make_room(&mut self) {
        let mut state = self.batch.state.lock();
        if state.permits > state.window.size()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
            state.permits -= 1;
        }
    }

    async fn wait_for_room(&mut self) {
        if self.permit.is_none() {
            self.permit = self.batch.permit().await;
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.batch.state.lock().under_way -= 1;
        self.leave();
    }
}
