//! The body of a PUT: exactly the announced bytes, hashed and counted as they leave, behind a gate.
//!
//! With `Expect: 100-continue` nothing is read from the source until the storage has said that it wants the
//! body, or a second has passed. One buffer is reused for the whole body.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::source::{Opened, SourceError};

/// How much is read and handed over at a time.
const CHUNK: usize = 64 * 1024;

/// What is known of a body from outside while it is sent.
#[derive(Debug)]
pub(super) struct Meter {
    /// Bytes handed to the connection.
    pub(super) sent: Arc<AtomicU64>,
    /// The SHA-256 of the body, once all of it was handed over.
    pub(super) digest: Mutex<Option<[u8; 32]>>,
    /// Why the source could not be read to its end.
    pub(super) failure: Mutex<Option<SourceError>>,
    /// Whether the gate opened only because nobody answered in time.
    pub(super) unasked: Mutex<bool>,
}

impl Meter {
    pub(super) fn new(sent: Arc<AtomicU64>) -> Arc<Self> {
        sent.store(0, Ordering::Relaxed);
        Arc::new(Self { sent, digest: Mutex::default(), failure: Mutex::default(), unasked: Mutex::default() })
    }
}

/// Sets or takes what a mutex holds. A holder that panicked leaves it as valid as before.
pub(super) fn with<T, R>(mutex: &Mutex<T>, act: impl FnOnce(&mut T) -> R) -> R {
    act(&mut mutex.lock())
}

/// What a held-back body is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Word {
    /// Nothing yet.
    Wait,
    /// The storage asks for the body.
    Go,
    /// Nobody answered in time, so it is sent unasked.
    GoUnasked,
    /// The storage has answered for good: nothing is to be sent any more.
    Stop,
}

/// Holds a body back until it is told, or the patience ends.
pub(super) struct Gate(Pin<Box<dyn Future<Output = Word> + Send>>);

impl Gate {
    /// A gate and the means to open or shut it. The patience begins when the body is first asked for, which is
    /// when the request is on its way.
    pub(super) fn new(patience: Duration) -> (Self, Arc<watch::Sender<Word>>) {
        let (teller, mut word) = watch::channel(Word::Wait);
        let told = async move {
            let told = word.wait_for(|word| *word != Word::Wait);
            match tokio::time::timeout(patience, told).await {
                Err(_) => Word::GoUnasked,
                Ok(told) => told.map_or(Word::Stop, |word| *word),
            }
        };
        (Self(Box::pin(told)), Arc::new(teller))
    }
}

/// The body itself.
pub(super) struct Body {
    opened: Arc<Opened>,
    offset: u64,
    buffer: BytesMut,
    hasher: Sha256,
    meter: Arc<Meter>,
    gate: Option<Gate>,
}

impl Body {
    pub(super) fn new(opened: Arc<Opened>, meter: Arc<Meter>, gate: Option<Gate>) -> Self {
        let body = Self { opened, offset: 0, buffer: BytesMut::new(), hasher: Sha256::new(), meter, gate };
        if body.left() == 0 {
            body.finish();
        }
        body
    }

    fn left(&self) -> u64 {
        self.opened.size() - self.offset
    }

    fn finish(&self) {
        let digest = self.hasher.clone().finalize().into();
        with(&self.meter.digest, |slot| *slot = Some(digest));
    }

    fn next(&mut self) -> Result<Bytes, SourceError> {
        let length = usize::try_from(self.left()).map_or(CHUNK, |left| left.min(CHUNK));
        // Once the connection has let go of the chunk before, its memory is taken again.
        self.buffer.resize(length, 0);
        self.opened.read_exact_at(&mut self.buffer, self.offset)?;
        let chunk = self.buffer.split().freeze();
        self.hasher.update(&chunk);
        self.offset += length as u64;
        self.meter.sent.store(self.offset, Ordering::Relaxed);
        if self.left() == 0 {
            // The last chunk leaves only if the file is still the one that was announced.
            self.opened.check_unchanged()?;
            self.finish();
        }
        Ok(chunk)
    }
}

/// The body ends here: the source failed, as the meter tells, or the storage wants no more.
#[derive(Debug, thiserror::Error)]
#[error("the body was not sent to its end")]
pub(super) struct Broken;

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let body = self.get_mut();
        if let Some(gate) = &mut body.gate {
            match gate.0.as_mut().poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Word::Stop) => return Poll::Ready(Some(Err(Broken))),
                Poll::Ready(word) => with(&body.meter.unasked, |slot| *slot = word == Word::GoUnasked),
            }
            body.gate = None;
        }
        if body.left() == 0 {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(body.next().map(Frame::data).map_err(|error| {
            with(&body.meter.failure, |slot| *slot = Some(error));
            Broken
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}
