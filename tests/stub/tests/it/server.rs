//! Ports, TLS, and an API that goes down and comes back.

use std::sync::Arc;
use std::time::Duration;

use cyberun_stub::{End, ExternalS3, Fault, Hold, Kind, Options, Step, Stub};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::{DEADLINE, good, head, presign, presign_url, put, stub, ticket};

async fn over_tls(stub: &Stub, name: &str, request: &str, port: u16) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(stub.ca_pem().unwrap().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let connector = TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut stream = connector.connect(ServerName::try_from(name.to_owned()).unwrap(), stream).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn over_tls_both_ports_are_trusted_by_the_stubs_own_authority_alone() {
    let stub = Stub::start(Options { tls: true, ..Options::default() }).await.unwrap();
    let url = presign_url(&stub);
    assert_eq!(url.scheme(), "https");
    let bearer = format!("Bearer {}", stub.credential(Kind::Integration).token());
    let body = good("a.png", 5).to_string();
    let length = body.len().to_string();
    let headers =
        [("Authorization", bearer.as_str()), ("Content-Type", "application/json"), ("Content-Length", &length)];
    let request = head("POST", &url, &headers) + &body;
    let answer = over_tls(&stub, "localhost", &request, url.port().unwrap()).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let answer: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let url: url::Url = answer["upload_url"].as_str().unwrap().parse().unwrap();
    let request = head("PUT", &url, &[("Content-Length", "5"), ("If-None-Match", "*")]) + "hello";
    for name in ["127.0.0.1", "10.99.0.254"] {
        let answer = over_tls(&stub, name, &request, url.port().unwrap()).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 412"), "{answer}");
    }
    assert!(over_tls(&stub, "example.com", &request, url.port().unwrap()).await.is_err());
    stub.fault(Step::Put, Fault::reset());
    let error = over_tls(&stub, "localhost", &request, url.port().unwrap()).await.err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_api_that_was_down_is_back_at_the_same_address_with_its_memory() {
    let mut stub = stub().await;
    let before = stub.api_url().clone();
    let url = ticket(&stub, "a.png", 5).await;
    let mut pooled = crate::client::connect(&before).await;
    stub.pause_api().await;
    let refused = TcpStream::connect(("127.0.0.1", before.port().unwrap())).await.err().unwrap();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(DEADLINE, pooled.read_to_end(&mut rest)).await.unwrap();
    assert!(ended.is_err() || rest.is_empty(), "open connections end too");
    assert_eq!(put(&url, b"hello").await.unwrap().status, 200, "the storage stays up");
    stub.resume_api().unwrap();
    assert_eq!(stub.api_url(), &before);
    assert_eq!(presign(&stub, &good("b.png", 1)).await.unwrap().status, 200);
    assert_eq!(stub.calls().len(), 3);
}

#[tokio::test]
async fn two_stubs_know_nothing_of_each_other() {
    let (one, two) = (stub().await, stub().await);
    let url = ticket(&one, "a.png", 5).await;
    let mut elsewhere = url.clone();
    elsewhere.set_port(two.s3_url().port()).unwrap();
    assert_eq!(put(&elsewhere, b"hello").await.unwrap().status, 403);
    assert_eq!(put(&url, b"hello").await.unwrap().status, 200);
    assert_eq!((one.objects().len(), two.objects().len()), (1, 0));
}

#[tokio::test]
async fn a_graceful_shutdown_lets_a_call_end_and_an_abrupt_one_does_not() {
    for graceful in [true, false] {
        let stub = stub().await;
        let url = presign_url(&stub);
        let hold = Hold::new("in flight");
        stub.fault(Step::Presign, Fault::hold(&hold));
        let bearer = format!("Bearer {}", stub.credential(Kind::Integration).token());
        let body = good("a.png", 1).to_string();
        let length = body.len().to_string();
        let headers =
            [("Authorization", bearer.as_str()), ("Content-Type", "application/json"), ("Content-Length", &length)];
        let request = head("POST", &url, &headers) + &body;
        let call = tokio::spawn(async move { crate::client::exchange(&url, request.as_bytes()).await });
        hold.reached(DEADLINE).await.unwrap();
        let stop = async {
            if graceful {
                stub.shutdown().await;
            } else {
                stub.abort().await;
            }
        };
        let release = async {
            if graceful {
                hold.release();
            }
        };
        tokio::join!(stop, release);
        assert_eq!(call.await.unwrap().is_ok_and(|reply| reply.status == 200), graceful);
    }
}

#[tokio::test]
async fn a_dropped_stub_refuses_connections() {
    let stub = stub().await;
    let url = stub.api_url().clone();
    drop(stub);
    let gone = async {
        while TcpStream::connect(("127.0.0.1", url.port().unwrap())).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, gone).await.unwrap();
}

#[tokio::test]
async fn urls_can_be_signed_for_a_store_elsewhere() {
    // Another stub's storage stands in: it refuses the foreign signature, which shows that the call arrived.
    let elsewhere = stub().await;
    let external = ExternalS3 {
        endpoint: elsewhere.s3_url().clone(),
        bucket: "theirs".into(),
        region: "eu-central-1".into(),
        access_key: "KEY".into(),
        secret_key: "SECRET".into(),
    };
    let stub = Stub::start(Options { external_s3: Some(external), ..Options::default() }).await.unwrap();
    let url = ticket(&stub, "a.png", 5).await;
    assert_eq!(url.port(), elsewhere.s3_url().port());
    assert!(url.path().starts_with("/theirs/inputs/") && url.as_str().contains("eu-central-1"));
    assert_eq!(put(&url, b"hello").await.unwrap().status, 403);
    assert_eq!(elsewhere.calls()[0].end, Some(End::Status(403)));
}

#[tokio::test]
async fn a_condition_that_stays_false_tells_what_was_seen_instead() {
    let stub = stub().await;
    ticket(&stub, "a.png", 5).await;
    let error = stub.wait_for(|seen| !seen.objects.is_empty(), Duration::from_millis(50)).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("a.png") && text.contains("0 objects"), "{text}");
}
