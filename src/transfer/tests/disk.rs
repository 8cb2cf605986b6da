//! A PUT of a file whose disk blocks, and what counts as silence of the storage.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Instant;

use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::*;
use super::{tls, trusting};

const SIZE: u64 = 1 << 20;
const STALL: Duration = Duration::from_millis(600);

/// Nothing is asked, since the store here answers only once.
fn tuning(stall: Duration) -> Tuning {
    Tuning { ask_above: u64::MAX, stall, ..Tuning::default() }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A store that takes bodies of [`SIZE`].
async fn store() -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(take(stream));
        }
    });
    address
}

async fn take(mut stream: TcpStream) {
    let (mut seen, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        seen.extend_from_slice(&buffer[..read]);
        let head = seen.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at as u64 + 4);
        if head.is_some_and(|head| seen.len() as u64 == head + SIZE) {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            seen.clear();
        }
    }
}

async fn put(client: &Client, store: SocketAddr, opened: Opened) -> Result<[u8; 32], Error> {
    let url = PresignedUrl::parse(&format!("http://{store}/bucket/key?X-Amz-Signature=0")).unwrap();
    let headers = [(http::header::CONTENT_LENGTH, HeaderValue::from(opened.size()))].into_iter().collect();
    client.put(&url, &headers, &Arc::new(opened), &Arc::default()).await
}

async fn healthy(folder: &tempfile::TempDir, number: usize) -> Opened {
    let path = folder.path().join(number.to_string());
    std::fs::write(&path, vec![0; usize::try_from(SIZE).unwrap()]).unwrap();
    Source::file(path).settled().open().await.unwrap()
}

#[tokio::test]
async fn a_disk_that_blocks_stalls_none_of_three_uploads_beside_it() {
    let (client, store, folder) =
        (Client::with(tls(), tuning(Duration::from_mins(1))), store().await, tempfile::tempdir().unwrap());
    let (end, until) = mpsc::channel::<()>();
    // A thread ends the block, because in a runtime that is blocked nothing else would.
    let blocked = Duration::from_secs(3);
    std::thread::spawn(move || {
        std::thread::sleep(blocked);
        drop(end);
    });
    let begun = Instant::now();
    let others = async {
        for number in 0..3 {
            put(&client, store, healthy(&folder, number).await).await.unwrap();
        }
        begun.elapsed()
    };
    let (stuck, others) = tokio::join!(put(&client, store, Opened::stuck(SIZE, until)), others);
    assert!(others < blocked, "the others took {others:?}");
    assert!(begun.elapsed() >= blocked);
    assert_eq!(
        stuck.unwrap(),
        put(&client, store, healthy(&folder, 4).await).await.unwrap(),
        "it is sent once its disk answers"
    );
}

#[tokio::test]
async fn a_disk_that_stays_blocked_is_named_and_not_the_storage() {
    let (client, store, (_end, until)) = (Client::with(tls(), tuning(STALL)), store().await, mpsc::channel());
    let error = put(&client, store, Opened::stuck(SIZE, until)).await.unwrap_err();
    assert!(matches!(error, Error::Source(SourceError::Read { .. })), "{error}");
    assert!(error.to_string().starts_with("stuck: cannot be read: the disk or mount did not answer"), "{error}");
}

#[tokio::test]
async fn a_storage_that_takes_no_byte_is_given_up() {
    let (listener, address) = listen().await;
    let opened = Source::bytes(vec![0; 32 << 20]).open().await.unwrap();
    let begun = Instant::now();
    let error = put(&Client::with(tls(), tuning(STALL)), address, opened).await.unwrap_err();
    drop(listener);
    assert!(matches!(error, Error::Unavailable { .. }) && error.to_string().contains("took no byte"), "{error}");
    assert!(begun.elapsed() >= STALL);
}

/// TLS does not close a connection before the peer has taken all that was written.
#[tokio::test]
async fn what_a_storage_takes_no_byte_of_is_let_go_also_where_tls_waits_for_it() {
    let (listener, address) = listen().await;
    let server = cyberun_stub::Tls::new(&cyberun_stub::Options::default()).unwrap();
    let mut trusted = rustls::RootCertStore::empty();
    let authority = rustls::pki_types::CertificateDer::from_pem_slice(server.ca_pem.as_bytes()).unwrap();
    trusted.add(authority).unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let _silent = server.acceptor.accept(stream).await.unwrap();
        std::future::pending::<()>().await;
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large");
    std::fs::File::create(&path).unwrap().set_len(64 << 20).unwrap();
    let opened = Arc::new(Source::file(path).settled().open().await.unwrap());
    let url = PresignedUrl::parse(&format!("https://{address}/bucket/key?X-Amz-Signature=0")).unwrap();
    let headers = [(http::header::CONTENT_LENGTH, HeaderValue::from(opened.size()))].into_iter().collect();
    let client = Client::with(trusting(trusted), tuning(STALL));
    let error = client.put(&url, &headers, &opened, &Arc::default()).await.unwrap_err();
    assert!(error.to_string().contains("took no byte"), "{error}");
    let let_go = async {
        while Arc::strong_count(&opened) > 1 {
            // An Arc tells nobody that a clone of it was dropped, so the count is polled.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), let_go).await.expect("somebody still has the file");
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_the_whole_process_is_no_silence_of_the_storage() {
    let (sent, span) = (AtomicU64::new(0), Duration::from_mins(1));
    let mut watch = std::pin::pin!(stalled(&sent, 1 << 30, span));
    assert!(tokio::time::timeout(Duration::from_secs(1), &mut watch).await.is_err());
    // As after SIGSTOP, or where a laptop slept.
    tokio::time::advance(span * 10).await;
    assert!(tokio::time::timeout(Duration::from_secs(55), &mut watch).await.is_err());
    assert!(tokio::time::timeout(Duration::from_secs(10), &mut watch).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_byte_that_moves_begins_the_wait_again() {
    let sent = AtomicU64::new(0);
    let mut watch = std::pin::pin!(stalled(&sent, 1 << 30, Duration::from_mins(1)));
    for _ in 0..5 {
        assert!(tokio::time::timeout(Duration::from_secs(58), &mut watch).await.is_err());
        sent.fetch_add(1, Ordering::Relaxed);
    }
}
