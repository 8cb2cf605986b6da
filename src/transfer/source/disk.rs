//! Where calls go that may block on a disk or mount: a thread on which they stop nobody else, for a bounded time.

use std::io::{Error, ErrorKind};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use super::error::SourceError;
use super::place::Place;

/// What is not answered by then counts as failed. The thread stays with it.
pub(super) const LIMIT: Duration = Duration::from_mins(1);

/// What `act` returns of the file at `place`.
pub(super) async fn on_disk<T: Send + 'static>(
    place: &Arc<Place>,
    act: impl FnOnce(&Place) -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    let its_own = Arc::clone(place);
    aside(LIMIT, move || act(&its_own)).await.unwrap_or_else(|| Err(blocked(place)))
}

/// What `act` returns, on a thread on which a disk that blocks stops nobody else; none if it does not within `limit`.
pub(crate) async fn aside<T: Send + 'static>(limit: Duration, act: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match tokio::time::timeout(limit, tokio::task::spawn_blocking(act)).await {
        Ok(Ok(result)) => Some(result),
        Ok(Err(error)) if error.is_panic() => resume_unwind(error.into_panic()),
        // The task was cancelled, which only the end of the runtime does. It drops this future too.
        Ok(Err(_)) => std::future::pending().await,
        Err(_) => None,
    }
}

/// Neither data nor an error came for too long.
pub(super) fn blocked(place: &Place) -> SourceError {
    place.failed(Error::new(ErrorKind::TimedOut, format!("the disk or mount did not answer for {} s", LIMIT.as_secs())))
}
