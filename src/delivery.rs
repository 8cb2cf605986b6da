//! From a source to a key: presign, then PUT, with the rules that hold between the two.
//!
//! [`Courier::attempt`] is one attempt, the same for the controller, a job, a sidecar and a laptop. [`Batch`] sends many
//! files: how many at the same time is the matter of its [`Window`], and [`Place::deliver`] is a bounded loop of attempts
//! for those that have nobody else to call them again.
//!
//! | what storage answers, as `transfer/answer.rs` judges it | what the attempt does |
//! |---|---|
//! | this URL will not do (403, 412, a signature that ended) | one second ticket, then `StorageRefused` |
//! | it broke off or failed (reset, timeout, 5xx) | the same URL once more, then `StorageUnavailable` |
//! | 412 after that | stored, if the first try had sent its whole body; else as above |
//! | it asks to wait (409, 429, `SlowDown`, `Retry-After`) | `StorageUnavailable`, later |
//! | it takes no file of this size | `TooLarge` |
//! | it will never take this (501, no such bucket, ...) | `StorageRefused` at once |
//! | a certificate that is not accepted | `StorageUnavailable` at once |
//!
//! The last two last until somebody changes something, so [`Place::deliver`] ends with them, and the controller tries
//! again slowly. Every published error code of S3 has its row in `transfer/answer/codes.md`.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;

pub use self::batch::{Batch, Delivery, Place, Progress};
pub use self::folder::{Bounds, NO_FILE, search};
pub use self::trust::{SetupError, check_bundle};
pub use self::window::Window;
use crate::backoff;
use crate::clock;
pub use crate::cyberun::Credential;
use crate::cyberun::{self, Retry, Ticket};
use crate::outcome::{Trouble, Upload};
use crate::reason::{Class, Reason};
use crate::transfer::{self, Opened, SourceError};
pub use crate::transfer::{Found, Globs, Listing, ListingError, Source, list};
pub(crate) use crate::transfer::{aside, printable};

mod batch;
mod folder;
mod media_type;
mod trust;
mod window;

/// The size above which the hosted platform may refuse a file, in bytes.
pub const USUAL_LIMIT: u64 = 500 * 1000 * 1000;

/// What is to be delivered.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Where the bytes are.
    pub source: Source,
    /// The name to store it under.
    pub file_name: String,
    /// The MIME type; guessed if `None`.
    pub content_type: Option<String>,
    /// Counts the bytes sent by the attempt under way.
    pub sent: Arc<AtomicU64>,
}

/// How long [`Place::deliver`] goes on.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most attempts per file.
    pub attempts: u32,
    /// The longest wait between two; where a longer one is due or asked for, that is the end.
    pub longest_wait: Duration,
}

impl Limits {
    /// What follows a failure is the caller's matter.
    const ONE_ATTEMPT: Self = Self { attempts: 1, longest_wait: Duration::ZERO };

    /// How long to wait after so many failures, of which `trouble` is the last; `None` if it is not tried again.
    fn wait_after(&self, failures: u32, trouble: &Trouble) -> Option<Duration> {
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), failures);
        let delay = backoff::delay_asked(failures, seed, trouble.retry_after);
        let may_pass = trouble.reason.class() == Class::Backoff && !trouble.lasts;
        let is_tried = may_pass && trouble.reason != Reason::FileNotFound && failures < self.attempts;
        (is_tried && delay <= self.longest_wait).then_some(delay)
    }
}

/// An upload that has its ticket, before a byte is sent.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The key it will have.
    pub file_key: &'a str,
    /// The MIME type it was declared with.
    pub content_type: &'a str,
    /// Its size in bytes.
    pub size: u64,
}

/// What the caller of [`Place::deliver`] is asked and told.
pub struct Hooks<A, R> {
    /// Whether the upload may begin, asked for each ticket; if not, the file ends as `ReportFull`.
    pub admit: A,
    /// Hears of each failure that is followed by another attempt, and of the wait before that.
    pub on_retry: R,
}

impl Hooks<fn(&Candidate<'_>) -> bool, fn(&Trouble, Duration)> {
    /// Every upload may begin, and nobody hears of retries.
    pub fn none() -> Self {
        Self { admit: |_| true, on_retry: |_, _| {} }
    }
}

/// A call that a courier makes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Call {
    /// Of the API, for a ticket.
    Presign,
    /// Of the storage, with the bytes.
    Put,
}

impl Call {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Presign => "presign",
            Self::Put => "put",
        }
    }

    /// Why it failed, where nobody waited for its end.
    const fn cut_off(self) -> Reason {
        match self {
            Self::Presign => Reason::ApiUnavailable,
            Self::Put => Reason::StorageUnavailable,
        }
    }
}

/// Hears of each call: why it failed, if it did, and how long it took.
pub type OnCall = Box<dyn Fn(Call, Option<Reason>, Duration) + Send + Sync>;

/// A call that is under way; tells of itself at its end.
struct Telling<'a> {
    on_call: Option<&'a OnCall>,
    call: Call,
    failure: Option<Reason>,
    begun: Instant,
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if let Some(on_call) = self.on_call {
            on_call(self.call, self.failure, self.begun.elapsed());
        }
    }
}

/// Carries parcels: one client of the API, one of storage.
pub struct Courier {
    cyberun: cyberun::Client,
    storage: transfer::Client,
    on_call: Option<OnCall>,
}

impl Courier {
    /// A courier to the deployment whose API is at `api_url`, trusting the system's certificates
    /// (or those of `SSL_CERT_FILE`) and those of the PEM bundle `ca_pem`.
    pub fn new(api_url: &str, allow_http: bool, ca_pem: Option<&str>) -> Result<Self, SetupError> {
        let tls = trust::tls(ca_pem)?;
        Ok(Self {
            cyberun: cyberun::Client::new(api_url, allow_http, tls.clone())?,
            storage: transfer::Client::new(tls),
            on_call: None,
        })
    }

    /// The same courier, which tells of each call.
    #[must_use]
    pub fn telling(self, on_call: OnCall) -> Self {
        Self { on_call: Some(on_call), ..self }
    }

    /// Makes a call and tells of it, also where its caller does not wait for the end. The call is pinned: a move would copy it.
    async fn told<T, E>(
        &self,
        call: Call,
        answer: Pin<&mut impl Future<Output = Result<T, E>>>,
        reason: impl FnOnce(&E) -> Reason,
    ) -> Result<T, E> {
        let mut telling =
            Telling { on_call: self.on_call.as_ref(), call, failure: Some(call.cut_off()), begun: Instant::now() };
        let answer = answer.await;
        telling.failure = answer.as_ref().err().map(reason);
        answer
    }

    /// One attempt: the source opened anew, a new ticket, one PUT and its inner rules.
    pub async fn attempt(&self, credential: &Credential, parcel: &Parcel) -> Result<Upload, Trouble> {
        self.attempt_if(credential, parcel, |_| true).await
    }

    /// One attempt that puts nothing which `admit` does not let pass; it is asked for each ticket.
    pub async fn attempt_if(
        &self,
        credential: &Credential,
        parcel: &Parcel,
        admit: impl FnMut(&Candidate<'_>) -> bool,
    ) -> Result<Upload, Trouble> {
        let opened = parcel.source.open().await.map_err(|error| of_source(&error))?;
        self.send(credential, parcel, opened, admit, || {}).await
    }

    /// The same once the source is open; `on_strain` hears of a PUT that is made once more, as the storage failed.
    async fn send(
        &self,
        credential: &Credential,
        parcel: &Parcel,
        opened: Opened,
        mut admit: impl FnMut(&Candidate<'_>) -> bool,
        on_strain: impl Fn(),
    ) -> Result<Upload, Trouble> {
        let opened = Arc::new(opened);
        let content_type =
            parcel.content_type.clone().unwrap_or_else(|| media_type::media_type(&parcel.file_name, opened.head()));
        let file =
            cyberun::File { file_name: &parcel.file_name, file_size: opened.size(), content_type: &content_type };
        let mut refused = None;
        for _ticket in 0..2 {
            let answer = {
                let asked = pin!(self.cyberun.presign(credential, &file));
                self.told(Call::Presign, asked, cyberun::Error::reason).await
            };
            let ticket = answer.map_err(|error| of_api(&error))?;
            let candidate = Candidate { file_key: &ticket.file_key, content_type: &content_type, size: opened.size() };
            if !admit(&candidate) {
                return Err(Trouble::new(Reason::ReportFull, "the worker's report has no room for it"));
            }
            match self.put(&ticket, &opened, parcel, &on_strain).await {
                Ok(digest) => {
                    let (file_key, size, sha256) = (ticket.file_key, opened.size(), HEXLOWER.encode(&digest));
                    return Ok(Upload { file_key, content_type, size, sha256, at: clock::now() });
                }
                Err(error @ transfer::Error::Refused(_)) => refused = Some(error),
                Err(error) => return Err(of_storage(&error)),
            }
        }
        let said = refused.map(|error| error.to_string()).unwrap_or_default();
        Err(Trouble::new(Reason::StorageRefused, format!("{said}, also with a second presigned URL")))
    }

    /// One ticket's PUT, and once more where it is not known what became of the first.
    async fn put(
        &self,
        ticket: &Ticket,
        opened: &Arc<Opened>,
        parcel: &Parcel,
        on_strain: &impl Fn(),
    ) -> Result<[u8; 32], transfer::Error> {
        let put = async || {
            let put = pin!(self.storage.put(&ticket.url, &ticket.headers, opened, &parcel.sent));
            self.told(Call::Put, put, |error| of_storage(error).reason).await
        };
        match put().await {
            Err(transfer::Error::Unavailable { whole, .. }) => {
                on_strain();
                match (put().await, whole) {
                    (Err(transfer::Error::Refused(said)), Some(digest)) if said.is_precondition_failed() => {
                        opened.unchanged().await?;
                        Ok(digest)
                    }
                    (result, _) => result,
                }
            }
            result => result,
        }
    }
}

fn of_api(error: &cyberun::Error) -> Trouble {
    let retry_after = match error.retry() {
        Retry::Never => None,
        Retry::After(asked) => asked,
    };
    let trouble = Trouble { retry_after, ..Trouble::new(error.reason(), error.to_string()) };
    if error.is_untrusted() { trouble.lasting() } else { trouble }
}

/// Why a source, or the folder that it is in, cannot be sent.
pub fn of_source(error: &SourceError) -> Trouble {
    let reason = match error {
        SourceError::NotFound { .. } => Reason::FileNotFound,
        // A name that no file can have needs a person, as a directory does.
        SourceError::NotAFile { .. } | SourceError::NotAFolder(_) | SourceError::NameTooLong(_) => Reason::NotAFile,
        SourceError::Escapes { .. } => Reason::PathEscapes,
        SourceError::PermissionDenied { .. } | SourceError::Unreachable(_) => Reason::PermissionDenied,
        SourceError::TooLarge(_) => Reason::TooLarge,
        SourceError::Changed(_) | SourceError::Restless(_) | SourceError::Read { .. } => Reason::SourceChanged,
    };
    let trouble = Trouble::new(reason, error.to_string());
    // Each attempt takes another minute, and what is done waits to be told of.
    Trouble { lasts: matches!(error, SourceError::Restless(_)), ..trouble }
}

/// Why a folder cannot be listed.
pub fn of_listing(error: &ListingError) -> Trouble {
    match error {
        ListingError::Source(error) => of_source(error),
        ListingError::Endless => Trouble::new(Reason::TooManyFiles, error.to_string()),
    }
}

fn of_storage(error: &transfer::Error) -> Trouble {
    let trouble = |reason| Trouble::new(reason, error.to_string());
    match error {
        transfer::Error::Source(error) => of_source(error),
        transfer::Error::Busy { retry_after, .. } => {
            Trouble { retry_after: *retry_after, ..trouble(Reason::StorageUnavailable) }
        }
        transfer::Error::Unavailable { .. } => trouble(Reason::StorageUnavailable),
        transfer::Error::Untrusted(_) => trouble(Reason::StorageUnavailable).lasting(),
        transfer::Error::TooLarge(_) => trouble(Reason::TooLarge),
        transfer::Error::Refused(_) => trouble(Reason::StorageRefused),
        transfer::Error::Never { .. } => trouble(Reason::StorageRefused).lasting(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_is_wrong_with_a_source_decides_who_must_act() {
        let path = || "a.txt".to_owned();
        for (error, reason, class) in [
            (SourceError::NotFound { path: path(), hint: String::new() }, Reason::FileNotFound, Class::Backoff),
            (SourceError::NotAFile { path: path(), kind: "directory" }, Reason::NotAFile, Class::Stalled),
            (SourceError::NameTooLong(path()), Reason::NotAFile, Class::Stalled),
            (SourceError::Escapes { path: path(), why: String::new() }, Reason::PathEscapes, Class::Stalled),
            (SourceError::Unreachable(path()), Reason::PermissionDenied, Class::Stalled),
            (SourceError::TooLarge(path()), Reason::TooLarge, Class::Stalled),
            (SourceError::Changed(path()), Reason::SourceChanged, Class::Backoff),
            (SourceError::Restless(path()), Reason::SourceChanged, Class::Backoff),
            // A disk that fails or a server that is away may come back.
            (
                SourceError::Read { path: path(), error: io::Error::from_raw_os_error(5) },
                Reason::SourceChanged,
                Class::Backoff,
            ),
        ] {
            let trouble = of_source(&error);
            assert_eq!((trouble.reason, trouble.reason.class()), (reason, class), "{error}");
            assert_eq!(trouble.message(), error.to_string());
        }
    }
}
