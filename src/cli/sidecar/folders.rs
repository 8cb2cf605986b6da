//! `--recursive DIR --when FILE`: folders whose files are known once a marker file is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::super::Usage;
use super::super::folders::{self, Patterns};
use super::super::named::{self, Named};
use crate::sidecar::InputFolder;

/// As many as a FileUpload takes.
const MOST: usize = 8;

/// Which folders.
#[derive(Args)]
pub(super) struct Folders {
    /// Also upload the files of this folder, at most 2000, once its --when is there (repeatable, at most 8 times). Their
    /// keys are in one file, called as DIR with .json, once every file has one. Links that leave the folder are not followed
    #[arg(long = "recursive", id = "recursive", value_name = "DIR", requires = "when")]
    paths: Vec<PathBuf>,
    /// The folder is complete while this file exists; the file itself is not uploaded. The first --when is that of the first
    /// --recursive, and so on
    #[arg(long = "when", id = "when", value_name = "FILE", requires = "recursive")]
    markers: Vec<PathBuf>,
    #[command(flatten)]
    patterns: Patterns,
}

impl Folders {
    /// The folders, whose keys are in files that no other key has.
    pub(super) fn parse(&self, files: &[Named], keys_dir: &Path) -> Result<Vec<InputFolder>, Usage> {
        let (folders, markers) = (self.paths.len(), self.markers.len());
        if folders != markers || folders > MOST {
            return Err(Usage(format!(
                "--recursive is given {folders} times and --when {markers} times: give each folder its own marker, and at \
                 most {MOST} folders"
            )));
        }
        let (globs, mut known) = (Arc::new(self.patterns.globs()?), BTreeSet::new());
        let one = |(path, marker): (&PathBuf, &PathBuf)| {
            let keys_file = folders::keys_file(path)?;
            if !known.insert(keys_file.clone()) {
                return Err(Usage(format!(
                    "--recursive: the keys of two folders would be in {keys_file} of --keys-dir: rename one of the folders"
                )));
            }
            folders::check_keys_file(&keys_file, files.iter().map(Named::name))?;
            if named::place(keys_dir).starts_with(named::place(path)) {
                return Err(Usage(format!(
                    "--keys-dir is in the folder {}, where its keys would be files to upload: choose another folder",
                    path.display()
                )));
            }
            let (path, marker, globs) = (path.clone(), marker.clone(), Arc::clone(&globs));
            Ok(InputFolder { keys_file, path, marker, globs })
        };
        self.paths.iter().zip(&self.markers).map(one).collect()
    }
}
