//! No failure on any road prints a credential or a signed URL, even where the other side echoes them.
//!
//! `process` searches what a run printed; here are the runs that fail in every way, each by itself, as some failures
//! are every file's and would end the run.

use cyberun_stub::{Answer, Fault, Kind, Options, Rule, Step, Stub};
use serde_json::json;

use crate::support::files::Files;
use crate::support::process::Run;

/// What befalls the two first calls of each file.
fn faults(token: &str) -> Vec<(&'static str, Step, Fault)> {
    let signed = "http://127.0.0.1:1/bucket/key?X-Amz-Credential=a&X-Amz-Signature=0123456789abcdef";
    let ticket = |key: &str| json!({"file_key": key, "upload_url": signed});
    let xml = format!("<Error><Code>Oops</Code><Message>{signed} Bearer {token}</Message></Error>");
    let said = |status| Fault::from(Answer { status, body: xml.clone(), ..Answer::default() });
    vec![
        ("echoed-by-api", Step::Presign, Fault::json(401, &json!({"message": format!("bad key {token}: {signed}")}))),
        (
            "echoed-as-text",
            Step::Presign,
            Fault::from(Answer { status: 503, body: format!("Bearer {token}"), ..Answer::default() }),
        ),
        ("no-ticket", Step::Presign, Fault::json(200, &ticket(""))),
        ("nobody-there", Step::Presign, Fault::json(200, &ticket("key"))),
        ("api-redirects", Step::Presign, Fault::redirect(307, signed)),
        ("api-resets", Step::Presign, Fault::reset()),
        ("storage-fails", Step::Put, said(500)),
        ("storage-refuses", Step::Put, said(403)),
        ("storage-is-busy", Step::Put, said(429)),
        ("storage-resets", Step::Put, Fault::reset()),
        ("storage-redirects", Step::Put, Fault::redirect(307, signed)),
    ]
}

#[tokio::test]
async fn no_failure_prints_a_credential_or_a_signed_url() {
    let (stub, files) = (Stub::start(Options::default()).await.unwrap(), Files::new());
    let token = stub.credential(Kind::Integration).token().to_owned();
    for (output, has_terminal) in [("text", false), ("json", false), ("jsonl", false), ("text", true)] {
        let mut running = Vec::new();
        for (name, step, fault) in faults(&token) {
            stub.arm(Rule::once(step, fault.clone()).for_file(name));
            stub.arm(Rule::once(step, fault).for_file(name));
            let run = Run::upload(&stub).argument("--output").argument(output);
            let run = run.argument(files.with(name, b"content"));
            running.push((name, if has_terminal { run.on_terminal() } else { run }.start()));
        }
        for (name, run) in running {
            let ended = run.ended().await;
            let told = if has_terminal { &ended.stdout } else { &ended.stderr };
            assert!(told.contains(name), "{name} failed and was told: {told}");
        }
        // These are tried once: the second rule of each is left.
        let once = ["echoed-by-api", "storage-redirects"];
        let left = stub.armed().into_iter().filter_map(|rule| rule.file_name);
        assert!(
            left.clone().all(|name| once.contains(&name.as_str())),
            "all struck but {:?}",
            left.collect::<Vec<_>>()
        );
        stub.clear_faults();
    }
}
