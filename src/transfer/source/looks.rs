//! Looks at many files that settle: one after the other, by one thread, in the order in which they were asked for.
//!
//! A thread for each look would cost more than the look. Where one blocks, another thread goes on with the rest, so that a
//! file on a dead mount keeps no other file waiting.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::disk::{LIMIT, blocked};
use super::error::SourceError;
use super::place::Place;

/// If no look has ended for so long, the others are not left to wait for it.
const PROMPT: Duration = Duration::from_millis(100);
/// The most threads that look, of which all but one are blocked.
const MOST: usize = 64;

thread_local! {
    /// Of this thread, on which a runtime polls those who wait.
    static LOOKS: Arc<Looks> = Arc::default();
    /// How many wait here for their look.
    static WAITING: Cell<usize> = const { Cell::new(0) };
}

/// Whether anybody waits for a look: who needs none goes behind them, so that files keep their order.
pub(super) fn are_awaited() -> bool {
    WAITING.get() > 0
}

struct Waits;

impl Waits {
    fn new() -> Self {
        WAITING.set(WAITING.get() + 1);
        Self
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        WAITING.set(WAITING.get().saturating_sub(1));
    }
}

#[derive(Default)]
struct Looks(Mutex<Line>);

#[derive(Default)]
struct Line {
    waiting: VecDeque<Box<dyn FnOnce() + Send>>,
    threads: usize,
    /// How many looks have ended.
    ended: u64,
    watch: Option<AbortHandle>,
}

/// What `act` returns of the file at `place`.
pub(super) async fn look<T: Send + 'static>(
    place: &Arc<Place>,
    act: impl FnOnce(&Place) -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    let _waits = Waits::new();
    let (tell, told) = oneshot::channel();
    let its_own = Arc::clone(place);
    // Nobody may be waiting any more.
    LOOKS.with(Arc::clone).add(Box::new(move || drop(tell.send(act(&its_own)))));
    match tokio::time::timeout(LIMIT, told).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) | Err(_) => Err(blocked(place)),
    }
}

impl Looks {
    fn add(self: Arc<Self>, look: Box<dyn FnOnce() + Send>) {
        let mut line = self.0.lock();
        line.waiting.push_back(look);
        // Also after the end of a runtime that had this thread before.
        let is_watched = line.watch.as_ref().is_some_and(|watch| !watch.is_finished());
        if line.threads == 0 || !is_watched {
            line.threads += 1;
            Arc::clone(&self).work();
        }
        if !is_watched {
            line.watch = Some(tokio::spawn(Arc::clone(&self).watch()).abort_handle());
        }
    }

    /// One more thread, which has been counted.
    fn work(self: Arc<Self>) {
        tokio::task::spawn_blocking(move || {
            while let Some(look) = self.next() {
                look();
                self.0.lock().ended += 1;
            }
        });
    }

    fn next(&self) -> Option<Box<dyn FnOnce() + Send>> {
        let mut line = self.0.lock();
        let next = line.waiting.pop_front();
        if next.is_none() {
            line.threads = line.threads.saturating_sub(1);
        }
        next
    }

    /// Adds a thread whenever none gets on, until nobody waits.
    async fn watch(self: Arc<Self>) {
        let mut before = None;
        loop {
            // Whoever has not come back by the next look is blocked.
            tokio::time::sleep(PROMPT).await;
            let mut line = self.0.lock();
            if line.waiting.is_empty() {
                return;
            }
            let stuck = before == Some(line.ended) && line.threads < MOST;
            before = Some(line.ended);
            if stuck {
                line.threads += 1;
                drop(line);
                Arc::clone(&self).work();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Arc<Place> {
        Arc::new(Place::Anywhere { path: "a".into(), hint: String::new() })
    }

    #[tokio::test]
    async fn looks_are_answered_in_order_and_one_that_blocks_keeps_no_other_waiting() {
        let (end, until) = std::sync::mpsc::channel::<()>();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let place = place();
        let stuck = look(&place, move |_| {
            let _ = until.recv();
            Ok(())
        });
        let others = futures::future::join_all((0..5).map(|number| {
            let (seen, place) = (Arc::clone(&seen), place.clone());
            async move {
                look(&place, move |_| {
                    seen.lock().push(number);
                    Ok(())
                })
                .await
                .unwrap();
            }
        }));
        let others = async {
            let begun = std::time::Instant::now();
            tokio::time::timeout(LIMIT / 4, others).await.unwrap();
            drop(end);
            begun.elapsed()
        };
        let (stuck, elapsed) = tokio::join!(stuck, others);
        stuck.unwrap();
        assert!(elapsed < LIMIT / 4, "{elapsed:?}");
        assert_eq!(*seen.lock(), [0, 1, 2, 3, 4]);
    }
}
