//! Reads a report on a folder: total, and without any list of its files.

use jiff::Timestamp;

use super::super::frame::Text;
use super::super::line::{Coding, SHA256, from_base36, is_allowed, read_message, read_wait, unpack};
use super::super::{LIMIT, Unreadable};
use super::code::{Before, name_of, read_path, unpack_cuts, unpack_middle};
use super::{Entry, Report, VERSION};
use crate::outcome::{Trouble, Upload};
use crate::reason::Reason;

/// More entries than a report can hold: no line of one is shorter than this.
const MAX_ENTRIES: usize = LIMIT / "~00a\n".len();
/// The longest digest that is taken over, in bytes.
const LONGEST_DIGEST: usize = 64;

/// Reads the report on a folder.
pub fn read(text: &str) -> Result<Report, Unreadable> {
    let text = Text::of(text, &[VERSION])?;
    let (mut report, mut before) = (Report::default(), Before::default());
    report.garbled = !text.read(LIMIT, |line| take_line(line, &mut before, &mut report));
    Ok(report)
}

fn take_line(line: &str, before: &mut Before, report: &mut Report) -> Option<()> {
    if report.entries.len() >= MAX_ENTRIES {
        return None;
    }
    let entry = match line.split_at_checked(1)? {
        ("+", rest) => stored(rest, before, true)?,
        ("=", rest) => stored(rest, before, false)?,
        ("-", rest) => failed(rest, before)?,
        ("~", rest) => Entry::Gone { path: path(rest, before)? },
        _ => return take_word(line, report),
    };
    report.entries.push(entry);
    Some(())
}

fn take_word(line: &str, report: &mut Report) -> Option<()> {
    match line.split_once(' ').unwrap_or((line, "")) {
        ("found", number) => report.found = Some(number.parse().ok()?),
        ("cut", places) => report.cuts = unpack_cuts(places)?,
        ("done", digest) if digest.len() <= LONGEST_DIGEST => report.done = Some(digest.to_owned()),
        ("full", "") => report.full = true,
        ("limited", "") => report.limited = true,
        _ => return None,
    }
    Some(())
}

fn path(text: &str, before: &mut Before) -> Option<String> {
    before.path = read_path(text, &before.path)?;
    Some(before.path.clone())
}

fn stored(line: &str, before: &mut Before, is_coded: bool) -> Option<Entry> {
    let (sha256, line) = line.split_at_checked(SHA256)?;
    let mut fields = line.splitn(if is_coded { 6 } else { 5 }, ' ');
    let modified = before.modified.checked_add(from_base36(fields.next()?)?)?;
    let seconds = before.seconds.checked_add(i64::try_from(from_base36(fields.next()?)?).ok()?)?;
    let size = u64::try_from(from_base36(fields.next()?)?).ok()?;
    let coding = if is_coded { Coding::read(fields.next()?)? } else { before.coding? };
    let middle = unpack_middle(fields.next()?)?;
    let path = path(fields.next()?, before)?;
    let stem = coding.stem(&middle, before.stem.as_deref().unwrap_or_default())?;
    let file_key = if coding.named { format!("{stem}{}", name_of(&path)) } else { stem.clone() };
    let modified_at = Timestamp::from_microsecond(i64::try_from(modified).ok()?).ok()?;
    let (sha256, at) = (unpack(sha256)?, Timestamp::from_second(seconds).ok()?);
    if !is_allowed(&file_key, "") {
        return None;
    }
    before.stem.get_or_insert(stem);
    (before.coding, before.seconds, before.modified) = (Some(coding), seconds, modified);
    Some(Entry::Stored {
        path,
        modified_at,
        upload: Upload { file_key, content_type: String::new(), size, sha256, at },
    })
}

fn failed(line: &str, before: &mut Before) -> Option<Entry> {
    let mut fields = line.splitn(4, ' ');
    let reason = Reason::parse(fields.next()?)?;
    let retry_after = read_wait(fields.next()?).ok()?;
    let path = match fields.next()? {
        "*" => None,
        text => Some(path(text, before)?),
    };
    let message = read_message(fields.next(), &mut before.message)?;
    Some(Entry::Failed { path, trouble: Trouble { retry_after, ..Trouble::new(reason, message) } })
}
