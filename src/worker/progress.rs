//! How far a large file is, told every ten seconds: so the log of a worker answers whether it still goes on.
//!
//! A file that is not large has no timer. It logs nothing itself.

use std::cell::Cell;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// A file above this size, in bytes, is long under way.
const LARGE: u64 = 100 * 1000 * 1000;
/// How often it is told of.
const EVERY: Duration = Duration::from_secs(10);

/// The progress of one file.
pub(super) struct Progress<'a> {
    sent: &'a AtomicU64,
    size: Cell<u64>,
    is_large: Notify,
}

impl<'a> Progress<'a> {
    /// Of the file whose bytes are counted by `sent`.
    pub(super) fn of(sent: &'a AtomicU64) -> Self {
        Self { sent, size: Cell::new(0), is_large: Notify::new() }
    }

    /// An upload of so many bytes begins.
    pub(super) fn begin(&self, size: u64) {
        self.size.set(size);
        if size > LARGE {
            self.is_large.notify_one();
        }
    }

    /// Tells a large file's bytes that were sent, its size and the bytes a second since it last told them. Never ends.
    pub(super) async fn watch(&self, on_progress: impl Fn(u64, u64, u64)) -> Infallible {
        self.is_large.notified().await;
        let (mut before, mut ticks) = (0, tokio::time::interval(EVERY));
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let sent = self.sent.load(Ordering::Relaxed);
            // It begins again from 0 with another attempt.
            let moved = sent.checked_sub(before).unwrap_or(sent);
            on_progress(sent, self.size.get(), moved / EVERY.as_secs());
            before = sent;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// What is told within 35 seconds of a file of this size, of which 3 MB are sent per second until it starts over
    /// after 25 seconds.
    async fn told(size: u64) -> Vec<(u64, u64, u64)> {
        let (sent, told) = (AtomicU64::new(0), RefCell::new(Vec::new()));
        let progress = Progress::of(&sent);
        let upload = async {
            progress.begin(size);
            for second in 1..=35 {
                tokio::time::sleep(Duration::from_millis(999)).await;
                sent.store(if second < 25 { second } else { second - 25 } * 3_000_000, Ordering::Relaxed);
            }
        };
        tokio::select! {
            () = upload => {}
            never = progress.watch(|sent, size, rate| told.borrow_mut().push((sent, size, rate))) => match never {},
        }
        told.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_file_is_told_of_every_ten_seconds_and_after_a_new_attempt_from_its_beginning() {
        let size = LARGE + 1;
        let expected = [(30_000_000, size, 3_000_000), (60_000_000, size, 3_000_000), (15_000_000, size, 1_500_000)];
        assert_eq!(told(size).await, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_not_large_is_not_told_of() {
        assert_eq!(told(LARGE).await, []);
    }
}
