//! Where a file is: at any path, or beneath a root that nothing may lead out of.
//!
//! The two differ in one step, [`Place::find`]; all else is one road. That step opens nothing for reading: the file is
//! held by an `O_PATH` handle, which has no effect on a pipe or device and waits for nobody. Only once the handle has
//! shown a regular file is that same inode opened, so that a path that is swapped in between is of no use.
//!
//! Beneath a root paths are resolved by cap-std: by openat2 (`RESOLVE_BENEATH`, no magic links), and name by name under
//! the same rules where the kernel or a seccomp profile has no openat2.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions as BeneathOptions, OpenOptionsExt as _};
use rustix::fs::{CWD, FileType, Mode, OFlags, openat};
use rustix::path::DecInt;

use super::error::{SourceError, printable, shortened};
use super::explain;
use super::walk::Tree;

/// The most that one S3 PUT takes, in bytes (5 GiB, which S3's documentation calls 5 GB).
pub(super) const LARGEST_PUT: u64 = 5 * 1024 * 1024 * 1024;
/// The longest path that is shown whole, in characters.
const SHOWN: usize = 120;
/// A handle of `/proc/self/fd`. [`reopened`] keeps it, because the kernel takes a microsecond to resolve this path.
static DESCRIPTORS: OnceLock<OwnedFd> = OnceLock::new();
/// What to do where a volume's file is closed to the worker.
const RUN_AS: &str = ": set spec.worker.securityContext.runAsUser to one that may read it";
/// The same where the owner and the mode are not what closes it.
const LABELS: &str = "; the mode allows it, so SELinux may not: set spec.worker.securityContext.seLinuxOptions to those of the Pod that writes the files";
const LABELS_HERE: &str = "; the mode allows it, so something else does not, such as SELinux or AppArmor";

/// Where a file is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// At this path, wherever it leads.
    Anywhere {
        /// Where it is.
        path: PathBuf,
        /// What to add if nothing is there.
        hint: String,
    },
    /// Beneath a root, and nowhere else.
    Beneath {
        /// A folder that is trusted, such as a mount.
        root: PathBuf,
        /// What is not trusted: relative to the root.
        path: String,
        /// Who can do something about it.
        whose: Whose,
    },
}

/// Whose a root is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Whose {
    /// A FileUpload names the volume, and may name the user of the worker.
    Volume,
    /// Whoever started this program named the folder.
    Ours,
}

/// What must not change while a file is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stamp {
    pub(super) size: u64,
    pub(super) modified: (i64, i64),
    /// The device and the number on it.
    pub(super) inode: (u64, u64),
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            inode: (metadata.dev(), metadata.ino()),
        }
    }
}

/// A regular file of a size that can be sent, not open for reading yet.
#[derive(Debug)]
pub(super) struct Held {
    file: File,
    metadata: Metadata,
}

impl Place {
    /// The path as its user knows it.
    pub(super) fn show(&self) -> String {
        match self {
            Self::Anywhere { path, .. } => printable(path),
            Self::Beneath { path, .. } => {
                let clean: PathBuf = Path::new(path).components().collect();
                match printable(&clean) {
                    empty if matches!(empty.as_str(), "" | ".") => "the volume's root".into(),
                    shown => shortened(&shown, SHOWN),
                }
            }
        }
    }

    /// Finds the file as it is now, without opening it for reading.
    pub(super) fn hold(&self) -> Result<Held, SourceError> {
        let file = self.find()?;
        let metadata = file.metadata().map_err(|error| self.failed(error))?;
        self.check(&metadata)?;
        Ok(Held { file, metadata })
    }

    /// Whatever is at the path, by a handle that can only be asked what it is.
    fn find(&self) -> Result<File, SourceError> {
        let flags = OFlags::PATH.bits().cast_signed();
        match self {
            Self::Anywhere { path, .. } => {
                let found = OpenOptions::new().read(true).custom_flags(flags).open(path);
                found.map_err(|error| explain::refused(self, &Tree::Anywhere, path, error))
            }
            Self::Beneath { root, path, .. } => {
                self.stays_by_its_words(path)?;
                let dir = Dir::open_ambient_dir(root, ambient_authority()).map_err(|error| {
                    self.failed(io::Error::new(error.kind(), format!("the volume's root cannot be opened: {error}")))
                })?;
                let found = dir.open_with(path, BeneathOptions::new().read(true).custom_flags(flags));
                let refused = |error| explain::refused(self, &Tree::Beneath(dir), Path::new(path), error);
                found.map(cap_std::fs::File::into_std).map_err(refused)
            }
        }
    }

    /// What can be told without looking. `..` is refused even where it would stay: what it leads to depends on the
    /// links before it.
    pub(super) fn stays_by_its_words(&self, path: &str) -> Result<(), SourceError> {
        let escapes = |why: &str| Err(SourceError::Escapes { path: self.show(), why: why.into() });
        let path = Path::new(path);
        if path.is_absolute() {
            return escapes("begins with a slash, but paths are relative to the volume's root: leave the slash out");
        }
        if path.components().any(|component| component == Component::ParentDir) {
            return escapes("\"..\" is not followed in a volume: write the path without it");
        }
        if path.as_os_str().is_empty() {
            return Err(SourceError::NotAFile { path: self.show(), kind: "directory" });
        }
        Ok(())
    }

    /// Whether this is a regular file of a size that can be sent.
    fn check(&self, metadata: &Metadata) -> Result<(), SourceError> {
        let kind = metadata.file_type();
        let kind = match () {
            () if kind.is_file() => None,
            () if kind.is_dir() => Some("directory"),
            () if kind.is_socket() => Some("socket"),
            () if kind.is_fifo() => Some("named pipe"),
            () => Some("device"),
        };
        match kind {
            Some(kind) => Err(SourceError::NotAFile { path: self.show(), kind }),
            None if metadata.len() > LARGEST_PUT => Err(SourceError::TooLarge(self.show())),
            None => Ok(()),
        }
    }

    pub(super) fn is_beneath(&self) -> bool {
        matches!(self, Self::Beneath { .. })
    }

    /// A failure of the disk or mount.
    pub(super) fn failed(&self, error: io::Error) -> SourceError {
        SourceError::Read { path: self.show(), error }
    }

    /// `what` is closed to us. Only of a worker of a volume a resource can choose the user.
    pub(super) fn denied(&self, what: impl Into<String>, owner: u32, mode: u32) -> SourceError {
        let us = rustix::process::geteuid().as_raw();
        // A file is to be read, a folder to be entered; the groups of a process are not looked at.
        let right = if FileType::from_raw_mode(mode) == FileType::Directory { 0o1 } else { 0o4 };
        let is_allowed = mode & if owner == us { right << 6 } else { right } != 0;
        let is_of_volume = matches!(self, Self::Beneath { whose: Whose::Volume, .. });
        let fix = match (is_of_volume, is_allowed) {
            (true, true) => LABELS,
            (true, false) => RUN_AS,
            (false, true) => LABELS_HERE,
            (false, false) => "",
        };
        SourceError::PermissionDenied { path: self.show(), what: what.into(), owner, mode: mode & 0o7777, us, fix }
    }
}

impl Held {
    pub(super) fn stamp(&self) -> Stamp {
        Stamp::of(&self.metadata)
    }

    /// Opens this very inode for reading, whatever is at its path by now.
    pub(super) fn open(&self, place: &Place) -> Result<(File, Metadata), SourceError> {
        let file = reopened(&self.file).map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => place.denied("it", self.metadata.uid(), self.metadata.mode()),
            ErrorKind::NotFound => place.failed(io::Error::new(error.kind(), "/proc is not mounted")),
            _ => place.failed(error),
        })?;
        let metadata = file.metadata().map_err(|error| place.failed(error))?;
        place.check(&metadata)?;
        Ok((file, metadata))
    }
}

/// Opens what a handle holds for reading.
pub(super) fn reopened(handle: &impl AsRawFd) -> io::Result<File> {
    let descriptors = if let Some(found) = DESCRIPTORS.get() {
        found
    } else {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let found = openat(CWD, "/proc/self/fd", flags, Mode::empty())?;
        DESCRIPTORS.get_or_init(|| found)
    };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(openat(descriptors, DecInt::new(handle.as_raw_fd()), flags, Mode::empty())?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_mode_allows_what_is_denied_selinux_is_named() {
        let beneath = |whose| Place::Beneath { root: "/source".into(), path: "a.png".into(), whose };
        let volume = beneath(Whose::Volume);
        let us = rustix::process::geteuid().as_raw();
        for (owner, mode, fix) in [
            (us + 1, 0o100_600, RUN_AS),
            (us + 1, 0o100_644, LABELS),
            (us, 0o100_400, LABELS),
            (us, 0o100_044, RUN_AS),
            (us + 1, 0o040_754, RUN_AS),
            (us + 1, 0o040_711, LABELS),
        ] {
            let message = volume.denied("it", owner, mode).to_string();
            assert!(message.ends_with(fix), "{mode:o}: {message}");
        }
        for ours in [Place::Anywhere { path: "a.png".into(), hint: String::new() }, beneath(Whose::Ours)] {
            let message = ours.denied("it", us, 0o100_644).to_string();
            assert!(message.ends_with(LABELS_HERE), "{message}");
            let message = ours.denied("it", us + 1, 0o100_600).to_string();
            assert!(message.ends_with(&format!("we run as uid {us}")), "nothing of a resource: {message}");
        }
    }
}
