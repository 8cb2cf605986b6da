//! Which credentials are sent, and which are refused without a call.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cyberun_stub::{Kind, Options, Stub};

use crate::support::files::Files;
use crate::support::process::Run;

fn jwt(claims: &str) -> String {
    format!("eyJhbGciOiJSUzI1NiJ9.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(claims))
}

#[tokio::test]
async fn every_kind_that_may_upload_does_so_whatever_white_space_surrounds_it() {
    let (stub, files) = (Stub::start(Options::default()).await.unwrap(), Files::new());
    for kind in [Kind::Integration, Kind::Device, Kind::User] {
        let credential = stub.credential(kind);
        let run = Run::upload(&stub).token(credential.token());
        let run = run.environment("CYBERUN_API_KEY", format!("\u{feff} {}\r\n", credential.token()));
        let run = run.environment("CYBERUN_TEAM_ID", format!("\u{feff}{} \n", credential.team().unwrap_or("ignored")));
        run.argument(files.with("a.png", b"a")).run().await.succeeded();
    }
    assert_eq!(stub.objects().len(), 3);
}

#[tokio::test]
async fn a_credential_that_cannot_work_is_refused_without_a_call() {
    let (stub, files) = (Stub::start(Options::default()).await.unwrap(), Files::new());
    let file = files.with("a.png", b"a");
    let service_account =
        jwt(r#"{"iss":"https://kubernetes.default.svc","sub":"system:serviceaccount:team-a:default"}"#);
    let (agent, user) = (stub.credential(Kind::Agent), stub.credential(Kind::User));
    for (token, team, named) in [
        (agent.token(), None, "ak-"),
        (user.token(), None, "CYBERUN_TEAM_ID"),
        (user.token(), Some("  "), "CYBERUN_TEAM_ID"),
        (service_account.as_str(), Some("team"), "service-account"),
        ("eyJhbGciOi", Some("team"), "JWT"),
        ("hunter2-hunter2", None, "sk-"),
        ("sk-with white space", None, "white space"),
        ("  ", None, "empty"),
    ] {
        let run = Run::upload(&stub).token(token).argument(&file);
        let run = team.into_iter().fold(run, |run, team| run.environment("CYBERUN_TEAM_ID", team));
        let ended = run.run().await.failed(2);
        assert!(ended.stderr.contains("CYBERUN_API_KEY") && ended.stderr.contains(named), "{named}: {}", ended.stderr);
    }
    assert_eq!(stub.calls().len(), 0);
}

#[tokio::test]
async fn a_missing_credential_names_the_variable() {
    let files = Files::new();
    let ended = Run::bare().argument(files.with("a.png", b"a")).run().await.failed(2);
    assert!(ended.stderr.contains("CYBERUN_API_KEY is not set"), "{}", ended.stderr);
    let run = Run::bare().argument(files.with("a.png", b"a"));
    let ended = run.environment("CYBERUN_API_KEY", OsString::from_vec(b"sk-\xff".to_vec())).run().await.failed(2);
    assert!(ended.stderr.contains("CYBERUN_API_KEY holds bytes"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_rejected_credential_is_not_tried_again() {
    let (stub, files) = (Stub::start(Options::default()).await.unwrap(), Files::new());
    assert!(stub.revoke(stub.credential(Kind::Integration).token()));
    let ended = Run::upload(&stub).file("photo", &files.with("a.png", b"a")).run().await.failed(1);
    assert!(ended.stderr.starts_with("error: photo: CredentialsRejected: "), "{}", ended.stderr);
    assert_eq!(stub.calls().len(), 1);
}
