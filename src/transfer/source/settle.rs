//! Waiting until a file is left alone: it was not touched of late, or two looks some seconds apart agree.
//!
//! What was seen is remembered for all clones of a source, so that a later attempt does not wait again for a file that
//! has not changed since. Nothing is held open while it waits.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::error::SourceError;
use super::looks::look;
use super::place::{Place, Stamp};

/// A file touched more recently than this may still be being written.
const FRESH: Duration = Duration::from_secs(10);
/// Two looks this far apart must agree.
pub(super) const SETTLE: Duration = Duration::from_secs(5);
/// A file that has not settled by then is given up for this attempt.
pub(super) const SETTLE_LIMIT: Duration = Duration::from_mins(1);

/// The last stamp that was seen, and since when.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Option<(Stamp, Instant)>>);

impl Memory {
    /// Since when this stamp has been the one that is seen.
    fn since(&self, stamp: Stamp) -> Instant {
        let mut last = self.0.lock();
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
