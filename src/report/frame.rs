//! What all reports have in common: a version, then lines, each written at once, and words of which each comes once.

use std::io::{self, Write};

use super::Unreadable;

pub(super) const FULL: &str = "full\n";
pub(super) const LIMITED: &str = "limited\n";

/// The lines of a report that is being written.
///
/// Nothing is written before the first: of a worker that crashes until then the kubelet keeps the end of its log.
pub struct Lines<W> {
    out: W,
    version: &'static str,
    used: usize,
    has_begun: bool,
    is_torn: bool,
    pub(super) once: Once,
}

/// The lines of which each comes once.
#[derive(Default)]
pub(super) struct Once {
    pub(super) full: bool,
    pub(super) limited: bool,
    /// A failure that concerns all files.
    pub(super) shared_failure: bool,
}

impl<W: Write> Lines<W> {
    pub(super) fn new(out: W, version: &'static str) -> Self {
        Self { out, version, used: version.len() + 1, has_begun: false, is_torn: false, once: Once::default() }
    }

    /// What is taken, in bytes, the version included.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Whether no upload may be told of any more.
    pub(super) fn is_closed(&self) -> bool {
        self.is_torn || self.once.full
    }

    /// Tells, once, that the files without a line are left to another worker.
    ///
    /// # Errors
    /// The report cannot be written.
    pub fn full(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.once.full, true) { Ok(()) } else { self.put(FULL) }
    }

    /// Tells, once, that the API asked to slow down.
    ///
    /// # Errors
    /// The report cannot be written.
    pub fn limited(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.once.limited, true) { Ok(()) } else { self.put(LIMITED) }
    }

    /// Whether a failure that concerns all files has been written.
    pub fn has_shared_failure(&self) -> bool {
        self.once.shared_failure
    }

    /// Ends a report in which there may be nothing to say.
    ///
    /// # Errors
    /// The report cannot be written.
    pub fn finish(&mut self) -> io::Result<()> {
        if self.has_begun { Ok(()) } else { self.put("") }
    }

    /// One write for the line, with the version before the first. After one that failed the line may be torn, and nothing
    /// may follow it.
    pub(super) fn put(&mut self, line: &str) -> io::Result<()> {
        if self.is_torn {
            return Err(io::Error::other("an earlier line could not be written whole"));
        }
        self.used += line.len();
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        let version = if is_first { format!("{}\n", self.version) } else { String::new() };
        let result = self.out.write_all((version + line).as_bytes()).and_then(|()| self.out.flush());
        self.is_torn = result.is_err();
        result
    }
}

/// A report as it was found.
pub(super) struct Text<'a> {
    pub(super) version: &'a str,
    lines: &'a str,
}

impl<'a> Text<'a> {
    /// A report of one of these versions, the newest first.
    pub(super) fn of(text: &'a str, versions: &[&str]) -> Result<Self, Unreadable> {
        let Some((version, lines)) = text.split_once('\n') else {
            let begins = versions.iter().any(|version| version.starts_with(text));
            return Err(if begins { Unreadable::Missing } else { foreign(text, versions) });
        };
        if versions.contains(&version) { Ok(Self { version, lines }) } else { Err(foreign(version, versions)) }
    }

    /// Takes one whole line after the other, of a text of at most `limit` bytes; false if one cannot be taken, or if the
    /// text is longer. What follows the last newline was torn off and is ignored.
    pub(super) fn read(&self, limit: usize, mut take: impl FnMut(&str) -> Option<()>) -> bool {
        // A byte that is no UTF-8 comes as a character of three.
        let known = &self.lines[..self.lines.floor_char_boundary(4 * limit)];
        let whole = known.split_inclusive('\n').map_while(|line| line.strip_suffix('\n'));
        whole.map(&mut take).all(|taken| taken.is_some()) && known.len() == self.lines.len()
    }
}

fn foreign(version: &str, versions: &[&str]) -> Unreadable {
    let family = versions.first().map_or("", |version| version.trim_end_matches(|c: char| c.is_ascii_digit()));
    if version.starts_with(family) { Unreadable::Unsupported } else { Unreadable::Garbled }
}
