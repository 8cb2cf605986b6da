//! One connection: requests one after the other, their bodies counted and, on demand, hashed.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use std::sync::Arc;

use anyhow::bail;
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::head::{self, Head};
use super::routes::{Route, answer, multipart, stored, ticket};
use super::tally::{Tally, own_cpu};
use crate::options::SinkOptions;

/// How much is read at once.
const CHUNK: usize = 256 * 1024;
/// How long to listen for a body that nobody asked for.
const AFTERMATH: Duration = Duration::from_secs(1);

/// What all connections share.
pub(crate) struct Shared {
    options: SinkOptions,
    store: SocketAddr,
    tickets: AtomicUsize,
    hash: AtomicBool,
    tally: Mutex<Tally>,
}

impl Shared {
    pub(crate) fn new(options: SinkOptions, store: SocketAddr) -> Self {
        Self { options, store, tickets: AtomicUsize::new(0), hash: AtomicBool::new(false), tally: Mutex::default() }
    }

    /// What has arrived since the last time; from now on with or without SHA-256.
    pub(crate) fn take(&self, hash: bool) -> Tally {
        self.hash.store(hash, Ordering::Relaxed);
        Tally { cpu: own_cpu(), ..self.with(std::mem::take) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Tally) -> T) -> T {
        act(&mut self.tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

pub(crate) struct Connection {
    tls: TlsStream<TcpStream>,
    shared: Arc<Shared>,
    /// What was read and not used yet: `buffer[begin..end]`.
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
}

impl Connection {
    pub(crate) fn new(tls: TlsStream<TcpStream>, shared: Arc<Shared>) -> Self {
        shared.with(|tally| tally.connections += 1);
        Self { tls, shared, buffer: vec![0; 16 * 1024], begin: 0, end: 0 }
    }

    pub(crate) async fn serve(mut self) -> anyhow::Result<()> {
        while let Some(head) = self.head().await? {
            let route = Route::of(&head);
            if self.shared.options.refuse && matches!(route, Route::Put | Route::Part) {
                return self.refuse().await;
            }
            if head.asks {
                self.say("HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
            let answer = match route {
                Route::Presign => self.presign(&head).await?,
                Route::Put | Route::Part => self.put(route, &head).await?,
                Route::Unknown => bail!(self.strange(&format!("{} {}", head.method, head.path))),
                _ => {
                    self.body(head.length, |_| {}).await?;
                    multipart(route, &head)
                }
            };
            self.say(&answer).await?;
            if head.closes {
                break;
            }
        }
        Ok(self.tls.shutdown().await?)
    }

    async fn say(&mut self, text: &str) -> std::io::Result<()> {
        self.tls.write_all(text.as_bytes()).await?;
        self.tls.flush().await
    }

    fn strange(&self, what: &str) -> String {
        self.shared.with(|tally| tally.strange.push(what.to_owned()));
        what.to_owned()
    }

    /// The next head; `None` where the connection ends.
    async fn head(&mut self) -> anyhow::Result<Option<Head>> {
        loop {
            if let Some(length) = head::end(&self.buffer[self.begin..self.end]) {
                let parsed = Head::parse(&self.buffer[self.begin..self.begin + length]);
                self.begin += length;
                return parsed.map(Some).map_err(|error| error.context(self.strange("a head that cannot be read")));
            }
            if self.begin == self.end {
                (self.begin, self.end) = (0, 0);
            }
            if self.end == self.buffer.len() {
                bail!(self.strange("a head of more than 16 KiB"));
            }
            match self.tls.read(&mut self.buffer[self.end..]).await? {
                0 => return Ok(None),
                read => self.end += read,
            }
        }
    }

    /// Hands over exactly `length` bytes.
    async fn body(&mut self, length: u64, mut take: impl FnMut(&[u8])) -> anyhow::Result<()> {
        let mut left = length;
        if left > CHUNK as u64 && self.buffer.len() < CHUNK {
            self.buffer.resize(CHUNK, 0);
        }
        while left > 0 {
            if self.begin == self.end {
                (self.begin, self.end) = (0, 0);
                match self.tls.read(&mut self.buffer).await? {
                    0 => bail!("the body ended {left} bytes early"),
                    read => self.end = read,
                }
            }
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(self.end - self.begin);
            take(&self.buffer[self.begin..self.begin + now]);
            self.begin += now;
            left -= now as u64;
        }
        Ok(())
    }

    async fn presign(&mut self, head: &Head) -> anyhow::Result<String> {
        let mut request = Vec::new();
        self.body(head.length, |bytes| request.extend_from_slice(bytes)).await?;
        self.shared.with(|tally| tally.presigns += 1);
        let number = self.shared.tickets.fetch_add(1, Ordering::Relaxed);
        let ticket = ticket(&request, self.shared.store, number);
        ticket.map_or_else(|| bail!(self.strange("a presign request that is none")), Ok)
    }

    async fn put(&mut self, route: Route, head: &Head) -> anyhow::Result<String> {
        let mut hash = self.shared.hash.load(Ordering::Relaxed).then(Sha256::new);
        self.body(head.length, |bytes| {
            if let Some(hash) = &mut hash {
                hash.update(bytes);
            }
        })
        .await?;
        if self.shared.options.answer_after > 0 {
            tokio::time::sleep(Duration::from_millis(self.shared.options.answer_after)).await;
        }
        let length = head.decoded.unwrap_or(head.length);
        // What is wrapped in chunks or cut into parts is not the file's own hash.
        let whole = hash.filter(|_| head.decoded.is_none() && route == Route::Put);
        let sha256 = whole.map(|hash| HEXLOWER.encode(&hash.finalize()));
        self.shared.with(|tally| match route {
            Route::Part => tally.store_part(head.name(), length),
            _ => tally.store(head.name(), length, sha256),
        });
        Ok(stored())
    }

    /// Answers at once and then listens for what comes nevertheless.
    async fn refuse(mut self) -> anyhow::Result<()> {
        let mut after = self.end - self.begin;
        self.shared.with(|tally| tally.refused += 1);
        let body = "<Error><Code>PreconditionFailed</Code><Message>An object is there</Message></Error>";
        self.say(&answer("412 Precondition Failed", "Connection: close\r\n", body)).await?;
        let listen = async {
            while let Ok(read @ 1..) = self.tls.read(&mut self.buffer).await {
                after += read;
            }
        };
        let _ = tokio::time::timeout(AFTERMATH, listen).await;
        self.shared.with(|tally| tally.after_refusal += after as u64);
        Ok(())
    }
}
