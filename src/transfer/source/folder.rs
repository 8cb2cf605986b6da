//! A folder beneath a root, to be listed: opened under the same rules as a file there.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata, MetadataExt};
use rustix::io::Errno;

use super::error::SourceError;
use super::explain;
use super::place::{Place, Whose};
use super::walk::Tree;

/// A folder that is open.
#[derive(Debug)]
pub(in crate::transfer) struct Folder {
    root: Dir,
    place: Place,
    path: PathBuf,
}

impl Folder {
    /// Opens the folder at `path` beneath `root`; the root itself if it is empty.
    pub(in crate::transfer) fn open(root: &Path, path: &str) -> Result<Self, SourceError> {
        let place = Place::Beneath { root: root.to_owned(), path: path.to_owned(), whose: Whose::Volume };
        if !path.is_empty() {
            place.stays_by_its_words(path)?;
        }
        let dir = Dir::open_ambient_dir(root, ambient_authority()).map_err(|error| {
            place.failed(io::Error::new(error.kind(), format!("the folder cannot be opened: {error}")))
        })?;
        let folder = Self { root: dir, place, path: path.into() };
        folder.at(Path::new(""))?;
        Ok(folder)
    }

    /// Opens the folder at this path, wherever it is; it is its own root.
    pub(in crate::transfer) fn here(path: &Path) -> Result<Self, SourceError> {
        let place = Place::Anywhere { path: path.to_owned(), hint: String::new() };
        let root = Dir::open_ambient_dir(path, ambient_authority()).map_err(|error| match error.raw_os_error() {
            Some(number) if number == Errno::NOTDIR.raw_os_error() && path.exists() => {
                SourceError::NotAFolder(place.show())
            }
            _ => explain::refused(&place, &Tree::Anywhere, path, error),
        })?;
        Ok(Self { root, place, path: PathBuf::new() })
    }

    /// A folder in it.
    pub(in crate::transfer) fn at(&self, path: &Path) -> Result<Dir, SourceError> {
        let whole = self.path.join(path);
        let whole = if whole.as_os_str().is_empty() { Path::new(".") } else { &whole };
        self.root.open_dir(whole).map_err(|error| self.refused(path, error))
    }

    /// What a path in it leads to, which may be anywhere beneath the root.
    pub(in crate::transfer) fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.root.metadata(self.path.join(path))
    }

    /// Why a folder in it cannot be read.
    pub(in crate::transfer) fn refused(&self, path: &Path, error: io::Error) -> SourceError {
        let whole = self.path.join(path);
        let place = match &self.place {
            Place::Beneath { root, whose, .. } => {
                Place::Beneath { root: root.clone(), path: whole.to_string_lossy().into_owned(), whose: *whose }
            }
            Place::Anywhere { path: root, hint } => {
                let path = if path.as_os_str().is_empty() { root.clone() } else { root.join(path) };
                Place::Anywhere { path, hint: hint.clone() }
            }
        };
        if error.raw_os_error() == Some(Errno::NOTDIR.raw_os_error()) || error.kind() == ErrorKind::NotADirectory {
            return SourceError::NotAFolder(place.show());
        }
        if error.kind() == ErrorKind::PermissionDenied {
            // Of one that may not be entered only the handle can be asked.
            let is_root = whole.as_os_str().is_empty();
            let found = if is_root { self.root.dir_metadata() } else { self.root.metadata(&whole) };
            if let Ok(found) = found {
                return place.denied("it", found.uid(), found.mode());
            }
        }
        if let Place::Anywhere { path, .. } = &place {
            return explain::refused(&place, &Tree::Anywhere, path, error);
        }
        match self.root.try_clone() {
            Ok(dir) => explain::refused(&place, &Tree::Beneath(dir), &whole, error),
            Err(_) => place.failed(error),
        }
    }
}
