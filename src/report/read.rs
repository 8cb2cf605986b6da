//! Reads a report: total, and it never guesses.
//!
//! What follows the last newline was torn off by the end of the worker and is ignored. A line that cannot be read
//! ends the reading, as later ones build on it; what stood before it is kept. Anyone who may write the status of a Pod
//! may write any text, so no text makes more than what a report can hold.

use jiff::Timestamp;

use super::frame::Text;
use super::line::{Before, Coding, SHA256, from_base36, is_allowed, read_message, read_wait, unescape, unpack};
use super::previous;
use super::{Assignment, Entry, Report, Unreadable, VERSION};
use crate::outcome::{Trouble, Upload};
use crate::reason::Reason;

/// The most bytes of a report of any version that is read.
const LIMIT: usize = previous::LIMIT;
/// More entries than a report can hold: no line of one is shorter than this.
const MAX_ENTRIES: usize = LIMIT / "-0 Queued -\n".len();

/// Reads the report on `files`, which are all assignments of the Job, whichever of them were this worker's.
pub fn read(text: &str, files: &[Assignment]) -> Result<Report, Unreadable> {
    let text = Text::of(text, &[VERSION, previous::VERSION])?;
    let is_previous = text.version == previous::VERSION;
    let (mut report, mut before) = (Report::default(), Before::default());
    report.garbled = !text.read(LIMIT, |line| take_line(line, files, is_previous, &mut before, &mut report));
    Ok(report)
}

fn take_line(
    line: &str,
    files: &[Assignment],
    is_previous: bool,
    before: &mut Before,
    report: &mut Report,
) -> Option<()> {
    if report.entries.len() >= MAX_ENTRIES {
        return None;
    }
    match line.split_at_checked(1)? {
        ("+", rest) if is_previous => report.entries.push(previous::uploaded(rest, files, before)?),
        ("+", rest) => report.entries.push(uploaded(rest, files, before, true)?),
        ("=", rest) if !is_previous => report.entries.push(uploaded(rest, files, before, false)?),
        ("-", rest) => report.entries.push(failed(rest, files.len(), before)?),
        _ if line == "full" => report.full = true,
        _ if line == "limited" => report.limited = true,
        _ => return None,
    }
    Some(())
}

fn uploaded(line: &str, files: &[Assignment], before: &mut Before, is_coded: bool) -> Option<Entry> {
    let (sha256, line) = line.split_at_checked(SHA256)?;
    let mut fields = line.splitn(if is_coded { 6 } else { 4 }, ' ');
    let file: usize = fields.next()?.parse().ok()?;
    let assignment = files.get(file)?;
    let seconds = i64::try_from(from_base36(fields.next()?)?).ok()?;
    let seconds = before.seconds.checked_add(seconds)?;
    let size = u64::try_from(from_base36(fields.next()?)?).ok()?;
    let (coding, content_type) = if is_coded {
        (Coding::read(fields.next()?)?, unescape(fields.next()?)?)
    } else {
        (before.coding?, String::new())
    };
    let stem = coding.stem(fields.next()?, before.stem.as_deref().unwrap_or_default())?;
    let file_key = if coding.named { format!("{stem}{}", assignment.file_name) } else { stem.clone() };
    let content_type = if content_type.is_empty() { before.usual_type(assignment).to_owned() } else { content_type };
    let (sha256, at) = (unpack(sha256)?, Timestamp::from_second(seconds).ok()?);
    if !is_allowed(&file_key, &content_type) {
        return None;
    }
    before.stem.get_or_insert(stem);
    (before.coding, before.content_type, before.seconds) = (Some(coding), content_type.clone(), seconds);
    Some(Entry::Uploaded { file, upload: Upload { file_key, content_type, size, sha256, at } })
}

fn failed(line: &str, files: usize, before: &mut Before) -> Option<Entry> {
    let mut fields = line.splitn(4, ' ');
    let file = match fields.next()? {
        "*" => None,
        index => Some(index.parse().ok().filter(|&index: &usize| index < files)?),
    };
    let reason = Reason::parse(fields.next()?)?;
    let retry_after = read_wait(fields.next()?).ok()?;
    let message = read_message(fields.next(), &mut before.message)?;
    Some(Entry::Failed { file, trouble: Trouble { retry_after, ..Trouble::new(reason, message) } })
}
