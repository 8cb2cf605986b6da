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
use tokio::sync::{Semaphore, watch};

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
    wide: Arc<Semaphore>,
    left: u64,
    /// What is being read; `None` before that, and of a source that is in memory.
    parts: Option<UnboundedReceiver<Part>>,
    /// What has been read and not yet been given to the connection, with the digest if it is the end.
    part: (Bytes, Option<[u8; 32]>),
    meter: Arc<Meter>,
    gate: Gate,
}

impl Body {
    pub(super) fn new(
        opened: Arc<Opened>,
        meter: Arc<Meter>,
        gate: Gate,
        tuning: Tuning,
        wide: Arc<Semaphore>,
    ) -> Self {
        let left = opened.size();
        let body = Self { opened, tuning, wide, left, parts: None, part: (Bytes::new(), None), meter, gate };
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
            return Poll::Ready(Some(Ok((bytes.clone(), Some(Sha256::digest(bytes).into())))));
        }
        let parts = self
            .parts
            .get_or_insert_with(|| reader::start(Arc::clone(&self.opened), self.tuning, Arc::clone(&self.wide)));
        let part = parts.poll_recv(context);
        self.meter.starved.store(part.is_pending(), Ordering::Relaxed);
        part
    }

    /// The next bytes for the connection, counted. Never more than a chunk, so that the count tells a slow connection from
    /// a silent one, and because the body counts as sent once its last part has left.
    fn next(&mut self) -> Frame<Bytes> {
        let (part, digest) = &mut self.part;
        let chunk = part.split_to(part.len().min(self.tuning.chunk));
        self.left -= chunk.len() as u64;
        self.meter.sent.store(self.opened.size() - self.left, Ordering::Relaxed);
        if part.is_empty()
            && let Some(digest) = digest.take()
        {
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
        if body.part.0.is_empty() {
            match ready!(body.poll_part(context)) {
                Some(Ok(part)) => body.part = part,
                // The reader ends early only by a panic, which its thread has printed.
                None => return Poll::Ready(Some(Err(Broken))),
                Some(Err(error)) => {
                    with(&body.meter.failure, |slot| *slot = Some(error));
                    return Poll::Ready(Some(Err(Broken)));
                }
            }
        }
        Poll::Ready(Some(Ok(body.next())))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::super::source::Source;
    use super::*;

    #[tokio::test]
    async fn a_wide_chunk_is_given_away_and_counted_in_parts() {
        let (file, content) = (tempfile::NamedTempFile::new().unwrap(), vec![7; 25_500]);
        std::fs::write(file.path(), &content).unwrap();
        let opened = Arc::new(Source::file(file.path()).settled().open().await.unwrap());
        let tuning = Tuning { chunk: 1_000, wide_chunk: 10_000, ..Tuning::default() };
        let meter = Meter::new(Arc::default());
        let (gate, _teller) = Gate::new(None);
        let mut body = Body::new(opened, Arc::clone(&meter), gate, tuning, Arc::new(Semaphore::new(1)));
        for part in 1..=26 {
            assert!(with(&meter.digest, |digest| digest.is_none()));
            let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(data.len(), if part == 26 { 500 } else { 1_000 });
            assert_eq!(meter.sent.load(Ordering::Relaxed), 25_500.min(part * 1_000));
        }
        assert!(body.frame().await.is_none());
        assert_eq!(with(&meter.digest, |digest| *digest), Some(Sha256::digest(content).into()));
    }
}
