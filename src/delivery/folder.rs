//! The files of a folder of this machine that are to be sent, or why they cannot be.
//!
//! `upload --recursive` and the sidecar are its callers; a worker lists a folder of a volume by its own rules. Nothing
//! is opened for reading here. What it returns is bounded by [`Bounds`], whatever the folder holds.

use std::path::{Path, PathBuf};

use super::{Found, Globs, of_listing};
use crate::outcome::Trouble;
use crate::reason::Reason;
use crate::transfer::list_here;

/// Why there is nothing to send, after the name of the folder.
pub const NO_FILE: &str = "no file matches: hidden ones have to be named by --include";

/// How much of a folder is taken.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The most files. A folder that holds more is a wrong one.
    pub files: usize,
    /// The longest path of a file in it, in bytes.
    pub path: usize,
}

/// The files of the folder at `path` that match, in the order of their paths. Whatever is at `marker` says that the folder
/// is complete, and is none of them.
pub fn search(path: &Path, globs: &Globs, bounds: Bounds, marker: Option<&Path>) -> Result<Vec<Found>, Trouble> {
    let wrong = |reason, problem: String| Trouble::new(reason, format!("{}: {problem}", path.display()));
    let most = bounds.files + usize::from(marker.is_some());
    let listing = list_here(path, globs, most, bounds.path).map_err(|error| of_listing(&error))?;
    if let Some(name) = listing.unnamed {
        let fix = "rename the file, or leave it out with --exclude";
        let long = bounds.path;
        return Err(wrong(
            Reason::RequestRejected,
            format!("the name of {name} is not UTF-8 or longer than {long} bytes, and the API takes no other: {fix}"),
        ));
    }
    let mut files = listing.files;
    if let Some(marker) = marker.and_then(placed) {
        files.retain(|file| !is_at(&path.join(&file.path), &marker));
    }
    if listing.count > most || files.len() > bounds.files {
        let most = bounds.files;
        let problem = format!("more than {most} files match: narrow them down with --include or --exclude");
        return Err(wrong(Reason::TooManyFiles, problem));
    }
    files.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

/// Whether a path is that of the marker. A link to the marker is not: its folder counts, not what it leads to.
fn is_at(path: &Path, marker: &Path) -> bool {
    path.file_name() == marker.file_name() && placed(path).is_some_and(|placed| placed == *marker)
}

/// A path without links in its folder.
fn placed(path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    Some(absolute.parent()?.canonicalize().ok()?.join(absolute.file_name()?))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn found(path: &Path, marker: Option<&str>) -> Result<Vec<String>, (Reason, String)> {
        let (globs, marker) = (Globs::new(&[], &[]).unwrap(), marker.map(|marker| path.join(marker)));
        let files = search(path, &globs, Bounds { files: 3, path: 64 }, marker.as_deref());
        let paths = |files: Vec<Found>| files.into_iter().map(|file| file.path).collect();
        files.map(paths).map_err(|trouble| (trouble.reason, trouble.message()))
    }

    #[test]
    fn a_marker_in_the_folder_is_no_file_of_it_however_it_is_reached() {
        let root = tempfile::tempdir().unwrap();
        for path in ["c", "a", "in/done"] {
            fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
            fs::write(root.path().join(path), "").unwrap();
        }
        symlink("in", root.path().join("link")).unwrap();
        assert_eq!(found(root.path(), Some("in/done")).unwrap(), ["a", "c"]);
        assert_eq!(found(root.path(), Some("link/../in/done")).unwrap(), ["a", "c"]);
        assert_eq!(found(root.path(), Some("done")).unwrap_err().0, Reason::TooManyFiles, "it is another one");
        fs::remove_file(root.path().join("link")).unwrap();
        assert_eq!(found(root.path(), None).unwrap(), ["a", "c", "in/done"]);
    }

    #[test]
    fn what_is_wrong_with_a_folder_is_told_by_its_name() {
        let root = tempfile::tempdir().unwrap();
        for file in ["1", "2", "3"] {
            fs::write(root.path().join(file), "").unwrap();
        }
        assert_eq!(found(root.path(), None).unwrap().len(), 3);
        fs::write(root.path().join("4"), "").unwrap();
        let (reason, said) = found(root.path(), None).unwrap_err();
        assert_eq!(reason, Reason::TooManyFiles);
        let expected = format!("{}: more than 3 files match", root.path().display());
        assert!(said.starts_with(&expected), "{said}");
        assert_eq!(found(root.path(), Some("4")).unwrap(), ["1", "2", "3"], "the marker does not count");
        fs::rename(root.path().join("4"), root.path().join("4".repeat(70))).unwrap();
        let (reason, said) = found(root.path(), None).unwrap_err();
        assert!(reason == Reason::RequestRejected && said.contains("longer than 64 bytes"), "{said}");
        assert_eq!(found(&root.path().join("none"), None).unwrap_err().0, Reason::FileNotFound);
        assert_eq!(found(&root.path().join("1"), None).unwrap_err().0, Reason::NotAFile);
    }
}
