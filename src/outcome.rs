//! What came of an upload: [`Upload`] is the one success and [`Trouble`] the one failure, from delivery to status.
//!
//! Delivery makes them; the worker's report, the keys folder, the plan and the status carry them on. Neither holds a
//! token or a URL.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use crate::backoff;
use crate::reason::Reason;

/// The longest key that a status, a report or a keys folder takes, in characters. S3 keys have at most 1024 bytes.
pub const LONGEST_KEY: usize = 2048;
/// The longest content type that they take, in characters.
pub const LONGEST_CONTENT_TYPE: usize = 255;

/// A file that is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Upload {
    /// The opaque reference for workflows.
    pub file_key: String,
    /// The MIME type it was declared with.
    pub content_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// The SHA-256 of what was stored, in lower-case hex.
    pub sha256: String,
    /// When the storage confirmed it, to the second.
    pub at: Timestamp,
}

/// Why a file is not stored, or not known to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Trouble {
    /// The reason, whose class says what follows.
    pub reason: Reason,
    /// Stable text for people: our own words.
    pub what: Cow<'static, str>,
    /// What another system said, made harmless; it may differ each time it is asked.
    pub quoted: Option<String>,
    /// How long to wait at least, as the other side asks or as this trouble deserves.
    pub retry_after: Option<Duration>,
    /// Whether it lasts until somebody changes something, so that nobody who waits for the end tries it again.
    pub lasts: bool,
}

impl Trouble {
    /// A trouble in our own words.
    pub fn new(reason: Reason, what: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, what: what.into(), quoted: None, retry_after: None, lasts: false }
    }

    /// The same, with the words of another system, which must be made harmless before.
    #[must_use]
    pub fn quoting(self, words: impl Into<String>) -> Self {
        Self { quoted: Some(words.into()).filter(|words| !words.is_empty()), ..self }
    }

    /// The same, of which no second try within minutes will get rid.
    #[must_use]
    pub fn lasting(self) -> Self {
        Self { retry_after: self.retry_after.max(Some(backoff::LONGEST)), lasts: true, ..self }
    }

    /// Whether a server is under load or away, so that less should be asked of it at the same time.
    pub fn is_strain(&self) -> bool {
        use Reason::{ApiUnavailable, RateLimited, StorageUnavailable};
        matches!(self.reason, RateLimited | ApiUnavailable | StorageUnavailable) && !self.lasts
    }

    /// The whole text.
    pub fn message(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.what)?;
        match &self.quoted {
            Some(quoted) => write!(formatter, ": {quoted}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Trouble {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quotation_follows_our_own_words() {
        let trouble = Trouble::new(Reason::WorkerPending, "no node can run the worker");
        assert_eq!(trouble.message(), "no node can run the worker");
        assert_eq!(trouble.clone().quoting("").message(), "no node can run the worker");
        assert_eq!(trouble.quoting("0/2 nodes").message(), "no node can run the worker: 0/2 nodes");
    }
}
