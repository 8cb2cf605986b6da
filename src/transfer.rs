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
use tokio::sync::watch;

use self::body::{Body, Gate, Meter, Word, with};
pub use self::source::{Opened, Source, SourceError};
use crate::backoff;
use crate::redact::{PresignedUrl, cause, quote};

mod body;
mod connect;
mod source;

/// Bodies up to this size are sent at once.
const ASK_ABOVE: u64 = 64 * 1024;
/// How long to wait for `100 Continue`.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a PUT may go without a byte moving. There is no limit on the whole.
const STALL: Duration = Duration::from_mins(1);
const LARGEST_ERROR: usize = 4 * 1024;

/// What a PUT came to, if it did not store the object.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source cannot be read, or changed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// 403 or 412: this URL will not do.
    #[error("the storage refused the upload ({0})")]
    Refused(Said),
    /// 409 or 429: later.
    #[error("the storage is busy ({said})")]
    Busy {
        /// What it said.
        said: Said,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// Not reached, broken off, timed out, or 5xx: what became of the object is not known.
    #[error("{what}")]
    Unavailable {
        /// What happened.
        what: String,
        /// The SHA-256 of the body, if all of it had been sent by then.
        whole: Option<[u8; 32]>,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// 413, or S3's `EntityTooLarge`.
    #[error("the storage does not take a file of this size ({0})")]
    TooLarge(Said),
    /// Any other answer.
    #[error("the storage gave an answer that no upload expects ({0})")]
    Unexpected(Said),
}

/// A storage server's answer: its status and S3's code and message.
#[derive(Debug)]
pub struct Said {
    status: StatusCode,
    code: String,
    message: String,
}

impl std::fmt::Display for Said {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.status.as_u16())?;
        let texts: Vec<&str> =
            [&self.code, &self.message].into_iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
        if texts.is_empty() { Ok(()) } else { write!(formatter, ": {}", texts.join(": ")) }
    }
}

impl Said {
    /// 412: an object is already there.
    pub fn is_precondition_failed(&self) -> bool {
        self.status == StatusCode::PRECONDITION_FAILED
    }

    fn read(status: StatusCode, body: &str) -> Self {
        let tag = |name: &str| -> String {
            let inner =
                body.split_once(&format!("<{name}>")).and_then(|(_, rest)| rest.split_once(&format!("</{name}>")));
            quote(inner.map_or("", |(text, _)| text))
        };
        Self { status, code: tag("Code"), message: tag("Message") }
    }
}

/// A client of any S3-compatible storage that takes presigned PUTs.
pub struct Client {
    pool: connect::Pool,
    /// Hosts that do not answer `Expect: 100-continue`.
    silent: Mutex<HashSet<String>>,
}

impl Client {
    /// A client that trusts what `tls` trusts.
    pub fn new(tls: rustls::ClientConfig) -> Self {
        Self { pool: connect::pool(tls), silent: Mutex::default() }
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
        let ask = opened.size() > ASK_ABOVE && !with(&self.silent, |hosts| hosts.contains(url.host()));
        match self.exchange(url, headers, opened, sent, ask).await {
            Err(Error::Unexpected(said)) if ask && said.status == StatusCode::EXPECTATION_FAILED => {
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
        let (request, teller) = request(url, headers, opened, &meter, ask);
        let answer = tokio::select! {
            answer = self.pool.request(request) => answer.map_err(|error| lost(url, &error)),
            () = stalled(sent) => Err(format!("the storage at {} took no byte and gave no answer for {} s", url.host(), STALL.as_secs())),
        };
        if with(&meter.unasked, |unasked| *unasked) {
            self.never_ask_again(url);
        }
        if let Some(error) = with(&meter.failure, Option::take) {
            return Err(error.into());
        }
        let whole = with(&meter.digest, |digest| *digest);
        let answer = answer.map_err(|what| Error::Unavailable { what, whole, retry_after: None })?;
        let (status, retry_after) = (answer.status(), backoff::retry_after(answer.headers()));
        let body = read(answer).await;
        // Told only now: the connection ends with it, and the answer was still on its way.
        teller.send_replace(Word::Stop);
        if status.is_success() {
            opened.check_unchanged()?;
            let early = || Error::Unavailable {
                what: format!("the storage at {} answered before it had the whole file", url.host()),
                whole,
                retry_after,
            };
            return whole.ok_or_else(early);
        }
        Err(refusal(Said::read(status, &body), whole, retry_after))
    }

    fn never_ask_again(&self, url: &PresignedUrl) {
        with(&self.silent, |hosts| hosts.insert(url.host().to_owned()));
    }
}

fn request(
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
    let (gate, teller) = Gate::new(PATIENCE);
    if ask {
        request.headers_mut().insert(EXPECT, HeaderValue::from_static("100-continue"));
        let tell = Arc::clone(&teller);
        hyper::ext::on_informational(&mut request, move |answer| {
            if answer.status() == StatusCode::CONTINUE {
                tell.send_replace(Word::Go);
            }
        });
    }
    let body = Body::new(Arc::clone(opened), Arc::clone(meter), ask.then_some(gate));
    (request.map(|()| body), teller)
}

/// Ends when no byte has moved for a while. Coarse ticks cost nothing per chunk.
async fn stalled(sent: &AtomicU64) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.tick().await;
    let (mut before, mut idle) = (sent.load(Ordering::Relaxed), 0);
    while idle < STALL.as_secs() {
        ticks.tick().await;
        let now = sent.load(Ordering::Relaxed);
        idle = if now == before { idle + 1 } else { 0 };
        before = now;
    }
}

/// What a failed exchange is told as.
fn lost(url: &PresignedUrl, error: &hyper_util::client::legacy::Error) -> String {
    let what = if error.is_connect() {
        "cannot connect to the storage at"
    } else {
        "the connection broke off to the storage at"
    };
    format!("{what} {}: {}", url.host(), cause(error))
}

/// The beginning of the body. Reading it to its end lets the connection be used again.
async fn read(answer: Response<Incoming>) -> String {
    let mut body = answer.into_body();
    let mut beginning = Vec::new();
    while let Ok(Some(Ok(frame))) = tokio::time::timeout(PATIENCE, body.frame()).await {
        beginning.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        if beginning.len() >= LARGEST_ERROR {
            beginning.truncate(LARGEST_ERROR);
            break;
        }
    }
    String::from_utf8_lossy(&beginning).into_owned()
}

fn refusal(said: Said, whole: Option<[u8; 32]>, retry_after: Option<Duration>) -> Error {
    match said.status.as_u16() {
        403 | 412 => Error::Refused(said),
        409 | 429 => Error::Busy { said, retry_after },
        413 => Error::TooLarge(said),
        400 if said.code == "EntityTooLarge" => Error::TooLarge(said),
        500..=599 | 408 => {
            Error::Unavailable { what: format!("the storage is unavailable ({said})"), whole, retry_after }
        }
        _ => Error::Unexpected(said),
    }
}
