//! Who may ask for a URL, and what a request must look like.

use cyberun_stub::{KeyShape, Kind, Options, Step, Stub, UploadHeaders};
use serde_json::json;

use crate::client::{exchange, good, head, presign, presign_url, presign_with, stub};

/// `eyJ...` with the payload `{"iss":"https://kubernetes.default.svc","sub":"system:serviceaccount:a:b"}`.
const SERVICE_ACCOUNT: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2t1YmVybmV0ZXMuZGVmYXVsdC5zdmMiLCJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6YTpiIn0.c2ln";

async fn status_of(stub: &Stub, authorization: &str, team: Option<&str>) -> u16 {
    let mut headers = vec![("Authorization", authorization), ("Content-Type", "application/json")];
    headers.extend(team.map(|team| ("X-Team-ID", team)));
    let reply = presign_with(stub, &headers, &good("a.png", 1).to_string()).await.unwrap();
    reply.json();
    reply.status
}

#[tokio::test]
async fn each_kind_of_credential_is_judged_by_the_documented_table() {
    let stub = stub().await;
    let bearer = |kind| format!("Bearer {}", stub.credential(kind).token());
    let team = stub.credential(Kind::User).team().unwrap().to_owned();
    for (kind, team, status) in [
        (Kind::Integration, None, 200),
        (Kind::Integration, Some("anything"), 200),
        (Kind::Device, None, 200),
        (Kind::Device, Some("anything"), 200),
        (Kind::Agent, None, 403),
        (Kind::User, None, 400),
        (Kind::User, Some(""), 400),
        (Kind::User, Some("another"), 403),
        (Kind::User, Some(team.as_str()), 200),
    ] {
        assert_eq!(status_of(&stub, &bearer(kind), team).await, status, "{kind:?} with team {team:?}");
    }
}

#[tokio::test]
async fn unknown_tokens_are_refused_and_recorded_as_what_they_look_like() {
    let stub = stub().await;
    let good = stub.credential(Kind::Integration);
    for (authorization, label) in [
        ("Bearer sk-nobody".to_owned(), "unknown integration"),
        (format!("Bearer {SERVICE_ACCOUNT}"), "unknown Kubernetes service account"),
        (format!("bearer {}", good.token()), "unknown"),
        (format!("Bearer  {}", good.token()), "unknown"),
        ("Basic YTpi".to_owned(), "unknown"),
    ] {
        assert_eq!(status_of(&stub, &authorization, None).await, 401);
        assert_eq!(stub.calls().last().unwrap().credential.as_deref(), Some(label));
    }
    let reply = presign_with(&stub, &[("Content-Type", "application/json")], "{}").await.unwrap();
    assert_eq!((reply.status, stub.calls().last().unwrap().credential.clone()), (401, None));
}

#[tokio::test]
async fn a_revoked_or_expired_token_is_refused_until_it_is_restored() {
    let stub = stub().await;
    let credential = stub.mint(Kind::Device);
    let bearer = format!("Bearer {}", credential.token());
    assert!(stub.revoke(credential.token()));
    assert_eq!(status_of(&stub, &bearer, None).await, 401);
    assert!(stub.expire(credential.token()));
    assert_eq!(status_of(&stub, &bearer, None).await, 401);
    assert!(stub.restore(credential.token()));
    assert_eq!(status_of(&stub, &bearer, None).await, 200);
    assert!(!stub.revoke("sk-nobody"));
}

#[tokio::test]
async fn no_record_holds_a_token_or_a_signature() {
    let stub = stub().await;
    let url = crate::client::ticket(&stub, "a.png", 3).await;
    crate::client::put(&url, b"abc").await.unwrap();
    let text = format!("{:?} {:?}", stub.calls(), stub.credential(Kind::Integration));
    let signature = url.query_pairs().find(|(name, _)| name == "X-Amz-Signature").unwrap().1.into_owned();
    assert!(!text.contains(stub.credential(Kind::Integration).token()) && !text.contains(&signature), "{text}");
    assert_eq!(stub.calls()[0].credential.as_deref(), Some("integration-1"));
}

#[tokio::test]
async fn a_request_must_hold_exactly_the_three_documented_fields() {
    let stub = stub().await;
    let change = |field: &str, value| {
        let mut body = good("a.png", 1);
        body[field] = value;
        body
    };
    let without = |field: &str| {
        let mut body = good("a.png", 1);
        body.as_object_mut().unwrap().remove(field);
        body
    };
    let wrong = [
        json!([]),
        json!("text"),
        without("file_name"),
        without("file_size"),
        without("content_type"),
        change("file_name", json!("")),
        change("file_name", json!("a/b.png")),
        change("file_name", json!("..")),
        change("file_name", json!(7)),
        change("file_size", json!(-1)),
        change("file_size", json!(1.5)),
        change("file_size", json!("1")),
        change("file_size", json!(u64::MAX)),
        change("file_size", json!(null)),
        change("content_type", json!("")),
        change("content_type", json!("png")),
        change("content_type", json!(null)),
        change("checksum", json!("x")),
    ];
    for body in wrong {
        let reply = presign(&stub, &body).await.unwrap();
        assert_eq!(reply.status, 400, "{body}");
        assert!(reply.json()["error"]["message"].is_string());
    }
    for size in [0, 1, 1 << 40] {
        assert_eq!(presign(&stub, &good("a.png", size)).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_request_must_be_json_and_say_so() {
    let stub = stub().await;
    let bearer = format!("Bearer {}", stub.credential(Kind::Integration).token());
    let body = good("a.png", 1).to_string();
    let authorization = ("Authorization", bearer.as_str());
    for (content_type, body, status) in [
        (None, body.as_str(), 400),
        (Some("text/plain"), body.as_str(), 400),
        (Some("application/json"), "{", 400),
        (Some("application/json"), "", 400),
        (Some("application/json; charset=utf-8"), body.as_str(), 200),
    ] {
        let mut headers = vec![authorization];
        headers.extend(content_type.map(|content_type| ("Content-Type", content_type)));
        assert_eq!(presign_with(&stub, &headers, body).await.unwrap().status, status, "{content_type:?} {body}");
    }
}

#[tokio::test]
async fn other_paths_are_404_and_other_methods_405() {
    let stub = stub().await;
    let url = presign_url(&stub);
    let reply = exchange(&url, head("GET", &url, &[]).as_bytes()).await.unwrap();
    assert_eq!(reply.status, 405);
    assert!(reply.head.contains("allow: post") && reply.json()["error"].is_object());
    let url = stub.api_url().join("/api/v1/r/files").unwrap();
    let reply = exchange(&url, head("POST", &url, &[("Content-Length", "0")]).as_bytes()).await.unwrap();
    assert_eq!(reply.status, 404);
    assert!(reply.json()["error"].is_object());
    assert_eq!(stub.calls()[1].step, Step::Other);
}

#[tokio::test]
async fn the_answer_has_the_documented_fields_and_one_more() {
    let stub = stub().await;
    let (first, second) = (
        presign(&stub, &good("a b.png", 5)).await.unwrap().json(),
        presign(&stub, &good("a b.png", 5)).await.unwrap().json(),
    );
    assert_eq!(first["upload_headers"], json!({"Content-Length": "5", "If-None-Match": "*"}));
    assert_eq!(first.as_object().unwrap().len(), 4, "{first}");
    let segments = |answer: &serde_json::Value| answer["file_key"].as_str().unwrap().split('/').count();
    assert_eq!((segments(&first), segments(&second)), (5, 4), "both documented shapes, in turn");
    assert!(first["file_key"].as_str().unwrap().ends_with("/aW1hZ2UvcG5n/a b.png"));
    assert!(
        first["upload_url"].as_str().unwrap().contains("X-Amz-SignedHeaders=content-length%3Bhost%3Bif-none-match")
    );
}

#[tokio::test]
async fn options_change_headers_keys_and_limit() {
    let options = Options {
        upload_headers: UploadHeaders::Empty,
        key_shape: KeyShape::Plain,
        max_size: Some(10),
        ..Options::default()
    };
    let stub = Stub::start(options).await.unwrap();
    let answer = presign(&stub, &good("a.png", 10)).await.unwrap().json();
    assert_eq!(answer["upload_headers"], json!({}));
    assert_eq!(answer["file_key"].as_str().unwrap().split('/').count(), 4);
    assert_eq!(presign(&stub, &good("a.png", 11)).await.unwrap().status, 413);
}
