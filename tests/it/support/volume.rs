//! A volume as a tenant might fill it, with a canary beside it, and ways to look at what opening its files says.
//!
//! It says nothing of what ought to happen.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fileupload_operator::transfer::{Source, SourceError};
use tempfile::TempDir;

use crate::support::thread;

/// What every file inside holds.
pub(crate) const INSIDE: &[u8] = b"inside";
const CANARY: &[u8] = b"canary";

/// A volume that looks as if it was mounted, and a canary beside it.
pub(crate) struct Volume(TempDir);

impl Volume {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Others may enter: what is closed to them is up to each test.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir_all(folder.path().join("volume/folder")).unwrap();
        fs::create_dir(folder.path().join("outside")).unwrap();
        fs::write(folder.path().join("outside/canary"), CANARY).unwrap();
        let volume = Self(folder);
        volume.write("inside");
        volume.write("folder/inside");
        volume
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.0.path().join("volume")
    }

    /// The folder that holds the volume and what is beside it.
    pub(crate) fn around(&self) -> &Path {
        self.0.path()
    }

    /// A file beside the volume whose content nobody may get.
    pub(crate) fn canary(&self) -> PathBuf {
        self.0.path().join("outside/canary")
    }

    /// A file inside, made old.
    pub(crate) fn write(&self, path: &str) -> PathBuf {
        let path = self.root().join(path);
        fs::write(&path, INSIDE).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        path
    }

    pub(crate) fn link(&self, path: &str, target: impl AsRef<Path>) {
        symlink(target, self.root().join(path)).unwrap();
    }

    pub(crate) fn open(&self, path: &str) -> Result<Vec<u8>, SourceError> {
        open(self.root(), path)
    }
}

/// Runs what waits on a runtime of this thread, whose helpers have this thread's user and system calls.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
}

/// The content of a small file.
pub(crate) fn open(root: impl Into<PathBuf>, path: &str) -> Result<Vec<u8>, SourceError> {
    block_on(Source::beneath(root, path).settled().open()).map(|opened| opened.head().to_vec())
}

/// Runs the same with openat2 and without.
pub(crate) fn both(work: impl Fn() + Send + Sync) {
    assert_eq!(thread::openat2_answers(), Ok(()), "these tests need a kernel that has it");
    work();
    thread::without_openat2(work);
}

/// The message of a refusal of a certain kind.
pub(crate) fn refusal(result: Result<Vec<u8>, SourceError>, kind: &str) -> String {
    let error = result.unwrap_err();
    assert_eq!(kind_of(&error), kind, "{error}");
    error.to_string()
}

pub(crate) fn kind_of(error: &SourceError) -> &'static str {
    match error {
        SourceError::Escapes { .. } => "escapes",
        SourceError::NotAFile { .. } => "not a file",
        SourceError::NotFound { .. } => "not found",
        SourceError::PermissionDenied { .. } => "denied",
        SourceError::Changed(_) => "changed",
        _ => "another",
    }
}
