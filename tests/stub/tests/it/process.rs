//! The binary: its line of JSON, its control API, its end.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use url::Url;

use crate::client::{DEADLINE, exchange, good, head};

const TOKEN: &str = "sk-of-a-shell-script";

async fn start(arguments: &[&str]) -> (Child, Value) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_cyberun-stub"))
        .args(arguments)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap().unwrap();
    (child, serde_json::from_str(&line).unwrap())
}

async fn control(api: &Url, method: &str, action: &str, body: Option<Value>) -> (u16, Value) {
    let url = api.join(&format!("/_stub/{action}")).unwrap();
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let head = head(method, &url, &[("Content-Length", &body.len().to_string())]);
    let reply = exchange(&url, (head + &body).as_bytes()).await.unwrap();
    (reply.status, reply.json())
}

async fn presign(api: &Url) -> u16 {
    let url: Url = format!("{api}/r/files/presign").parse().unwrap();
    let body = good("a.png", 5).to_string();
    let (bearer, length) = (format!("Bearer {TOKEN}"), body.len().to_string());
    let headers =
        [("Authorization", bearer.as_str()), ("Content-Type", "application/json"), ("Content-Length", length.as_str())];
    exchange(&url, (head("POST", &url, &headers) + &body).as_bytes()).await.unwrap().status
}

#[tokio::test]
async fn a_script_can_arm_faults_look_at_calls_and_revoke_a_token() {
    let (_child, ready) = start(&["--token", TOKEN]).await;
    let api: Url = ready["api_url"].as_str().unwrap().parse().unwrap();
    assert!(api.path().ends_with("/api/v1"));
    assert_eq!(presign(&api).await, 200);

    let rule = json!({"step": "presign", "fault": {"act": "answer", "status": 503, "at": "committed"}});
    assert_eq!(control(&api, "POST", "faults", Some(rule)).await.0, 200);
    assert_eq!(control(&api, "GET", "faults", None).await.1.as_array().unwrap().len(), 1);
    assert_eq!(presign(&api).await, 503);
    let rule = json!({"step": "presign", "always": true, "fault": {"act": "hold", "hold": "gate"}, "file_name": "z"});
    assert_eq!(control(&api, "POST", "faults", Some(rule)).await.0, 200);
    assert_eq!(control(&api, "POST", "release", Some(json!({"hold": "gate"}))).await.0, 200);
    assert_eq!(control(&api, "POST", "release", Some(json!({"hold": "none"}))).await.0, 400);
    let rule = json!({"step": "put", "fault": {"act": "reset", "at": {"body": 3}}});
    assert_eq!(control(&api, "POST", "faults", Some(rule)).await.0, 200);
    assert_eq!(control(&api, "POST", "faults", Some(json!({"step": "put"}))).await.0, 400);
    assert_eq!(control(&api, "DELETE", "faults", None).await.0, 200);

    assert_eq!(control(&api, "POST", "revoke", Some(json!({"credential": TOKEN}))).await.0, 200);
    assert_eq!(presign(&api).await, 401);
    assert_eq!(control(&api, "POST", "restore", Some(json!({"credential": "integration-2"}))).await.0, 200);
    assert_eq!(presign(&api).await, 200);

    let (_, calls) = control(&api, "GET", "calls", None).await;
    let ends: Vec<_> = calls.as_array().unwrap().iter().map(|call| call["end"]["status"].as_u64().unwrap()).collect();
    assert_eq!(ends, [200, 503, 401, 200]);
    assert_eq!(calls[0]["credential"], "integration-2");
    assert_eq!(control(&api, "GET", "objects", None).await.1, json!({}));
}

#[tokio::test]
async fn it_writes_its_authority_and_ends_cleanly_when_told_to() {
    let ca = std::env::temp_dir().join(format!("cyberun-stub-{}.pem", std::process::id()));
    let (mut child, ready) = start(&["--tls", "--ca-out", ca.to_str().unwrap()]).await;
    assert!(ready["s3_url"].as_str().unwrap().starts_with("https://"));
    assert_eq!(ready["ca_file"].as_str(), ca.to_str());
    assert!(std::fs::read_to_string(&ca).unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    std::fs::remove_file(&ca).unwrap();
    let killed = Command::new("kill").arg(child.id().unwrap().to_string()).status().await.unwrap();
    assert!(killed.success());
    let status = tokio::time::timeout(Duration::from_secs(10), child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
}
