use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::WatchParams;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const SHORT: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_secs(20);
const HASTY: Patience = Patience { connect: SHORT, silence: SHORT, idle: LONG };
const BOUNDS: Bounds = Bounds { time: SHORT, bytes: 10_000 };

/// An API server whose every connection is answered by `answer`.
async fn server<F>(answer: impl Fn(TcpStream) -> F + Send + 'static) -> Config
where
    F: Future<Output = ()> + Send + 'static,
{
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config::new(format!("http://{}", listener.local_addr().unwrap()).parse().unwrap());
    tokio::spawn(async move {
        loop {
            let stream = listener.accept().await.unwrap().0;
            tokio::spawn(answer(stream));
        }
    });
    config
}

/// Reads the head of a request; `None` once the connection is closed.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// An answer with a ConfigMap of so many bytes.
fn config_map(size: usize) -> Vec<u8> {
    let around = r#"{"metadata":{},"data":{"a":""}}"#.len();
    let body = format!(r#"{{"metadata":{{}},"data":{{"a":"{}"}}}}"#, "x".repeat(size - around));
    let mut answer = Vec::new();
    write!(answer, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    answer
}

fn config_maps(client: kube::Result<Client>) -> Api<ConfigMap> {
    Api::namespaced(client.unwrap(), "team-a")
}

/// The words of an error and its causes.
fn words(error: Error) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

/// Sends nothing, and keeps what it has.
async fn hang<T>(kept: T) {
    std::future::pending::<()>().await;
    drop(kept);
}

#[tokio::test]
async fn a_call_that_is_never_answered_ends_in_time() {
    let config = server(hang).await;
    let begun = Instant::now();
    let error = config_maps(client(&config, PATIENCE, Calls::Bounded(BOUNDS))).get("a").await.unwrap_err();
    assert!(words(error).contains("did not answer within 400 ms"));
    assert!(begun.elapsed() >= SHORT && begun.elapsed() < LONG, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_call_whose_answer_comes_byte_by_byte_ends_in_time() {
    let config = server(|mut stream| async move {
        request(&mut stream).await;
        for byte in config_map(1000) {
            if stream.write_u8(byte).await.is_err() {
                return;
            }
            tokio::time::sleep(SHORT / 8).await;
        }
    })
    .await;
    let begun = Instant::now();
    let error = config_maps(client(&config, HASTY, Calls::Bounded(BOUNDS))).get("a").await.unwrap_err();
    assert!(words(error).contains("did not answer within"));
    assert!(begun.elapsed() < LONG);
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_refused_and_one_that_is_not_is_read() {
    for (size, fits) in [(BOUNDS.bytes, true), (BOUNDS.bytes + 1, false)] {
        let config = server(move |mut stream| async move {
            request(&mut stream).await;
            stream.write_all(&config_map(size)).await.unwrap();
            hang(stream).await;
        })
        .await;
        let answer =
            config_maps(client(&config, PATIENCE, Calls::Bounded(Bounds { time: LONG, ..BOUNDS }))).get("a").await;
        match answer {
            Ok(_) => assert!(fits, "{size}"),
            Err(error) => assert!(!fits && words(error).contains("more than 10000 bytes"), "{size}"),
        }
    }
}

#[tokio::test]
async fn a_pooled_connection_that_is_dead_is_used_once_and_an_old_one_never() {
    // Each connection answers its first request, and no other.
    let config = server(|mut stream| async move {
        request(&mut stream).await;
        stream.write_all(&config_map(100)).await.unwrap();
        hang(stream).await;
    })
    .await;
    let api = config_maps(client(&config, HASTY, Calls::Bounded(BOUNDS)));
    api.get("a").await.unwrap();
    let begun = Instant::now();
    api.get("a").await.unwrap_err();
    api.get("a").await.unwrap();
    assert!(begun.elapsed() < LONG);

    let idle = SHORT / 4;
    let api = config_maps(client(&config, Patience { idle, silence: LONG, ..HASTY }, Calls::Bounded(BOUNDS)));
    api.get("a").await.unwrap();
    tokio::time::sleep(idle * 2).await;
    api.get("a").await.unwrap();
}

#[tokio::test]
async fn a_watch_that_says_nothing_is_given_up() {
    let config = server(|mut stream| async move {
        request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        hang(stream).await;
    })
    .await;
    let api = config_maps(client(&config, HASTY, Calls::Any));
    let events = api.watch(&WatchParams::default(), "0").await.unwrap();
    let ended = tokio::time::timeout(LONG, events.try_collect::<Vec<_>>()).await.unwrap();
    assert!(ended.is_err() || ended.is_ok_and(|events| events.is_empty()));
}

#[tokio::test]
async fn an_overloaded_server_is_asked_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let config = server(move |mut stream| {
        let counted = Arc::clone(&counted);
        async move {
            while request(&mut stream).await.is_some() {
                counted.fetch_add(1, Ordering::Relaxed);
                stream.write_all(b"HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            }
        }
    })
    .await;
    let clients = super::new(&config).unwrap();
    for client in [clients.calls, clients.watches] {
        asked.store(0, Ordering::Relaxed);
        config_maps(Ok(client)).get("a").await.unwrap_err();
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test]
async fn the_token_and_further_headers_are_sent() {
    let (heads, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let mut config = server(move |mut stream| {
        let heads = heads.clone();
        async move { heads.send(request(&mut stream).await.unwrap()).unwrap() }
    })
    .await;
    let mut token = tempfile::NamedTempFile::new().unwrap();
    token.write_all(b"from-a-file").unwrap();
    config.auth_info.token_file = Some(token.path().to_str().unwrap().to_owned());
    config.auth_info.impersonate = Some("somebody".to_owned());
    config_maps(client(&config, HASTY, Calls::Bounded(BOUNDS))).get("a").await.unwrap_err();
    let head = seen.recv().await.unwrap();
    for line in [
        "GET /api/v1/namespaces/team-a/configmaps/a ",
        "authorization: Bearer from-a-file",
        "impersonate-user: somebody",
    ] {
        assert!(head.contains(line), "{line} is not in {head}");
    }
}

#[tokio::test]
async fn a_proxy_is_asked_for_a_tunnel_with_its_user_and_password() {
    let (heads, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let proxy = server(move |mut stream| {
        let heads = heads.clone();
        async move { heads.send(request(&mut stream).await.unwrap()).unwrap() }
    })
    .await;
    let mut config = Config::new("https://cluster.example:6443".parse().unwrap());
    config.proxy_url = Some(format!("http://me:p%40ss@{}", proxy.cluster_url.authority().unwrap()).parse().unwrap());
    config_maps(client(&config, HASTY, Calls::Bounded(BOUNDS))).get("a").await.unwrap_err();
    let head = seen.recv().await.unwrap().to_lowercase();
    // Base64 of `me:p@ss`.
    for line in ["connect cluster.example:6443 ", "proxy-authorization: basic bwu6cebzcw=="] {
        assert!(head.contains(line), "{line} is not in {head}");
    }
    config.proxy_url = Some("ftp://proxy.example".parse().unwrap());
    assert!(matches!(client(&config, HASTY, Calls::Any), Err(Error::ProxyProtocolUnsupported { .. })));
}

/// rancher#25858: the operator lives on through an outage, but not with authorities that no longer count.
#[tokio::test]
async fn an_api_server_of_another_authority_is_told_from_one_that_is_away() {
    use cyberun_stub::{Options, Stub};
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let stub = || async { Stub::start(Options { tls: true, ..Options::default() }).await.unwrap() };
    let (server, other) = (stub().await, stub().await);
    let authority = CertificateDer::from_pem_slice(other.ca_pem().unwrap().as_bytes()).unwrap();
    for (url, is_distrusted) in [(server.api_url().as_str(), true), ("https://127.0.0.1:9", false)] {
        let mut config = Config::new(url.parse().unwrap());
        config.root_cert = Some(vec![authority.to_vec()]);
        let error = config_maps(client(&config, PATIENCE, Calls::Any)).get("a").await.unwrap_err();
        let error = kube::runtime::watcher::Error::InitialListFailed(error);
        assert_eq!(crate::redact::is_untrusted(&error), is_distrusted, "{error:?}");
    }
}
