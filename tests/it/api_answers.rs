//! Each answer of the API becomes its reason, with a message that is its own and stays the same.

use std::collections::BTreeMap;
use std::time::Duration;

use cyberun_stub::{Defect, Fault, Field, GateShape, Step};
use fileupload_operator::outcome::Trouble;
use fileupload_operator::reason::Reason;
use serde_json::json;

use crate::support::sender::Sender;

/// The failure under a fault, which must be the same failure every time.
async fn failure(sender: &Sender, fault: &Fault) -> Trouble {
    let before = sender.counted();
    let mut failures = Vec::new();
    for _ in 0..2 {
        sender.stub.fault(Step::Presign, fault.clone());
        failures.push(sender.send("hello").await.unwrap_err());
    }
    assert_eq!(failures[0].message(), failures[1].message(), "a message is stable");
    assert_eq!(sender.counted(), (before.0 + 2, before.1), "one presign each, and nothing to storage: {fault:?}");
    failures.swap_remove(0)
}

fn answers() -> Vec<(Fault, Reason)> {
    let text = |status, message: &str| Fault::json(status, &json!({"error": {"message": message}}));
    vec![
        (Fault::status(400), Reason::RequestRejected),
        (text(400, "file_name is too long"), Reason::RequestRejected),
        (Fault::status(401), Reason::CredentialsRejected),
        (text(401, "the token has expired"), Reason::CredentialsRejected),
        (Fault::permission_denied(), Reason::CredentialsRejected),
        (Fault::feature_gate(GateShape::Nested), Reason::FeatureNotLicensed),
        (Fault::feature_gate(GateShape::Text), Reason::FeatureNotLicensed),
        (Fault::status(404), Reason::RequestRejected),
        (Fault::status(413), Reason::TooLarge),
        (Fault::status(422), Reason::RequestRejected),
        (Fault::status(429), Reason::RateLimited),
        (Fault::status(500), Reason::ApiUnavailable),
        (Fault::status(503), Reason::ApiUnavailable),
        (Fault::html(200), Reason::InvalidResponse),
        (Fault::html(401), Reason::CredentialsRejected),
        (Fault::html(502), Reason::ApiUnavailable),
        (Fault::empty_body(), Reason::InvalidResponse),
        (Fault::huge_body(200, 2_000_000), Reason::InvalidResponse),
        (Fault::huge_body(507, 2_000_000), Reason::ApiUnavailable),
        (Fault::malformed_json(), Reason::InvalidResponse),
        (Fault::field(Field::FileKey, Defect::Missing), Reason::InvalidResponse),
        (Fault::field(Field::FileKey, Defect::Empty), Reason::InvalidResponse),
        (Fault::field(Field::FileKey, Defect::NotAString), Reason::InvalidResponse),
        (Fault::field(Field::UploadUrl, Defect::Missing), Reason::InvalidResponse),
        (Fault::field(Field::UploadUrl, Defect::Empty), Reason::InvalidResponse),
        (Fault::field(Field::UploadUrl, Defect::NotAString), Reason::InvalidResponse),
        (Fault::redirect(302, "https://elsewhere.example/"), Reason::InvalidResponse),
        (Fault::redirect(307, "https://elsewhere.example/"), Reason::InvalidResponse),
        (Fault::reset(), Reason::ApiUnavailable),
    ]
}

#[tokio::test]
async fn each_answer_has_its_reason_and_a_message_of_its_own() {
    let sender = Sender::new().await;
    let mut messages = BTreeMap::new();
    for (fault, reason) in answers() {
        let failure = failure(&sender, &fault).await;
        assert_eq!(failure.reason, reason, "{fault:?}: {failure}");
        let name = format!("{fault:?}");
        if let Some(other) = messages.insert(failure.message(), name.clone()) {
            panic!("{name} and {other} are both told as: {failure}");
        }
    }
}

#[tokio::test]
async fn a_null_field_is_told_as_a_missing_one() {
    let sender = Sender::new().await;
    for field in [Field::FileKey, Field::UploadUrl] {
        let missing = failure(&sender, &Fault::field(field, Defect::Missing)).await;
        assert_eq!(failure(&sender, &Fault::field(field, Defect::Null)).await, missing);
    }
}

#[tokio::test]
async fn a_feature_gate_is_known_in_all_its_shapes_and_its_feature_named() {
    let sender = Sender::new().await;
    for shape in [GateShape::Nested, GateShape::Flat, GateShape::Text] {
        let failure = failure(&sender, &Fault::feature_gate(shape)).await;
        assert_eq!(failure.reason, Reason::FeatureNotLicensed, "{shape:?}");
        assert!(failure.message().contains("file_upload"), "{shape:?}: {failure}");
    }
}

#[tokio::test]
async fn retry_after_is_honoured_as_seconds_and_as_a_date() {
    let sender = Sender::new().await;
    let seconds = failure(&sender, &Fault::retry_after(429, 7)).await;
    assert_eq!((seconds.reason, seconds.retry_after), (Reason::RateLimited, Some(Duration::from_secs(7))));
    let later = sender.stub.calls()[0].started_at + Duration::from_secs(100);
    let date = failure(&sender, &Fault::retry_after_date(429, later)).await;
    let asked = date.retry_after.unwrap().as_secs();
    assert!(date.reason == Reason::RateLimited && (60..=100).contains(&asked), "{asked} s");
    assert_eq!(date.message(), seconds.message(), "how long is no part of the message");
    assert_eq!(failure(&sender, &Fault::retry_after(503, 7)).await.retry_after, Some(Duration::from_secs(7)));
    assert_eq!(failure(&sender, &Fault::retry_after(401, 7)).await.retry_after, None, "a person must act, not time");
}

#[tokio::test]
async fn html_from_a_proxy_is_named_and_not_shown() {
    let sender = Sender::new().await;
    for status in [200, 401, 403, 502] {
        let failure = failure(&sender, &Fault::html(status)).await;
        assert!(failure.message().contains("HTML") && failure.message().contains("proxy"), "{failure}");
        assert!(!failure.message().contains('<') && !failure.message().contains("proxy error"), "{failure}");
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_no_ticket() {
    let sender = Sender::new().await;
    let reason = failure(&sender, &Fault::wrong_content_length(200, 99)).await.reason;
    assert!(matches!(reason, Reason::ApiUnavailable | Reason::InvalidResponse), "{reason}");
}

#[tokio::test]
async fn an_api_that_is_down_is_unavailable_until_it_is_back() {
    let mut sender = Sender::new().await;
    sender.stub.pause_api().await;
    let (first, second) = (sender.send("hello").await.unwrap_err(), sender.send("hello").await.unwrap_err());
    assert_eq!((first.reason, first.message()), (Reason::ApiUnavailable, second.message()));
    assert!(first.message().contains("refused"), "{first}");
    sender.stub.resume_api().unwrap();
    sender.send("hello").await.unwrap();
}

#[tokio::test]
async fn a_credential_that_is_revoked_is_rejected_until_it_is_restored() {
    let sender = Sender::new().await;
    let token = sender.stub.credential(cyberun_stub::Kind::Integration).token().to_owned();
    sender.send("hello").await.unwrap();
    for stand in [cyberun_stub::Stub::revoke, cyberun_stub::Stub::expire] {
        assert!(stand(&sender.stub, &token));
        assert_eq!(sender.send("hello").await.unwrap_err().reason, Reason::CredentialsRejected);
    }
    assert!(sender.stub.restore(&token));
    sender.send("hello").await.unwrap();
}
