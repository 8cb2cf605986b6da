//! Where the bytes come from: a file on disk or bytes in memory, opened anew for each attempt.
//!
//! A file that was just touched is left to settle, and one whose size, mtime or inode changed while it was
//! read is reported as changed: a key must stand for content that existed at one moment. Only regular
//! files are opened; opening a pipe never blocks.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use thiserror::Error;

/// A file touched more recently than this may still be being written.
const FRESH: Duration = Duration::from_secs(10);
/// Two looks this far apart must agree.
const SETTLE: Duration = Duration::from_secs(5);
/// A file that has not settled by then is given up for this attempt.
const SETTLE_LIMIT: Duration = Duration::from_mins(1);
/// How much of the beginning is looked at to tell the content type.
const HEAD: usize = 8 * 1024;
/// The most that one S3 PUT takes, in bytes (5 GiB, which S3's documentation calls 5 GB).
const LARGEST_PUT: u64 = 5 * 1024 * 1024 * 1024;

/// Something that can be opened for one attempt after another.
#[derive(Clone, Debug)]
pub enum Source {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A file, by its path.
    File(PathBuf),
}

/// Why a source cannot be sent.
#[derive(Debug, Error)]
pub enum SourceError {
    /// Nothing is there.
    #[error("{0}: no such file")]
    NotFound(String),
    /// A directory, socket, pipe or device.
    #[error("{path}: is a {kind}, not a regular file")]
    NotAFile {
        /// What was to be opened.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// There, but not for us.
    #[error("{path}: permission denied: it belongs to uid {owner} with mode {mode:04o}, and we run as uid {us}")]
    PermissionDenied {
        /// What was to be opened.
        path: String,
        /// The owner's uid.
        owner: u32,
        /// The permission bits.
        mode: u32,
        /// Our own effective uid.
        us: u32,
    },
    /// Not even its owner can be read, as with a folder that may not be entered.
    #[error("{0}: permission denied")]
    Unreachable(String),
    /// Larger than one PUT can be.
    #[error("{0}: larger than 5 GiB, the most that one S3 PUT takes")]
    TooLarge(String),
    /// Written to, replaced or deleted while it was read.
    #[error("{0}: changed while it was read; it is sent once it is left alone")]
    Changed(String),
    /// The disk or mount failed.
    #[error("{path}: cannot be read: {error}")]
    Read {
        /// What was to be read.
        path: String,
        /// What the system said.
        error: io::Error,
    },
}

/// A source that is open, with the size it had then.
#[derive(Debug)]
pub struct Opened {
    reader: Reader,
    size: u64,
    head: Vec<u8>,
}

#[derive(Debug)]
enum Reader {
    Bytes(Bytes),
    File { file: File, path: PathBuf, stamp: Stamp },
}

/// What must not change while a file is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stamp {
    size: u64,
    modified: (i64, i64),
    inode: (u64, u64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            inode: (metadata.dev(), metadata.ino()),
        }
    }
}

impl Source {
    /// Opens the source, once it has settled.
    pub async fn open(&self) -> Result<Opened, SourceError> {
        match self {
            Self::Bytes(bytes) => {
                let head = bytes[..bytes.len().min(HEAD)].to_vec();
                Ok(Opened { reader: Reader::Bytes(bytes.clone()), size: bytes.len() as u64, head })
            }
            Self::File(path) => {
                settle(path).await?;
                open_file(path)
            }
        }
    }
}

impl Opened {
    /// The size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The first bytes, at most 8 KiB.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Fills `buffer` from `offset` on. The source ending early is [`SourceError::Changed`].
    pub(super) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), SourceError> {
        match &self.reader {
            Reader::Bytes(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let slice = bytes.get(start..start.saturating_add(buffer.len()));
                buffer.copy_from_slice(slice.ok_or_else(|| SourceError::Changed("the source".into()))?);
                Ok(())
            }
            Reader::File { file, path, .. } => file.read_exact_at(buffer, offset).map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => SourceError::Changed(show(path)),
                _ => SourceError::Read { path: show(path), error },
            }),
        }
    }

    /// Whether what was read is still what is there: the open file and the one now at its path.
    pub fn check_unchanged(&self) -> Result<(), SourceError> {
        let Reader::File { file, path, stamp } = &self.reader else { return Ok(()) };
        let same = |metadata: io::Result<Metadata>| metadata.is_ok_and(|metadata| Stamp::of(&metadata) == *stamp);
        if same(file.metadata()) && same(std::fs::metadata(path)) {
            Ok(())
        } else {
            Err(SourceError::Changed(show(path)))
        }
    }
}

async fn settle(path: &Path) -> Result<(), SourceError> {
    let mut before = examine(path)?;
    let mut waited = Duration::ZERO;
    while before.modified().is_ok_and(is_fresh) {
        tokio::time::sleep(SETTLE).await;
        waited += SETTLE;
        let now = examine(path)?;
        if Stamp::of(&now) == Stamp::of(&before) {
            return Ok(());
        }
        if waited >= SETTLE_LIMIT {
            return Err(SourceError::Changed(show(path)));
        }
        before = now;
    }
    Ok(())
}

/// A time in the future, from another host's clock, counts as fresh.
fn is_fresh(modified: SystemTime) -> bool {
    SystemTime::now().duration_since(modified).unwrap_or_default() < FRESH
}

/// The metadata of a regular file of a size that can be sent.
fn examine(path: &Path) -> Result<Metadata, SourceError> {
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => SourceError::NotFound(show(path)),
        ErrorKind::PermissionDenied => SourceError::Unreachable(show(path)),
        _ => SourceError::Read { path: show(path), error },
    })?;
    check(path, &metadata)?;
    Ok(metadata)
}

fn check(path: &Path, metadata: &Metadata) -> Result<(), SourceError> {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    let kind = match () {
        () if kind.is_file() => None,
        () if kind.is_dir() => Some("directory"),
        () if kind.is_socket() => Some("socket"),
        () if kind.is_fifo() => Some("named pipe"),
        () => Some("device"),
    };
    match kind {
        Some(kind) => Err(SourceError::NotAFile { path: show(path), kind }),
        None if metadata.len() > LARGEST_PUT => Err(SourceError::TooLarge(show(path))),
        None => Ok(()),
    }
}

fn open_file(path: &Path) -> Result<Opened, SourceError> {
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path).map_err(|error| refused(path, error))?;
    let metadata = file.metadata().map_err(|error| SourceError::Read { path: show(path), error })?;
    check(path, &metadata)?;
    let size = metadata.len();
    let reader = Reader::File { file, path: path.to_owned(), stamp: Stamp::of(&metadata) };
    let mut opened = Opened { reader, size, head: Vec::new() };
    let mut head = vec![0; HEAD.min(usize::try_from(size).unwrap_or(HEAD))];
    opened.read_exact_at(&mut head, 0)?;
    opened.head = head;
    Ok(opened)
}

fn refused(path: &Path, error: io::Error) -> SourceError {
    match (error.kind(), std::fs::metadata(path)) {
        (ErrorKind::NotFound, _) => SourceError::NotFound(show(path)),
        (ErrorKind::PermissionDenied, Ok(metadata)) => SourceError::PermissionDenied {
            path: show(path),
            owner: metadata.uid(),
            mode: metadata.mode() & 0o7777,
            us: rustix::process::geteuid().as_raw(),
        },
        (ErrorKind::PermissionDenied, Err(_)) => SourceError::Unreachable(show(path)),
        _ => SourceError::Read { path: show(path), error },
    }
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn aged_file(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        age(&file);
        file
    }

    fn age(file: &tempfile::NamedTempFile) {
        file.as_file().set_modified(SystemTime::now() - Duration::from_mins(1)).unwrap();
    }

    async fn open(path: &Path) -> Result<Opened, SourceError> {
        Source::File(path.to_owned()).open().await
    }

    #[tokio::test]
    async fn a_file_gives_its_size_and_beginning() {
        let file = aged_file(&[7; 10_000]);
        let opened = open(file.path()).await.unwrap();
        assert_eq!((opened.size(), opened.head().len()), (10_000, HEAD));
        opened.check_unchanged().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_fresh_file_is_left_to_settle() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"half").unwrap();
        let begun = tokio::time::Instant::now();
        open(file.path()).await.unwrap();
        assert!(begun.elapsed() >= SETTLE, "two looks that agree");
        age(&file);
        let begun = tokio::time::Instant::now();
        open(file.path()).await.unwrap();
        assert!(begun.elapsed() < SETTLE, "an old file is not waited for");
    }

    #[tokio::test]
    async fn every_kind_of_change_is_noticed() {
        let changes: [fn(&tempfile::NamedTempFile); 4] = [
            |file| file.as_file().set_len(3).unwrap(),
            |file| file.as_file().write_all_at(b"X", 0).unwrap(),
            |file| std::fs::remove_file(file.path()).unwrap(),
            |file| {
                let other = file.path().with_extension("other");
                std::fs::write(&other, "12345").unwrap();
                std::fs::rename(other, file.path()).unwrap();
            },
        ];
        for (number, change) in changes.iter().enumerate() {
            let file = aged_file(b"12345");
            let opened = open(file.path()).await.unwrap();
            change(&file);
            assert!(matches!(opened.check_unchanged(), Err(SourceError::Changed(_))), "change {number}");
        }
    }

    #[tokio::test]
    async fn a_file_that_shrank_cannot_be_read_to_its_old_end() {
        let file = aged_file(b"12345");
        let opened = open(file.path()).await.unwrap();
        file.as_file().set_len(2).unwrap();
        assert!(matches!(opened.read_exact_at(&mut [0; 5], 0), Err(SourceError::Changed(_))));
    }

    #[tokio::test]
    async fn what_is_no_regular_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for (path, kind) in [(folder.path(), "directory"), (&socket, "socket"), (Path::new("/dev/null"), "device")] {
            let error = open(path).await.unwrap_err().to_string();
            assert!(error.contains(&format!("is a {kind}, not a regular file")), "{error}");
        }
        assert!(matches!(open(&folder.path().join("none")).await, Err(SourceError::NotFound(_))));
        assert!(matches!(open(&socket.join("below")).await, Err(SourceError::NotFound(_))));
    }

    #[tokio::test]
    async fn more_than_one_put_can_take_is_refused() {
        let file = aged_file(b"");
        file.as_file().set_len(LARGEST_PUT + 1).unwrap();
        age(&file);
        assert!(matches!(open(file.path()).await, Err(SourceError::TooLarge(_))));
    }
}
