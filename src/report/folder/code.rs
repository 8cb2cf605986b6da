//! The parts of a line on a file of a folder that writer and reader must agree on.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use data_encoding::HEXLOWER;

use super::super::line::{Coding, base36, escape, from_base36, unescape};
use super::LONGEST_PATH;

/// What the lines before have said.
#[derive(Clone, Debug, Default)]
pub(super) struct Before {
    /// The first key, without its file's name if it ended in that.
    pub(super) stem: Option<String>,
    pub(super) coding: Option<Coding>,
    pub(super) seconds: i64,
    pub(super) modified: i128,
    pub(super) path: String,
    pub(super) message: String,
}

/// The last part of a path, in which a key mostly ends.
pub(super) fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The most bytes that a path takes over from either end of the one before: one digit in base 36.
const MAX_SAME: usize = 35;

/// A path as what it shares with the one before at its beginning and at its end, and what is between.
pub(super) fn path(path: &str, before: &str) -> String {
    let head = shared(path.chars().zip(before.chars()));
    let (rest, old) = (&path[head..], &before[head..]);
    let tail = shared(rest.chars().rev().zip(old.chars().rev()));
    format!("{}{}{}", base36(head), base36(tail), escape(&rest[..rest.len() - tail], true))
}

fn shared(pairs: impl Iterator<Item = (char, char)>) -> usize {
    let same = pairs.take_while(|(a, b)| a == b).map(|(c, _)| c.len_utf8());
    let ends = same.scan(0, |sum, length| {
        *sum += length;
        (*sum <= MAX_SAME).then_some(*sum)
    });
    ends.last().unwrap_or_default()
}

/// The path that was written so; none if there is no such path.
pub(super) fn read_path(text: &str, before: &str) -> Option<String> {
    let digit = |at: usize| usize::try_from(from_base36(text.get(at..=at)?)?).ok();
    let (head, tail) = (digit(0)?, digit(1)?);
    // The two cannot overlap.
    let end = before.len().checked_sub(tail).filter(|end| head <= *end)?;
    let path = [before.get(..head)?, &unescape(text.get(2..)?)?, before.get(end..)?].concat();
    (!path.is_empty() && path.len() <= LONGEST_PATH).then_some(path)
}

const UUID: [usize; 5] = [8, 4, 4, 4, 12];

/// The middle of a key, of which each segment is packed that is a UUID.
pub(super) fn pack_middle(middle: &str) -> String {
    middle.split('/').map(pack_segment).collect::<Vec<_>>().join("/")
}

fn pack_segment(segment: &str) -> String {
    if let Some(packed) = pack_uuid(segment) {
        return packed;
    }
    // Neither may it look packed, nor end the field.
    let escaped = segment.replace(' ', "\\x20");
    match escaped.strip_prefix('%') {
        Some(rest) => format!("\\x25{rest}"),
        None => escaped,
    }
}

/// What [`pack_middle`] was given.
pub(super) fn unpack_middle(text: &str) -> Option<String> {
    Some(text.split('/').map(unpack_segment).collect::<Option<Vec<_>>>()?.join("/"))
}

fn unpack_segment(text: &str) -> Option<String> {
    let Some(packed) = text.strip_prefix('%') else { return Some(text.to_owned()) };
    let bytes = URL_SAFE_NO_PAD.decode(packed).ok().filter(|bytes| bytes.len() == 16)?;
    let hex = HEXLOWER.encode(&bytes);
    let mut at = 0;
    let groups = UUID.map(|length| {
        at += length;
        &hex[at - length..at]
    });
    Some(groups.join("-"))
}

fn pack_uuid(text: &str) -> Option<String> {
    let groups: Vec<_> = text.split('-').collect();
    let is_hex = |group: &&str| group.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if groups.iter().map(|group| group.len()).ne(UUID) || !groups.iter().all(is_hex) {
        return None;
    }
    let number = u128::from_str_radix(&groups.concat(), 16).ok()?;
    Some(format!("%{}", URL_SAFE_NO_PAD.encode(number.to_be_bytes())))
}

/// Places as two bytes each.
pub(super) fn pack_cuts(cuts: &[u16]) -> String {
    URL_SAFE_NO_PAD.encode(cuts.iter().flat_map(|cut| cut.to_be_bytes()).collect::<Vec<_>>())
}

/// What [`pack_cuts`] was given, in their order.
pub(super) fn unpack_cuts(text: &str) -> Option<Vec<u16>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (pairs, rest) = bytes.as_chunks::<2>();
    let cuts: Vec<_> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
    (rest.is_empty() && cuts.len() < super::MAX_SHARES && cuts.is_sorted_by(|a, b| a < b)).then_some(cuts)
}
