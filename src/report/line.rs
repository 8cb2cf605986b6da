//! The parts of a line that writer and reader must agree on: escapes, and what is known from the lines before.
//!
//! Nothing here knows which lines there are.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Assignment;
use crate::outcome::{LONGEST_CONTENT_TYPE, LONGEST_KEY};

/// What the lines before have said.
#[derive(Clone, Debug, Default)]
pub(super) struct Before {
    /// The last key, without its file's name if it ended in that.
    pub(super) stem: String,
    pub(super) content_type: String,
    pub(super) seconds: i64,
    pub(super) message: String,
}

impl Before {
    /// The content type that need not be written.
    pub(super) fn usual_type<'a>(&'a self, file: &'a Assignment) -> &'a str {
        file.content_type.as_deref().unwrap_or(&self.content_type)
    }
}

/// A key as it is written: the bytes taken over from the stem before, and what is between them.
pub(super) struct Coded<'a> {
    pub(super) head: usize,
    pub(super) tail: usize,
    pub(super) middle: &'a str,
    /// Whether the file's name follows.
    pub(super) named: bool,
    pub(super) stem: &'a str,
}

/// Codes `key` against the stem before and its own file's name.
pub(super) fn code<'a>(key: &'a str, before: &str, file_name: &str) -> Coded<'a> {
    let (stem, named) = key.strip_suffix(file_name).map_or((key, false), |stem| (stem, true));
    let same = |(a, b): &(char, char)| a == b;
    let length = |(c, _): (char, char)| c.len_utf8();
    let head = stem.chars().zip(before.chars()).take_while(same).map(length).sum();
    let (rest, old) = (&stem[head..], &before[head..]);
    let tail = rest.chars().rev().zip(old.chars().rev()).take_while(same).map(length).sum::<usize>();
    Coded { head, tail, middle: &rest[..rest.len() - tail], named, stem }
}

/// The stem that was coded; `None` if the stem before has no such head and tail. The two cannot overlap, so that a stem
/// grows by no more than was written.
pub(super) fn decode(head: usize, middle: &str, tail: usize, before: &str) -> Option<String> {
    head.checked_add(tail).filter(|both| *both <= before.len())?;
    Some([before.get(..head)?, middle, before.get(before.len() - tail..)?].concat())
}

/// Whether an upload may stand in a report: what a status cannot hold is neither written nor read.
pub(super) fn is_allowed(file_key: &str, content_type: &str) -> bool {
    file_key.chars().count() <= LONGEST_KEY && content_type.chars().count() <= LONGEST_CONTENT_TYPE
}

/// Writes control characters, the backslash and, if it ends the field, the space as `\xNN`.
pub(super) fn escape(text: &str, spaces: bool) -> String {
    text.chars().map(|c| escaped(c, spaces)).collect()
}

fn escaped(c: char, spaces: bool) -> String {
    if c.is_control() || c == '\\' || (c == ' ' && spaces) {
        return format!("\\x{:02x}", u32::from(c));
    }
    c.to_string()
}

/// Escapes `text`, a space not being the end of its field, and ends it with `…` where it is longer than `limit`.
pub(super) fn shorten(text: &str, limit: usize) -> String {
    const MORE: char = '…';
    let whole = escape(text, false);
    if whole.len() <= limit {
        return whole;
    }
    let mut short = String::new();
    for part in text.chars().map(|c| escaped(c, false)) {
        if short.len() + part.len() + MORE.len_utf8() > limit {
            break;
        }
        short += &part;
    }
    short.push(MORE);
    short
}

pub(super) fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split('\\');
    let mut plain = parts.next()?.to_owned();
    for part in parts {
        let digits = part.strip_prefix('x')?.get(..2)?;
        plain.push(char::from(u8::from_str_radix(digits, 16).ok()?));
        plain += &part[3..];
    }
    Some(plain)
}

/// 64 hexadecimal digits as 43 characters of base64url.
pub(super) fn pack(sha256: &str) -> Option<String> {
    let byte = |at: usize| u8::from_str_radix(sha256.get(at..at + 2)?, 16).ok();
    let bytes: Vec<u8> = (0..32).map(|index| byte(index * 2)).collect::<Option<_>>()?;
    (sha256.len() == 64).then(|| URL_SAFE_NO_PAD.encode(bytes))
}

pub(super) fn unpack(text: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == 32)?;
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
