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
use super::super::folders::{self, Patterns};
use super::super::named::Named;
use crate::delivery::{self, Bounds};
use crate::keys::{self, InFolder};

/// Paths may be as long as file systems have them.
const BOUNDS: Bounds = Bounds { files: 1_000_000, path: 4096 };

/// Which files of a folder.
#[derive(Args)]
pub(super) struct Recursive {
    /// Also upload the files of this folder, each named by its path in it. Links that leave the folder are not followed
    #[arg(long = "recursive", id = "recursive", value_name = "DIR")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    patterns: Patterns,
}

/// A folder that was searched.
pub(super) struct Searched {
    /// The file of its keys in a keys folder.
    pub(super) keys_file: String,
    /// When each file was last changed, by its path.
    modified_at: BTreeMap<String, Timestamp>,
}

impl Recursive {
    /// The files of the folder, if one is named, in the order of their paths.
    pub(super) fn search(&self) -> Result<Option<(Searched, Vec<Named>)>, Usage> {
        let Some(folder) = &self.folder else { return Ok(None) };
        let keys_file = folders::keys_file(folder)?;
        let found = delivery::search(folder, &self.patterns.globs()?, BOUNDS, None)
            .map_err(|trouble| Usage(format!("--recursive: {trouble}")))?;
        if found.is_empty() {
            return Err(Usage(format!("--recursive: {}: {}", folder.display(), delivery::NO_FILE)));
        }
        let modified_at: BTreeMap<_, _> = found.into_iter().map(|found| (found.path, found.modified_at)).collect();
        let files = modified_at.keys().map(|path| Named::in_folder(folder, path)).collect();
        Ok(Some((Searched { keys_file, modified_at }, files)))
    }
}

impl Searched {
    /// Rejects a keys folder that cannot have the file of the keys: it would be that of another key, or a file to upload.
    pub(super) fn check(&self, files: &[Named], folder: &Path) -> Result<(), Usage> {
        let file = &self.keys_file;
        folders::check_keys_file(file, files.iter().filter(|named| !named.is_in_folder()).map(Named::name))?;
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
            let (path, entry) = entries.get_key_value(path)?;
            Some((path, InFolder::new(entry, *modified_at)))
        };
        self.modified_at.iter().map(entry).collect::<Option<BTreeMap<_, _>>>()
    }
}
