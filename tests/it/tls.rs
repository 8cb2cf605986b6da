//! TLS with an authority of one's own, as a process: which certificates are trusted comes from its environment.

use cyberun_stub::{Options, Stub};

use crate::support::files::{Files, bytes, sha256};
use crate::support::process::Run;

async fn stub() -> Stub {
    Stub::start(Options { tls: true, ..Options::default() }).await.unwrap()
}

#[tokio::test]
async fn an_authority_in_ssl_cert_file_is_trusted_by_api_and_storage() {
    let (stub, files) = (stub().await, Files::new());
    let authority = files.with("ca.pem", stub.ca_pem().unwrap().as_bytes());
    let content = bytes(3_000_000);
    let run = Run::upload(&stub).environment("SSL_CERT_FILE", authority);
    let ended = run.file("photo", &files.with("a.png", &content)).run().await.succeeded();
    assert_eq!(stub.objects()[ended.key("photo")].sha256, sha256(&content));
}

#[tokio::test]
async fn an_unknown_authority_is_told_with_its_cure() {
    let (stub, files) = (stub().await, Files::new());
    let ended = Run::upload(&stub).file("photo", &files.with("a.png", b"a")).run().await.failed(1);
    let last = ended.stderr.lines().last().unwrap();
    assert!(last.starts_with("error: photo: ApiUnavailable: ") && last.contains("certificate"), "{last}");
    assert!(last.contains("SSL_CERT_FILE"), "the cure is named: {last}");
}

#[tokio::test]
async fn no_authority_at_all_is_told_before_any_call() {
    let (stub, files) = (stub().await, Files::new());
    let run = Run::upload(&stub).environment("SSL_CERT_FILE", files.folder().join("absent.pem"));
    let ended = run.argument(files.with("a.png", b"a")).run().await.failed(2);
    assert!(ended.stderr.contains("SSL_CERT_FILE"), "{}", ended.stderr);
    assert_eq!(stub.calls().len(), 0);
}
