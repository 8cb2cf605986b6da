//! Waiting until a file is left alone: it was not touched of late, or two looks some seconds apart agree.
//!
//! What was seen is remembered for all clones of a source, so that a later attempt does not wait again for a file that
//! has not changed since. Nothing is held open while it waits.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::error::SourceError;
use super::looks::look;
use super::place::{Place, Stamp};
use super::{Opened, quick};

/// A file touched more recently than this may still be being written.
const FRESH: Duration = Duration::from_secs(10);
/// Two looks this far apart must agree.
pub(super) const SETTLE: Duration = Duration::from_secs(5);
/// A file that has not settled by then is given up for this attempt.
pub(super) const SETTLE_LIMIT: Duration = Duration::from_mins(1);

/// How many files at the same time may be open before anybody asks for it.
const MOST_AHEAD: usize = 16;
static AHEAD: Semaphore = Semaphore::const_new(MOST_AHEAD);
/// How old such a file may be when it is asked for. An older one is closed, and the path is opened again.
const MOMENT: Duration = Duration::from_millis(100);

/// What has been seen of a file.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The last stamp, and since when.
    last: Mutex<Option<(Stamp, Instant)>>,
    ahead: Mutex<Option<Ahead>>,
}

/// A file that was opened when it was looked at.
#[derive(Debug)]
struct Ahead {
    opened: Opened,
    at: Instant,
    _permit: SemaphorePermit<'static>,
}

impl Memory {
    /// Whether the short road sees a file that was not modified in the last 10 seconds. This also opens the file, because
    /// most callers ask for it at once, and a second look-up costs three system calls.
    pub(super) fn is_old(&self, place: &Arc<Place>) -> bool {
        let Some(held) = quick::old(place) else { return false };
        self.keep(|| held.read());
        true
    }

    /// The file as it was opened a moment ago, or as the short road opens it now.
    pub(super) fn open(&self, place: &Arc<Place>) -> Option<Opened> {
        self.kept().or_else(|| quick::old(place)?.read())
    }

    fn keep(&self, open: impl FnOnce() -> Option<Opened>) {
        let permit = AHEAD.try_acquire().ok();
        let ahead = permit.and_then(|permit| Some(Ahead { opened: open()?, at: Instant::now(), _permit: permit }));
        *self.ahead.lock() = ahead;
    }

    fn kept(&self) -> Option<Opened> {
        let ahead = self.ahead.lock().take()?;
        (ahead.at.elapsed() < MOMENT).then_some(ahead.opened)
    }

    /// Since when this stamp has been the one that is seen.
    fn since(&self, stamp: Stamp) -> Instant {
        let mut last = self.last.lock();
        match *last {
            Some((seen, since)) if seen == stamp => since,
            _ => {
                let now = Instant::now();
                *last = Some((stamp, now));
                now
            }
        }
    }

    /// Returns once the file at `place` is left alone, or with the reason why it cannot be sent.
    pub(super) async fn settle(&self, place: &Arc<Place>) -> Result<(), SourceError> {
        let begun = Instant::now();
        loop {
            let Some(stamp) = look(place, fresh).await? else { return Ok(()) };
            let since = self.since(stamp);
            if since.elapsed() >= SETTLE {
                return Ok(());
            }
            if begun.elapsed() >= SETTLE_LIMIT {
                return Err(SourceError::Restless(place.show()));
            }
            // In a box, because thousands may wait here that need none.
            Box::pin(tokio::time::sleep_until(since + SETTLE)).await;
        }
    }
}

/// The stamp of a file that was modified in the last 10 seconds.
fn fresh(place: &Place) -> Result<Option<Stamp>, SourceError> {
    let stamp = place.hold()?.stamp();
    Ok(is_fresh(&stamp).then_some(stamp))
}

/// Whether a file was modified in the last 10 seconds, or in the future by another host's clock.
pub(super) fn is_fresh(stamp: &Stamp) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let (seconds, nanoseconds) = stamp.modified;
    let modified = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    i128::try_from(now).is_ok_and(|now| now - modified < i128::try_from(FRESH.as_nanos()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_is_open_ahead_for_a_moment_and_few_are() {
        let (memory, opened) = (Memory::default(), || Some(Opened::stuck(1, mpsc::channel().1)));
        memory.keep(opened);
        assert_eq!(memory.kept().unwrap().size(), 1);
        assert!(memory.kept().is_none(), "once");
        memory.keep(opened);
        tokio::time::advance(MOMENT).await;
        assert!(memory.kept().is_none(), "it may be another by now");
        let many: Vec<_> = (0..2 * MOST_AHEAD).map(|_| Memory::default()).collect();
        for memory in &many {
            memory.keep(opened);
        }
        assert!(many.iter().filter(|memory| memory.kept().is_some()).count() <= MOST_AHEAD);
    }
}
