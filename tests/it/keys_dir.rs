//! `--keys-dir`: what programs that come later find there, and never find.

use std::path::Path;

use cyberun_stub::{Fault, Hold, Options, Rule, Step, Stub};
use serde_json::Value;

use crate::support::files::Files;
use crate::support::process::Run;

fn listed(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn every_key_has_a_file_and_all_are_listed_together() {
    let (stub, files) = (Stub::start(Options::default()).await.unwrap(), Files::new());
    let keys = files.folder().join("made/by/us");
    let run = Run::upload(&stub).argument("--keys-dir").argument(&keys);
    let ended = run.file("a", &files.with("a.png", b"a")).file("b", &files.with("b.png", b"b")).run().await.succeeded();
    assert_eq!(listed(&keys), ["a", "b", "keys.json"], "and no draft is left behind");
    let all: Value = serde_json::from_slice(&std::fs::read(keys.join("keys.json")).unwrap()).unwrap();
    for name in ["a", "b"] {
        assert_eq!(std::fs::read_to_string(keys.join(name)).unwrap(), ended.key(name));
        assert_eq!(all[name]["fileKey"], ended.key(name));
    }
}

#[tokio::test]
async fn keys_of_an_earlier_run_are_gone_before_the_first_call_and_stay_away_on_failure() {
    let (stub, files) = (Stub::start(Options::default()).await.unwrap(), Files::new());
    let keys = files.folder().join("keys");
    let (good, bad) = (files.with("good.png", b"good"), files.with("bad.png", b"bad"));
    let upload = || {
        let run = Run::upload(&stub).argument("--keys-dir").argument(&keys);
        run.file("good", &good).file("bad", &bad).run()
    };
    upload().await.succeeded();
    std::fs::write(keys.join("foreign"), "not ours").unwrap();

    let hold = Hold::new("the first presign");
    stub.fault(Step::Presign, Fault::hold(&hold));
    stub.arm(Rule::always(Step::Presign, Fault::status(413)).for_file("bad.png"));
    let look = async {
        hold.reached(std::time::Duration::from_secs(20)).await.unwrap();
        let found = listed(&keys);
        hold.release();
        found
    };
    let (ended, during) = tokio::join!(upload(), look);
    assert_eq!(during, ["foreign"], "while it uploads");
    let ended = ended.failed(1);
    assert_eq!(listed(&keys), ["foreign", "good"], "no keys.json unless every file has a key");
    assert_eq!(std::fs::read_to_string(keys.join("good")).unwrap(), ended.key("good"));
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_named_before_any_call() {
    let (stub, files) = (Stub::start(Options::default()).await.unwrap(), Files::new());
    let file = files.with("a.png", b"a");
    let run = Run::upload(&stub).argument("--keys-dir").argument(&file).argument(&file);
    let ended = run.run().await.failed(1);
    assert!(ended.stderr.contains("cannot make the keys folder") && ended.stderr.contains("a.png"), "{}", ended.stderr);
    assert_eq!(stub.calls().len(), 0);
}

#[tokio::test]
async fn an_input_that_a_key_would_replace_is_refused_and_stays() {
    let (stub, files) = (Stub::start(Options::default()).await.unwrap(), Files::new());
    let (photo, folder) = (files.with("photo.png", b"mine"), files.folder());
    let later = folder.join("later");
    for (name, input) in [("photo.png", &photo), ("later", &later)] {
        let apart = folder.join("..").join(folder.file_name().unwrap());
        let upload = Run::upload(&stub).argument("--keys-dir").argument(&apart).file(name, input);
        let sidecar = Run::of("sidecar").token("sk-0123456789").argument("--keys-dir").argument(&apart);
        let sidecar = sidecar.argument("--input").argument(format!("{name}={}", input.display()));
        for run in [upload, sidecar] {
            let ended = run.run().await.failed(2);
            assert!(ended.stderr.contains("--keys-dir") && ended.stderr.matches(name).count() == 2, "{}", ended.stderr);
        }
    }
    assert_eq!((std::fs::read(&photo).unwrap().as_slice(), stub.calls().len()), (&b"mine"[..], 0));
}

#[tokio::test]
async fn keys_are_printed_though_the_folder_fails_at_the_end() {
    let (stub, files) = (Stub::start(Options::default()).await.unwrap(), Files::new());
    let (keys, hold) = (files.folder().join("keys"), Hold::new("the presign"));
    stub.fault(Step::Presign, Fault::hold(&hold));
    let run = Run::upload(&stub).argument("--keys-dir").argument(&keys).file("a", &files.with("a.png", b"a"));
    let running = run.start();
    hold.reached(std::time::Duration::from_secs(20)).await.unwrap();
    std::fs::create_dir_all(keys.join("a/full")).unwrap();
    hold.release();
    let ended = running.ended().await.failed(1);
    assert!(
        stub.objects().contains_key(ended.key("a")) && ended.stderr.contains("error: cannot write"),
        "{}",
        ended.stderr
    );
}
