//! Who may run a workflow, and with which keys.

use std::time::Duration;

use cyberun_stub::{Fault, Kind, Options, Step, Stub};
use serde_json::{Value, json};

use crate::client::{DEADLINE, Reply, exchange, good, head, presign, put, stub};

const JSON: (&str, &str) = ("Content-Type", "application/json");

async fn run_with(stub: &Stub, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let url = format!("{}/r/workflows/{path}/run", stub.api_url()).parse().unwrap();
    let length = body.len().to_string();
    let headers = [headers, &[("Content-Length", length.as_str())]].concat();
    exchange(&url, (head("POST", &url, &headers) + body).as_bytes()).await.unwrap()
}

async fn run(stub: &Stub, body: &Value) -> Reply {
    let bearer = format!("Bearer {}", stub.credential(Kind::Integration).token());
    run_with(stub, "slug/portrait@2", &[("Authorization", &bearer), JSON], &body.to_string()).await
}

async fn stored(stub: &Stub) -> String {
    let reply = presign(stub, &good("photo.png", 3)).await.unwrap().json();
    let url = reply["upload_url"].as_str().unwrap().parse().unwrap();
    assert_eq!(put(&url, b"abc").await.unwrap().status, 200);
    reply["file_key"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_run_with_a_stored_key_is_answered_202_with_a_task_and_recorded() {
    let stub = stub().await;
    let key = stored(&stub).await;
    let reply = run(&stub, &json!({"parameters": {"photo": key, "steps": 20, "text": "soft light"}})).await;
    assert_eq!(reply.status, 202, "{}", reply.body);
    assert!(reply.json()["task_id"].as_str().unwrap().len() == 36);
    let call = stub.calls().pop().unwrap();
    assert_eq!((call.step, call.path.as_str()), (Step::Run, "/api/v1/r/workflows/slug/portrait@2/run"));
    assert_eq!(call.parameters.unwrap()["photo"], key.as_str());
    assert_eq!(call.credential.as_deref(), Some("integration-1"));
}

#[tokio::test]
async fn a_key_that_nothing_is_stored_under_is_refused() {
    let stub =
        Stub::start(Options { retention: Some(Duration::from_millis(200)), ..Options::default() }).await.unwrap();
    let granted = presign(&stub, &good("photo.png", 3)).await.unwrap().json()["file_key"].clone();
    assert_eq!(run(&stub, &json!({"parameters": {"photo": granted}})).await.status, 422, "presigned, never put");
    let key = stored(&stub).await;
    stub.wait_for(|seen| seen.objects.is_empty(), DEADLINE).await.unwrap();
    let reply = run(&stub, &json!({"parameters": {"photo": key}})).await;
    assert_eq!(reply.status, 422, "outlived its retention");
    assert!(reply.body.contains(&key), "{}", reply.body);
}

#[tokio::test]
async fn a_run_needs_a_credential_json_and_parameters() {
    let stub = stub().await;
    let bearer = |kind| format!("Bearer {}", stub.credential(kind).token());
    let (key, agent) = (bearer(Kind::Integration), bearer(Kind::Agent));
    let good = json!({"parameters": {}}).to_string();
    for (headers, body, status) in [
        (vec![JSON], good.as_str(), 401),
        (vec![JSON, ("Authorization", agent.as_str())], good.as_str(), 403),
        (vec![("Authorization", key.as_str())], good.as_str(), 400),
        (vec![JSON, ("Authorization", key.as_str())], "{\"parameters\": {}", 400),
        (vec![JSON, ("Authorization", key.as_str())], "{\"params\": {}}", 400),
        (vec![JSON, ("Authorization", key.as_str())], "{\"parameters\": []}", 400),
        (vec![JSON, ("Authorization", key.as_str())], good.as_str(), 202),
    ] {
        assert_eq!(run_with(&stub, "slug/portrait", &headers, body).await.status, status, "{headers:?} {body}");
    }
    for path in ["slug/", "slug/a/b", "portrait"] {
        assert_eq!(run_with(&stub, path, &[JSON, ("Authorization", &key)], &good).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn an_armed_fault_befalls_a_run() {
    let stub = stub().await;
    stub.fault(Step::Run, Fault::status(503));
    assert_eq!(run(&stub, &json!({"parameters": {}})).await.status, 503);
    assert_eq!(run(&stub, &json!({"parameters": {}})).await.status, 202);
}
