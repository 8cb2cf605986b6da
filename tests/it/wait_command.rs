//! `fileupload wait` as a process, as far as it needs no cluster; `tests/e2e/wait_command` has the rest.

use crate::support::files::Files;
use crate::support::process::Run;

fn wait(arguments: &[&str]) -> Run {
    arguments.iter().fold(Run::of("wait"), |run, argument| run.argument(*argument))
}

#[tokio::test]
async fn it_takes_names_and_a_time_with_its_unit() {
    let many: Vec<String> = (0..101).map(|number| format!("u{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (arguments, word) in [
        (&[][..], "<NAME>"),
        (&["Upper"], "fileupload/NAME"),
        (&["pod/one"], "fileupload/NAME"),
        (&["one", "--timeout", "soon"], "write it like 90s"),
        (&["one", "--timeout", "0"], "write it like 90s"),
        (&many, "at most 100"),
    ] {
        let ended = wait(arguments).run().await.failed(2);
        assert!(ended.stderr.contains(word), "{arguments:?}: {}", ended.stderr);
    }
    for name in ["one", "fu/one", "fup/one", "fileupload.cyberun.cloud/one"] {
        let ended = wait(&[name]).environment("KUBECONFIG", "/nowhere").run().await.failed(1);
        assert!(ended.stderr.contains("--kubeconfig"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn a_kubeconfig_on_the_command_line_is_the_only_one_that_is_read() {
    let files = Files::new();
    let text = |context: &str| format!("{{apiVersion: v1, kind: Config, current-context: {context}}}");
    let (named, other) = (files.with("named", text("named").as_bytes()), files.with("other", text("other").as_bytes()));
    let named = named.to_str().unwrap();
    for command in ["wait", "explain", "refresh"] {
        let run = Run::of(command).environment("KUBECONFIG", &other).argument("one").argument("--kubeconfig");
        let ended = run.argument(named).run().await.failed(1);
        assert!(ended.stderr.contains("no context named"), "{command}: {}", ended.stderr);
        let run = Run::of(command).environment("KUBECONFIG", &other).argument("one");
        let ended = run.argument("--kubeconfig=/nowhere/at-all").run().await.failed(1);
        assert!(ended.stderr.contains("/nowhere/at-all"), "{command}: {}", ended.stderr);
    }
    let run = Run::of("controller").environment("KUBECONFIG", &other).argument("--kubeconfig").argument(named);
    let ended = run.argument("--api-url=https://api.example/api/v1").run().await.failed(1);
    assert!(ended.stderr.contains("no context named"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_cluster_that_does_not_answer_is_waited_for_and_the_time_ends_it_with_4() {
    let files = Files::new();
    let nobody = r#"{"apiVersion": "v1", "kind": "Config", "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me", "namespace": "team-a"}}],
        "users": [{"name": "me", "user": {}}],
        "clusters": [{"name": "here", "cluster": {"server": "http://127.0.0.1:9"}}]}"#;
    let kubeconfig = files.with("kubeconfig", nobody.as_bytes());
    let run = wait(&["one", "one", "--timeout", "3s"]).environment("KUBECONFIG", &kubeconfig);
    let ended = run.run().await.failed(4);
    let lines: Vec<_> = ended.stderr.lines().collect();
    let why = "team-a/one: the cluster does not answer: ";
    assert!(lines.len() == 3 && lines[0].starts_with(why) && lines[2] == lines[0], "{}", ended.stderr);
    assert_eq!((lines[1], ended.stdout.as_str()), ("error: timed out (--timeout)", ""));
}
