//! `fileupload refresh` as a process, as far as it needs no cluster; `tests/e2e/refresh_command` has the rest.

use crate::support::process::Run;

#[tokio::test]
async fn a_time_to_wait_is_written_with_its_unit_and_only_for_who_waits() {
    for (arguments, word) in [
        (&["one", "--wait", "--timeout", "soon"][..], "write it like 90s"),
        (&["one", "--wait", "--timeout=-1m"], "write it like 90s"),
        (&["one", "--wait", "--timeout", "0s"], "write it like 90s"),
        (&["one", "--timeout", "5m"], "--wait"),
        (&["--wait"], "<NAME>"),
    ] {
        let run = arguments.iter().fold(Run::of("refresh"), |run, argument| run.argument(*argument));
        let ended = run.run().await.failed(2);
        assert!(ended.stderr.contains(word), "{arguments:?}: {}", ended.stderr);
    }
    // A right one is gone on with, to where no cluster is.
    for good in ["90s", "10m", "1h", "2m 30s"] {
        let run = Run::of("refresh").argument("one").argument("--wait").argument("--timeout").argument(good);
        run.environment("KUBECONFIG", "/nowhere").run().await.failed(1);
    }
}
