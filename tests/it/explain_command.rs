//! `fileupload explain` as a process, as far as it needs no cluster; `tests/e2e/explain_command` has the rest.

use std::os::unix::fs::symlink;
use std::process::Command;

use fileupload_operator::reason::Reason;
use rustix::process::Signal;

use crate::support::files::Files;
use crate::support::process::Run;

#[tokio::test]
async fn every_reason_is_explained_by_its_meaning_cause_fix_and_when_it_is_looked_at_again() {
    for reason in Reason::ALL {
        let ended = Run::of("explain").argument(reason.as_str()).run().await.succeeded();
        let (class, text) = (reason.class(), ended.stdout);
        let [meaning, cause, fix, next] = [reason.meaning(), reason.cause(), reason.fix(), reason.next()];
        assert!(
            text.starts_with(&format!(
                "{reason}: {meaning}\nCause: {cause}\nFix: {fix}\nNext: {next}\nClass: {class}."
            )),
            "{text}"
        );
    }
}

#[tokio::test]
async fn what_becomes_of_a_key_is_explained_by_the_command_that_renews_it() {
    for (reason, words) in [
        ("Expired", ["fileupload refresh NAME", "spec.refreshPolicy: BeforeExpiry"]),
        ("RefreshFailed", ["old key serves", "expiresAt"]),
        ("UpdateUnsupported", ["--direct-uploads=false", "spec.updatePolicy: Once"]),
    ] {
        let text = Run::of("explain").argument(reason).run().await.succeeded().stdout;
        let json = Run::of("explain").argument(reason).argument("-ojson").run().await.succeeded().stdout;
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["reason"], reason);
        assert!(
            text.contains(json["fix"].as_str().unwrap()) && text.contains(json["next"].as_str().unwrap()),
            "{json}"
        );
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
}

#[tokio::test]
async fn a_denial_by_selinux_is_explained_with_its_field() {
    let text = Run::of("explain").argument("PermissionDenied").run().await.succeeded().stdout;
    let [cause, fix] = ["Cause: ", "Fix: "].map(|part| text.lines().find(|line| line.starts_with(part)).unwrap());
    assert!(cause.contains("SELinux") && fix.contains("spec.worker.securityContext.seLinuxOptions"), "{text}");
}

#[tokio::test]
async fn without_an_argument_every_reason_is_a_line() {
    let ended = Run::of("explain").run().await.succeeded();
    let first: Vec<_> = ended.stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(first, Reason::ALL.iter().map(|reason| reason.as_str()).collect::<Vec<_>>());
    let json = Run::of("explain").argument("--output=json").run().await.succeeded().stdout;
    let json: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert_eq!(json.iter().map(|said| said["reason"].as_str().unwrap()).collect::<Vec<_>>(), first);
}

#[tokio::test]
async fn a_word_that_is_no_reason_is_a_usage_error_that_offers_the_nearest() {
    let ended = Run::of("explain").argument("ClaimNotFond").run().await.failed(2);
    assert!(ended.stderr.contains("ClaimNotFond") && ended.stderr.contains("ClaimNotFound"), "{}", ended.stderr);
    assert_eq!((ended.stdout.as_str(), ended.stderr.lines().count()), ("", 1));
}

#[tokio::test]
async fn without_a_cluster_one_error_says_what_to_set() {
    let files = Files::new();
    let nobody = r#"{"apiVersion": "v1", "kind": "Config", "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "users": [{"name": "me", "user": {}}],
        "clusters": [{"name": "here", "cluster": {"server": "http://127.0.0.1:9"}}]}"#;
    let kubeconfig = files.with("kubeconfig", nobody.as_bytes());
    let missing = files.folder().join("missing");
    // What stands in a kubeconfig is not quoted, however broken it is.
    let broken = files.with("broken", b"users: [{name: me, user: {token: of-my-cluster}\nclusters: [");
    for command in ["explain", "refresh"] {
        for (path, more, words) in [
            (&missing, &[][..], &["KUBECONFIG", "--context", "missing"][..]),
            (&broken, &[], &["it is not valid YAML", "KUBECONFIG"]),
            (&kubeconfig, &["--context", "elsewhere"], &["no context elsewhere", "--context"]),
            (&kubeconfig, &[], &["the cluster does not answer", "kubeconfig's server"]),
        ] {
            let run = Run::of(command).secret("of-my-cluster").environment("KUBECONFIG", path).argument("portrait");
            let ended = more.iter().fold(run, |run, argument| run.argument(*argument)).run().await.failed(1);
            assert!(words.iter().all(|word| ended.stderr.contains(word)), "{words:?}: {}", ended.stderr);
            assert_eq!((ended.stdout.as_str(), ended.stderr.lines().count()), ("", 1), "{}", ended.stderr);
        }
    }
    let run = Run::of("controller").secret("of-my-cluster").environment("KUBECONFIG", &broken);
    let run = run.argument("--api-url").argument("https://api.example/api/v1");
    let ended = run.run().await.failed(1);
    assert!(ended.stderr.contains("it is not valid YAML"), "{}", ended.stderr);
    let run = Run::of("explain").environment("KUBECONFIG", &kubeconfig).argument("claimnotfound");
    let ended = run.run().await.failed(1);
    assert!(ended.stderr.contains("write ClaimNotFound"), "{}", ended.stderr);
    let ended = Run::of("explain").environment("KUBECONFIG", &missing).argument("claimnotfound").run().await.failed(1);
    assert!(ended.stderr.contains("write ClaimNotFound"), "{}", ended.stderr);
    for (command, name) in [("explain", "../../x"), ("explain", ""), ("refresh", "a b"), ("refresh", "pod/a")] {
        let ended = Run::of(command).environment("KUBECONFIG", &missing).argument(name).run().await.failed(2);
        assert!(ended.stderr.contains("fileupload/NAME"), "{}", ended.stderr);
    }
}

/// moby#12228: no signal ends the first process of a container, unless it asks for the signal.
#[tokio::test]
async fn a_signal_ends_what_waits_for_the_cluster_also_as_the_first_process_of_a_container() {
    for (command, signal) in [("explain", Signal::TERM), ("refresh", Signal::TERM), ("refresh", Signal::INT)] {
        let files = Files::new();
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let kubeconfig = format!(
            r#"{{"apiVersion": "v1", "kind": "Config", "current-context": "here",
            "contexts": [{{"name": "here", "context": {{"cluster": "here", "user": "me"}}}}],
            "users": [{{"name": "me", "user": {{}}}}],
            "clusters": [{{"name": "here", "cluster": {{"server": "http://{}"}}}}]}}"#,
            silent.local_addr().unwrap()
        );
        let run = Run::of(command).argument("one");
        let running = run.environment("KUBECONFIG", files.with("kubeconfig", kubeconfig.as_bytes())).start();
        let _connection = silent.accept().await.unwrap();
        running.signal(signal);
        // As a shell shows it.
        let code = if signal == Signal::TERM { 143 } else { 130 };
        let ended = running.ended().await.failed(code);
        assert_eq!(ended.stdout, "", "{command}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn as_a_plugin_of_kubectl_it_is_called_as_people_call_it() {
    let files = Files::new();
    let plugin = files.folder().join("kubectl-fileupload");
    symlink(env!("CARGO_BIN_EXE_fileupload"), &plugin).unwrap();
    for (program, name) in
        [(plugin.as_path(), "kubectl fileupload"), (env!("CARGO_BIN_EXE_fileupload").as_ref(), "fileupload")]
    {
        let said = |arguments: &[&str]| Command::new(program).args(arguments).output().unwrap();
        let help = said(&["explain", "--help"]);
        let text = String::from_utf8(help.stdout).unwrap();
        assert!(help.status.success() && text.contains(&format!("Usage: {name} explain")), "{text}");
        let wrong = said(&["refresh"]);
        let text = String::from_utf8(wrong.stderr).unwrap();
        assert!(wrong.status.code() == Some(2) && text.contains(&format!("Usage: {name} refresh")), "{text}");
        assert!(said(&["explain", "ClaimNotFound"]).status.success());
    }
}
