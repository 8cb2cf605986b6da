//! The parts of a line that writer and reader must agree on: escapes, and what is known from the lines before.
//!
//! Nothing here knows which lines there are.

use std::num::ParseIntError;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use data_encoding::HEXLOWER;

use super::Assignment;
use crate::outcome::{LONGEST_CONTENT_TYPE, LONGEST_KEY};

/// What the lines before have said.
#[derive(Clone, Debug, Default)]
pub(super) struct Before {
    /// The first key, without its file's name if it ended in that.
    pub(super) stem: Option<String>,
    /// How the last key was coded.
    pub(super) coding: Option<Coding>,
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

/// The longest wait that is written, in seconds.
pub(super) const LONGEST_WAIT: u64 = 9_999_999;

/// The field of a wait.
pub(super) fn wait(asked: Option<Duration>) -> String {
    asked.map_or("-".to_owned(), |asked| asked.as_secs().min(LONGEST_WAIT).to_string())
}

/// What [`wait`] was given.
pub(super) fn read_wait(field: &str) -> Result<Option<Duration>, ParseIntError> {
    if field == "-" { Ok(None) } else { Ok(Some(Duration::from_secs(field.parse()?))) }
}

/// The message that a line ends with, of which the one before is `before`.
pub(super) fn read_message(field: Option<&str>, before: &mut String) -> Option<String> {
    let message = match field {
        None => String::new(),
        Some("\"") => before.clone(),
        Some(text) => unescape(text.strip_prefix(':')?)?,
    };
    if !message.is_empty() {
        before.clone_from(&message);
    }
    Some(message)
}

/// Which part of a key is not written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Coding {
    /// The bytes taken over from the first stem, at its beginning and its end.
    pub(super) head: usize,
    pub(super) tail: usize,
    /// Whether the file's name follows.
    pub(super) named: bool,
}

impl Coding {
    pub(super) fn written(self) -> String {
        format!("{}{}{}", base36(self.head), if self.named { '~' } else { '.' }, base36(self.tail))
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        let (head, tail) = text.split_once(['~', '.'])?;
        let number = |text: &str| usize::try_from(from_base36(text)?).ok();
        Some(Self { head: number(head)?, tail: number(tail)?, named: text.contains('~') })
    }

    /// What is written of `key`; `None` if it cannot be coded so.
    pub(super) fn middle(self, key: &str, first: &str, file_name: &str) -> Option<String> {
        let stem = if self.named { key.strip_suffix(file_name)? } else { key };
        let (head, tail) = self.parts(first)?;
        Some(shortened(stem.strip_prefix(head)?.strip_suffix(tail)?))
    }

    /// The stem of which this is the middle; `None` if the first stem has no such head and tail.
    pub(super) fn stem(self, middle: &str, first: &str) -> Option<String> {
        let (head, tail) = self.parts(first)?;
        Some([head, &lengthened(middle)?, tail].concat())
    }

    /// The two cannot overlap.
    fn parts(self, first: &str) -> Option<(&str, &str)> {
        self.head.checked_add(self.tail).filter(|both| *both <= first.len())?;
        Some((first.get(..self.head)?, first.get(first.len() - self.tail..)?))
    }
}

/// The coding of `key` against the first stem that takes the least room, and what is written of the key.
pub(super) fn code(key: &str, first: &str, file_name: &str) -> (Coding, String) {
    let (stem, named) = key.strip_suffix(file_name).map_or((key, false), |stem| (stem, true));
    let same = |(a, b): &(char, char)| a == b;
    let length = |(c, _): (char, char)| c.len_utf8();
    let head: usize = stem.chars().zip(first.chars()).take_while(same).map(length).sum();
    let (rest, old) = (&stem[head..], &first[head..]);
    let tail = rest.chars().rev().zip(old.chars().rev()).take_while(same).map(length).sum::<usize>();
    // Whole segments: what they enclose may be packed.
    let (before, after) = (&first[..head], &first[first.len() - tail..]);
    let segments = (before.rfind('/').map_or(0, |at| at + 1), after.find('/').map_or(0, |at| tail - at));
    let codings = [(0, 0), (head, tail), segments].map(|(head, tail)| Coding { head, tail, named });
    let written = codings.map(|coding| (coding, coding.middle(key, first, file_name).unwrap_or_default()));
    let [whole, others @ ..] = written;
    others.into_iter().fold(whole, |best, other| if room(&other) < room(&best) { other } else { best })
}

/// What a coding and its middle take.
fn room((coding, middle): &(Coding, String)) -> usize {
    coding.written().len() + middle.len()
}

/// The middle of a key as it is written: packed where it is hexadecimal.
fn shortened(middle: &str) -> String {
    if middle.len() >= 8
        && let Ok(bytes) = HEXLOWER.decode(middle.as_bytes())
    {
        return format!("={}", URL_SAFE_NO_PAD.encode(bytes));
    }
    match middle.strip_prefix('=') {
        Some(rest) => format!("\\x3d{}", escape(rest, false)),
        None => escape(middle, false),
    }
}

fn lengthened(text: &str) -> Option<String> {
    match text.strip_prefix('=') {
        Some(packed) => Some(HEXLOWER.encode(&URL_SAFE_NO_PAD.decode(packed).ok()?)),
        None => unescape(text),
    }
}

/// A number in base 36.
pub(super) fn base36(number: impl TryInto<i128>) -> String {
    let number = number.try_into().unwrap_or_default();
    let (mut rest, mut digits) = (number.unsigned_abs(), Vec::new());
    while rest > 0 || digits.is_empty() {
        digits.push(u32::try_from(rest % 36).ok().and_then(|digit| char::from_digit(digit, 36)).unwrap_or('0'));
        rest /= 36;
    }
    digits.extend((number < 0).then_some('-'));
    digits.into_iter().rev().collect()
}

pub(super) fn from_base36(text: &str) -> Option<i128> {
    i128::from_str_radix(text, 36).ok()
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

/// The length of a SHA-256 in base64url.
pub(super) const SHA256: usize = 43;

/// 64 hexadecimal digits as 43 characters of base64url.
pub(super) fn pack(sha256: &str) -> Option<String> {
    (sha256.len() == 64).then(|| HEXLOWER.decode(sha256.as_bytes()).ok().map(|bytes| URL_SAFE_NO_PAD.encode(bytes)))?
}

pub(super) fn unpack(text: &str) -> Option<String> {
    URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == 32).map(|bytes| HEXLOWER.encode(&bytes))
}
