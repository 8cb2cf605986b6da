//! What a person does about a reason, as its fix says, heals it: for the reasons that no other test heals.

use std::fs;
use std::os::unix::fs::symlink;

use cyberun_stub::{Fault, Step};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use test_support::{age, file, key_of, on_claim, scenario, tells, with_pods};

use crate::OPERATOR;

#[test]
fn a_file_that_cannot_be_sent_is_sent_once_another_is_named() -> anyhow::Result<()> {
    with_pods(OPERATOR, "the fixes of a file", async |world| {
        world.credential().await?;
        let content: [(&str, &[u8]); 2] = [("folder/inside.txt", b"inside"), ("real.txt", b"real")];
        let folder = world.volume("data", &["ReadWriteMany"], &content).await?;
        symlink("../../../../etc/passwd", folder.join("out.txt"))?;
        for name in ["folder/inside.txt", "real.txt"] {
            age(&folder.join(name))?;
        }
        world.operator().await?;
        let two = |kind: &str, link: &str| json!([on_claim("kind", "data", kind), on_claim("link", "data", link)]);
        world.file_upload("two", json!({"files": two("folder", "out.txt")})).await?;
        world.told("two", "kind", "NotAFile").await?;
        world.told("two", "link", "PathEscapes").await?;
        world.patch("FileUpload", "two", json!({"spec": {"files": two("folder/inside.txt", "real.txt")}})).await?;
        let upload = world.available("two").await?;
        assert_eq!(world.stored_keys(&upload)?.len(), 2);
        Ok(())
    })
}

#[test]
fn a_file_that_never_appeared_is_sent_once_it_is_there_and_asked_for() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a file that never appeared", async |world| {
        let folder = world.with_data(&["ReadWriteMany"], &[("other.txt", b"other")]).await?;
        world.file_upload("one", json!({"files": [on_claim("late", "data", "late.txt")]})).await?;
        world.told("one", "late", "FileNotFound").await?;
        // The day that passes meanwhile, and the end of the wait for the next attempt.
        let past = |path: &str| json!({"op": "replace", "path": path, "value": "2026-11-01T00:00:00Z"});
        let since = json!([past("/status/files/0/since"), past("/status/nextAttemptAt")]);
        let patch = Patch::<Value>::Json(serde_json::from_value(since)?);
        world.api("FileUpload").patch_status("one", &PatchParams::default(), &patch).await?;
        let entry = world.told("one", "late", "FileNeverAppeared").await?;
        tells(&entry, "Failed", &["late.txt", "other.txt", "within a day", "fileupload refresh"]);

        fs::write(folder.join("late.txt"), "at last")?;
        age(&folder.join("late.txt"))?;
        world.request("one", json!("2026-11-24T10:00:00Z")).await?;
        let upload = world.available("one").await?;
        assert!(key_of(&upload, "late").is_some());
        Ok(())
    })
}

#[test]
fn a_storage_that_refuses_is_tried_again_until_it_takes_the_file() {
    scenario(OPERATOR, async |world| {
        world.with_texts(&[("a.txt", "one")]).await?;
        world.stub.fault_always(Step::Put, Fault::status(403));
        world.file_upload("one", json!({"files": [file("a", "texts", "a.txt")]})).await?;
        let entry = world.told("one", "a", "StorageRefused").await?;
        tells(&entry, "Pending", &["403", "a second presigned URL"]);
        world.stub.clear_faults();
        let upload = world.available("one").await?;
        assert_eq!(world.stored_keys(&upload)?.len(), 1);
        Ok(())
    });
}

#[test]
fn a_request_that_is_refused_is_taken_with_another_name() {
    scenario(OPERATOR, async |world| {
        world.with_texts(&[("a.txt", "one")]).await?;
        world.stub.arm(cyberun_stub::Rule::always(Step::Presign, Fault::status(422)).for_file("a.txt"));
        world.file_upload("one", json!({"files": [file("a", "texts", "a.txt")]})).await?;
        let entry = world.told("one", "a", "RequestRejected").await?;
        tells(&entry, "Failed", &["422"]);
        let mut named = file("a", "texts", "a.txt");
        named["fileName"] = "b.txt".into();
        world.patch("FileUpload", "one", json!({"spec": {"files": [named]}})).await?;
        world.available("one").await?;
        Ok(())
    });
}
