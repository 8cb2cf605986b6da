//! What a worker is given, and what it says of it: the termination message of its pod.
//!
//! A report is text of at most [`LIMIT`] bytes that only ever grows by whole lines, each written at once, so that
//! what was done is known even after SIGKILL. It never holds a URL or a token, and nothing here knows of Kubernetes.
//!
//! ```text
//! fileupload-report/2
//! +SHA256FILE SECONDS SIZE HEAD~TAIL TYPE KEY    uploaded
//! =SHA256FILE SECONDS SIZE KEY                   the same, with HEAD, TAIL and TYPE as in the line before
//! -FILE REASON RETRY :MESSAGE                    failed; FILE is `*` for all that are left
//! full                                           the next line might not have fitted
//! limited                                        the API asked to slow down
//! ```
//!
//! `SHA256` is in base64url, 43 characters; `FILE` counts all files of the Job from 0; `SECONDS` since the upload before
//! (the first: since 1970), `SIZE`, `HEAD` and `TAIL` are in base 36. Of the key only the middle is written: `HEAD` and
//! `TAIL` bytes are those of the report's first key, and after `~` the file's own name follows (after `.` it does not).
//! `=` and base64url stand for the bytes of a middle that is hexadecimal. `TYPE` is empty if it is the assignment's or,
//! without one, that of the line before. `RETRY` is in seconds or `-`; a message equal to the one before is `"`, none is
//! nothing. Characters that could not stand there are written `\xNN`. A new kind of line or reason takes a new version;
//! the one before is still read, as reports may be on their way while the operator is upgraded.

use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use self::frame::Lines;
pub use self::read::read;
pub use self::write::{NoRoom, Writer};
use crate::outcome::{Trouble, Upload};

pub mod folder;
mod frame;
mod line;
mod previous;
mod read;
mod write;

/// The most bytes of a report: the kubelet gives a Pod 12 KiB for all its containers, and others may be put into it.
pub const LIMIT: usize = 3000;
/// So many ordinary files surely fit one report.
pub const PER_REPORT: usize = 28;
const VERSION: &str = "fileupload-report/2";

/// One file that a worker is given.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// The file's name in the spec.
    pub name: String,
    /// What the upload will stand for.
    pub revision: String,
    /// Where it lies beneath the mount.
    pub path: String,
    /// The name to store it under.
    pub file_name: String,
    /// The MIME type; guessed if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// What to send of the folder that lies there, instead of one file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<Box<folder::Folder>>,
}

/// What became of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Entry {
    /// It is stored.
    Uploaded {
        /// Its index among all assignments.
        file: usize,
        /// Its key and what is known of it.
        upload: Upload,
    },
    /// It is not, and this worker tries no more.
    Failed {
        /// Its index among all assignments; `None` stands for every file that is left.
        file: Option<usize>,
        /// Why: read back, its text is one with what it quotes, shortened or empty where the report had no more room,
        /// and its wait is in whole seconds.
        trouble: Trouble,
    },
}

/// What a report says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// In the order in which they ended.
    pub entries: Vec<Entry>,
    /// The worker stopped as the next line might not have fitted; what it does not name is to be done by another.
    pub full: bool,
    /// The API asked to slow down (429).
    pub limited: bool,
    /// A line cannot be read. The entries are those before it: what was paid for is kept.
    pub garbled: bool,
}

/// Why nothing can be read from a report.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unreadable {
    /// Nothing was written.
    Missing,
    /// A version that is not known here.
    Unsupported,
    /// No report at all, but some other text.
    Garbled,
}

/// The part of `files` that is worker `index`'s if there are `shards`: contiguous, and equal but for one.
pub fn share(files: usize, shards: usize, index: usize) -> Range<usize> {
    let shards = shards.max(1);
    let start = |index: usize| {
        let index = index.min(shards);
        index * (files / shards) + index.min(files % shards)
    };
    start(index)..start(index.saturating_add(1))
}

#[cfg(test)]
mod tests;
