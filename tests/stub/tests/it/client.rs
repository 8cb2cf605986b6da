//! A client of plain sockets: what a test writes is what the stub reads.
//!
//! It adds no header, follows nothing and hides no byte, so that a test can be wrong in exactly one place.

use std::io;
use std::time::Duration;

use cyberun_stub::{Kind, Options, Stub};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;

pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) async fn stub() -> Stub {
    Stub::start(Options::default()).await.unwrap()
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// Everything up to the end of the connection, 100s aside.
    fn parse(mut text: &str) -> io::Result<Self> {
        while let Some(rest) = text.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n") {
            text = rest;
        }
        let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = head.get(9..12).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { status, head: head.to_lowercase(), body: body.to_owned() })
    }
}

pub(crate) async fn connect(url: &Url) -> TcpStream {
    let address = (url.host_str().unwrap(), url.port().unwrap());
    TcpStream::connect(address).await.unwrap()
}

/// Writes a request as it is and reads until the stub closes.
pub(crate) async fn exchange(url: &Url, request: &[u8]) -> io::Result<Reply> {
    let mut stream = connect(url).await;
    stream.write_all(request).await?;
    read(&mut stream).await
}

pub(crate) async fn read(stream: &mut TcpStream) -> io::Result<Reply> {
    let mut answer = Vec::new();
    tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await??;
    Reply::parse(&String::from_utf8_lossy(&answer))
}

/// Reads until `text` was seen, or fails.
pub(crate) async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(text) {
        let mut buffer = [0; 1024];
        let count = tokio::time::timeout(DEADLINE, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(count > 0, "the connection ended after {seen:?}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    seen
}

/// The head of a request, with `Host` and `Connection: close`.
pub(crate) fn head(method: &str, url: &Url, headers: &[(&str, &str)]) -> String {
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let authority = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text = text + name + ": " + value + "\r\n";
    }
    text + "\r\n"
}

pub(crate) fn presign_url(stub: &Stub) -> Url {
    format!("{}/r/files/presign", stub.api_url()).parse().unwrap()
}

pub(crate) fn good(name: &str, size: usize) -> Value {
    json!({"file_name": name, "file_size": size, "content_type": "image/png"})
}

pub(crate) async fn presign_with(stub: &Stub, headers: &[(&str, &str)], body: &str) -> io::Result<Reply> {
    let url = presign_url(stub);
    let length = body.len().to_string();
    let headers = [headers, &[("Content-Length", length.as_str())]].concat();
    exchange(&url, (head("POST", &url, &headers) + body).as_bytes()).await
}

/// A presign with the stub's own integration key.
pub(crate) async fn presign(stub: &Stub, body: &Value) -> io::Result<Reply> {
    let bearer = format!("Bearer {}", stub.credential(Kind::Integration).token());
    presign_with(stub, &[("Authorization", &bearer), ("Content-Type", "application/json")], &body.to_string()).await
}

/// The URL to put a file of this size to.
pub(crate) async fn ticket(stub: &Stub, name: &str, size: usize) -> Url {
    let reply = presign(stub, &good(name, size)).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.json()["upload_url"].as_str().unwrap().parse().unwrap()
}

/// A put with exactly the signed headers and `extra` ones.
pub(crate) async fn put_with(url: &Url, body: &[u8], extra: &[(&str, &str)]) -> io::Result<Reply> {
    let length = body.len().to_string();
    let headers = [&[("Content-Length", length.as_str()), ("If-None-Match", "*")], extra].concat();
    exchange(url, &[head("PUT", url, &headers).as_bytes(), body].concat()).await
}

pub(crate) async fn put(url: &Url, body: &[u8]) -> io::Result<Reply> {
    put_with(url, body, &[]).await
}

/// Sends a head that asks for 100 Continue, and nothing more.
pub(crate) async fn ask(url: &Url, length: usize) -> TcpStream {
    let length = length.to_string();
    let headers = [("Content-Length", length.as_str()), ("If-None-Match", "*"), ("Expect", "100-continue")];
    let mut stream = connect(url).await;
    stream.write_all(head("PUT", url, &headers).as_bytes()).await.unwrap();
    stream
}
