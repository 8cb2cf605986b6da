//! What the status tells of attempts: which one gave a file its key or its trouble, and since when there is trouble.

use cyberun_stub::{Fault, Hold, Moment, Rule, Step};
use jiff::Timestamp;
use serde_json::{Value, json};
use test_support::{DEADLINE, files, scenario, state, texts, with_output, with_pods};

use crate::OPERATOR;

/// The numbers of the attempts that gave each file what it has, in order.
fn attempts(upload: &Value) -> Vec<i64> {
    let mut numbers: Vec<_> = files(upload).iter().filter_map(|file| file["attempt"].as_i64()).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn each_send_takes_a_number_which_its_files_name() {
    scenario(OPERATOR, async |world| {
        // Two ConfigMaps are two Sends.
        let first = world.uploaded_two(json!({})).await?;
        assert_eq!((&first["status"]["attempts"], attempts(&first)), (&json!(2), vec![1, 2]));
        let hold = Hold::new("what was asked for");
        world.stub.arm(Rule::once(Step::Put, Fault::hold(&hold).at(Moment::Received)));
        world.request("two", json!("now")).await?;
        hold.reached(DEADLINE).await?;
        let noted = |upload: &Value| upload["status"]["requestedAttempt"] == 2;
        let during = world.upload("two", "the request noted", noted).await?;
        assert_eq!(attempts(&during), [1, 2], "the keys are those of before");
        hold.release();
        let handled = |upload: &Value| upload["status"]["lastHandledRequestedAt"] == "now";
        let second = world.upload("two", "the request handled", handled).await?;
        assert_eq!((&second["status"]["attempts"], attempts(&second)), (&json!(4), vec![3, 4]));
        Ok(())
    });
}

#[test]
fn files_of_one_config_map_go_in_one_send() {
    scenario(OPERATOR, async |world| {
        world.with_texts(&[("a.txt", "1"), ("b.txt", "2"), ("c.txt", "3")]).await?;
        world.file_upload("three", with_output(&texts(&["a", "b", "c"]), "keys")).await?;
        let upload = world.available("three").await?;
        assert_eq!((&upload["status"]["attempts"], attempts(&upload)), (&json!(1), vec![1, 1, 1]));
        Ok(())
    });
}

#[test]
fn trouble_says_since_when_while_attempts_rise_and_is_forgotten_after_success() {
    scenario(OPERATOR, async |world| {
        world.stub.fault_always(Step::Presign, Fault::status(503));
        let begun = jiff::Timestamp::from_second(0)?;
        world.with_texts(&[("a.txt", "1")]).await?;
        world.file_upload("one", json!({"files": texts(&["a"])})).await?;
        let in_trouble = |upload: &Value| files(upload).first().is_some_and(|file| file["since"].is_string());
        let first = world.upload("one", "trouble", in_trouble).await?;
        let since: Timestamp = files(&first)[0]["since"].as_str().unwrap_or_default().parse()?;
        assert!(since > begun);
        let number = files(&first)[0]["attempt"].as_i64();
        assert_eq!((number, first["status"]["attempts"].as_i64()), (Some(1), Some(1)));
        let third = |upload: &Value| files(upload)[0]["attempt"].as_i64() >= Some(3);
        let later = world.upload("one", "a third attempt", third).await?;
        assert_eq!(files(&later)[0]["since"], files(&first)[0]["since"], "it is the same run of trouble");
        assert_eq!(later["status"]["attempts"], files(&later)[0]["attempt"]);
        world.stub.clear_faults();
        let healed = world.available("one").await?;
        let entry = &files(&healed)[0];
        assert_eq!((&entry["since"], &entry["reason"]), (&Value::Null, &Value::Null));
        assert!(entry["attempt"].as_i64() > Some(3), "{entry:#}");
        Ok(())
    });
}

#[test]
fn a_file_that_follows_its_config_map_names_the_version_that_was_read() {
    scenario(OPERATOR, async |world| {
        world.with_texts(&[("a.txt", "1")]).await?;
        world.file_upload("one", json!({"files": texts(&["a"]), "updatePolicy": "OnChange"})).await?;
        let first = world.available("one").await?;
        let version = world.read("ConfigMap", "texts").await?["metadata"]["resourceVersion"].clone();
        assert_eq!(files(&first)[0]["sourceVersion"], version);
        // Another version with the same content costs no upload, and is noted.
        world.patch("ConfigMap", "texts", json!({"metadata": {"labels": {"note": "hello"}}})).await?;
        let version = world.read("ConfigMap", "texts").await?["metadata"]["resourceVersion"].clone();
        let seen = |upload: &Value| files(upload)[0]["sourceVersion"] == version;
        let second = world.upload("one", "the new version", seen).await?;
        assert_eq!((state(&second, "Available"), world.calls(Step::Put).len()), ("True", 1));
        assert_eq!(second["status"]["fileKey"], first["status"]["fileKey"]);
        Ok(())
    });
}

#[test]
fn each_job_takes_a_number_too() -> anyhow::Result<()> {
    with_pods(OPERATOR, "numbers of workers", async |world| {
        world.shared_claim("data", &["a", "b"]).await?;
        world.operator().await?;
        world.upload_from("data", "two", &["a", "b"], json!({})).await?;
        let upload = world.available("two").await?;
        assert_eq!((&upload["status"]["attempts"], attempts(&upload)), (&json!(1), vec![1, 1]));
        Ok(())
    })
}
