//! What is there before anything is measured: the files, in a folder that ends with the bench.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// Files of one size.
pub(crate) struct Files {
    pub(crate) folder: PathBuf,
    /// Name, size and SHA-256 of each.
    pub(crate) files: Vec<Expected>,
}

/// What must arrive.
pub(crate) struct Expected {
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) sha256: String,
}

impl Files {
    pub(crate) fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.files.iter().map(|file| self.folder.join(&file.name))
    }

    pub(crate) fn only(&self) -> PathBuf {
        self.folder.join(&self.files[0].name)
    }
}

/// The folder of the whole bench.
pub(crate) struct Stage(TempDir);

impl Stage {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(TempDir::with_prefix("bench-transfer-")?))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes `count` files of `size` bytes each, no two alike, as old as settled files are.
    pub(crate) fn files(&self, count: usize, size: u64) -> anyhow::Result<Files> {
        let folder = self.path().join(format!("{count}-of-{size}"));
        fs::create_dir_all(&folder)?;
        let mut files = Vec::with_capacity(count);
        for number in 0..count {
            let name = format!("file-{number:05}.bin");
            let sha256 = write(&folder.join(&name), number as u64 + 1, size)?;
            files.push(Expected { name, size, sha256 });
        }
        Ok(Files { folder, files })
    }
}

fn write(path: &Path, seed: u64, size: u64) -> anyhow::Result<String> {
    let (mut file, mut hash, mut random) = (File::create(path)?, Sha256::new(), Random(seed));
    let mut left = size;
    let mut block = vec![0; usize::try_from(size).unwrap_or(usize::MAX).min(1 << 20)];
    while left > 0 {
        for word in block.chunks_exact_mut(8) {
            word.copy_from_slice(&random.next().to_le_bytes());
        }
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        file.write_all(&block[..now])?;
        hash.update(&block[..now]);
        left -= now as u64;
    }
    file.set_modified(SystemTime::now() - Duration::from_hours(1))?;
    Ok(HEXLOWER.encode(&hash.finalize()))
}

/// splitmix64: the same content in each run, and none that compresses.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
