//! A resource that is suspended: nothing is sent, and what is there stays.

use cyberun_stub::{Fault, Hold, Moment, Step};
use serde_json::{Value, json};
use test_support::{DEADLINE, FOUR_TEXTS, file, key_of, once, reason, scenario, state, three_files};

use crate::OPERATOR;

#[test]
fn what_is_suspended_from_the_start_makes_no_call() {
    scenario(OPERATOR, async |world| {
        world.with_texts(&FOUR_TEXTS).await?;
        let mut spec = three_files("b.txt");
        spec["suspend"] = true.into();
        world.file_upload("three", spec).await?;
        let suspended = world.upload("three", "Suspended", |upload| reason(upload) == "Suspended").await?;
        assert_eq!((state(&suspended, "Ready"), state(&suspended, "Available")), ("True", "False"));
        assert_eq!(suspended["status"]["phase"], "Suspended");
        // Another resource goes the whole road meanwhile.
        world.file_upload("other", json!({"files": [file("d", "texts", "d.txt")]})).await?;
        world.available("other").await?;
        assert_eq!(world.puts_by_file(), once(&["d.txt"]));

        world.patch("FileUpload", "three", json!({"spec": {"suspend": false}})).await?;
        world.available("three").await?;
        assert_eq!(world.puts_by_file(), once(&["a.txt", "b.txt", "c.txt", "d.txt"]));
        Ok(())
    });
}

#[test]
fn suspending_stops_before_the_next_round_and_keeps_what_is_there() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        let spec = world.twenty_files().await?;
        let hold = Hold::new("the first round");
        world.stub.fault(Step::Put, Fault::hold(&hold).at(Moment::Committed));
        world.operator().await?;
        world.file_upload("twenty", spec).await?;
        hold.reached(DEADLINE).await?;
        world.patch("FileUpload", "twenty", json!({"spec": {"suspend": true}})).await?;
        // The operator has heard of it before the round ends.
        world.upload("twenty", "Suspended", |upload| reason(upload) == "Suspended").await?;
        hold.release();
        let eight = |upload: &Value| reason(upload) == "Suspended" && upload["status"]["filesUploaded"] == 8;
        let suspended = world.upload("twenty", "Suspended, with what was under way", eight).await?;
        world.had_its_chance().await?;
        assert_eq!(world.stub.objects().len(), 8, "one Send is finished, and no other begins");
        assert_eq!((state(&suspended, "Available"), state(&suspended, "Ready")), ("False", "True"));

        world.patch("FileUpload", "twenty", json!({"spec": {"suspend": null}})).await?;
        let upload = world.available("twenty").await?;
        assert_eq!(world.stored_keys(&upload)?.len(), 20);
        assert!(world.puts_by_file().values().all(|puts| *puts == 1), "{:?}", world.puts_by_file());
        Ok(())
    });
}

#[test]
fn a_change_while_suspended_withdraws_the_old_key_and_sends_nothing() {
    scenario(OPERATOR, async |world| {
        world.with_texts(&FOUR_TEXTS).await?;
        world.file_upload("three", three_files("b.txt")).await?;
        world.available("three").await?;
        world.patch("FileUpload", "three", json!({"spec": {"suspend": true}})).await?;
        let rests = world.upload("three", "Suspended", |upload| reason(upload) == "Suspended").await?;
        assert_eq!(state(&rests, "Available"), "True", "what is there is there");

        world.patch("FileUpload", "three", json!({"spec": three_files("d.txt")})).await?;
        let changed = world.upload("three", "not Available", |upload| state(upload, "Available") == "False").await?;
        assert_eq!((state(&changed, "Ready"), reason(&changed)), ("True", "Suspended"));
        assert_eq!((key_of(&changed, "b"), world.entry("keys", "b").await?), (None, None));
        assert!(world.entry("keys", "a").await?.is_some());
        assert_eq!(world.puts_by_file(), once(&["a.txt", "b.txt", "c.txt"]));
        world.patch("FileUpload", "three", json!({"spec": {"suspend": false}})).await?;
        world.available("three").await?;
        assert_eq!(world.puts_by_file(), once(&["a.txt", "b.txt", "c.txt", "d.txt"]));
        Ok(())
    });
}
