//! A changed spec: only what changed is uploaded, and the rest stays as it is.

use cyberun_stub::{Fault, Hold, Rule, Step};
use serde_json::{Value, json};
use test_support::{DEADLINE, FOUR_TEXTS, file, files, key_of, once, reason, scenario, state, three_files};

use crate::OPERATOR;

#[test]
fn a_change_of_one_file_uploads_that_one_and_withdraws_its_old_key_first() {
    scenario(OPERATOR, async |world| {
        world.with_texts(&FOUR_TEXTS).await?;
        world.file_upload("three", three_files("b.txt")).await?;
        let before = world.available("three").await?;

        let hold = Hold::new("the new file is on its way");
        world.stub.arm(Rule::once(Step::Put, Fault::hold(&hold)).for_file("d.txt"));
        world.patch("FileUpload", "three", json!({"spec": three_files("d.txt")})).await?;
        hold.reached(DEADLINE).await?;
        let during = world.upload("three", "not Available", |upload| state(upload, "Available") == "False").await?;
        assert_eq!(key_of(&during, "b"), None, "the old key is not the key of the new file");
        let data = world.read("ConfigMap", "keys").await?["data"].clone();
        assert_eq!((&data["b"], &data["keys.json"]), (&Value::Null, &Value::Null), "withdrawn: {data:#}");
        assert_eq!((data["a"].as_str(), data["c"].as_str()), (key_of(&before, "a"), key_of(&before, "c")));
        hold.release();

        let after = world.available("three").await?;
        assert_eq!((key_of(&after, "a"), key_of(&after, "c")), (key_of(&before, "a"), key_of(&before, "c")));
        assert_ne!(key_of(&after, "b"), key_of(&before, "b"));
        assert_eq!(world.entry("keys", "b").await?.as_deref(), key_of(&after, "b"));
        assert!(world.entry("keys", "keys.json").await?.is_some());
        assert_eq!(world.puts_by_file(), once(&["a.txt", "b.txt", "c.txt", "d.txt"]));
        Ok(())
    });
}

#[test]
fn a_file_that_is_withdrawn_from_the_spec_leaves_status_and_output() {
    scenario(OPERATOR, async |world| {
        world.with_texts(&FOUR_TEXTS).await?;
        world.file_upload("three", three_files("b.txt")).await?;
        world.available("three").await?;
        world.patch("FileUpload", "three", json!({"spec": {"files": [file("c", "texts", "c.txt")]}})).await?;
        let after = world.upload("three", "one file", |upload| files(upload).len() == 1).await?;
        assert_eq!(after["status"]["fileKey"].as_str(), key_of(&after, "c"));
        let gone = |object: &Value| object["data"]["a"].is_null() && object["data"]["c"].is_string();
        world.wait("ConfigMap", "keys", "the output without a and b", gone).await?;
        assert_eq!(world.puts_by_file(), once(&["a.txt", "b.txt", "c.txt"]));
        Ok(())
    });
}

#[test]
fn toggling_the_output_disturbs_no_key() {
    scenario(OPERATOR, async |world| {
        world.with_texts(&FOUR_TEXTS).await?;
        world.file_upload("three", three_files("b.txt")).await?;
        let before = world.available("three").await?;
        world.patch("FileUpload", "three", json!({"spec": {"output": null, "suspend": false}})).await?;
        let after = world.available("three").await?;
        assert_eq!(files(&after), files(&before));
        assert_eq!(world.calls(Step::Presign).len(), 3);
        Ok(())
    });
}

#[test]
fn new_content_of_an_uploaded_file_and_a_lost_secret_change_nothing() {
    scenario(OPERATOR, async |world| {
        world.with_texts(&FOUR_TEXTS).await?;
        world.file_upload("three", three_files("b.txt")).await?;
        let before = world.available("three").await?;
        world.patch("ConfigMap", "texts", json!({"data": {"a.txt": "new content"}})).await?;
        world.delete("Secret", "cyberun").await?;
        // Another resource is looked at after the change.
        world.file_upload("behind", json!({"files": [file("d", "texts", "d.txt")]})).await?;
        world.upload("behind", "SecretNotFound", |upload| reason(upload) == "SecretNotFound").await?;
        let after = world.read("FileUpload", "three").await?;
        assert_eq!(after["status"], before["status"]);
        assert_eq!(world.calls(Step::Presign).len(), 3);
        Ok(())
    });
}
