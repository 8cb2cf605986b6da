//! Why a source cannot be sent, in words for people.
//!
//! A path is shown as its user wrote it: beneath a root that is the path in the volume, never where the volume
//! happens to be mounted. What a file system holds may be any bytes, so nothing of it is printed raw: characters that
//! would disturb a terminal or a log are escaped, and long names are shortened.

use std::ffi::OsStr;
use std::io;

use rustix::io::Errno;
use thiserror::Error;

/// Why a source cannot be sent.
#[derive(Debug, Error)]
pub enum SourceError {
    /// Nothing is there.
    #[error("{path}: no such file{hint}")]
    NotFound {
        /// What was to be opened.
        path: String,
        /// What is there instead, or nothing.
        hint: String,
    },
    /// A directory, socket, pipe or device, or what only looks like a file.
    #[error("{path}: is a {kind}, not a regular file{}", way(kind))]
    NotAFile {
        /// What was to be opened.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// Something else is where a folder is to be.
    #[error("{0}: is a file, not a folder")]
    NotAFolder(String),
    /// No file can be there.
    #[error("{0}: one of its names is longer than the file system takes")]
    NameTooLong(String),
    /// It leads out of the root that it has to stay beneath.
    #[error("{path}: {why}")]
    Escapes {
        /// What was to be opened.
        path: String,
        /// Which part leads out, and what to do.
        why: String,
    },
    /// There, but not for us.
    #[error(
        "{path}: permission denied: {what} belongs to uid {owner} with mode {mode:04o}, and we run as uid {us}{fix}"
    )]
    PermissionDenied {
        /// What was to be opened.
        path: String,
        /// What is closed to us: the file, or a folder on the way.
        what: String,
        /// The owner's uid.
        owner: u32,
        /// The permission bits.
        mode: u32,
        /// Our own effective uid.
        us: u32,
        /// What to do, if that is known.
        fix: &'static str,
    },
    /// Not even what stands in the way can be told.
    #[error("{0}: permission denied")]
    Unreachable(String),
    /// Larger than one PUT can be.
    #[error("{0}: larger than 5 GiB, the most that one S3 PUT takes")]
    TooLarge(String),
    /// Written to, replaced or deleted while it was read.
    #[error("{0}: changed while it was read; it is sent once it is left alone")]
    Changed(String),
    /// Written to again and again, for as long as it was waited for.
    #[error("{0}: was written to for a minute without a pause of 5 s; it is sent once it is left alone")]
    Restless(String),
    /// The disk or mount failed.
    #[error("{path}: cannot be read: {}", said(error))]
    Read {
        /// What was to be read.
        path: String,
        /// What the system said.
        error: io::Error,
    },
}

/// What the kernel makes up when it is read: it says 0 or 4096 bytes, whatever there is.
pub(super) const UNSIZED: &str = "file without a true size, as in /proc and /sys";

/// What to do with content whose size is not known before it has been read.
fn way(kind: &str) -> &'static str {
    match kind {
        "named pipe" | "device" | UNSIZED => "; write its content to a file, and upload that",
        _ => "",
    }
}

/// The system's words, and what they mean where few people know.
fn said(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::IO) => "the disk, or the file server behind it, failed (input/output error)".into(),
        Some(Errno::STALE) => "the file server has removed or replaced it (stale file handle)".into(),
        _ => error.to_string(),
    }
}

/// A path or another text as it may be printed.
pub(crate) fn printable(text: impl AsRef<OsStr>) -> String {
    let (shown, mut text) = (text.as_ref().to_string_lossy(), String::new());
    for c in shown.chars() {
        if disturbs(c) {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    text
}

/// Control characters, and those that break lines or turn the direction of the text after them.
fn disturbs(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The beginning and the end of a text of more than so many characters.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let head: String = text.chars().take(most / 2).collect();
    let tail: String = text.chars().skip(count - (most - most / 2 - 1)).collect();
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_disk_says_is_put_in_words() {
        for (number, expected) in [
            (5, "a.txt: cannot be read: the disk, or the file server behind it, failed (input/output error)"),
            (116, "a.txt: cannot be read: the file server has removed or replaced it (stale file handle)"),
            (12, "a.txt: cannot be read: Cannot allocate memory (os error 12)"),
        ] {
            let error = SourceError::Read { path: "a.txt".into(), error: io::Error::from_raw_os_error(number) };
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn what_would_disturb_a_terminal_is_escaped_and_the_rest_is_left() {
        for (name, expected) in [
            ("a b/ä-日本-e\u{301}'\"\\", "a b/ä-日本-e\u{301}'\"\\"),
            ("a\nb\u{1b}[31m", "a\\nb\\u{1b}[31m"),
            ("x\u{202e}gnp", "x\\u{202e}gnp"),
        ] {
            assert_eq!(printable(name), expected);
        }
    }

    #[test]
    fn a_long_text_keeps_its_beginning_and_end() {
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("abcdefghij", 5), "ab…ij");
    }
}
