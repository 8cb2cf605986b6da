//! As few connections as do the work: a call that finds none free waits a moment for one, because a new connection costs
//! more than a call.
//!
//! Where files end together, their successors ask for tickets together. An API that answers quickly serves them all by a few
//! connections; one that does not is given one for each call, as the wait is short, and those are kept.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

/// How many calls never wait.
const FIRST: usize = 8;
/// How long a call waits at most.
const PATIENCE: Duration = Duration::from_millis(50);

/// A permit for each call that may be under way without another having waited in vain.
#[derive(Debug)]
pub(super) struct Lanes(Semaphore);

/// A call that is under way.
pub(super) struct Lane<'a>(&'a Semaphore);

impl Default for Lanes {
    fn default() -> Self {
        Self(Semaphore::new(FIRST))
    }
}

impl Lanes {
    /// Waits for a free lane, or opens one more.
    pub(super) async fn take(&self) -> Lane<'_> {
        // The semaphore is never closed, and what the wait was in vain for is made up for at the end of the call.
        if let Ok(Ok(permit)) = timeout(PATIENCE, self.0.acquire()).await {
            permit.forget();
        }
        Lane(&self.0)
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_for_one_that_ends_soon_and_not_for_one_that_does_not() {
        let (lanes, begun) = (Lanes::default(), Instant::now());
        let mut under_way = Vec::new();
        for _ in 0..FIRST {
            under_way.push(lanes.take().await);
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        let soon = async {
            // By the paused clock: this is the call that ends soon.
            tokio::time::sleep(PATIENCE / 2).await;
            under_way.pop();
        };
        let (lane, ()) = tokio::join!(lanes.take(), soon);
        assert_eq!(begun.elapsed(), PATIENCE / 2);
        let another = lanes.take().await;
        assert_eq!(begun.elapsed(), PATIENCE / 2 + PATIENCE);
        drop((lane, another, under_way));
        assert_eq!(lanes.0.available_permits(), FIRST + 1, "what was opened stays");
    }
}
