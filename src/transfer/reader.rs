//! Reads a file for its PUT, and hashes it, on a thread of its own.
//!
//! A disk or a server of files that blocks so stops this one PUT and nobody else's, and where a second core is free,
//! reading and hashing go on while the connection encrypts. A file has a fixed number of buffers: each comes back once
//! the connection has let go of it, which is also what keeps the reader from running ahead.

use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::source::{Opened, SourceError};
use super::tuning::Tuning;

/// A part of the file, in order; the last one with the SHA-256 of all.
pub(super) type Part = Result<(Bytes, Option<[u8; 32]>), SourceError>;

/// Begins to read, in wide chunks if `wide` has a permit left. Dropping the receiver ends it.
pub(super) fn start(opened: Arc<Opened>, tuning: Tuning, wide: Arc<Semaphore>) -> UnboundedReceiver<Part> {
    let (parts, receiver) = unbounded_channel();
    tokio::task::spawn_blocking(move || {
        let is_large = opened.size() > tuning.chunk as u64;
        let permit = is_large.then(|| wide.try_acquire_owned().ok()).flatten();
        let chunk = if permit.is_some() { tuning.wide_chunk } else { tuning.chunk };
        if let Err(error) = read(&opened, Tuning { chunk, ..tuning }, &parts) {
            // Nobody may be listening any more.
            let _ = parts.send(Err(error));
        }
    });
    receiver
}

fn read(opened: &Opened, tuning: Tuning, parts: &UnboundedSender<Part>) -> Result<(), SourceError> {
    let (give, get) = mpsc::channel();
    for _ in 0..tuning.chunks.max(1) {
        let _ = give.send(Vec::new());
    }
    let (mut hash, mut offset) = (Sha256::new(), 0);
    while offset < opened.size() {
        // One sender is here, so that it waits rather than fails.
        let Ok(mut buffer) = get.recv() else { return Ok(()) };
        let left = opened.size() - offset;
        buffer.resize(usize::try_from(left).map_or(tuning.chunk, |left| left.min(tuning.chunk)), 0);
        opened.read_exact_at(&mut buffer, offset)?;
        offset += buffer.len() as u64;
        let chunk = Bytes::from_owner(Lent { buffer, give: give.clone() });
        if offset == opened.size() {
            update(&mut hash, &chunk, tuning);
            // The last chunk leaves only if the file is still the one that was announced.
            opened.check_unchanged()?;
            let digest = if tuning.hash { hash.finalize().into() } else { [0; 32] };
            let _ = parts.send(Ok((chunk, Some(digest))));
            return Ok(());
        }
        // Sent before it is hashed, so that the connection need not wait for that.
        if parts.send(Ok((chunk.clone(), None))).is_err() {
            return Ok(());
        }
        update(&mut hash, &chunk, tuning);
    }
    Ok(())
}

fn update(hash: &mut Sha256, chunk: &[u8], tuning: Tuning) {
    if tuning.hash {
        hash.update(chunk);
    }
}

/// A buffer that goes back to the reader.
struct Lent {
    buffer: Vec<u8>,
    give: Sender<Vec<u8>>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // The reader may have ended.
        let _ = self.give.send(mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::source::Source;
    use super::*;

    #[tokio::test]
    async fn a_file_arrives_whole_and_hashed_with_no_more_buffers_than_it_has() {
        let content: Vec<u8> = (0..1_000_003_u32).map(|number| number.to_le_bytes()[0]).collect();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&content).unwrap();
        let opened = Arc::new(Source::file(file.path()).settled().open().await.unwrap());
        let tuning = Tuning { chunk: 1_000, wide_chunk: 10_000, chunks: 3, ..Tuning::default() };
        let wide = Arc::new(Semaphore::new(1));
        let mut parts = start(Arc::clone(&opened), tuning, Arc::clone(&wide));
        let (mut held, mut read, mut digest) = (Vec::new(), Vec::new(), None);
        while let Some(part) = parts.recv().await {
            let (chunk, last) = part.unwrap();
            assert!(chunk.len() == 10_000 || last.is_some());
            read.extend_from_slice(&chunk);
            digest = last;
            held.push(chunk);
            if held.len() == 3 {
                // No buffer is left to read into until one comes back.
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                assert!(parts.try_recv().is_err());
                // While the only permit is taken, another file is read in small chunks.
                let mut other = start(Arc::clone(&opened), tuning, Arc::clone(&wide));
                assert_eq!(other.recv().await.unwrap().unwrap().0.len(), 1_000);
                held.clear();
            }
        }
        assert!(read == content);
        assert_eq!(digest.unwrap(), <[u8; 32]>::from(Sha256::digest(&content)));
    }
}
