//! The keys of a whole folder: the format of their file, and what a sidecar writes down of them.
//!
//! Their file is the `NAME.json` of a FileUpload's folder: readers see all keys or none. What is written down has a line
//! for each upload, added as the file is stored, so that thousands of files are not written thousands of times. Who reads
//! the lines takes those of files that are there, so that a forged one costs no memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Entry, Error, Folder, failed, has_file, is_name, json};

/// The most that is read of what was written down, in bytes: twice the longest lines of a folder.
const LARGEST: u64 = 16 << 20;

/// A key in the format of a FileUpload's `NAME.json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InFolder<'a> {
    file_key: &'a str,
    size: u64,
    sha256: &'a str,
    modified_at: Timestamp,
    expires_at: Timestamp,
}

/// The key of one file of a folder, as it is written down.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Line {
    /// The path of the file in the folder.
    pub path: String,
    /// When the file was last changed, as it was listed.
    pub modified_at: Timestamp,
    /// Stands for the API and the team that the key is of.
    pub owner: String,
    /// Stands for the round in which the whole folder was uploaded.
    pub round: String,
    /// The key.
    #[serde(flatten)]
    pub entry: Entry,
}

impl<'a> InFolder<'a> {
    /// The key of a file that was last changed at `modified_at`.
    pub(crate) fn new(entry: &'a Entry, modified_at: Timestamp) -> Self {
        let Entry { file_key, size, sha256, expires_at, .. } = entry;
        Self { file_key, size: *size, sha256, modified_at, expires_at: *expires_at }
    }
}

impl Folder {
    /// Writes the keys of a folder, which are all, to `file`.
    pub(crate) fn show_folder<'a>(&self, file: &str, lines: impl Iterator<Item = &'a Line>) -> Result<(), Error> {
        let keys: BTreeMap<_, _> =
            lines.map(|line| (line.path.as_str(), InFolder::new(&line.entry, line.modified_at))).collect();
        self.write(file, &json(&keys))
    }

    /// Removes the keys of a folder.
    pub(crate) fn hide_folder(&self, file: &str) -> Result<(), Error> {
        self.remove(file)
    }

    /// Removes the keys of a folder that an earlier run wrote down and that is no longer wanted.
    pub(crate) fn forget_folder(&self, file: &str) -> Result<(), Error> {
        let lines = lines_of(file);
        if !is_name(file) || !has_file(file) || !self.0.join(&lines).exists() {
            return Ok(());
        }
        self.remove(file).and(self.remove(&lines))
    }

    /// What was written down of a folder, in that order; of two lines for one file the later counts.
    pub(crate) fn lines(&self, file: &str) -> impl Iterator<Item = Line> + use<> {
        let opened = File::open(self.0.join(lines_of(file))).ok();
        let texts = opened.into_iter().flat_map(|file| BufReader::new(file.take(LARGEST)).split(b'\n'));
        // A line whose writer was killed is none.
        texts.map_while(Result::ok).filter_map(|text| serde_json::from_slice(&text).ok())
    }

    /// Writes down one more key.
    pub(crate) fn add_line(&self, file: &str, line: &Line) -> Result<(), Error> {
        let path = self.0.join(lines_of(file));
        let opened = File::options().append(true).create(true).open(&path);
        // It begins with the end of a line, as the one before may have been cut off.
        let text = format!("\n{}", text(line));
        opened.and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed("write", &path))
    }

    /// Writes down these keys, and forgets all others.
    pub(crate) fn set_lines<'a>(&self, file: &str, lines: impl Iterator<Item = &'a Line>) -> Result<(), Error> {
        let texts: Vec<String> = lines.map(text).collect();
        self.write(&lines_of(file), &texts.join("\n"))
    }
}

/// Where the keys of a folder are written down. No file of a key ends with a `~`.
fn lines_of(file: &str) -> String {
    format!(".{file}.record~")
}

fn text(line: &Line) -> String {
    // Strings, numbers and times: nothing of them can fail.
    serde_json::to_string(line).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn line(path: &str, file_key: &str) -> Line {
        let time = || "2026-01-01T00:00:00.000001Z".parse().unwrap();
        let text = || "x".to_owned();
        let entry = Entry {
            file_key: file_key.to_owned(),
            file_name: text(),
            content_type: text(),
            size: 7,
            sha256: text(),
            uploaded_at: time(),
            expires_at: time(),
        };
        Line { path: path.to_owned(), modified_at: time(), owner: text(), round: text(), entry }
    }

    #[test]
    fn a_line_that_was_cut_off_costs_only_itself() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let read = || folder.lines("frames.json").collect::<Vec<_>>();
        assert_eq!(read(), []);
        folder.add_line("frames.json", &line("a", "1")).unwrap();
        folder.add_line("frames.json", &line("b\n", "2")).unwrap();
        assert_eq!(read(), [line("a", "1"), line("b\n", "2")]);
        let path = root.path().join(".frames.json.record~");
        let text = fs::read(&path).unwrap();
        fs::write(&path, &text[..text.len() - 5]).unwrap();
        folder.add_line("frames.json", &line("c", "3")).unwrap();
        assert_eq!(read(), [line("a", "1"), line("c", "3")]);
        folder.set_lines("frames.json", [line("c", "3")].iter()).unwrap();
        folder.add_line("frames.json", &line("c", "4")).unwrap();
        assert_eq!(read(), [line("c", "3"), line("c", "4")]);
    }

    #[test]
    fn only_what_was_written_down_is_removed_and_nothing_outside() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(&root.path().join("keys")).unwrap();
        let there = |path: &str| root.path().join(path).exists();
        // `.../outside.json.record~` leads out of the keys folder by way of its folder `...`, if it has one.
        fs::create_dir_all(root.path().join("keys/...")).unwrap();
        for path in ["keys/other.json", "keys/frames.json", "outside.json", "keys/.../outside.json.record~"] {
            fs::write(root.path().join(path), "").unwrap();
        }
        folder.set_lines("frames.json", std::iter::empty()).unwrap();
        for file in ["other.json", "frames.json", "../outside.json", "", ".."] {
            folder.forget_folder(file).unwrap();
        }
        assert_eq!((there("keys/frames.json"), there("keys/.frames.json.record~")), (false, false));
        assert!(there("keys/other.json") && there("outside.json"));
    }
}
