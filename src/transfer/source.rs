//! Where the bytes come from: a file on disk or bytes in memory, opened anew for each attempt.
//!
//! A file that was just touched is left to settle, and one whose size, mtime or inode changed while it was
//! read is reported as changed: a key must stand for content that existed at one moment. Only regular
//! files are opened, and of a source beneath a root only those that no link or `..` leads to from outside: what asks
//! for a file of a volume may not be what may read the rest of the pod.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

pub use self::error::SourceError;
use self::error::UNSIZED;
pub(super) use self::folder::Folder;
use self::place::{Place, Stamp};
use self::settle::Memory;

mod error;
mod explain;
mod folder;
mod place;
mod settle;
mod walk;

/// How much of the beginning is looked at to tell the content type.
const HEAD: usize = 8 * 1024;
/// How much is read at once to be hashed.
const CHUNK: usize = 64 * 1024;

/// Something that can be opened for one attempt after another.
#[derive(Clone, Debug)]
pub struct Source(Content);

#[derive(Clone, Debug)]
enum Content {
    Bytes(Bytes),
    File {
        place: Place,
        /// What has been seen of it, by all clones; `None` if it needs no settling.
        memory: Option<Arc<Memory>>,
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
    File { file: File, place: Place, stamp: Stamp },
}

impl Source {
    /// Bytes in memory.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self(Content::Bytes(bytes.into()))
    }

    /// The file at a path, wherever it leads.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::file_or(path, "")
    }

    /// The same, with what to add to the error if no file is there.
    pub fn file_or(path: impl Into<PathBuf>, hint: &str) -> Self {
        Self::at(Place::Anywhere { path: path.into(), hint: hint.to_owned() })
    }

    /// The file at `path` in the folder `root`, and never one outside of it.
    ///
    /// Symbolic links are followed as long as they stay beneath `root`; an absolute link never does, even if it
    /// names a path of this volume: it means another file wherever the volume is mounted elsewhere. Other file systems
    /// that are mounted beneath `root` belong to it.
    pub fn beneath(root: impl Into<PathBuf>, path: &str) -> Self {
        Self::at(Place::Beneath { root: root.into(), path: path.to_owned() })
    }

    fn at(place: Place) -> Self {
        Self(Content::File { place, memory: Some(Arc::default()) })
    }

    /// The same source, of which it is known that nobody is writing to it.
    #[must_use]
    pub fn settled(self) -> Self {
        Self(match self.0 {
            Content::File { place, .. } => Content::File { place, memory: None },
            bytes @ Content::Bytes(_) => bytes,
        })
    }

    /// Waits until the source has settled or cannot be sent, which opening it then tells.
    ///
    /// Opening waits by itself; this lets many sources settle at the same time before the first is opened.
    pub async fn settle(&self) {
        // Opening looks again, so that an error here is not lost.
        let _ = self.left_alone().await;
    }

    async fn left_alone(&self) -> Result<(), SourceError> {
        match &self.0 {
            Content::File { place, memory: Some(memory) } => memory.settle(place).await,
            _ => Ok(()),
        }
    }

    /// Opens the source, once it has settled.
    pub async fn open(&self) -> Result<Opened, SourceError> {
        self.left_alone().await?;
        match &self.0 {
            Content::Bytes(bytes) => {
                let head = bytes[..bytes.len().min(HEAD)].to_vec();
                Ok(Opened { reader: Reader::Bytes(bytes.clone()), size: bytes.len() as u64, head })
            }
            Content::File { place, .. } => Opened::file(place),
        }
    }
}

impl Opened {
    fn file(place: &Place) -> Result<Self, SourceError> {
        let (file, metadata) = place.hold()?.open(place)?;
        let size = metadata.len();
        let reader = Reader::File { file, place: place.clone(), stamp: Stamp::of(&metadata) };
        let mut opened = Self { reader, size, head: Vec::new() };
        let mut head = vec![0; HEAD.min(usize::try_from(size).unwrap_or(HEAD))];
        match opened.read_exact_at(&mut head, 0) {
            Err(SourceError::Changed(_)) => return Err(opened.changed_or_unsized(place)),
            read => read?,
        }
        if opened.read_exact_at(&mut [0], size).is_ok() {
            return Err(opened.changed_or_unsized(place));
        }
        opened.head = head;
        Ok(opened)
    }

    /// Reading gave more or less than the size. If nothing has changed, the size is none.
    fn changed_or_unsized(&self, place: &Place) -> SourceError {
        match self.check_unchanged() {
            Ok(()) => SourceError::NotAFile { path: place.show(), kind: UNSIZED },
            Err(changed) => changed,
        }
    }

    /// The size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The first bytes, at most 8 KiB.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The SHA-256 of the whole, which others may run meanwhile; whoever drops it ends it.
    pub async fn sha256(&self) -> Result<[u8; 32], SourceError> {
        let (mut hash, mut buffer, mut offset) = (Sha256::new(), vec![0; CHUNK], 0);
        while offset < self.size {
            let length = usize::try_from(self.size - offset).unwrap_or(CHUNK).min(CHUNK);
            self.read_exact_at(&mut buffer[..length], offset)?;
            hash.update(&buffer[..length]);
            offset += length as u64;
            tokio::task::yield_now().await;
        }
        self.check_unchanged()?;
        Ok(hash.finalize().into())
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
            Reader::File { file, place, .. } => {
                file.read_exact_at(buffer, offset).map_err(|error| match error.kind() {
                    ErrorKind::UnexpectedEof => SourceError::Changed(place.show()),
                    _ => place.failed(error),
                })
            }
        }
    }

    /// Whether what was read is still what is there: the open file and the one now at its path.
    pub fn check_unchanged(&self) -> Result<(), SourceError> {
        let Reader::File { file, place, stamp } = &self.reader else { return Ok(()) };
        let still_open = file.metadata().is_ok_and(|metadata| Stamp::of(&metadata) == *stamp);
        if still_open && place.hold().is_ok_and(|held| held.stamp() == *stamp) {
            Ok(())
        } else {
            Err(SourceError::Changed(place.show()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use tokio::time::Instant;

    use super::place::LARGEST_PUT;
    use super::settle::{SETTLE, SETTLE_LIMIT};
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
        Source::file(path).open().await
    }

    #[tokio::test]
    async fn a_file_gives_its_size_and_beginning() {
        let file = aged_file(&[7; 10_000]);
        let opened = open(file.path()).await.unwrap();
        assert_eq!((opened.size(), opened.head().len()), (10_000, HEAD));
        opened.check_unchanged().unwrap();
    }

    fn fresh_file() -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"half").unwrap();
        // Fresh for as long as the test runs, as with another host's clock.
        file.as_file().set_modified(SystemTime::now() + Duration::from_hours(1)).unwrap();
        file
    }

    /// How long it takes to open a source, on the paused clock.
    async fn wait_of(source: &Source) -> Duration {
        let begun = Instant::now();
        source.open().await.unwrap();
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_fresh_file_is_left_to_settle() {
        let file = fresh_file();
        assert!(wait_of(&Source::file(file.path())).await >= SETTLE, "two looks that agree");
        age(&file);
        assert!(wait_of(&Source::file(file.path())).await < SETTLE, "an old file is not waited for");
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_settled_is_not_waited_for_again_until_it_changes() {
        let file = fresh_file();
        let source = Source::file(file.path());
        let clone = source.clone();
        assert!(wait_of(&source).await >= SETTLE);
        assert!(wait_of(&source).await < SETTLE, "the second attempt");
        assert!(wait_of(&clone).await < SETTLE, "an attempt by a clone");
        file.as_file().set_len(2).unwrap();
        assert!(wait_of(&clone).await >= SETTLE, "after a change");
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_long_after_a_first_look_does_not_wait() {
        let file = fresh_file();
        let source = Source::file(file.path());
        let look = tokio::time::timeout(Duration::from_secs(1), source.settle());
        assert!(look.await.is_err(), "the look ends before the file has settled");
        tokio::time::sleep(SETTLE).await;
        assert!(wait_of(&source).await < SETTLE);
    }

    #[tokio::test(start_paused = true)]
    async fn many_sources_settle_in_the_time_of_one() {
        let files: Vec<_> = (0..8).map(|_| fresh_file()).collect();
        let sources: Vec<_> = files.iter().map(|file| Source::file(file.path())).collect();
        let begun = Instant::now();
        futures::future::join_all(sources.iter().map(Source::settle)).await;
        assert!((SETTLE..SETTLE * 2).contains(&begun.elapsed()));
        for source in &sources {
            assert!(wait_of(source).await < SETTLE);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_needs_no_settling_never_waits() {
        let file = fresh_file();
        let source = Source::file(file.path()).settled();
        let begun = Instant::now();
        source.settle().await;
        source.open().await.unwrap();
        assert!(begun.elapsed() < SETTLE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_written_all_the_time_is_given_up_after_a_minute() {
        let mut file = fresh_file();
        let source = Source::file(file.path());
        let begun = Instant::now();
        let writing = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                file.write_all(b"more").unwrap();
            }
        };
        let error = tokio::select! {
            result = source.open() => result.unwrap_err(),
            () = writing => unreachable!("it has no end"),
        };
        assert!(matches!(error, SourceError::Changed(_)), "{error}");
        assert!((SETTLE_LIMIT..SETTLE_LIMIT * 2).contains(&begun.elapsed()));
    }

    #[tokio::test(start_paused = true)]
    async fn settling_ends_where_there_is_nothing_to_send() {
        let folder = tempfile::tempdir().unwrap();
        let begun = Instant::now();
        Source::file(folder.path()).settle().await;
        Source::file(folder.path().join("none")).settle().await;
        assert!(begun.elapsed() < SETTLE);
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
        assert!(matches!(open(&folder.path().join("none")).await, Err(SourceError::NotFound { .. })));
        assert!(matches!(open(&socket.join("below")).await, Err(SourceError::NotFound { .. })));
    }

    #[tokio::test]
    async fn more_than_one_put_can_take_is_refused() {
        let file = aged_file(b"");
        file.as_file().set_len(LARGEST_PUT + 1).unwrap();
        age(&file);
        assert!(matches!(open(file.path()).await, Err(SourceError::TooLarge(_))));
    }
}
