//! Files to upload, made old: one that was just written is left to settle for seconds.
//!
//! They live in a folder that goes with its owner.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// A folder of old files.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    /// A file with this content.
    pub(crate) fn with(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder().join(name);
        std::fs::write(&path, content).unwrap();
        age(&path);
        path
    }

    /// A file of so many zero bytes that takes no room on the disk.
    pub(crate) fn sparse(&self, name: &str, size: u64) -> PathBuf {
        let path = self.folder().join(name);
        File::create(&path).unwrap().set_len(size).unwrap();
        age(&path);
        path
    }
}

fn age(path: &Path) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_mins(2)).unwrap();
}

/// So many bytes of which no two neighbours are alike.
pub(crate) fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|index| u8::try_from((index ^ (index >> 8)) & 0xff).unwrap()).collect()
}

/// Lower-case hex, as `sha256sum` prints it.
pub(crate) fn sha256(content: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(content))
}
