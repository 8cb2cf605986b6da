//! One PUT of one source to one presigned URL, with exactly the headers that were signed.
//!
//! It makes the request once (twice only if the storage does not know `Expect`, 417) and says what came of
//! it; which answers deserve another try is the matter of [`crate::delivery`]. It knows nothing of the
//! Cyberun API and of Kubernetes.
//!
//! Bodies over 64 KiB wait for `100 Continue`, so that a refusal (412 is a normal answer) arrives before a
//! gigabyte is on its way, rather than as a broken pipe. A storage host that lets a second pass without an
//! answer is not waited for again by this process.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::EXPECT;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::time::MissedTickBehavior;

pub use self::answer::Said;
use self::body::{Body, Gate, Meter, Word, with};
pub use self::listing::{Found, Globs, Listing, ListingError, list, list_here};
pub use self::source::{Opened, Source, SourceError};
pub(crate) use self::source::{aside, printable};
pub use self::tuning::Tuning;
use crate::backoff;
use crate::proxy::{Pool, pool};
use crate::redact::{PresignedUrl, cause, is_untrusted};

mod answer;
mod body;
mod listing;
mod reader;
mod source;
mod tuning;

/// So much longer the answer may take for each megabyte, once the last byte is sent: a gateway may store the whole
/// body before it passes it on.
const STALL_PER_MEGABYTE: Duration = Duration::from_secs(1);
/// How often it is looked within [`Tuning::stall`] whether a byte has moved.
const TICKS: u32 = 60;
/// How long the body of an answer may take in all.
const ANSWER_BODY: Duration = Duration::from_secs(5);
const LARGEST_ERROR: usize = 4 * 1024;

/// What a PUT came to, if it did not store the object.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source cannot be read, or changed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// This URL will not do.
    #[error("the storage refused the upload ({0})")]
    Refused(Said),
    /// It asks to come back later.
    #[error("the storage is busy ({said})")]
    Busy {
        /// What it said.
        said: Said,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// Not reached, broken off, timed out, or failed: what became of the object is not known.
    #[error("{what}")]
    Unavailable {
        /// What happened.
        what: String,
        /// The SHA-256 of the body, if all of it had been sent by then.
        whole: Option<[u8; 32]>,
    },
    /// The server's certificate is not accepted.
    #[error("{0}")]
    Untrusted(String),
    /// It takes no file of this size.
    #[error("the storage does not take a file of this size ({0})")]
    TooLarge(Said),
    /// It will not take this upload, however often it is asked.
    #[error("{why} ({said})")]
    Never {
        /// The cause, in our own words.
        why: &'static str,
        /// What it said.
        said: Said,
    },
}

impl Error {
    /// Nothing had been sent, or it is not known yet whether all of it was.
    fn unavailable(what: String) -> Self {
        Self::Unavailable { what, whole: None }
    }

    /// The same after a body of which all was sent, if `whole` is its SHA-256.
    fn after(self, whole: Option<[u8; 32]>) -> Self {
        match self {
            Self::Unavailable { what, .. } => Self::Unavailable { what, whole },
            other => other,
        }
    }
}

/// A client of any S3-compatible storage that takes presigned PUTs.
pub struct Client {
    pool: Pool<Body>,
    tuning: Tuning,
    /// Permits for [`Tuning::wide`].
    wide: Arc<Semaphore>,
    /// Hosts that do not answer `Expect: 100-continue`.
    silent: Mutex<HashSet<String>>,
}

impl Client {
    /// A client that trusts what `tls` trusts.
    pub fn new(tls: rustls::ClientConfig) -> Self {
        Self::with(tls, Tuning::default())
    }

    /// The same with other sizes and spans.
    pub fn with(tls: rustls::ClientConfig, tuning: Tuning) -> Self {
        let wide = Arc::new(Semaphore::new(tuning.wide));
        Self { pool: pool(tls, tuning.idle, tuning.stall * 2), tuning, wide, silent: Mutex::default() }
    }

    /// Puts `opened` to `url` with `headers`, its length among them; returns the SHA-256 of what was stored.
    ///
    /// `sent` counts the bytes handed to the connection, from 0.
    pub async fn put(
        &self,
        url: &PresignedUrl,
        headers: &HeaderMap,
        opened: &Arc<Opened>,
        sent: &Arc<AtomicU64>,
    ) -> Result<[u8; 32], Error> {
        let ask = opened.size() > self.tuning.ask_above && !with(&self.silent, |hosts| hosts.contains(url.host()));
        match self.exchange(url, headers, opened, sent, ask).await {
            Err(Error::Never { said, .. }) if ask && said.status == StatusCode::EXPECTATION_FAILED => {
                self.never_ask_again(url);
                self.exchange(url, headers, opened, sent, false).await
            }
            result => result,
        }
    }

    async fn exchange(
        &self,
        url: &PresignedUrl,
        headers: &HeaderMap,
        opened: &Arc<Opened>,
        sent: &Arc<AtomicU64>,
        ask: bool,
    ) -> Result<[u8; 32], Error> {
        let meter = Meter::new(Arc::clone(sent));
        let (request, teller) = self.request(url, headers, opened, &meter, ask);
        let answer = tokio::select! {
            answer = self.pool.request(request) => answer.map_err(|error| lost(url, &error)),
            span = stalled(sent, opened.size(), self.tuning.stall) => match opened.blocked() {
                Some(blocked) if meter.starved.load(Ordering::Relaxed) => Err(blocked.into()),
                _ => Err(silent(url, span)),
            },
        };
        // The connection ends with a body that fails, and an error's body is still on its way.
        teller.send_replace(Word::Pause);
        if with(&meter.unasked, |unasked| *unasked) {
            self.never_ask_again(url);
        }
        if let Some(error) = with(&meter.failure, Option::take) {
            return Err(error.into());
        }
        let whole = with(&meter.digest, |digest| *digest);
        let answer = answer.map_err(|error| error.after(whole))?;
        let (status, retry_after) = (answer.status(), backoff::retry_after(answer.headers()));
        let body = read(answer).await;
        teller.send_replace(Word::Stop);
        if status.is_success() {
            opened.unchanged().await?;
            let early = || format!("the storage at {} answered before it had the whole file", url.host());
            return whole.ok_or_else(|| Error::unavailable(early()));
        }
        Err(Said::read(status, &body).judged(whole, retry_after))
    }

    fn request(
        &self,
        url: &PresignedUrl,
        headers: &HeaderMap,
        opened: &Arc<Opened>,
        meter: &Arc<Meter>,
        ask: bool,
    ) -> (Request<Body>, Arc<watch::Sender<Word>>) {
        let mut request = Request::new(());
        *request.method_mut() = Method::PUT;
        *request.uri_mut() = url.expose_signed().clone();
        *request.headers_mut() = headers.clone();
        let (gate, teller) = Gate::new(ask.then_some(self.tuning.patience));
        if ask {
            request.headers_mut().insert(EXPECT, HeaderValue::from_static("100-continue"));
            let tell = Arc::clone(&teller);
            hyper::ext::on_informational(&mut request, move |answer| {
                if answer.status() == StatusCode::CONTINUE {
                    tell.send_replace(Word::Go);
                }
            });
        }
        let body = Body::new(Arc::clone(opened), Arc::clone(meter), gate, self.tuning, Arc::clone(&self.wide));
        (request.map(|()| body), teller)
    }

    fn never_ask_again(&self, url: &PresignedUrl) {
        with(&self.silent, |hosts| hosts.insert(url.host().to_owned()));
    }
}

/// Ends when no byte of so many has moved for a while, and says for how long. Coarse ticks cost nothing per chunk. After a
/// pause of the whole process one tick counts as one, so that the pause is not taken for silence of the storage.
async fn stalled(sent: &AtomicU64, size: u64, stall: Duration) -> Duration {
    let mut ticks = tokio::time::interval(stall / TICKS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let (mut before, mut idle) = (sent.load(Ordering::Relaxed), Duration::ZERO);
    while idle < patience(before, size, stall) {
        ticks.tick().await;
        let now = sent.load(Ordering::Relaxed);
        idle = if now == before { idle + ticks.period() } else { Duration::ZERO };
        before = now;
    }
    idle
}

/// How long no byte may move after so many of a body have been sent.
fn patience(sent: u64, size: u64, stall: Duration) -> Duration {
    if sent < size {
        return stall;
    }
    stall + STALL_PER_MEGABYTE * u32::try_from(size / 1_000_000).unwrap_or(u32::MAX)
}

/// What an exchange is told as in which no byte moves.
fn silent(url: &PresignedUrl, span: Duration) -> Error {
    let (host, span) = (url.host(), span.as_secs());
    Error::unavailable(format!("the storage at {host} took no byte and gave no answer for {span} s"))
}

/// What a failed exchange is told as.
fn lost(url: &PresignedUrl, error: &hyper_util::client::legacy::Error) -> Error {
    let what = if error.is_connect() {
        "cannot connect to the storage at"
    } else {
        "the connection broke off to the storage at"
    };
    let what = format!("{what} {}: {}", url.host(), cause(error));
    if is_untrusted(error) { Error::Untrusted(what) } else { Error::unavailable(what) }
}

/// The beginning of the body, or what came of it in time. Reading it to its end lets the connection be used again.
async fn read(answer: Response<Incoming>) -> String {
    let (mut body, mut beginning) = (answer.into_body(), Vec::new());
    let all = async {
        while beginning.len() < LARGEST_ERROR
            && let Some(Ok(frame)) = body.frame().await
        {
            beginning.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        }
    };
    // What is missing is not worth a wait.
    let _ = tokio::time::timeout(ANSWER_BODY, all).await;
    beginning.truncate(LARGEST_ERROR);
    String::from_utf8_lossy(&beginning).into_owned()
}

#[cfg(test)]
mod tests;
