//! `--recursive DIR`: the files of a folder, as a FileUpload's `spec.folders` finds them.
//!
//! Their keys are in one file of the keys folder, in the format of a FileUpload's `NAME.json`. It is there only while every
//! file has a key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::super::Usage;
use super::super::named::Named;
use crate::keys::{self, Entry};
use crate::transfer::{self, Globs};

/// The most files. A folder that holds more is a wrong one.
const MOST: usize = 1_000_000;
/// The longest path in it, in bytes, as file systems have it.
const LONGEST: usize = 4096;

/// Which files of a folder.
#[derive(Args)]
pub(super) struct Recursive {
    /// Also upload the files of this folder, each named by its path in it. Links that leave the folder are not followed
    #[arg(long = "recursive", id = "recursive", value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Upload only those that this glob matches (repeatable): * stays within a name, ** does not. Default: all but hidden
    /// ones, which a glob has to name
    #[arg(long, value_name = "GLOB", requires = "recursive")]
    include: Vec<String>,
    /// Leave those out that this glob matches (repeatable)
    #[arg(long, value_name = "GLOB", requires = "recursive")]
    exclude: Vec<String>,
}

/// A folder that was searched.
pub(super) struct Searched {
    /// The file of its keys in a keys folder.
    pub(super) keys_file: String,
    /// When each file was last changed, by its path.
    modified_at: BTreeMap<String, Timestamp>,
}

/// A key in the format of a FileUpload's `NAME.json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InFolder<'a> {
    file_key: &'a str,
    size: u64,
    sha256: &'a str,
    modified_at: Timestamp,
    expires_at: Timestamp,
}

impl Recursive {
    /// The files of the folder, if one is named, in the order of their paths.
    pub(super) fn search(&self) -> Result<Option<(Searched, Vec<Named>)>, Usage> {
        let Some(folder) = &self.folder else { return Ok(None) };
        let wrong = |problem: String| Usage(format!("--recursive: {}: {problem}", folder.display()));
        let kind = folder.metadata().map_err(|error| wrong(format!("it cannot be read: {error}")))?;
        if !kind.is_dir() {
            return Err(wrong("it is no folder: name a file without --recursive".into()));
        }
        let globs = Globs::new(&self.include, &self.exclude).map_err(|error| Usage(format!("--recursive: {error}")))?;
        let listing = transfer::list(folder, "", &globs, MOST, LONGEST).map_err(|error| wrong(error.to_string()))?;
        if let Some(name) = listing.unnamed {
            return Err(wrong(format!(
                "the name of {name} is not UTF-8 or too long, and the API takes no other: rename the file, or leave it out \
                 with --exclude"
            )));
        }
        if listing.count > MOST {
            return Err(wrong(format!("{} files are too many: narrow them down with --include", listing.count)));
        }
        if listing.files.is_empty() {
            return Err(wrong("no file matches: hidden ones have to be named by --include".into()));
        }
        let modified_at: BTreeMap<_, _> =
            listing.files.into_iter().map(|found| (found.path, found.modified_at)).collect();
        let files = modified_at.keys().map(|path| Named::in_folder(folder, path)).collect();
        let name = folder.canonicalize().ok().and_then(|folder| Some(folder.file_name()?.to_str()?.to_owned()));
        let name = name.ok_or_else(|| wrong("it has no name that a file could be called by".into()))?;
        Ok(Some((Searched { keys_file: format!("{name}.json"), modified_at }, files)))
    }
}

impl Searched {
    /// Rejects a keys folder that cannot have the file of the keys: it would be that of another key, or a file to upload.
    pub(super) fn check(&self, files: &[Named], folder: &Path) -> Result<(), Usage> {
        let file = &self.keys_file;
        let others = files.iter().filter(|named| !named.is_in_folder());
        if *file == keys::ALL || others.map(Named::name).any(|name| name == *file) {
            return Err(Usage(format!(
                "--recursive: the keys of the folder would be in {file} of --keys-dir, where other keys are: rename the \
                 folder, or the other key by NAME=FILE"
            )));
        }
        let kept = folder.join(file);
        let is_kept =
            |named: &&Named| kept.canonicalize().is_ok_and(|kept| named.path.canonicalize().is_ok_and(|it| it == kept));
        match files.iter().find(is_kept) {
            Some(named) => Err(Usage(format!(
                "--keys-dir would replace the input {} with {}: choose a folder without inputs",
                named.shown(),
                kept.display()
            ))),
            None => Ok(()),
        }
    }

    /// The keys of the folder; none unless every file has one.
    pub(super) fn keys<'a>(&self, entries: &'a keys::Keys) -> Option<impl Serialize + use<'a>> {
        let entry = |(path, modified_at): (&String, &Timestamp)| {
            let (path, Entry { file_key, size, sha256, expires_at, .. }) = entries.get_key_value(path)?;
            let (modified_at, expires_at) = (*modified_at, *expires_at);
            Some((path, InFolder { file_key, size: *size, sha256, modified_at, expires_at }))
        };
        self.modified_at.iter().map(entry).collect::<Option<BTreeMap<_, _>>>()
    }
}
