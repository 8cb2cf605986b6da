//! What the storage accepts, and each single thing it refuses.

use std::time::Duration;

use cyberun_stub::{End, Options, Stub};
use tokio::io::AsyncWriteExt as _;
use url::Url;

use crate::client::{DEADLINE, ask, connect, exchange, head, put, put_with, read, read_until, stub, ticket};

/// SHA-256 of `hello`.
const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

#[tokio::test]
async fn a_put_with_the_signed_headers_is_stored() {
    let stub = stub().await;
    for name in ["a.png", "weiß und blau+100%.png", "a?b#c&d=e.png"] {
        let url = ticket(&stub, name, 5).await;
        let reply = put(&url, b"hello").await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert!(reply.head.contains("etag: "));
        let (key, object) = stub.objects().into_iter().find(|(_, object)| object.file_name == name).unwrap();
        assert_eq!((object.size, object.sha256.as_str(), object.content_type.as_str()), (5, HELLO, "image/png"));
        assert_eq!(object.bytes.unwrap(), "hello");
        let call = stub.calls().pop().unwrap();
        assert_eq!((call.file_key, call.end, call.body_received), (Some(key), Some(End::Status(200)), 5));
        assert_eq!(call.credential.as_deref(), Some("integration-1"));
    }
}

#[tokio::test]
async fn an_empty_file_is_stored() {
    let stub = stub().await;
    assert_eq!(put(&ticket(&stub, "empty", 0).await, b"").await.unwrap().status, 200);
    assert_eq!(stub.objects().into_values().next().unwrap().size, 0);
}

#[tokio::test]
async fn a_large_body_is_hashed_but_not_kept() {
    let stub = stub().await;
    let body = vec![7; 3 * 1024 * 1024];
    assert_eq!(put(&ticket(&stub, "large", body.len()).await, &body).await.unwrap().status, 200);
    let object = stub.objects().into_values().next().unwrap();
    assert_eq!((object.size, object.bytes), (body.len() as u64, None));
    assert_eq!(stub.calls().last().unwrap().body_received, body.len() as u64);
}

#[tokio::test]
async fn a_signed_header_that_is_missing_or_changed_is_refused() {
    let stub = stub().await;
    let url = ticket(&stub, "a.png", 5).await;
    for headers in [
        vec![("Content-Length", "5")],
        vec![("Content-Length", "5"), ("If-None-Match", "\"etag\"")],
        vec![("Content-Length", "4"), ("If-None-Match", "*")],
        vec![("If-None-Match", "*")],
        vec![("If-None-Match", "*"), ("Transfer-Encoding", "chunked")],
    ] {
        let reply = exchange(&url, (head("PUT", &url, &headers) + "hello").as_bytes()).await.unwrap();
        let chunked = headers.iter().any(|(name, _)| *name == "Transfer-Encoding");
        assert_eq!(reply.status, if chunked { 400 } else { 403 }, "{headers:?}: {}", reply.body);
        assert!(reply.head.contains("connection: close") && reply.body.contains("<Error><Code>"));
    }
    let (address, other) = (url.authority().to_owned(), "localhost:1");
    let request = head("PUT", &url, &[("Content-Length", "5"), ("If-None-Match", "*")]).replace(&address, other);
    assert_eq!(exchange(&url, (request + "hello").as_bytes()).await.unwrap().status, 403, "the host is signed too");
    assert!(stub.objects().is_empty());
    assert_eq!(put(&url, b"hello").await.unwrap().status, 200, "refusals leave the URL good");
}

#[tokio::test]
async fn a_changed_url_is_refused() {
    let stub = stub().await;
    let url = ticket(&stub, "a.png", 5).await;
    let changes: [fn(&str) -> String; 5] = [
        |url| url.replace("X-Amz-Expires=3600", "X-Amz-Expires=7200"),
        |url| url.replace("a.png", "b.png"),
        |url| format!("{url}&x-id=PutObject"),
        |url| url.replace("content-length%3Bhost%3Bif-none-match", "host"),
        |url| url.split('?').next().unwrap().to_owned(),
    ];
    for change in changes {
        let forged: Url = change(url.as_str()).parse().unwrap();
        assert_ne!(forged, url);
        assert_eq!(put(&forged, b"hello").await.unwrap().status, 403, "{forged}");
    }
    for method in ["GET", "POST", "DELETE"] {
        assert_eq!(exchange(&url, head(method, &url, &[]).as_bytes()).await.unwrap().status, 403, "{method}");
    }
    assert!(stub.objects().is_empty());
}

#[tokio::test]
async fn headers_that_compete_with_the_signature_are_refused_and_recorded() {
    let stub = stub().await;
    let url = ticket(&stub, "a.png", 5).await;
    for (name, value, status) in [
        ("Authorization", "Bearer sk-leaked", 400),
        ("X-Team-ID", "team", 400),
        ("x-amz-acl", "public-read", 403),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD", 403),
    ] {
        assert_eq!(put_with(&url, b"hello", &[(name, value)]).await.unwrap().status, status, "{name}");
        let call = stub.calls().pop().unwrap();
        let shown = if name == "Authorization" { "(not recorded)" } else { value };
        assert_eq!((call.status(), call.header(name)), (Some(status), Some(shown)));
    }
}

#[tokio::test]
async fn an_expired_url_is_refused_in_the_words_of_s3() {
    let options = Options { url_lifetime: Duration::from_secs(1), ..Options::default() };
    let stub = Stub::start(options).await.unwrap();
    let url = ticket(&stub, "a.png", 5).await;
    tokio::time::sleep(Duration::from_millis(2100)).await; // whole seconds: one of lifetime, one of rounding
    let reply = put(&url, b"hello").await.unwrap();
    assert_eq!(reply.status, 403);
    assert!(reply.body.contains("<Code>AccessDenied</Code><Message>Request has expired"), "{}", reply.body);
}

#[tokio::test]
async fn a_repeated_put_is_412_and_changes_nothing() {
    let stub = stub().await;
    let url = ticket(&stub, "a.png", 5).await;
    assert_eq!(put(&url, b"hello").await.unwrap().status, 200);
    let reply = put(&url, b"other").await.unwrap();
    assert_eq!(reply.status, 412);
    assert!(reply.body.contains("<Code>PreconditionFailed</Code>"));
    assert_eq!(stub.objects().into_values().next().unwrap().sha256, HELLO);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_eight_puts_at_once_exactly_one_wins() {
    let stub = stub().await;
    let url = ticket(&stub, "a.png", 5).await;
    let mut puts = Vec::new();
    for _ in 0..8 {
        let mut stream = ask(&url, 5).await;
        read_until(&mut stream, "100 Continue").await;
        puts.push(stream);
    }
    // All eight were told to go on, so nothing but the store itself can choose.
    let puts = puts.into_iter().map(|mut stream| {
        tokio::spawn(async move {
            stream.write_all(b"hello").await.unwrap();
            read(&mut stream).await.unwrap().status
        })
    });
    let mut statuses = futures::future::join_all(puts).await.into_iter().map(Result::unwrap).collect::<Vec<_>>();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412, 412, 412, 412, 412]);
    assert_eq!(stub.objects().len(), 1);
}

#[tokio::test]
async fn a_refused_put_is_answered_before_any_body_byte() {
    let stub = stub().await;
    let url = ticket(&stub, "a.png", 1 << 30).await;
    let wrong: Url = url.as_str().replace("a.png", "b.png").parse().unwrap();
    let mut stream = ask(&wrong, 1 << 30).await;
    assert_eq!(read(&mut stream).await.unwrap().status, 403);
    let call = stub.calls().pop().unwrap();
    assert_eq!((call.body_received, call.continue_asked, call.continue_sent), (0, true, false));
}

#[tokio::test]
async fn an_accepted_put_is_told_to_continue_and_only_then_read() {
    let stub = stub().await;
    let mut stream = ask(&ticket(&stub, "a.png", 5).await, 5).await;
    read_until(&mut stream, "100 Continue").await;
    assert_eq!(stub.calls().pop().unwrap().body_received, 0);
    stream.write_all(b"hello").await.unwrap();
    assert_eq!(read(&mut stream).await.unwrap().status, 200);
    let call = stub.calls().pop().unwrap();
    assert_eq!((call.body_received, call.continue_sent), (5, true));
}

#[tokio::test]
async fn a_client_that_goes_away_in_mid_body_leaves_no_object() {
    let stub = stub().await;
    let url = ticket(&stub, "a.png", 5).await;
    let mut stream = connect(&url).await;
    let head = head("PUT", &url, &[("Content-Length", "5"), ("If-None-Match", "*")]);
    stream.write_all((head + "he").as_bytes()).await.unwrap();
    stub.wait_for(|seen| seen.calls.last().is_some_and(|call| call.body_received == 2), DEADLINE).await.unwrap();
    drop(stream);
    stub.wait_for(|seen| seen.calls.last().unwrap().end == Some(End::Dropped), DEADLINE).await.unwrap();
    assert!(stub.objects().is_empty());
}

#[tokio::test]
async fn objects_are_deleted_after_the_retention() {
    let stub = Stub::start(Options { retention: Some(Duration::from_millis(50)), ..Options::default() }).await.unwrap();
    assert_eq!(put(&ticket(&stub, "a.png", 5).await, b"hello").await.unwrap().status, 200);
    stub.wait_for(|seen| seen.objects.is_empty(), DEADLINE).await.unwrap();
}

#[tokio::test]
async fn several_puts_share_a_connection_and_each_counts_its_own_bytes() {
    let stub = stub().await;
    let (first, second) = (ticket(&stub, "a", 5).await, ticket(&stub, "b", 3).await);
    let mut stream = connect(&first).await;
    for (url, body) in [(&first, "hello"), (&second, "abc")] {
        let length = body.len().to_string();
        let head = head("PUT", url, &[("Content-Length", &length), ("If-None-Match", "*")]);
        let request = head.replace("Connection: close\r\n", "") + body;
        stream.write_all(request.as_bytes()).await.unwrap();
        assert!(read_until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 200"));
        assert_eq!(stub.calls().pop().unwrap().body_received, body.len() as u64);
    }
}
