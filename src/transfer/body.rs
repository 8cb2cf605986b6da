//! The body of a PUT: exactly the announced bytes, hashed and counted as they leave, behind a gate.
//!
//! With `Expect: 100-continue` nothing is read from the source until the storage has said that it wants the
//! body, or a second has passed. Once it has answered for good, nothing more is read or sent. One buffer is reused for
//! the whole body.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
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

/// What a body is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Word {
    /// Nothing yet.
    Wait,
    /// The storage asks for the body.
    Go,
    /// Nobody answered in time, so it is sent unasked.
    GoUnasked,
    /// The storage has answered for good: nothing more is sent while the rest of its answer is read.
    Pause,
    /// The answer has been read: the body ends here.
    Stop,
}

/// Holds a body back until it is told, or the patience ends; and again once the storage has answered.
pub(super) struct Gate {
    word: watch::Receiver<Word>,
    /// What is waited for at present.
    wait: Option<Wait>,
}

type Wait = Pin<Box<dyn Future<Output = Word> + Send>>;

impl Gate {
    /// A gate and the means to open or shut it; open unless there is a patience. That begins when the body is first
    /// asked for, which is when the request is on its way.
    pub(super) fn new(patience: Option<Duration>) -> (Self, Arc<watch::Sender<Word>>) {
        let (teller, word) = watch::channel(if patience.is_some() { Word::Wait } else { Word::Go });
        let wait = patience.map(|patience| -> Wait {
            let word = word.clone();
            Box::pin(async move {
                let told = tokio::time::timeout(patience, next(word, Word::Wait)).await;
                told.unwrap_or(Word::GoUnasked)
            })
        });
        (Self { word, wait }, Arc::new(teller))
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Word> {
        loop {
            let Some(wait) = &mut self.wait else {
                let word = *self.word.borrow();
                if word != Word::Pause {
                    return Poll::Ready(word);
                }
                self.wait = Some(Box::pin(next(self.word.clone(), Word::Pause)));
                continue;
            };
            let word = ready!(wait.as_mut().poll(context));
            self.wait = None;
            if word == Word::GoUnasked {
                return Poll::Ready(word);
            }
        }
    }
}

/// The word after this one. Nobody tells it any more once the exchange is over.
async fn next(mut word: watch::Receiver<Word>, before: Word) -> Word {
    word.wait_for(|word| *word != before).await.map_or(Word::Stop, |word| *word)
}

/// The body itself.
pub(super) struct Body {
    opened: Arc<Opened>,
    offset: u64,
    buffer: BytesMut,
    hasher: Sha256,
    meter: Arc<Meter>,
    gate: Gate,
}

impl Body {
    pub(super) fn new(opened: Arc<Opened>, meter: Arc<Meter>, gate: Gate) -> Self {
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
        match ready!(body.gate.poll(context)) {
            Word::Stop => return Poll::Ready(Some(Err(Broken))),
            Word::GoUnasked => with(&body.meter.unasked, |slot| *slot = true),
            _ => {}
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
