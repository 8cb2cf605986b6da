//! TLS with an authority of one's own: whom a process trusts comes from its environment, and a courier from a bundle.

use std::time::Duration;

use cyberun_stub::{Certificate, Fault, Kind, Options, Step, Stub};
use fileupload_operator::cyberun::Credential;
use fileupload_operator::delivery::{Courier, Limits, Parcel, Source};
use fileupload_operator::reason::Reason;
use fileupload_operator::redact::Secret;
use serde_json::json;

use crate::support::files::{Files, bytes, sha256};
use crate::support::process::Run;
use crate::support::sender::Sender;

/// As `fileupload upload` has them.
const LIMITS: Limits = Limits { attempts: 5, longest_wait: Duration::from_hours(1) };

/// Bad certificates, and words of what is said of each.
const BAD: [(Certificate, &str); 5] = [
    (Certificate::Expired, "has expired: have it renewed"),
    (Certificate::NotYetValid, "is not valid yet: check the clocks"),
    (Certificate::OtherName, "is for other.example, not for 127.0.0.1"),
    (Certificate::CommonNameOnly, "names no host (a common name does not count): have one issued with 127.0.0.1"),
    (Certificate::Authority, "the server presents a CA certificate as its own; have one issued by it (CA:FALSE)"),
];

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
    assert!(!ended.stderr.contains("trying again"), "{}", ended.stderr);
}

#[tokio::test]
async fn no_authority_at_all_is_told_before_any_call() {
    let (stub, files) = (stub().await, Files::new());
    let run = Run::upload(&stub).environment("SSL_CERT_FILE", files.folder().join("absent.pem"));
    let ended = run.argument(files.with("a.png", b"a")).run().await.failed(2);
    assert!(ended.stderr.contains("SSL_CERT_FILE"), "{}", ended.stderr);
    assert_eq!(stub.calls().len(), 0);
}

/// openssl#6281 and moby#36405: a bundle that was saved on Windows, or put together from such files.
#[tokio::test]
async fn no_authority_is_lost_to_a_byte_order_mark() {
    let (stub, other) = (stub().await, stub().await);
    let [own, other] = [&stub, &other].map(|stub| stub.ca_pem().unwrap().to_owned());
    for bundle in [format!("\u{feff}{own}"), format!("\u{feff}{own}{other}"), format!("\u{feff}{other}\u{feff}{own}")] {
        let courier = Courier::new(stub.api_url().as_str(), false, Some(&bundle)).unwrap();
        let credential = Credential::parse(Secret::new(stub.credential(Kind::Integration).token()), None).unwrap();
        let parcel = Parcel {
            source: Source::bytes("hello"),
            file_name: "a.txt".into(),
            content_type: None,
            sent: std::sync::Arc::default(),
        };
        courier.attempt(&credential, &parcel).await.unwrap();
    }
}

async fn with(certificate: Certificate) -> Stub {
    Stub::start(Options { tls: true, certificate, ..Options::default() }).await.unwrap()
}

#[tokio::test]
async fn a_bad_certificate_of_the_api_is_told_with_its_cure_and_not_tried_again() {
    for (certificate, words) in BAD {
        let stub = with(certificate).await;
        let courier = Courier::new(stub.api_url().as_str(), false, stub.ca_pem()).unwrap();
        let (result, retried) = Sender::of(stub, courier, Kind::Integration).deliver(LIMITS).await;
        let failure = result.unwrap_err();
        assert_eq!((failure.reason, retried.len()), (Reason::ApiUnavailable, 0), "{certificate:?}: {failure}");
        assert!(failure.message().contains(words), "{certificate:?}: {failure}");
        assert!(failure.retry_after >= Some(Duration::from_mins(5)), "the operator tries it slowly");
    }
}

#[tokio::test]
async fn a_bad_certificate_of_the_storage_is_told_with_its_cure_and_not_tried_again() {
    for (certificate, words) in BAD {
        let (api, storage) = (stub().await, with(certificate).await);
        let url = format!("{}bucket/key?X-Amz-Signature=0", storage.s3_url());
        api.fault_always(Step::Presign, Fault::json(200, &json!({"file_key": "key", "upload_url": url})));
        let bundle = format!("{}{}", api.ca_pem().unwrap(), storage.ca_pem().unwrap());
        let courier = Courier::new(api.api_url().as_str(), false, Some(&bundle)).unwrap();
        let sender = Sender::of(api, courier, Kind::Integration);
        let (result, retried) = sender.deliver(LIMITS).await;
        let failure = result.unwrap_err();
        assert_eq!((failure.reason, retried.len()), (Reason::StorageUnavailable, 0), "{certificate:?}: {failure}");
        assert!(failure.message().contains(words), "{certificate:?}: {failure}");
        assert_eq!(sender.counted(), (1, 0), "{certificate:?}");
    }
}

#[tokio::test]
async fn one_odd_certificate_in_a_bundle_leaves_the_others_trusted() {
    let odd = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let broken = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
    for odd in [odd, broken] {
        for first in [true, false] {
            let stub = stub().await;
            let good = stub.ca_pem().unwrap();
            let bundle = if first { format!("{odd}{good}") } else { format!("{good}{odd}") };
            let courier = Courier::new(stub.api_url().as_str(), false, Some(&bundle)).unwrap();
            Sender::of(stub, courier, Kind::Integration).send("hello").await.unwrap();
        }
        assert!(Courier::new("https://api.example/api/v1", false, Some(odd)).is_err());
    }
}
