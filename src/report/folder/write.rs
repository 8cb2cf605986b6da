//! Writes a report on a folder, one line at a time, and promises room before there is something to say.
//!
//! A file that has no line is simply still to be sent, so room is promised only to uploads that may have begun.

use std::collections::BTreeMap;
use std::io::{self, Write};

use jiff::Timestamp;

use super::super::frame::Lines;
use super::super::line::{SHA256, base36, code, escape, is_allowed, pack, shorten, wait};
use super::super::{LIMIT, NoRoom, PER_REPORT};
use super::code::{Before, name_of, pack_cuts, pack_middle, path};
use super::{LONGEST_PATH, MAX_SHARES, VERSION};
use crate::outcome::{Trouble, Upload};
use crate::reason::Reason;

/// The longest message, in bytes.
const MESSAGE: usize = 300;
/// What failures of files take at most. A file without a line is still to be sent, as it is after a failure; the others
/// need the room.
const FAILURES: usize = LIMIT / 2;
/// What is kept for one failure of the whole folder and for the words that come once.
const KEPT: usize = 48;
/// The most characters of a change of times: seconds, and microseconds.
const TIMES: usize = 5 + 12;
/// The longest change of the time in seconds, which is kept to: clocks may jump.
const LONGEST_TIME: i64 = 36_i64.pow(4) - 1;
/// So much more is promised to the uploads that are under way than their lines take in the end.
const OVERHANG: usize = 100;

/// A report that is being written.
pub struct Writer<W> {
    lines: Lines<W>,
    before: Before,
    /// The message before, as it was before it was shortened.
    said: String,
    /// What is promised to each upload that may have begun.
    promised: BTreeMap<usize, usize>,
    kept: usize,
    /// What the failures of files take.
    failures: usize,
    /// How many uploads it tells of.
    stored: usize,
    /// What the first line takes, which has the whole key.
    first: usize,
}

impl<W: Write> Writer<W> {
    /// A report of which nothing is written yet, that keeps room to cut what is left into so many shares.
    pub fn new(out: W) -> Self {
        Self {
            lines: Lines::new(out, VERSION),
            before: Before::default(),
            said: String::new(),
            promised: BTreeMap::new(),
            kept: KEPT,
            failures: 0,
            stored: 0,
            first: 0,
        }
    }

    /// Keeps room to cut what is left into so many shares.
    pub fn keep_cuts(&mut self, shares: usize) {
        self.kept = KEPT + if shares > 1 { "cut \n".len() + (shares.min(MAX_SHARES) * 8).div_ceil(3) } else { 0 };
    }

    /// Promises room for the line on this upload, instead of what it was promised before.
    pub fn reserve(&mut self, file: usize, path: &str, file_key: &str, size: u64) -> Result<(), NoRoom> {
        let (coding, middle) = code(file_key, self.before.stem.as_deref().unwrap_or_default(), name_of(path));
        let parts = [coding.written(), pack_middle(&middle), escape(path, true), base36(size)];
        let seconds = if self.stored == 0 { "tttttt".len() } else { 0 };
        let parts = parts.iter().map(String::len).sum::<usize>() + seconds;
        let cost = SHA256 + TIMES + parts + "+    00 \n".len();
        if VERSION.len() + 1 + cost + KEPT > LIMIT || path.len() > LONGEST_PATH || !is_allowed(file_key, "") {
            return Err(NoRoom::Ever);
        }
        let others: usize = self.promised.iter().filter(|(other, _)| **other != file).map(|(_, cost)| cost).sum();
        if self.lines.is_closed() || self.lines.used() + others + cost + self.kept > LIMIT {
            return Err(NoRoom::Left);
        }
        self.promised.insert(file, cost);
        Ok(())
    }

    /// Gives back what was promised to an upload that was not made.
    pub fn release(&mut self, file: usize) {
        self.promised.remove(&file);
    }

    /// Tells of an upload, which was promised its room.
    pub fn stored(&mut self, file: usize, path: &str, modified_at: Timestamp, upload: &Upload) -> io::Result<()> {
        self.promised.remove(&file);
        let (line, before) = self.line(path, modified_at, upload).ok_or(io::ErrorKind::InvalidInput)?;
        if !self.fits(&line, self.kept) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no room was promised to this upload"));
        }
        self.lines.put(&line)?;
        self.before = before;
        self.first = if self.stored == 0 { line.len() } else { self.first };
        self.stored += 1;
        Ok(())
    }

    /// Tells of a failure: of one file, or of the whole folder; false if there is no room for it.
    pub fn failed(&mut self, file: Option<&str>, trouble: &Trouble) -> io::Result<bool> {
        let message = trouble.message();
        let retry = wait(trouble.retry_after);
        let place = file.map_or("*".to_owned(), |file| path(file, &self.before.path));
        let head = format!("-{} {retry} {place}", trouble.reason);
        let kept = if file.is_some() { self.kept } else { 0 };
        let line = match () {
            () if message == self.said && !message.is_empty() => format!("{head} \"\n"),
            () => {
                let taken =
                    self.lines.used() + self.promised.values().sum::<usize>() + kept + head.len() + " :\n".len();
                let room = LIMIT.saturating_sub(taken).min(MESSAGE);
                if room < 24 { format!("{head}\n") } else { format!("{head} :{}\n", shorten(&message, room)) }
            }
        };
        let failures = self.failures + if file.is_some() { line.len() } else { 0 };
        if !self.fits(&line, kept) || failures > FAILURES {
            return Ok(false);
        }
        self.lines.put(&line)?;
        self.failures = failures;
        if let Some(file) = file {
            file.clone_into(&mut self.before.path);
        } else {
            self.lines.once.shared_failure = true;
        }
        if line.contains(" :") {
            self.said = message;
        }
        Ok(true)
    }

    /// Tells that a file which has its key is no longer there; false if there is no room.
    pub fn gone(&mut self, file: &str) -> io::Result<bool> {
        let line = format!("~{}\n", path(file, &self.before.path));
        if !self.fits(&line, self.kept) {
            return Ok(false);
        }
        self.lines.put(&line)?;
        file.clone_into(&mut self.before.path);
        Ok(true)
    }

    /// Tells how many files match.
    pub fn found(&mut self, number: usize) -> io::Result<()> {
        self.lines.put(&format!("found {number}\n"))
    }

    /// Tells where to cut what is left; without a word if there is no room for that.
    pub fn cut(&mut self, cuts: &[u16]) -> io::Result<()> {
        let line = format!("cut {}\n", pack_cuts(cuts));
        if cuts.is_empty() || self.lines.used() + line.len() > LIMIT { Ok(()) } else { self.lines.put(&line) }
    }

    /// Tells that nothing is left, given the keys with this digest.
    pub fn done(&mut self, digest: &str) -> io::Result<()> {
        self.lines.put(&format!("done {digest}\n"))
    }

    /// How many lines like those so far a whole report surely holds.
    pub fn capacity(&self) -> usize {
        if self.stored < 2 {
            return PER_REPORT;
        }
        let head = VERSION.len() + "\nfound 2000\n".len();
        let usual = (self.lines.used() - head.min(self.lines.used()))
            .saturating_sub(self.first)
            .div_ceil(self.stored - 1)
            .max(50);
        1 + LIMIT.saturating_sub(head + KEPT + self.first + OVERHANG) / usual
    }

    fn line(&self, file: &str, modified_at: Timestamp, upload: &Upload) -> Option<(String, Before)> {
        let Upload { file_key, size, sha256, at, .. } = upload;
        let (name, first) = (name_of(file), self.before.stem.as_deref().unwrap_or_default());
        let (seconds, modified) = (at.as_second(), i128::from(modified_at.as_microsecond()));
        let since = seconds - self.before.seconds;
        let since = if self.stored == 0 { since } else { since.clamp(-LONGEST_TIME, LONGEST_TIME) };
        let times = [base36(modified - self.before.modified), base36(since)].join(" ");
        let facts = format!("{}{times} {}", pack(sha256)?, base36(*size));
        let place = path(file, &self.before.path);
        let (mut coding, middle) = code(file_key, first, name);
        let mut line = format!("+{facts} {} {} {place}\n", coding.written(), pack_middle(&middle));
        if let Some(last) = self.before.coding
            && let Some(middle) = last.middle(file_key, first, name)
        {
            let shorter = format!("={facts} {} {place}\n", pack_middle(&middle));
            if shorter.len() <= line.len() {
                (coding, line) = (last, shorter);
            }
        }
        let stem = if coding.named { file_key.strip_suffix(name)? } else { file_key };
        let before = Before {
            stem: Some(self.before.stem.clone().unwrap_or_else(|| stem.to_owned())),
            coding: Some(coding),
            seconds: self.before.seconds + since,
            modified,
            path: file.to_owned(),
            message: String::new(),
        };
        Some((line, before))
    }

    fn fits(&self, line: &str, kept: usize) -> bool {
        self.lines.used() + self.promised.values().sum::<usize>() + line.len() + kept <= LIMIT
    }
}

impl<W> AsMut<Lines<W>> for Writer<W> {
    fn as_mut(&mut self) -> &mut Lines<W> {
        &mut self.lines
    }
}

/// The longest that a failure of the whole folder can be without its message.
const _: () = {
    let mut longest = 0;
    let mut at = 0;
    while at < Reason::ALL.len() {
        let length = Reason::ALL[at].as_str().len();
        if length > longest {
            longest = length;
        }
        at += 1;
    }
    assert!(longest + "- 9999999 *\nfull\nlimited\n".len() <= KEPT);
};
