//! What came of the files, and how it is printed.
//!
//! Text and one JSON object are printed at the end, in the order of names; JSON lines at once, each flushed. A reader of
//! lines that goes away ends the upload unless the keys are also kept in a folder: nobody would know the other keys.
//! What is kept of a file until the end is small, as there may be many.

use std::borrow::Cow;
use std::io::{self, Write};

use anyhow::bail;
use jiff::Timestamp;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::printer::{Printer, Reader};
use super::{Named, Output};
use crate::delivery::{Delivery, printable};
use crate::key_life::Terms;
use crate::keys::{Entry, Keys};
use crate::outcome::Upload;
use crate::reason::{Reason, Scope};

/// The results of the files, by their index.
pub(super) struct Results<'a> {
    files: &'a [Named],
    terms: Terms,
    output: Output,
    has_folder: bool,
    stored: usize,
    /// The keys that are wanted at the end.
    keys: Vec<Kept>,
    /// Each with its message; `None` if that is the shared one.
    failures: Vec<(usize, Reason, Option<Box<str>>)>,
    /// Files that were not sent and have no failure of their own.
    not_sent: Vec<usize>,
    /// The failure that is every file's.
    shared: Option<(Reason, Box<str>)>,
    /// Writes a line for each file as it ends, if that is wanted.
    lines: Option<Printer>,
}

/// What is kept of a file that was stored.
struct Kept {
    index: usize,
    file_key: Box<str>,
    details: Option<Box<Details>>,
}

/// What only JSON and a folder tell.
struct Details {
    content_type: Box<str>,
    size: u64,
    sha256: Box<str>,
    at: Timestamp,
}

#[derive(Serialize)]
struct Failed<'a> {
    name: Cow<'a, str>,
    file: String,
    reason: &'static str,
    message: &'a str,
}

#[derive(Serialize)]
struct Stored<'a> {
    name: Cow<'a, str>,
    file: String,
    #[serde(flatten)]
    entry: &'a Entry,
}

#[derive(Serialize)]
struct All<'a> {
    files: &'a Results<'a>,
    failures: Vec<Failed<'a>>,
}

impl<'a> Results<'a> {
    pub(super) fn new(files: &'a [Named], terms: Terms, output: Output, has_folder: bool) -> io::Result<Self> {
        let keeps = has_folder || output != Output::Jsonl;
        Ok(Self {
            files,
            terms,
            output,
            has_folder,
            stored: 0,
            keys: Vec::with_capacity(if keeps { files.len() } else { 0 }),
            failures: Vec::new(),
            not_sent: Vec::new(),
            shared: None,
            lines: (output == Output::Jsonl).then(Printer::start).transpose()?,
        })
    }

    /// Who reads the results as the files end, if anybody does.
    pub(super) fn reader(&self) -> Option<Reader> {
        self.lines.as_ref().map(Printer::reader)
    }

    /// Takes the result of a file.
    pub(super) fn enter(&mut self, index: usize, delivery: Delivery) {
        match delivery {
            Delivery::Stored(upload) => self.store(index, upload),
            Delivery::Failed(trouble) => {
                if trouble.reason.scope() == Scope::Resource && self.shared.is_none() {
                    let message = format!("not sent, because {} failed: {trouble}", self.files[index].name());
                    self.shared = Some((trouble.reason, message.into()));
                }
                self.fail(index, trouble.reason, Some(trouble.message().into()));
            }
            Delivery::NotSent(Some(last)) => self.fail(index, last.reason, Some(last.message().into())),
            Delivery::NotSent(None) => self.not_sent.push(index),
        }
    }

    /// Gives files that were not sent the failure that affects every file. After a stop there may be none, and they are
    /// left out.
    pub(super) fn close(&mut self) {
        if let Some((reason, _)) = self.shared {
            for index in std::mem::take(&mut self.not_sent) {
                self.fail(index, reason, None);
            }
        }
        self.failures.sort_by_key(|(index, ..)| *index);
        let files = self.files;
        self.keys.sort_by_cached_key(|kept| files[kept.index].name());
    }

    fn store(&mut self, index: usize, upload: Upload) {
        self.stored += 1;
        if let Some(lines) = &self.lines {
            let file = &self.files[index];
            let entry = Entry::new(file.file_name().to_owned(), upload.clone(), &self.terms);
            write_line(lines, &Stored { name: file.name(), file: file.shown(), entry: &entry });
        }
        if self.has_folder || self.output != Output::Jsonl {
            let Upload { file_key, content_type, size, sha256, at } = upload;
            let has_details = self.has_folder || self.output == Output::Json;
            let details = Details { content_type: content_type.into(), size, sha256: sha256.into(), at };
            let details = has_details.then(|| Box::new(details));
            self.keys.push(Kept { index, file_key: file_key.into(), details });
        }
    }

    fn fail(&mut self, index: usize, reason: Reason, message: Option<Box<str>>) {
        if let Some(lines) = &self.lines {
            write_line(lines, &self.failed(index, reason, message.as_deref()));
        }
        self.failures.push((index, reason, message));
    }

    fn failed<'b>(&'b self, index: usize, reason: Reason, message: Option<&'b str>) -> Failed<'b> {
        let (file, shared) = (&self.files[index], self.shared.as_ref().map_or("", |(_, message)| message));
        let message = message.unwrap_or(shared);
        Failed { name: file.name(), file: file.shown(), reason: reason.as_str(), message }
    }

    fn failures(&self) -> impl Iterator<Item = Failed<'_>> {
        self.failures.iter().map(|(index, reason, message)| self.failed(*index, *reason, message.as_deref()))
    }

    /// Prints what was not printed before, and the failures for people. After `stop` nobody is waited for long.
    pub(super) async fn print(&mut self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let printer = if let Some(lines) = self.lines.take() {
            lines
        } else {
            let printer = Printer::start()?;
            printer.write(self.text()?);
            printer
        };
        let end = printer.finish(stop).await;
        for Failed { name, reason, message, .. } in self.failures() {
            writeln!(io::stderr(), "error: {}: {reason}: {message}", printable(&*name))?;
        }
        match end {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            Err(_) if self.output == Output::Jsonl && !self.has_folder && self.left() == 0 => {
                bail!(
                    "nobody reads the output any more: the keys of the last files are lost; run it again, or with --keys-dir"
                )
            }
            // A closed pipe is not an error.
            _ => Ok(()),
        }
    }

    fn text(&self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        if self.output == Output::Json {
            serde_json::to_writer_pretty(&mut text, &All { files: self, failures: self.failures().collect() })?;
            text.push(b'\n');
        } else {
            for kept in &self.keys {
                writeln!(text, "{}={}", self.files[kept.index].name(), kept.file_key)?;
            }
        }
        Ok(text)
    }

    /// The keys with their details, where those were kept, in the order of names.
    fn entries(&self) -> impl Iterator<Item = (Cow<'a, str>, Entry)> {
        self.keys.iter().filter_map(|Kept { index, file_key, details }| {
            let (file, Details { content_type, size, sha256, at }) = (&self.files[*index], details.as_deref()?);
            let (file_key, content_type, sha256) = (file_key.to_string(), content_type.to_string(), sha256.to_string());
            let upload = Upload { file_key, content_type, size: *size, sha256, at: *at };
            Some((file.name(), Entry::new(file.file_name().to_owned(), upload, &self.terms)))
        })
    }

    /// The keys for a folder.
    pub(super) fn keys(&self) -> Keys {
        self.entries().map(|(name, entry)| (name.into_owned(), entry)).collect()
    }

    pub(super) fn failed_files(&self) -> usize {
        self.failures.len()
    }

    /// How many files have no result.
    pub(super) fn left(&self) -> usize {
        self.files.len() - self.stored - self.failures.len()
    }
}

/// The keys with their details, in the format of `keys.json`.
impl Serialize for Results<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.keys.len()))?;
        for (name, entry) in self.entries() {
            map.serialize_entry(&name, &entry)?;
        }
        map.end()
    }
}

fn write_line(lines: &Printer, line: &impl Serialize) {
    // Texts and numbers can always be written.
    let mut line = serde_json::to_vec(line).unwrap_or_default();
    line.push(b'\n');
    lines.write(line);
}
