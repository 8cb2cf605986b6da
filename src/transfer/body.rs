//! The body of a PUT: exactly the announced bytes, counted as they leave, behind a gate.
//!
//! With `Expect: 100-continue` nothing is read from a large file until the storage has said that it wants the body, or a
//! second has passed. Then [`super::reader`] reads and hashes it; here nothing waits for a disk. Once the storage has
//! answered for good, nothing more is sent.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use super::reader::{self, Part};
use super::source::{Opened, SourceError};
use super::tuning::Tuning;

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
    /// Whether the connection could take bytes and the source gives none.
    pub(super) starved: AtomicBool,
}

impl Meter {
    pub(super) fn new(sent: Arc<AtomicU64>) -> Arc<Self> {
        sent.store(0, Ordering::Relaxed);
        Arc::new(Self {
            sent,
            digest: Mutex::default(),
            failure: Mutex::default(),
            unasked: Mutex::default(),
            starved: AtomicBool::new(false),
        })
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
    tuning: Tuning,
    left: u64,
    /// What is being read; `None` before that, and of a source that is in memory.
    parts: Option<UnboundedReceiver<Part>>,
    meter: Arc<Meter>,
    gate: Gate,
}

impl Body {
    pub(super) fn new(opened: Arc<Opened>, meter: Arc<Meter>, gate: Gate, tuning: Tuning) -> Self {
        let left = opened.size();
        let body = Self { opened, tuning, left, parts: None, meter, gate };
        if left == 0 {
            body.finish(Sha256::digest([]).into());
        }
        body
    }

    fn finish(&self, digest: [u8; 32]) {
        with(&self.meter.digest, |slot| *slot = Some(digest));
    }

    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<Part>> {
        if let Some(bytes) = self.opened.whole() {
            // In parts, because the body counts as sent once its last part has left.
            let begin = bytes.len() - usize::try_from(self.left).unwrap_or(0);
            let end = bytes.len().min(begin + self.tuning.chunk);
            let digest = (end == bytes.len()).then(|| Sha256::digest(bytes).into());
            return Poll::Ready(Some(Ok((bytes.slice(begin..end), digest))));
        }
        let parts = self.parts.get_or_insert_with(|| reader::start(Arc::clone(&self.opened), self.tuning));
        let part = parts.poll_recv(context);
        self.meter.starved.store(part.is_pending(), Ordering::Relaxed);
        part
    }

    /// Counts what leaves.
    fn count(&mut self, (chunk, digest): (Bytes, Option<[u8; 32]>)) -> Frame<Bytes> {
        self.left -= chunk.len() as u64;
        self.meter.sent.store(self.opened.size() - self.left, Ordering::Relaxed);
        if let Some(digest) = digest {
            self.finish(digest);
        }
        Frame::data(chunk)
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
        if body.left == 0 {
            return Poll::Ready(None);
        }
        match body.poll_part(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(part))) => Poll::Ready(Some(Ok(body.count(part)))),
            // The reader ends early only by a panic, which its thread has printed.
            Poll::Ready(None) => Poll::Ready(Some(Err(Broken))),
            Poll::Ready(Some(Err(error))) => {
                with(&body.meter.failure, |slot| *slot = Some(error));
                Poll::Ready(Some(Err(Broken)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
