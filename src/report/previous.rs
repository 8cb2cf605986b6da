//! Uploads in a report of the version before: reports of it may be on their way while the operator is upgraded.
//!
//! `+FILE SECONDS SIZE SHA256 HEAD~TAIL TYPE KEY`, with decimal numbers, and head and tail those of the key before. This
//! file goes with the next version.

use jiff::Timestamp;

use super::line::{Before, is_allowed, unescape, unpack};
use super::{Assignment, Entry};
use crate::outcome::Upload;

pub(super) const VERSION: &str = "fileupload-report/1";
/// The most bytes that a report of it has.
pub(super) const LIMIT: usize = 4096;

pub(super) fn uploaded(line: &str, files: &[Assignment], before: &mut Before) -> Option<Entry> {
    let mut fields = line.splitn(7, ' ');
    let file: usize = fields.next()?.parse().ok()?;
    let assignment = files.get(file)?;
    let seconds = before.seconds.checked_add(fields.next()?.parse().ok()?)?;
    let at = Timestamp::from_second(seconds).ok()?;
    let size = fields.next()?.parse().ok()?;
    let sha256 = unpack(fields.next()?)?;
    let (parts, content_type) = (fields.next()?, unescape(fields.next()?)?);
    let named = parts.contains('~');
    let (head, tail) = parts.split_once(['~', '.'])?;
    let middle = unescape(fields.next()?)?;
    let last = before.stem.as_deref().unwrap_or_default();
    let stem = decode(head.parse().ok()?, &middle, tail.parse().ok()?, last)?;
    let file_key = if named { format!("{stem}{}", assignment.file_name) } else { stem.clone() };
    let content_type = if content_type.is_empty() { before.usual_type(assignment).to_owned() } else { content_type };
    if !is_allowed(&file_key, &content_type) {
        return None;
    }
    (before.stem, before.content_type, before.seconds) = (Some(stem), content_type.clone(), seconds);
    Some(Entry::Uploaded { file, upload: Upload { file_key, content_type, size, sha256, at } })
}

/// The stem that was coded; `None` if the stem before has no such head and tail. The two cannot overlap, so that a stem
/// grows by no more than was written.
fn decode(head: usize, middle: &str, tail: usize, before: &str) -> Option<String> {
    head.checked_add(tail).filter(|both| *both <= before.len())?;
    Some([before.get(..head)?, middle, before.get(before.len() - tail..)?].concat())
}
