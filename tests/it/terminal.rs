//! Progress: on a terminal there are bars and a summary. (In a pipe there are none, see `cli`.)
//!
//! util-linux's `script` gives the process a terminal; without it the test fails.

use std::time::Duration;

use cyberun_stub::{Fault, Hold, Moment, Options, Rule, Step, Stub};

use crate::support::files::{Files, bytes};
use crate::support::process::Run;

const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_terminal_shows_how_far_each_file_is() {
    let (stub, files) = (Stub::start(Options::default()).await.unwrap(), Files::new());
    stub.fault(Step::Put, Fault::slow(4_000_000));
    let run = Run::upload(&stub).file("portrait", &files.with("a.png", &bytes(2_000_000)));
    let ended = run.on_terminal().run().await.succeeded();
    let frames: Vec<&str> = ended.stdout.split('\r').filter(|frame| frame.contains("portrait")).collect();
    assert!(frames.iter().any(|frame| frame.contains("1.91 MiB/1.91 MiB")), "the whole in the end: {frames:?}");
    assert!(frames.len() >= 3, "it moves: {frames:?}");
    let (key, _) = stub.objects().pop_first().unwrap();
    assert!(ended.stdout.contains(&format!("portrait={key}")), "and the key is printed");
    assert!(ended.stdout.contains("1 of 1 files stored, 1.91 MiB in "), "{}", ended.stdout);
}

#[tokio::test]
async fn a_bar_of_all_files_stands_above_those_on_their_way_and_a_file_that_failed_says_so() {
    let (stub, files) = (Stub::start(Options::default()).await.unwrap(), Files::new());
    let hold = Hold::new("those on their way");
    stub.arm(Rule::always(Step::Presign, Fault::status(413)).for_file("bad"));
    for name in ["good", "bad", "held-1", "held-2"] {
        files.with(name, &bytes(50_000));
        if name.starts_with("held") {
            stub.arm(Rule::always(Step::Put, Fault::hold(&hold).at(Moment::Received)).for_file(name));
        }
    }
    let run = ["good", "bad", "held-1", "held-2"].iter().fold(Run::upload(&stub), |run, name| run.argument(*name));
    let mut running = run.within(files.folder()).on_terminal().start();
    running.printed("held-2  ").await;
    hold.release();
    let ended = running.ended().await.failed(1);
    let shown = &ended.stdout;
    let frame = &shown[shown.find("held-2  ").unwrap()..];
    let next: Vec<usize> =
        ["2/4 files", "held-1  ", "held-2  "].iter().filter_map(|part| frame[1..].find(part)).collect();
    assert!(next.len() == 3 && next.is_sorted(), "all files above each: {next:?} {frame:?}");
    assert!(shown.contains("bad: failed: TooLarge"), "{shown}");
    for absent in ["good  ", "bad  "] {
        assert!(!shown.contains(absent), "what has ended has no bar: {shown}");
    }
    let last: Vec<&str> = shown.lines().collect();
    assert!(last.iter().any(|line| line.contains("3 of 4 files stored, 146.48 KiB in ")), "{shown}");
    assert!(last.iter().any(|line| line.contains("1 failed") && line.contains("files/s")), "{shown}");
}

#[tokio::test]
async fn lines_of_json_on_a_terminal_have_no_bars_between_them() {
    let (stub, files) = (Stub::start(Options::default()).await.unwrap(), Files::new());
    stub.fault_always(Step::Put, Fault::delay(Duration::from_millis(500)));
    let run =
        Run::upload(&stub).argument("--output=jsonl").argument(files.with("a", b"a")).argument(files.with("b", b"b"));
    let ended = run.on_terminal().run().await.succeeded();
    let shown: Vec<&str> = ended.stdout.lines().collect();
    assert!(shown.len() == 2 && shown.iter().all(|line| line.starts_with(r#"{"name":"#)), "{shown:?}");
}

#[tokio::test]
async fn many_files_on_their_way_have_few_bars() {
    let (stub, files, hold) = (Stub::start(Options::default()).await.unwrap(), Files::new(), Hold::new("all"));
    stub.fault_always(Step::Put, Fault::hold(&hold).at(Moment::Received));
    let names: Vec<String> = (0..30).map(|number| format!("held-{number}-")).collect();
    let run = names
        .iter()
        .fold(Run::upload(&stub).argument("--jobs=30"), |run, name| run.argument(files.with(name, b"content")));
    let mut running = run.on_terminal().start();
    stub.wait_for(|seen| seen.of(Step::Put).count() == 30, DEADLINE).await.unwrap();
    running.printed("held-7-").await;
    let begun = running.shown().matches("0/30 files").count();
    running.printed_often("0/30 files", begun + 5).await;
    let shown = running.shown();
    let with_bar = names.iter().filter(|name| shown.contains(name.as_str())).count();
    assert_eq!(with_bar, 8, "{shown}");
    hold.release();
    running.ended().await.succeeded();
}
