//! The connection beneath hyper, watched.
//!
//! It counts the body bytes that really came through the socket, sees (and can swallow) hyper's own
//! `100 Continue`, and can end the connection with RST, end its own side of it, or write 1xx answers between those of
//! hyper. It never changes a byte of a request or an answer: tests rely on what it reports being what a client did.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::record::Meter;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The handle a handler has on its connection.
#[derive(Clone, Default)]
pub(crate) struct Line(Arc<Mutex<Watch>>);

#[derive(Default)]
struct Watch {
    /// How much of the blank line that ends a head has been seen.
    blank: usize,
    in_body: bool,
    /// Body bytes seen before the handler started.
    early: u64,
    meter: Option<Meter>,
    mute_continue: bool,
    reset: bool,
    /// What is to be written beside hyper.
    unsaid: Vec<u8>,
    end: End,
}

/// How far the server is with ending its side of the connection.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    Asked,
    Ended,
}

impl Line {
    /// Everything after the head seen last is the body of this call.
    pub(crate) fn begin(&self, meter: Meter) {
        let mut watch = self.watch();
        let early = std::mem::take(&mut watch.early);
        meter.update(|call| call.body_received += early);
        watch.meter = Some(meter);
        watch.mute_continue = false;
    }

    /// The call's body has been read; what comes next is another head.
    pub(crate) fn expect_head(&self) {
        let mut watch = self.watch();
        watch.in_body = false;
        watch.blank = 0;
    }

    pub(crate) fn mute_continue(&self) {
        self.watch().mute_continue = true;
    }

    /// The connection ends with RST as soon as it is dropped.
    pub(crate) fn reset(&self) {
        self.watch().reset = true;
    }

    /// Writes this between what hyper writes.
    pub(crate) async fn say(&self, text: &str) {
        self.watch().unsaid.extend_from_slice(text.as_bytes());
        // hyper flushes each time it is polled, which is in this very task.
        while !self.watch().unsaid.is_empty() {
            tokio::task::yield_now().await;
        }
    }

    /// Ends this side of the connection.
    pub(crate) async fn say_no_more(&self) {
        self.watch().end = End::Asked;
        while self.watch().end != End::Ended {
            tokio::task::yield_now().await;
        }
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    fn received(&mut self, mut bytes: &[u8]) {
        while !self.in_body {
            let Some((first, rest)) = bytes.split_first() else { return };
            bytes = rest;
            self.blank = match (self.blank, first) {
                (seen @ (0 | 2), b'\r') | (seen @ (1 | 3), b'\n') => seen + 1,
                (_, b'\r') => 1,
                _ => 0,
            };
            if self.blank == 4 {
                self.in_body = true;
                self.meter = None;
            }
        }
        let count = bytes.len() as u64;
        match &self.meter {
            Some(meter) if count > 0 => meter.update(|call| call.body_received += count),
            Some(_) => (),
            None => self.early += count,
        }
    }
}

pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A stream whose [`Line`] sees what passes.
pub(crate) struct Wire {
    stream: Stream,
    line: Line,
}

impl Wire {
    pub(crate) fn new(stream: Stream, line: Line) -> Self {
        Self { stream, line }
    }
}

impl Wire {
    /// Does what a handler asked the line for.
    fn poll_aside(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut watch = self.line.watch();
        while !watch.unsaid.is_empty() {
            let written = ready!(match &mut self.stream {
                Stream::Plain(stream) => Pin::new(stream).poll_write(cx, &watch.unsaid),
                Stream::Tls(stream) => Pin::new(stream).poll_write(cx, &watch.unsaid),
            })?;
            watch.unsaid.drain(..written);
        }
        if watch.end == End::Asked {
            ready!(match &mut self.stream {
                Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
                Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            })?;
            watch.end = End::Ended;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.line.watch().reset {
            let socket = match &self.stream {
                Stream::Plain(socket) => socket,
                Stream::Tls(stream) => stream.get_ref().0,
            };
            // A socket that is already gone needs no reset.
            let _ = socket.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        })?;
        self.line.watch().received(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let is_continue = buf.starts_with(CONTINUE);
        if is_continue && self.line.watch().mute_continue {
            return Poll::Ready(Ok(CONTINUE.len()));
        }
        let written = ready!(match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        })?;
        if is_continue && let Some(meter) = &self.line.watch().meter {
            meter.update(|call| call.continue_sent = true);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_aside(cx))?;
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
