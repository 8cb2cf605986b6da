//! `fileupload sidecar` as a process: when its probe passes, what its folder shows at any time, and how it ends.

use std::time::Duration;

use cyberun_stub::{Fault, Hold, Kind, Moment, Rule, Step};
use rustix::process::Signal;

use crate::support::beside::{Beside, DEADLINE, listed};
use crate::support::files::bytes;
use crate::support::process::Run;

#[tokio::test]
async fn nobody_listens_until_every_key_is_there_and_then_the_probe_passes() {
    let beside = Beside::with(&["a", "b"]).await;
    let hold = Hold::new("the second");
    beside.stub.arm(Rule::once(Step::Put, Fault::hold(&hold).at(Moment::Received)).for_file("b"));
    let running = beside.run().start();
    hold.reached(DEADLINE).await.unwrap();
    beside.until("the first key", async || beside.key("a").is_some()).await;
    assert_eq!((beside.get("/readyz").await, beside.get("/livez").await), (None, None));
    assert_eq!(listed(&beside.keys), ["a"], "the list of all comes last");
    hold.release();
    beside.until("the probe to pass", async || beside.get("/readyz").await == Some(200)).await;
    assert_eq!(beside.get("/livez").await, Some(200));
    beside.complete();
    beside.terminated(running).await;
    assert_eq!((listed(&beside.keys).len(), beside.counted()), (3, (2, 2)), "the keys stay");
}

#[tokio::test]
async fn a_key_may_be_called_as_the_record_is() {
    let beside = Beside::with(&["record"]).await;
    for _ in 0..2 {
        let running = beside.ready(beside.run()).await;
        beside.complete();
        beside.terminated(running).await;
        assert_eq!(beside.counted(), (1, 1));
    }
}

#[tokio::test]
async fn keys_of_another_team_are_not_taken_over_and_those_no_longer_asked_for_leave() {
    let beside = Beside::with(&["a"]).await;
    let more = || {
        let path = beside.files.with("extra", b"extra");
        beside.run().argument("--input").argument(format!("extra={}", path.display()))
    };
    let mut running = more().environment("RUST_LOG", "").start();
    beside.until("both keys", async || listed(&beside.keys) == ["a", "extra", "keys.json"]).await;
    running.said("every key is there").await;
    beside.terminated(running).await;
    let running = beside.ready(beside.run()).await;
    assert_eq!((listed(&beside.keys), beside.counted()), (vec!["a".to_owned(), "keys.json".to_owned()], (2, 2)));
    beside.terminated(running).await;
    let other = beside.stub.credential(Kind::Device);
    let running = beside.ready(beside.run().credential(&other)).await;
    assert_eq!(beside.counted(), (3, 3));
    beside.terminated(running).await;
    let record = std::fs::read_to_string(beside.keys.join(".record~")).unwrap();
    assert!(!record.contains(other.token()));
}

#[tokio::test]
async fn a_restart_uploads_only_what_is_not_in_the_folder() {
    let beside = Beside::with(&["a", "b", "c"]).await;
    let hold = Hold::new("one of three");
    beside.stub.arm(Rule::once(Step::Put, Fault::hold(&hold).at(Moment::Received)).for_file("c"));
    let running = beside.run().start();
    hold.reached(DEADLINE).await.unwrap();
    beside.until("two keys", async || listed(&beside.keys) == ["a", "b"]).await;
    running.signal(Signal::KILL);
    running.ended().await;
    assert_eq!(beside.counted(), (3, 3));

    let running = beside.ready(beside.run()).await;
    assert_eq!(beside.counted(), (4, 4), "only the one that was under way");
    beside.complete();
    running.signal(Signal::KILL);
    running.ended().await;

    let before = beside.all();
    // Such a key may be of another run, and such a file is another one by now.
    std::fs::write(beside.keys.join("a"), "changed by somebody").unwrap();
    beside.files.with("b", &bytes(77));
    let running = beside.ready(beside.run()).await;
    assert_eq!(beside.counted(), (5, 5));
    beside.complete();
    assert_eq!(before.unwrap()["a"], beside.all().unwrap()["a"]);
    beside.terminated(running).await;

    let record = beside.keys.join(".record~");
    std::fs::write(&record, &std::fs::read(&record).unwrap()[..100]).unwrap();
    let running = beside.ready(beside.run()).await;
    assert_eq!(beside.counted(), (8, 8), "a record that cannot be read is none");
    beside.terminated(running).await;

    let text = std::fs::read_to_string(&record).unwrap();
    let mut ahead: serde_json::Value = serde_json::from_str(&text).unwrap();
    for moment in ["uploadedAt", "expiresAt"] {
        let then: jiff::Timestamp = ahead["keys"]["a"][moment].as_str().unwrap().parse().unwrap();
        ahead["keys"]["a"][moment] = (then + jiff::SignedDuration::from_hours(20)).to_string().into();
    }
    std::fs::write(&record, ahead.to_string()).unwrap();
    let running = beside.ready(beside.run()).await;
    assert_eq!(beside.counted(), (9, 9), "a clock that was set back says nothing of the age of a key");
    beside.terminated(running).await;
}

#[tokio::test]
async fn a_key_of_a_file_that_is_gone_or_was_changed_is_not_shown_after_a_restart() {
    let beside = Beside::with(&["a", "b"]).await;
    let running = beside.ready(beside.run()).await;
    beside.terminated(running).await;
    std::fs::remove_file(beside.files.folder().join("a")).unwrap();
    beside.stub.fault_always(Step::Presign, Fault::status(503));
    beside.files.with("b", b"of other content");
    let mut running = beside.run().start();
    running.said("FileNotFound").await;
    running.said("ApiUnavailable").await;
    assert_eq!((listed(&beside.keys), beside.get("/readyz").await), (vec![], None));
    beside.terminated(running).await;
}

#[tokio::test]
async fn at_sigterm_what_is_being_sent_is_finished_and_nothing_begun() {
    let beside = Beside::with(&["0", "1", "2", "3", "4", "5"]).await;
    let hold = Hold::new("all");
    beside.stub.fault_always(Step::Put, Fault::hold(&hold).at(Moment::Received));
    let mut running = beside.run().start();
    let received = |seen: &cyberun_stub::Snapshot| seen.of(Step::Put).filter(|call| call.body_received > 0).count();
    beside.stub.wait_for(|seen| received(seen) == 4, DEADLINE).await.unwrap();
    running.signal(Signal::TERM);
    running.said("stopping").await;
    hold.release();
    beside.ended(running, 0).await;
    assert_eq!((beside.counted(), beside.stub.objects().len()), ((4, 4), 4));
    assert_eq!(listed(&beside.keys).len(), 4, "and what was sent is not lost");
    let running = beside.ready(beside.run()).await;
    assert_eq!(beside.counted(), (6, 6));
    beside.terminated(running).await;
}

#[tokio::test]
async fn at_sigterm_a_wait_ends_at_once() {
    let mut beside = Beside::with(&["late"]).await;
    beside.stub.fault_always(Step::Presign, Fault::retry_after(503, 3000));
    beside.input("absent", beside.files.folder().join("absent"));
    let fresh = beside.files.folder().join("fresh");
    beside.input("fresh", fresh.clone());
    // It would be left to settle for longer than this takes.
    std::fs::write(fresh, "just written").unwrap();
    let mut running = beside.run().start();
    running.said("ApiUnavailable").await;
    running.said("FileNotFound").await;
    let begun = std::time::Instant::now();
    beside.terminated(running).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(beside.counted(), (1, 0));
}

#[tokio::test]
async fn a_refused_credential_ends_it_with_one_line_and_costs_one_call() {
    let beside = Beside::with(&["0", "1", "2", "3", "4"]).await;
    assert!(beside.stub.revoke(beside.stub.credential(Kind::Integration).token()));
    let ended = beside.ended(beside.run().environment("RUST_LOG", "warn").start(), 1).await;
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(
        ended.stderr.starts_with("error: ") && ended.stderr.contains(": CredentialsRejected: "),
        "{}",
        ended.stderr
    );
    assert_eq!((beside.counted(), listed(&beside.keys)), ((1, 0), vec![]));
}

#[tokio::test]
async fn what_only_a_person_can_mend_ends_it_once_the_others_under_way_are_sent() {
    let mut beside = Beside::with(&["a", "b"]).await;
    let (hold, folder) = (Hold::new("the first"), beside.files.folder().join("folder"));
    beside.stub.arm(Rule::once(Step::Put, Fault::hold(&hold).at(Moment::Received)).for_file("a"));
    beside.stub.arm(Rule::once(Step::Put, Fault::hold(&hold).at(Moment::Received)).for_file("b"));
    beside.input("folder", folder.clone());
    let mut running = beside.run().start();
    running.said("FileNotFound").await;
    beside.stub.wait_for(|seen| seen.of(Step::Put).count() == 2, DEADLINE).await.unwrap();
    std::fs::create_dir(&folder).unwrap();
    running.said("ending after what is under way").await;
    hold.release();
    let ended = beside.ended(running, 1).await;
    assert!(ended.stderr.contains("error: folder: NotAFile: "), "{}", ended.stderr);
    assert_eq!((listed(&beside.keys), beside.counted()), (vec!["a".to_owned(), "b".to_owned()], (2, 2)));
}

#[tokio::test]
async fn an_api_that_is_away_is_waited_for_and_told_once() {
    let mut beside = Beside::with(&["a"]).await;
    beside.stub.pause_api().await;
    let mut running = beside.run().environment("RUST_LOG", "info").start();
    running.said("ApiUnavailable").await;
    for _ in 0..2 {
        beside.stub.fault(Step::Presign, Fault::status(503));
    }
    beside.stub.resume_api().unwrap();
    beside.until("the probe to pass", async || beside.get("/readyz").await == Some(200)).await;
    beside.complete();
    let ended = beside.terminated(running).await;
    assert_eq!(ended.stderr.matches("ApiUnavailable").count(), 1, "{}", ended.stderr);
    assert_eq!(beside.counted(), (3, 1));
}

#[tokio::test]
async fn an_input_that_appears_later_is_waited_for() {
    let mut beside = Beside::with(&["a"]).await;
    let path = beside.files.folder().join("made/later.txt");
    beside.input("later", path.clone());
    let mut running = beside.run().start();
    running.said("FileNotFound").await;
    beside.until("the other key", async || beside.key("a").is_some()).await;
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    std::fs::rename(beside.files.with("draft", b"here at last"), path).unwrap();
    beside.until("the probe to pass", async || beside.get("/readyz").await == Some(200)).await;
    beside.complete();
    beside.terminated(running).await;
    assert_eq!(beside.counted(), (2, 2));
}

#[tokio::test]
async fn wrong_usage_ends_with_2_and_makes_no_call() {
    let beside = Beside::with(&["a"]).await;
    let life = |minimum: &str| {
        beside.run().argument("--retention").argument("2h").argument("--minimum-life").argument(minimum)
    };
    for (run, named) in [
        (life("1h"), "--minimum-life is half of --retention or more"),
        (life("0"), "--minimum-life"),
        (beside.run().token("ak-0123456789"), "CYBERUN_API_KEY: "),
        (beside.run().argument("--input").argument("a=/another/a"), "are both called a"),
        (beside.run().argument("--refresh-policy").argument("Always"), "BeforeExpiry"),
        (beside.run().argument("--log-format").argument("xml"), "--log-format"),
        (Run::of("sidecar").argument("--keys-dir").argument(&beside.keys), "[NAME=]FILE"),
        (
            Run::of("sidecar").argument("--keys-dir").argument(&beside.keys).argument("--input").argument("a"),
            "CYBERUN_API_KEY is not set",
        ),
    ] {
        let ended = run.run().await.failed(2);
        assert!(ended.stderr.contains(named), "{named}: {}", ended.stderr);
    }
    assert_eq!((beside.stub.calls().len(), beside.keys.exists()), (0, false));
}

#[tokio::test]
async fn a_port_or_a_folder_that_cannot_be_had_is_told_before_any_call() {
    let mut beside = Beside::with(&["a"]).await;
    let taken = tokio::net::TcpListener::bind(beside.address).await.unwrap();
    let ended = beside.ended(beside.run().start(), 1).await;
    assert!(ended.stderr.contains(&format!("cannot listen on {} (--listen)", beside.address)), "{}", ended.stderr);
    drop(taken);
    std::fs::remove_dir(&beside.keys).unwrap();
    std::fs::write(&beside.keys, "a file").unwrap();
    let ended = beside.ended(beside.run().start(), 1).await;
    assert!(ended.stderr.contains("error: cannot make the keys folder"), "{}", ended.stderr);
    std::fs::remove_file(&beside.keys).unwrap();
    std::fs::create_dir_all(beside.keys.join(".record~/full")).unwrap();
    let ended = beside.ended(beside.run().start(), 1).await;
    assert!(ended.stderr.contains("error: cannot write") && ended.stderr.contains(".record~"), "{}", ended.stderr);
    assert_eq!(beside.stub.calls().len(), 0);
    beside.keys = beside.files.folder().join("other");
    let running = beside.ready(beside.run()).await;
    beside.terminated(running).await;
}
