//! Where the bytes come from: a file on disk or bytes in memory, opened anew for each attempt.
//!
//! A file that was just touched is left to settle, and one whose size, mtime or inode changed while it was
//! read is reported as changed: a key must stand for content that existed at one moment. Only regular
//! files are opened, and of a source beneath a root only those that no link or `..` leads to from outside: what asks
//! for a file of a volume may not be what may read the rest of the pod.

use std::fs::File;
use std::io::ErrorKind;
use std::mem;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

pub(crate) use self::disk::aside;
use self::disk::{blocked, on_disk};
pub use self::error::SourceError;
use self::error::UNSIZED;
pub(crate) use self::error::printable;
pub(super) use self::folder::Folder;
use self::place::{Held, Place, Stamp, Whose};
use self::settle::{Memory, is_fresh};

mod disk;
mod error;
mod explain;
mod folder;
mod looks;
mod place;
mod quick;
mod settle;
mod walk;

/// How much of the beginning is looked at to tell the content type.
const HEAD: usize = 8 * 1024;
/// Files up to this size are read whole when they are opened, so that they need no thread while they are sent.
const WHOLE: usize = 64 * 1024;
/// How much is read at once to be hashed.
const PART: usize = 1024 * 1024;

/// Something that can be opened for one attempt after another.
#[derive(Clone, Debug)]
pub struct Source(Content);

#[derive(Clone, Debug)]
enum Content {
    Bytes(Bytes),
    File {
        place: Arc<Place>,
        /// What has been seen of it, by all clones; `None` if it needs no settling.
        memory: Option<Arc<Memory>>,
    },
}

/// A source that is open, with the size it had then.
#[derive(Debug)]
pub struct Opened {
    reader: Reader,
    size: u64,
    /// All of it, if it is in memory: given so, or read at one moment.
    whole: Option<Bytes>,
    head: Bytes,
}

#[derive(Debug)]
enum Reader {
    Bytes(Bytes),
    File {
        file: File,
        place: Arc<Place>,
        stamp: Stamp,
    },
    /// A file on a disk that blocks until the channel ends. No test can have a real one.
    #[cfg(test)]
    Stuck(parking_lot::Mutex<std::sync::mpsc::Receiver<()>>, Arc<Place>),
}

impl Drop for Opened {
    /// Closes the file on another thread: a server of files may be asked, and not answer.
    fn drop(&mut self) {
        if let file @ Reader::File { .. } = mem::replace(&mut self.reader, Reader::Bytes(Bytes::new()))
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn_blocking(move || drop(file));
        }
    }
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
        Self::at(Place::Beneath { root: root.into(), path: path.to_owned(), whose: Whose::Volume })
    }

    /// Like [`Source::beneath`], in a folder that the command line names. An error then does not advise to change the
    /// `FileUpload`, as there is none.
    pub fn within(root: impl Into<PathBuf>, path: &str) -> Self {
        Self::at(Place::Beneath { root: root.into(), path: path.to_owned(), whose: Whose::Ours })
    }

    fn at(place: Place) -> Self {
        Self(Content::File { place: Arc::new(place), memory: Some(Arc::default()) })
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
        if let Content::File { place, memory: Some(memory) } = &self.0
            && (looks::are_awaited() || !memory.is_old(place))
        {
            // Opening looks again, so that an error here is not lost.
            let _ = memory.settle(place).await;
        }
    }

    /// Opens the source, once it has settled.
    pub async fn open(&self) -> Result<Opened, SourceError> {
        let (place, memory) = match &self.0 {
            Content::Bytes(bytes) => return Ok(Opened::in_memory(bytes.clone())),
            Content::File { place, memory } => (place, memory),
        };
        let quickly = match memory {
            Some(memory) => memory.open(place),
            None => quick::known(place).and_then(|held| held.read()),
        };
        if let Some(opened) = quickly {
            return Ok(opened);
        }
        if let Some(memory) = memory {
            // One call for both, as most files have settled long ago.
            let old = |place: &Place| {
                let held = place.hold()?;
                (!is_fresh(&held.stamp())).then(|| Opened::held(place, &held)).transpose()
            };
            if let Some(opened) = on_disk(place, old).await? {
                return Ok(opened);
            }
            memory.settle(place).await?;
        }
        on_disk(place, Opened::file).await
    }
}

impl Opened {
    fn in_memory(bytes: Bytes) -> Self {
        let (head, size) = (bytes.slice(..bytes.len().min(HEAD)), bytes.len() as u64);
        Self { reader: Reader::Bytes(bytes.clone()), size, whole: Some(bytes), head }
    }

    fn file(place: &Place) -> Result<Self, SourceError> {
        Self::held(place, &place.hold()?)
    }

    fn held(place: &Place, held: &Held) -> Result<Self, SourceError> {
        let (file, metadata) = held.open(place)?;
        let size = metadata.len();
        let reader = Reader::File { file, place: Arc::new(place.clone()), stamp: Stamp::of(&metadata) };
        let mut opened = Self { reader, size, whole: None, head: Bytes::new() };
        let mut first = vec![0; usize::try_from(size).ok().filter(|size| *size <= WHOLE).unwrap_or(HEAD)];
        match opened.read_exact_at(&mut first, 0) {
            Err(SourceError::Changed(_)) => return Err(opened.changed_or_unsized(place)),
            read => read?,
        }
        if opened.read_exact_at(&mut [0], size).is_ok() {
            return Err(opened.changed_or_unsized(place));
        }
        let first = Bytes::from(first);
        if first.len() as u64 == size {
            opened.check_unchanged()?;
            return Ok(Self::in_memory(first));
        }
        opened.head = first.slice(..first.len().min(HEAD));
        Ok(opened)
    }

    /// All of it, if it is in memory.
    pub(super) fn whole(&self) -> Option<&Bytes> {
        self.whole.as_ref()
    }

    /// The error for a source of which nothing can be read for a long time.
    pub(super) fn blocked(&self) -> Option<SourceError> {
        match &self.reader {
            Reader::Bytes(_) => None,
            Reader::File { place, .. } => Some(blocked(place)),
            #[cfg(test)]
            Reader::Stuck(_, place) => Some(blocked(place)),
        }
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

    /// The SHA-256 of the whole. Others run meanwhile.
    pub async fn sha256(self) -> Result<[u8; 32], SourceError> {
        let place = match (&self.whole, &self.reader) {
            (Some(bytes), _) | (None, Reader::Bytes(bytes)) => return Ok(Sha256::digest(bytes).into()),
            (None, Reader::File { place, .. }) => Arc::clone(place),
            #[cfg(test)]
            (None, Reader::Stuck(_, place)) => Arc::clone(place),
        };
        let (mut offset, opened) = (0, Arc::new(self));
        let mut hash = Sha256::new();
        while offset < opened.size {
            let (reads, mut before) = (Arc::clone(&opened), hash);
            // A part at a time, because each is to answer in time and nobody may wait for the whole any more.
            (hash, offset) = on_disk(&place, move |_| {
                let mut buffer = vec![0; usize::try_from(reads.size - offset).unwrap_or(PART).min(PART)];
                reads.read_exact_at(&mut buffer, offset)?;
                before.update(&buffer);
                Ok((before, offset + buffer.len() as u64))
            })
            .await?;
        }
        opened.unchanged().await?;
        Ok(hash.finalize().into())
    }

    /// Whether what was read is still what is there. What was read at one moment was checked then.
    pub async fn unchanged(self: &Arc<Self>) -> Result<(), SourceError> {
        match &self.reader {
            Reader::File { place, .. } if self.whole.is_none() => {
                let opened = Arc::clone(self);
                on_disk(place, move |_| opened.check_unchanged()).await
            }
            _ => Ok(()),
        }
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
            #[cfg(test)]
            Reader::Stuck(until, _) => {
                let _ = until.lock().recv();
                Ok(())
            }
        }
    }

    /// `size` zeros on a disk that answers once `until` has ended.
    #[cfg(test)]
    pub(super) fn stuck(size: u64, until: std::sync::mpsc::Receiver<()>) -> Self {
        let place = Place::Anywhere { path: "stuck".into(), hint: String::new() };
        Self { reader: Reader::Stuck(until.into(), Arc::new(place)), size, whole: None, head: Bytes::new() }
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
mod tests;
