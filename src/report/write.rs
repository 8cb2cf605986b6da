//! Writes a report, one line at a time, and promises room before there is something to say.
//!
//! An upload may begin only once [`Writer::reserve`] has found room for its line, whatever is written before it.
//! There is always room for the shortest failure of each file that is still open (of as many as usually share a
//! report), for one that concerns them all, and to say that the report is full. Messages take what is left over.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::frame::{FULL, LIMITED, Lines, Once};
use super::line::{Before, LONGEST_WAIT, SHA256, base36, code, escape, is_allowed, pack, shorten, wait};
use super::{Assignment, Entry, LIMIT, PER_REPORT, VERSION};
use crate::outcome::{Trouble, Upload};
use crate::reason::Reason;

/// The longest message, in bytes.
const MESSAGE: usize = 400;
/// A message shorter than this says nothing.
const LEAST_MESSAGE: usize = 24;
/// What a usual line takes; messages leave so much to each file that is still open, as long as they can.
const USUAL: usize = 90;
/// The most characters of a time, which is kept to: clocks may jump.
const TIME: usize = 8;
const LONGEST_TIME: i64 = 36_i64.pow(7) - 1;

/// There is no room for the line that would tell of an upload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoRoom {
    /// Not in this report any more.
    Left,
    /// Not in an empty one either.
    Ever,
}

/// A report that is being written.
pub struct Writer<W> {
    lines: Lines<W>,
    files: Vec<Assignment>,
    before: Before,
    /// The message before, as it was before it was shortened.
    said: String,
    /// The files that have no line yet; with what is promised to each whose upload may begin.
    open: BTreeMap<usize, Option<usize>>,
}

impl<W: Write> Writer<W> {
    /// A report on those of `files` that are in `share`, of which nothing is written yet.
    pub fn new(out: W, files: Vec<Assignment>, share: impl IntoIterator<Item = usize>) -> Self {
        let open = share.into_iter().map(|file| (file, None)).collect();
        Self { lines: Lines::new(out, VERSION), files, before: Before::default(), said: String::new(), open }
    }

    /// Promises room for the line that will tell of this upload, instead of what the file was promised before.
    pub fn reserve(&mut self, file: usize, file_key: &str, content_type: &str, size: u64) -> Result<(), NoRoom> {
        let others = self.promised(file);
        let name = self.files.get(file).map_or("", |file| &file.file_name);
        // Nothing taken over from the line before; any time since then.
        let (coding, middle) = code(file_key, self.before.stem.as_deref().unwrap_or_default(), name);
        let (coding, kind) = (coding.written(), escape(content_type, true));
        let cost = format!("+{:SHA256$}{file} {:TIME$} {} {coding} {kind} {middle}\n", "", "", base36(size)).len();
        let fits = VERSION.len() + 1 + cost + Once::default().kept() + PER_REPORT * shortest() <= LIMIT;
        if !fits || !is_allowed(file_key, content_type) {
            return Err(NoRoom::Ever);
        }
        if self.lines.is_closed() || self.lines.used() + others + cost > LIMIT {
            return Err(NoRoom::Left);
        }
        self.open.insert(file, Some(cost));
        Ok(())
    }

    /// Tells what became of a file, which is closed by that. An upload needs a promise made before.
    pub fn append(&mut self, entry: &Entry) -> io::Result<()> {
        match entry {
            Entry::Uploaded { file, upload } => {
                let others = self.promised(*file);
                let (line, before) = self.uploaded(*file, upload).ok_or(io::ErrorKind::InvalidInput)?;
                if self.lines.used() + others + line.len() > LIMIT {
                    return Err(io::Error::new(io::ErrorKind::StorageFull, "no room was promised to this upload"));
                }
                self.lines.put(&line)?;
                self.before = before;
                self.open.remove(file);
            }
            Entry::Failed { file, trouble } => {
                let message = trouble.message();
                let Some(line) = self.failed(*file, trouble, &message) else { return self.lines.full() };
                self.lines.put(&line)?;
                if line.contains(" :") {
                    self.said = message; // only what was written can be meant by `"`
                }
                if let Some(file) = file {
                    self.open.remove(file);
                } else {
                    self.lines.once.shared_failure = true;
                    self.open.retain(|_, promise| promise.is_some());
                }
            }
        }
        Ok(())
    }

    /// What is promised to all but `file`.
    fn promised(&self, file: usize) -> usize {
        let others = || self.open.iter().filter(|&(&other, _)| other != file).map(|(_, promise)| promise);
        let idle = others().filter(|promise| promise.is_none()).count();
        others().flatten().sum::<usize>() + shortest() * idle.min(PER_REPORT) + self.lines.once.kept()
    }

    fn uploaded(&self, file: usize, upload: &Upload) -> Option<(String, Before)> {
        let Upload { file_key, content_type, size, sha256, at } = upload;
        let assignment = self.files.get(file)?;
        let (name, first) = (&assignment.file_name, self.before.stem.as_deref().unwrap_or_default());
        let seconds = (at.as_second() - self.before.seconds).clamp(-LONGEST_TIME, LONGEST_TIME);
        let facts = format!("{}{file} {} {}", pack(sha256)?, base36(seconds), base36(*size));
        let (mut coding, middle) = code(file_key, first, name);
        let is_usual = self.before.usual_type(assignment) == content_type;
        let kind = if is_usual { String::new() } else { escape(content_type, true) };
        let mut line = format!("+{facts} {} {kind} {middle}\n", coding.written());
        if let Some(last) = self.before.coding.filter(|_| is_usual)
            && let Some(middle) = last.middle(file_key, first, name)
            && facts.len() + middle.len() + 3 <= line.len()
        {
            (coding, line) = (last, format!("={facts} {middle}\n"));
        }
        let stem = if coding.named { file_key.strip_suffix(name.as_str())? } else { file_key };
        let before = Before {
            stem: Some(self.before.stem.clone().unwrap_or_else(|| stem.to_owned())),
            coding: Some(coding),
            content_type: content_type.clone(),
            seconds: self.before.seconds + seconds,
            message: String::new(),
        };
        Some((line, before))
    }

    /// The line of a failure with as much of its message as there is room for; `None` if not even without.
    fn failed(&self, file: Option<usize>, trouble: &Trouble, message: &str) -> Option<String> {
        let mut others = self.promised(file.unwrap_or(usize::MAX));
        if file.is_none() && !self.lines.once.shared_failure {
            // It takes the room that is kept for it.
            others -= shortest();
        }
        let index = file.map_or("*".to_owned(), |file| file.to_string());
        let retry = wait(trouble.retry_after);
        let line = format!("-{index} {} {retry}", trouble.reason);
        let room = LIMIT.checked_sub(self.lines.used() + others + line.len() + 1)?;
        let usual = USUAL.saturating_sub(shortest()) * self.open.len();
        let most = room.saturating_sub(usual).clamp(LEAST_MESSAGE, MESSAGE);
        Some(match message {
            _ if message.is_empty() || room < LEAST_MESSAGE + 2 => line + "\n",
            _ if message == self.said => line + " \"\n",
            _ => format!("{line} :{}\n", shorten(message, most.min(room - 2))),
        })
    }
}

impl<W> AsMut<Lines<W>> for Writer<W> {
    fn as_mut(&mut self) -> &mut Lines<W> {
        &mut self.lines
    }
}

/// The longest that a failure without a message can be, of up to a thousand files.
fn shortest() -> usize {
    let word = Reason::ALL.iter().map(|reason| reason.as_str().len()).max().unwrap_or_default();
    format!("-999 {:word$} {LONGEST_WAIT}\n", "").len()
}

impl Once {
    /// The room that is kept for those that have not come.
    fn kept(&self) -> usize {
        let room = |came: bool, length: usize| if came { 0 } else { length };
        room(self.full, FULL.len()) + room(self.limited, LIMITED.len()) + room(self.shared_failure, shortest())
    }
}
