//! The keys of a sidecar's folder over time: restarts, SIGTERM, renewal.

use std::fs;
use std::time::Duration;

use cyberun_stub::{Fault, Hold, Moment, Options, Rule, Step};
use rustix::process::Signal;

use crate::support::beside::{DEADLINE, listed};
use crate::support::frames::{
    add, complete, frames, keys, last_held, mark, marked, marker, recursive, short, short_lived,
};

#[tokio::test]
async fn a_restart_uploads_only_what_is_missing_or_changed() {
    let beside = marked(&["a", "b", "c"]).await;
    let (running, _hold) = last_held(&beside, "c").await;
    // What is stored is written down at once, but not before the answer is there.
    let record = beside.keys.join(".frames.json.record~");
    let lines = async || fs::read_to_string(&record).unwrap_or_default().matches("\"path\"").count() == 2;
    beside.until("two lines", lines).await;
    running.signal(Signal::KILL);
    running.ended().await;
    let running = beside.ready(recursive(&beside)).await;
    assert_eq!(beside.counted(), (4, 4), "only the one that was under way");
    complete(&beside, &["a", "b", "c"]);
    beside.terminated(running).await;

    let before = keys(&beside);
    fs::write(beside.keys.join("frames.json"), "changed by somebody").unwrap();
    let running = beside.ready(recursive(&beside)).await;
    assert_eq!((beside.counted(), keys(&beside)), ((4, 4), before));
    beside.terminated(running).await;

    // Neither its size nor its time tells that it is another one.
    let (path, old) = (beside.files.folder().join("frames/a"), "frames/a".len());
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "x".repeat(old)).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    fs::remove_file(beside.files.folder().join("frames/b")).unwrap();
    let running = beside.ready(recursive(&beside)).await;
    assert_eq!(beside.counted(), (5, 5));
    complete(&beside, &["a", "c"]);
    beside.terminated(running).await;

    let other = beside.stub.credential(cyberun_stub::Kind::Device);
    let running = beside.ready(recursive(&beside).credential(&other)).await;
    assert_eq!(beside.counted(), (7, 7), "keys of another team are not taken over");
    beside.terminated(running).await;
}

#[tokio::test]
async fn without_its_marker_a_folder_has_no_keys_after_a_restart_and_one_no_longer_asked_for_leaves() {
    let beside = marked(&["a"]).await;
    let running = beside.ready(recursive(&beside)).await;
    beside.terminated(running).await;
    fs::remove_file(marker(&beside)).unwrap();
    let mut running = recursive(&beside).start();
    running.said("waiting for the marker").await;
    assert_eq!((listed(&beside.keys), beside.get("/readyz").await, beside.counted()), (vec![], None, (1, 1)));
    mark(&beside);
    beside.until("the probe to pass", async || beside.get("/readyz").await == Some(200)).await;
    complete(&beside, &["a"]);
    beside.terminated(running).await;
    let prompt = beside.files.with("prompt", b"a prompt");
    let running = beside.ready(beside.run().argument(prompt)).await;
    assert_eq!(listed(&beside.keys), ["keys.json", "prompt"]);
    assert!(!beside.keys.join(".frames.json.record~").exists());
    beside.terminated(running).await;
}

#[tokio::test]
async fn at_sigterm_what_is_being_sent_is_finished_and_nothing_begun() {
    let beside = marked(&["0", "1", "2", "3", "4", "5"]).await;
    let hold = Hold::new("all");
    beside.stub.fault_always(Step::Put, Fault::hold(&hold).at(Moment::Received));
    let mut running = recursive(&beside).start();
    let received = |seen: &cyberun_stub::Snapshot| seen.of(Step::Put).filter(|call| call.body_received > 0).count();
    beside.stub.wait_for(|seen| received(seen) == 4, DEADLINE).await.unwrap();
    running.signal(Signal::TERM);
    running.said("stopping").await;
    hold.release();
    beside.ended(running, 0).await;
    assert_eq!((beside.counted(), beside.stub.objects().len(), listed(&beside.keys)), ((4, 4), 4, vec![]));
    let running = beside.ready(recursive(&beside)).await;
    assert_eq!(beside.counted(), (6, 6), "what was sent is not lost");
    beside.terminated(running).await;
}

#[tokio::test]
async fn at_sigterm_a_wait_for_a_marker_ends_at_once() {
    let beside = frames(Options::default(), &["a"]).await;
    let mut running = recursive(&beside).start();
    running.said("waiting for the marker").await;
    let begun = std::time::Instant::now();
    beside.terminated(running).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(beside.counted(), (0, 0));
}

#[tokio::test]
async fn the_keys_of_a_folder_are_renewed_together_and_the_old_ones_stay_until_then() {
    let beside = frames(short_lived(), &["a", "b"]).await;
    mark(&beside);
    let run = short(recursive(&beside), "BeforeExpiry").environment("RUST_LOG", "info");
    let mut running = beside.ready(run).await;
    let first = keys(&beside).unwrap();
    add(&beside, "c");
    let hold = Hold::new("the last of the renewal");
    beside.stub.arm(Rule::once(Step::Put, Fault::hold(&hold).at(Moment::Received)).for_file("c"));
    hold.reached(DEADLINE).await.unwrap();
    beside.until("the other two", async || beside.stub.objects().len() >= 4).await;
    assert_eq!((keys(&beside).as_ref(), beside.get("/readyz").await), (Some(&first), Some(200)), "the old ones stay");
    hold.release();
    beside.until("new keys", async || keys(&beside).is_some_and(|keys| keys.len() == 3)).await;
    complete(&beside, &["a", "b", "c"]);
    let second = keys(&beside).unwrap();
    assert!(["a", "b"].iter().all(|path| first[*path]["fileKey"] != second[*path]["fileKey"]));
    assert_eq!(beside.get("/readyz").await, Some(200));

    // A renewal that fails takes no live key away, and is told once; a dead one leaves.
    beside.stub.fault_always(Step::Presign, Fault::status(503));
    running.said("ApiUnavailable").await;
    assert_eq!(keys(&beside), Some(second.clone()));
    beside.until("the keys to die", async || keys(&beside).is_none()).await;
    let objects = beside.stub.objects();
    assert!(second.values().all(|key| objects.contains_key(key["fileKey"].as_str().unwrap())), "not before their time");
    assert_eq!(beside.get("/readyz").await, Some(503));
    beside.stub.clear_faults();
    beside.until("new keys", async || beside.get("/readyz").await == Some(200)).await;
    complete(&beside, &["a", "b", "c"]);
    let ended = beside.terminated(running).await;
    let told = ended.stderr.matches("failed; trying again").count();
    assert_eq!(told, 1, "{}", ended.stderr);
}

#[tokio::test]
async fn keys_of_a_folder_that_nobody_renews_are_removed_also_after_a_restart() {
    let beside = frames(short_lived(), &["a", "b"]).await;
    mark(&beside);
    let mut running = beside.ready(short(recursive(&beside), "Never")).await;
    beside.until("the keys to die", async || keys(&beside).is_none()).await;
    assert_eq!(beside.stub.objects().len(), 2, "some life was left");
    running.said("the key's life is over").await;
    assert_eq!(beside.get("/readyz").await, Some(503));
    beside.terminated(running).await;
    let running = beside.ready(short(recursive(&beside), "Never")).await;
    assert_eq!(beside.counted(), (4, 4), "a dead key is none to a restart");
    running.signal(Signal::KILL);
    running.ended().await;
    beside.until("the files to be deleted", async || beside.stub.objects().is_empty()).await;
    fs::remove_file(marker(&beside)).unwrap();
    let mut running = short(recursive(&beside), "Never").start();
    running.said("waiting for the marker").await;
    assert_eq!(keys(&beside), None);
    beside.terminated(running).await;
}
