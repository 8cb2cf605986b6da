//! What a worker says of a folder, whose files nobody has listed: each line carries its own path.
//!
//! As in the report on single files every line is written at once, and a text that anybody may have written makes no more
//! than what a report can hold.
//!
//! ```text
//! fileupload-folder/1
//! found N                                                     so many files match
//! +SHA256MTIME SECONDS SIZE HEAD~TAIL KEY PATH                uploaded
//! =SHA256MTIME SECONDS SIZE KEY PATH                          the same, with HEAD and TAIL as in the line before
//! -REASON RETRY PATH :MESSAGE                                 failed; PATH is `*` for the whole folder
//! ~PATH                                                       a file that has its key is no longer there
//! cut BASE64                                                  where to cut what is left, by SHA-256(path)
//! done DIGEST                                                 nothing is left, given the keys with this digest
//! full                                                        the next line might not have fitted
//! limited                                                     the API asked to slow down
//! ```
//!
//! `MTIME` (in microseconds) and `SECONDS` since the line before and `SIZE` are in base 36. `PATH` begins with two digits:
//! so many bytes of its beginning and its end are those of the path before, and what follows is between. Of a key the middle
//! is written, as in the other report; `%` and base64url stand for a segment that is a UUID.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use jiff::Timestamp;

pub use self::part::{Failure, Held, LARGEST_KEYS, MAX_FAILURES, Meta, Part};
pub use self::read::read;
pub use self::write::Writer;
use crate::outcome::{Trouble, Upload};

mod code;
mod part;
mod read;
mod write;

const VERSION: &str = "fileupload-folder/1";
/// The longest path of a file in a folder, in bytes.
pub const LONGEST_PATH: usize = 1024;
/// The most files of a folder.
pub const MAX_FILES: usize = 2000;
/// The most patterns of one kind, and the longest, in characters.
pub const MAX_GLOBS: (usize, usize) = (16, 256);
/// The most shares of a folder.
pub const MAX_SHARES: usize = 100;

/// What a worker is to do with a folder.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Folder {
    /// The patterns of the files that are sent; all if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// The patterns of those that are not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// It waits for so many files.
    pub min_files: usize,
    /// It refuses more files than this.
    pub max_files: usize,
    /// The ConfigMap that holds the keys so far.
    pub part_name: String,
    /// The digest of the keys so far; empty if every file is to be sent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub part: String,
    /// Where the folder is cut into shares.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cuts: Vec<u16>,
}

/// What became of a file of a folder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Entry {
    /// It is stored.
    Stored {
        /// Its path in the folder.
        path: String,
        /// When it was last changed, as it was listed.
        modified_at: Timestamp,
        /// Its key and what is known of it, but for its content type.
        upload: Upload,
    },
    /// It is not stored, or nothing of the folder could be sent.
    Failed {
        /// Its path in the folder; none if this is the whole folder's.
        path: Option<String>,
        /// Why.
        trouble: Trouble,
    },
    /// It has its key and is no longer there.
    Gone {
        /// Its path in the folder.
        path: String,
    },
}

/// What a report on a folder says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// In the order in which they ended.
    pub entries: Vec<Entry>,
    /// How many files match.
    pub found: Option<usize>,
    /// Where what is left is to be cut.
    pub cuts: Vec<u16>,
    /// Nothing is left, given the keys with this digest.
    pub done: Option<String>,
    /// The worker stopped as the next line might not have fitted.
    pub full: bool,
    /// The API asked to slow down (429).
    pub limited: bool,
    /// A line cannot be read; what stood before it is kept.
    pub garbled: bool,
}

impl Folder {
    /// Whether a path is in the share with this index.
    pub fn has(&self, share: usize, place: u16) -> bool {
        let from = share.checked_sub(1).and_then(|before| self.cuts.get(before)).copied();
        let to = self.cuts.get(share);
        from.is_none_or(|from| place >= from) && to.is_none_or(|to| place < *to)
    }
}

/// The order in which files are sent, and where a path is in it: nobody can guess it, so it spreads any names evenly.
pub fn place(path: &str) -> ([u8; 32], u16) {
    let digest: [u8; 32] = Sha256::digest(path).into();
    (digest, u16::from_be_bytes([digest[0], digest[1]]))
}

/// Cuts what is left, in its order, into shares that are equal but for one.
pub fn cuts(left: &[u16], shares: usize) -> Vec<u16> {
    let shares = shares.clamp(1, MAX_SHARES);
    let at = |share: usize| left.get(share * left.len() / shares).copied();
    let mut cuts: Vec<_> = (1..shares).filter_map(at).collect();
    cuts.dedup();
    cuts
}

#[cfg(test)]
mod tests;
