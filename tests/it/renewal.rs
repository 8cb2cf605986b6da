//! The life of keys that a sidecar keeps, against a store that deletes them: what dies leaves, what is renewed stays.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cyberun_stub::{Fault, Hold, Moment, Options, Rule, Step};
use rustix::process::Signal;

use crate::support::beside::{Beside, DEADLINE, listed};
use crate::support::process::Run;

const RETENTION: Duration = Duration::from_secs(12);

async fn short_lived(names: &[&str]) -> Beside {
    Beside::on(Options { retention: Some(RETENTION), ..Options::default() }, names).await
}

/// Keys of the stub's short life, of which a quarter must be left.
fn short(run: Run, policy: &str) -> Run {
    let run = run.argument("--retention").argument("12").argument("--minimum-life").argument("3s");
    run.argument("--refresh-policy").argument(policy)
}

/// Asserts that whatever the folder shows is whole, and still stored once it was read.
fn check(beside: &Beside, names: &[&str]) {
    let keys: Vec<String> = names.iter().filter_map(|name| beside.key(name)).collect();
    let listed = beside.all().unwrap_or_default();
    assert!(listed.is_empty() || listed.len() == names.len(), "{listed:?}");
    let listed = listed.values().map(|entry| entry["fileKey"].as_str().unwrap().to_owned());
    let objects = beside.stub.objects();
    for key in keys.into_iter().chain(listed) {
        assert!(objects.contains_key(&key), "the store has nothing under {key:?}");
    }
}

/// Looks at the folder without a pause until told otherwise; how often it did.
fn watched(beside: &Arc<Beside>, names: &'static [&'static str]) -> (Arc<AtomicBool>, std::thread::JoinHandle<usize>) {
    let (done, beside) = (Arc::new(AtomicBool::new(false)), Arc::clone(beside));
    let until = Arc::clone(&done);
    let looks = move || {
        let mut looks = 0;
        while !until.load(Ordering::Relaxed) {
            check(&beside, names);
            looks += 1;
            // Looks all the time, and leaves the cores to what is looked at.
            std::thread::sleep(Duration::from_millis(1));
        }
        looks
    };
    (done, std::thread::spawn(looks))
}

#[tokio::test]
async fn keys_are_renewed_time_and_again_and_no_reader_ever_sees_a_dead_or_half_one() {
    let beside = Arc::new(short_lived(&["a", "b"]).await);
    let (done, watcher) = watched(&beside, &["a", "b"]);
    let running = beside.ready(short(beside.run(), "BeforeExpiry")).await;
    let mut seen: Vec<String> = beside.key("a").into_iter().collect();
    while seen.len() < 4 {
        let last = seen.last().cloned();
        let mut open = std::fs::File::open(beside.keys.join("a")).unwrap();
        let renewed = async || {
            // The old one stays until the new one is there.
            assert_eq!(listed(&beside.keys), ["a", "b", "keys.json"]);
            assert_eq!(beside.get("/readyz").await, Some(200));
            beside.key("a") != last
        };
        beside.until("a new key", renewed).await;
        seen.extend(beside.key("a"));
        let mut read = String::new();
        open.read_to_string(&mut read).unwrap();
        assert_eq!(Some(read), last, "who had opened the old one reads it whole");
    }
    done.store(true, Ordering::Relaxed);
    assert!(watcher.join().unwrap() > 1000);
    beside.terminated(running).await;
    let names: Vec<_> = beside.stub.calls().iter().filter_map(|call| call.file_key.clone()).collect();
    assert!(seen.iter().all(|key| names.contains(key)) && names.len() <= 2 * 10, "{seen:?}");
}

#[tokio::test]
async fn a_key_that_nobody_renews_is_removed_before_it_is_deleted() {
    let beside = Arc::new(short_lived(&["a"]).await);
    let (done, watcher) = watched(&beside, &["a"]);
    let mut running = beside.ready(short(beside.run(), "Never")).await;
    beside.until("the key to die", async || listed(&beside.keys).is_empty()).await;
    assert_eq!(beside.stub.objects().len(), 1, "some life was left");
    running.said("the key's life is over").await;
    assert_eq!((beside.get("/readyz").await, beside.get("/livez").await), (Some(503), Some(200)));
    done.store(true, Ordering::Relaxed);
    watcher.join().unwrap();
    let ended = beside.terminated(running).await;
    assert!(ended.stderr.contains("nothing renews it (--refresh-policy Never)"), "{}", ended.stderr);
    assert_eq!(beside.counted(), (1, 1));

    let running = beside.ready(short(beside.run(), "Never")).await;
    assert_eq!(beside.counted(), (2, 2), "a dead key is none to a restart");
    running.signal(Signal::KILL);
    running.ended().await;
    beside.until("the file to be deleted", async || beside.stub.objects().is_empty()).await;
    assert_eq!(listed(&beside.keys), ["a", "keys.json"], "nobody was there to remove it");
    let running = beside.ready(short(beside.run(), "Never")).await;
    assert_eq!(beside.counted(), (3, 3), "nor is one that died meanwhile");
    beside.complete();
    beside.terminated(running).await;
}

#[tokio::test]
async fn a_renewal_that_fails_takes_no_live_key_away_and_is_told_once() {
    let beside = Arc::new(short_lived(&["a"]).await);
    let (done, watcher) = watched(&beside, &["a"]);
    let mut running = beside.ready(short(beside.run(), "BeforeExpiry").environment("RUST_LOG", "info")).await;
    let key = beside.key("a").unwrap();
    beside.stub.fault_always(Step::Presign, Fault::status(503));
    running.said("ApiUnavailable").await;
    assert_eq!(beside.key("a"), Some(key.clone()));
    beside.until("the key to die", async || beside.key("a").is_none()).await;
    assert!(beside.stub.objects().contains_key(&key), "not before its time");
    assert_eq!((beside.get("/readyz").await, beside.all()), (Some(503), None));
    beside.stub.clear_faults();
    beside.until("a new key", async || beside.get("/readyz").await == Some(200)).await;
    beside.complete();
    done.store(true, Ordering::Relaxed);
    watcher.join().unwrap();
    let ended = beside.terminated(running).await;
    assert_eq!(ended.stderr.matches("ApiUnavailable").count(), 1, "{}", ended.stderr);
}

#[tokio::test]
async fn a_credential_that_is_refused_at_a_renewal_ends_it_only_once_the_key_is_dead() {
    let beside = short_lived(&["a"]).await;
    let mut running = beside.ready(short(beside.run(), "BeforeExpiry")).await;
    let key = beside.key("a");
    beside.stub.fault_always(Step::Presign, Fault::status(401));
    running.said("CredentialsRejected").await;
    assert_eq!(beside.key("a"), key);
    let ended = beside.ended(running, 1).await;
    assert!(ended.stderr.contains("error: a: CredentialsRejected: "), "{}", ended.stderr);
    assert_eq!(listed(&beside.keys), [""; 0]);
}

#[tokio::test]
async fn a_dead_key_leaves_though_nothing_can_be_written_and_so_does_the_sidecar_once() {
    let beside = short_lived(&["a", "record"]).await;
    let mut running = beside.ready(short(beside.run(), "Never")).await;
    // What is in the way of the record is in the way of every restart too.
    std::fs::remove_file(beside.keys.join(".record~")).unwrap();
    std::fs::create_dir_all(beside.keys.join(".record~/full")).unwrap();
    running.said("the key's life is over").await;
    let ended = beside.ended(running, 1).await;
    assert_eq!(listed(&beside.keys), [""; 0]);
    assert_eq!(ended.stderr.matches("the key's life is over").count(), 2, "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("ending after").count(), 1, "{}", ended.stderr);
    std::fs::write(beside.keys.join("a"), "an old key").unwrap();
    beside.ended(short(beside.run(), "Never").start(), 1).await;
    assert_eq!(listed(&beside.keys), [""; 0]);
    assert_eq!(beside.counted(), (2, 2));
}

#[tokio::test]
async fn a_folder_that_fails_while_something_is_sent_does_not_keep_the_end_from_coming() {
    let beside = short_lived(&["a", "late"]).await;
    let hold = Hold::new("the late one");
    beside.stub.arm(Rule::always(Step::Put, Fault::hold(&hold).at(Moment::Received)).for_file("late"));
    let mut running = short(beside.run(), "Never").start();
    hold.reached(DEADLINE).await.unwrap();
    beside.until("the other key", async || beside.key("a").is_some()).await;
    std::fs::remove_file(beside.keys.join(".record~")).unwrap();
    std::fs::create_dir_all(beside.keys.join(".record~/full")).unwrap();
    running.said("ending after what is under way").await;
    assert_eq!(beside.key("a"), None);
    hold.release();
    let ended = beside.ended(running, 1).await;
    assert_eq!(ended.stderr.matches("the key's life is over").count(), 1, "{}", ended.stderr);
}
