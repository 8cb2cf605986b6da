//! A proxy on loopback that knows every name: it carries whatever it is asked for to this machine, and keeps a record.
//!
//! HTTP's CONNECT, with or without TLS, or SOCKS5. It says nothing of what ought to happen.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use cyberun_stub::{Options, Tls};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const DEADLINE: Duration = Duration::from_secs(20);

/// How a proxy behaves.
#[derive(Clone, Copy)]
pub(crate) struct Manners {
    /// How long it takes to answer.
    pub(crate) pause: Duration,
    /// What it answers to CONNECT.
    pub(crate) answer: &'static str,
    /// The user and password that it wants.
    pub(crate) user: Option<Login>,
}

/// A user and a password, and both as HTTP writes them.
#[derive(Clone, Copy)]
pub(crate) struct Login {
    pub(crate) user: &'static str,
    pub(crate) password: &'static str,
    pub(crate) base64: &'static str,
}

impl Default for Manners {
    fn default() -> Self {
        Self { pause: Duration::ZERO, answer: "200 OK", user: None }
    }
}

/// A proxy and what it was asked for.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    asked: watch::Receiver<Vec<String>>,
}

impl Proxy {
    /// One that speaks HTTP.
    pub(crate) async fn http(manners: Manners) -> Self {
        Self::start(move |stream, asked| async move { connect(stream, &asked, manners).await }).await
    }

    /// One that speaks HTTP over TLS; also its authority.
    pub(crate) async fn https(manners: Manners) -> (Self, String) {
        let tls = Tls::new(&Options::default()).unwrap();
        let (authority, acceptor) = (tls.ca_pem, tls.acceptor);
        let proxy = Self::start(move |stream, asked| {
            let accepted = acceptor.accept(stream);
            async move { connect(accepted.await.ok()?, &asked, manners).await }
        });
        (proxy.await, authority)
    }

    /// One that speaks SOCKS5.
    pub(crate) async fn socks(manners: Manners) -> Self {
        Self::start(move |stream, asked| async move { socks(stream, &asked, manners).await }).await
    }

    async fn start<F>(serve: impl Fn(TcpStream, Arc<watch::Sender<Vec<String>>>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Option<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, asked) = watch::channel(Vec::new());
        let sender = Arc::new(sender);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, Arc::clone(&sender)));
            }
        });
        Self { port, asked }
    }

    /// The targets it was asked for, as `host:port`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.borrow().clone()
    }

    /// Waits until it is asked for this target, after so many other times.
    pub(crate) async fn until_asked_again(&mut self, target: &str, before: usize) {
        let wait = self.asked.wait_for(|asked| asked.iter().skip(before).any(|known| known == target));
        let found = matches!(tokio::time::timeout(DEADLINE, wait).await, Ok(Ok(_)));
        assert!(found, "{target} was not asked for, but {:?}", self.asked());
    }
}

async fn connect(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    asked: &watch::Sender<Vec<String>>,
    manners: Manners,
) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap();
    asked.send_modify(|asked| asked.push(target.to_owned()));
    // The proxy's own slowness, which the test asks for.
    tokio::time::sleep(manners.pause).await;
    if manners.user.is_some_and(|login| !head.contains(&format!("Basic {}\r\n", login.base64))) {
        return client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n").await.ok();
    }
    client.write_all(format!("HTTP/1.1 {}\r\n\r\n", manners.answer).as_bytes()).await.ok()?;
    let port = target.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap();
    carry(client, port).await
}

async fn socks(mut client: TcpStream, asked: &watch::Sender<Vec<String>>, manners: Manners) -> Option<()> {
    let methods = usize::from({
        assert_eq!(client.read_u8().await.ok()?, 5, "version 5");
        client.read_u8().await.ok()?
    });
    let mut offered = vec![0; methods];
    client.read_exact(&mut offered).await.ok()?;
    let method = if manners.user.is_some() { 2 } else { 0 };
    if !offered.contains(&method) {
        return client.write_all(&[5, 0xff]).await.ok();
    }
    client.write_all(&[5, method]).await.ok()?;
    if let Some(login) = manners.user {
        client.read_u8().await.ok()?;
        let given = (short(&mut client).await?, short(&mut client).await?);
        let is_right = given == (login.user.to_owned(), login.password.to_owned());
        client.write_all(&[1, u8::from(!is_right)]).await.ok()?;
    }
    let mut request = [0; 4];
    client.read_exact(&mut request).await.ok()?;
    let host = match request[3] {
        1 => Ipv4Addr::from(client.read_u32().await.ok()?).to_string(),
        3 => short(&mut client).await?,
        other => panic!("address type {other}"),
    };
    let port = client.read_u16().await.ok()?;
    asked.send_modify(|asked| asked.push(format!("{host}:{port}")));
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.ok()?;
    carry(client, port).await
}

/// A text after its length.
async fn short(client: &mut TcpStream) -> Option<String> {
    let mut text = vec![0; usize::from(client.read_u8().await.ok()?)];
    client.read_exact(&mut text).await.ok()?;
    String::from_utf8(text).ok()
}

async fn carry(mut client: impl AsyncRead + AsyncWrite + Unpin, port: u16) -> Option<()> {
    let mut server = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    // How either side hangs up is none of the proxy's concern.
    copy_bidirectional(&mut client, &mut server).await.ok().map(drop)
}
