//! The program against SeaweedFS, the independent judge of its PUTs: what was stored there is read back.
//!
//! The stub only signs; storing, checking signatures and refusing a second PUT are SeaweedFS's.

use std::sync::Arc;

use cyberun_stub::{Options, Step, Stub, UploadHeaders};
use fileupload_operator::redact::PresignedUrl;
use fileupload_operator::transfer::{Client, Error, Source};
use http::header::{CONTENT_LENGTH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue};

use crate::support::files::{Files, bytes, sha256};
use crate::support::process::Run;
use crate::support::weed::Weed;

const MEBIBYTE: usize = 1024 * 1024;

#[tokio::test]
async fn what_seaweedfs_stores_is_what_was_sent_and_is_never_stored_twice() {
    install_tls_provider();
    let (weed, files) = (Weed::start().await, Files::new());
    for upload_headers in [UploadHeaders::Empty, UploadHeaders::Filled] {
        let external_s3 = Some(weed.settings.clone());
        let stub = Stub::start(Options { external_s3, upload_headers, ..Options::default() }).await.unwrap();
        let contents = [("empty", 0), ("small", 5), ("medium ü+%.bin", 200_000), ("large", 100 * MEBIBYTE)];
        let mut run = Run::upload(&stub).argument("--output").argument("json");
        for (number, (name, size)) in contents.into_iter().enumerate() {
            run = run.file(&format!("n{number}"), &files.with(name, &bytes(size)));
        }
        let json = run.run().await.succeeded().json();
        for (number, (name, size)) in contents.into_iter().enumerate() {
            let entry = &json["files"][format!("n{number}")];
            let stored = weed.get(entry["fileKey"].as_str().unwrap()).await;
            assert!(stored == bytes(size), "{name}: {} of {size} bytes came back, or other ones", stored.len());
            assert_eq!(entry["sha256"], sha256(&stored), "{name}");
        }
        assert_eq!(stub.snapshot().of(Step::Presign).count(), contents.len(), "nothing was tried twice");
    }
    a_second_put_is_refused(&weed).await;
}

async fn a_second_put_is_refused(weed: &Weed) {
    let client = Client::new(tls());
    for size in [5, 3 * MEBIBYTE] {
        let key = format!("inputs/team/token/{size}.bin");
        let url = PresignedUrl::parse(&weed.sign_put(&key, size)).unwrap();
        let headers =
            HeaderMap::from_iter([(CONTENT_LENGTH, size.into()), (IF_NONE_MATCH, HeaderValue::from_static("*"))]);
        let put = async |content: Vec<u8>| {
            let opened = Arc::new(Source::bytes(content).open().await.unwrap());
            client.put(&url, &headers, &opened, &Arc::default()).await
        };
        put(bytes(size)).await.unwrap();
        let refused = put(vec![7; size]).await.unwrap_err();
        assert!(matches!(&refused, Error::Refused(said) if said.is_precondition_failed()), "{refused}");
        assert_eq!(weed.get(&key).await, bytes(size), "the first one stays");
    }
}

fn install_tls_provider() {
    // A second test of this process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn tls() -> rustls::ClientConfig {
    rustls::ClientConfig::builder().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
}
