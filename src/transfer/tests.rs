//! A PUT against a store that answers late, slowly or too early, on a clock that is paused.

use std::sync::atomic::AtomicUsize;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::*;

mod disk;

const MEGABYTE: u64 = 1_000_000;
const HEAD_END: &[u8] = b"\r\n\r\n";

/// Serves one connection by `serve`, which is given what came with the head; counts the bytes of the body.
async fn put<F>(size: u64, serve: impl FnOnce(Connection) -> F + Send + 'static) -> (Result<[u8; 32], Error>, usize)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/key?X-Amz-Signature=0", listener.local_addr().unwrap());
    let came = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&came);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(HEAD_END) {
            head.push(stream.read_u8().await.unwrap());
        }
        serve(Connection { stream, came: counter }).await;
    });
    let client = Client::new(tls());
    let source = Source::bytes(vec![7; usize::try_from(size).unwrap()]);
    let opened = Arc::new(source.open().await.unwrap());
    let mut headers = HeaderMap::new();
    headers.insert(http::header::CONTENT_LENGTH, size.into());
    let url = PresignedUrl::parse(&url).unwrap();
    let result = client.put(&url, &headers, &opened, &Arc::default()).await;
    (result, came.load(Ordering::SeqCst))
}

fn tls() -> rustls::ClientConfig {
    trusting(rustls::RootCertStore::empty())
}

fn trusting(roots: rustls::RootCertStore) -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    builder.with_root_certificates(roots).with_no_client_auth()
}

struct Connection {
    stream: TcpStream,
    came: Arc<AtomicUsize>,
}

impl Connection {
    async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads so much of the body, or until it ends.
    async fn take(&mut self, size: u64) {
        let mut buffer = vec![0; 64 * 1024];
        let mut left = usize::try_from(size).unwrap_or(usize::MAX);
        while left > 0 {
            let most = left.min(buffer.len());
            let read = self.stream.read(&mut buffer[..most]).await.unwrap_or(0);
            if read == 0 {
                break;
            }
            self.came.fetch_add(read, Ordering::SeqCst);
            left -= read;
        }
    }
}

/// Takes the whole body, and answers so long after its last byte.
async fn late(size: u64, pause: Duration) -> Result<[u8; 32], Error> {
    let serve = move |mut connection: Connection| async move {
        connection.say("HTTP/1.1 100 Continue\r\n\r\n").await;
        connection.take(size).await;
        tokio::time::sleep(pause).await;
        let _ = connection.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    };
    put(size, serve).await.0
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_large_body_may_take_a_second_longer_for_each_megabyte() {
    late(30 * MEGABYTE, Duration::from_secs(85)).await.unwrap();
    let error = late(30 * MEGABYTE, Duration::from_secs(95)).await.unwrap_err();
    assert!(error.to_string().ends_with("took no byte and gave no answer for 90 s"), "{error}");
    assert!(matches!(error, Error::Unavailable { whole: Some(_), .. }), "all of it had been sent: {error:?}");
    let error = late(1000, Duration::from_secs(65)).await.unwrap_err();
    assert!(error.to_string().ends_with("for 60 s"), "{error}");
}

#[test]
fn only_after_the_last_byte_is_the_size_allowed_for() {
    let seconds = |sent, size| patience(sent, size, Duration::from_mins(1)).as_secs();
    assert_eq!(seconds(0, 600 * MEGABYTE), 60);
    assert_eq!(seconds(600 * MEGABYTE - 1, 600 * MEGABYTE), 60);
    assert_eq!(seconds(600 * MEGABYTE, 600 * MEGABYTE), 660);
    assert_eq!(seconds(0, 0), 60);
    assert_eq!(seconds(5 << 30, 5 << 30), 60 + 5368);
}

/// rclone#9841: a deadline that every byte puts off never comes.
#[tokio::test(start_paused = true)]
async fn an_answer_that_drips_puts_no_deadline_off() {
    let begun = Instant::now();
    let serve = |mut connection: Connection| async move {
        connection.take(1000).await;
        connection.say("HTTP/1.1 200 OK\r\nX-Drip: ").await;
        while connection.stream.write_all(b".").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    put(1000, serve).await.0.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(65), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_none_put_no_deadline_off() {
    let begun = Instant::now();
    let serve = |mut connection: Connection| async move {
        while connection.stream.write_all(b"HTTP/1.1 102 Processing\r\n\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    put(1000, serve).await.0.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(65), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_asked_for_stays_while_a_slow_refusal_is_read() {
    let serve = |mut connection: Connection| async move {
        connection.say("HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\n").await;
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            connection.say("x").await;
        }
        connection.take(u64::MAX).await;
    };
    let (result, came) = put(30 * MEGABYTE, serve).await;
    assert!(matches!(result, Err(Error::Refused(_))), "{result:?}");
    assert_eq!(came, 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_more_is_sent_once_the_storage_has_refused_the_body_midway() {
    let (came, mut told) = tokio::sync::mpsc::channel(1);
    let serve = move |mut connection: Connection| async move {
        connection.say("HTTP/1.1 100 Continue\r\n\r\n").await;
        connection.take(MEGABYTE).await;
        connection.say("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
        connection.take(u64::MAX).await;
        let _ = came.send(connection.came.load(Ordering::SeqCst)).await;
    };
    let (result, _) = put(300 * MEGABYTE, serve).await;
    assert!(matches!(result, Err(Error::Refused(_))), "{result:?}");
    let came = told.recv().await.unwrap();
    assert!(came < 30_000_000, "{came}: what the sockets held, and no more");
}
