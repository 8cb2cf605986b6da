//! Only what changed is uploaded, and only what failed is tried again.

use std::collections::BTreeMap;

use cyberun_stub::{Fault, Hold, Moment, Rule, Step};
use serde_json::{Value, json};
use test_support::{DEADLINE, World, file, files, key_of, reason, scenario, state};

use crate::OPERATOR;

/// How often each file was put, by file name.
fn puts(world: &World) -> BTreeMap<String, usize> {
    let names = world.calls(Step::Put).into_iter().filter_map(|call| call.file_name);
    names.fold(BTreeMap::new(), |mut puts, name| {
        *puts.entry(name).or_default() += 1;
        puts
    })
}

fn once(names: &[&str]) -> BTreeMap<String, usize> {
    names.iter().map(|name| ((*name).to_owned(), 1)).collect()
}

async fn texts(world: &World) -> anyhow::Result<()> {
    world.config_map("texts", &[("a.txt", "1"), ("b.txt", "2"), ("c.txt", "3"), ("d.txt", "4")]).await
}

fn three(second: &str) -> Value {
    let list = json!([file("a", "texts", "a.txt"), file("b", "texts", second), file("c", "texts", "c.txt")]);
    json!({"files": list, "output": {"configMap": {"name": "keys"}}})
}

#[test]
fn a_change_of_one_file_uploads_that_one_and_withdraws_its_old_key_first() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        texts(world).await?;
        world.operator().await?;
        world.file_upload("three", three("b.txt")).await?;
        let before = world.available("three").await?;

        let hold = Hold::new("the new file is on its way");
        world.stub.arm(Rule::once(Step::Put, Fault::hold(&hold)).for_file("d.txt"));
        world.patch("FileUpload", "three", json!({"spec": three("d.txt")})).await?;
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
        assert_eq!(puts(world), once(&["a.txt", "b.txt", "c.txt", "d.txt"]));
        Ok(())
    });
}

#[test]
fn a_file_that_is_withdrawn_from_the_spec_leaves_status_and_output() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        texts(world).await?;
        world.operator().await?;
        world.file_upload("three", three("b.txt")).await?;
        world.available("three").await?;
        world.patch("FileUpload", "three", json!({"spec": {"files": [file("c", "texts", "c.txt")]}})).await?;
        let after = world.upload("three", "one file", |upload| files(upload).len() == 1).await?;
        assert_eq!(after["status"]["fileKey"].as_str(), key_of(&after, "c"));
        let gone = |object: &Value| object["data"]["a"].is_null() && object["data"]["c"].is_string();
        world.wait("ConfigMap", "keys", "the output without a and b", gone).await?;
        assert_eq!(puts(world), once(&["a.txt", "b.txt", "c.txt"]));
        Ok(())
    });
}

#[test]
fn a_file_that_fails_never_redoes_the_others() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        texts(world).await?;
        world.stub.arm(Rule::always(Step::Presign, Fault::status(413)).for_file("b.txt"));
        world.operator().await?;
        world.file_upload("three", three("b.txt")).await?;
        let failed = world.upload("three", "TooLarge", |upload| reason(upload) == "TooLarge").await?;
        assert_eq!((state(&failed, "Stalled"), state(&failed, "Available")), ("True", "False"));
        assert_eq!(failed["status"]["summary"], "2/3");
        assert_eq!(world.entry("keys", "a").await?.as_deref(), key_of(&failed, "a"), "what is there can be used");
        assert_eq!(world.entry("keys", "keys.json").await?, None, "keys.json is for all files");
        world.looked_at("cyberun", 1).await?;
        assert_eq!(world.calls(Step::Presign).len(), 3, "nothing changed, nothing is tried");

        world.stub.clear_faults();
        world.patch("ConfigMap", "texts", json!({"data": {"b.txt": "smaller"}})).await?;
        let after = world.available("three").await?;
        assert_eq!(key_of(&after, "a"), key_of(&failed, "a"));
        assert_eq!(puts(world), once(&["a.txt", "b.txt", "c.txt"]));
        Ok(())
    });
}

#[test]
fn a_file_that_backs_off_never_redoes_the_others() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        texts(world).await?;
        let busy = || Rule::once(Step::Put, Fault::status(503)).for_file("b.txt");
        for _ in 0..4 {
            world.stub.arm(busy());
        }
        world.operator().await?;
        world.file_upload("three", three("b.txt")).await?;
        let failed = |upload: &Value| reason(upload) == "StorageUnavailable";
        let failed = world.upload("three", "StorageUnavailable", failed).await?;
        assert_eq!(failed["status"]["summary"], "2/3");
        let after = world.available("three").await?;
        assert_eq!(key_of(&after, "c"), key_of(&failed, "c"));
        let mut expected = once(&["a.txt", "c.txt"]);
        expected.insert("b.txt".into(), 5);
        assert_eq!(puts(world), expected, "two tries an attempt: four refused, one taken");
        Ok(())
    });
}

#[test]
fn what_is_suspended_from_the_start_makes_no_call() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        texts(world).await?;
        world.operator().await?;
        let mut spec = three("b.txt");
        spec["suspend"] = true.into();
        world.file_upload("three", spec).await?;
        let suspended = world.upload("three", "Suspended", |upload| reason(upload) == "Suspended").await?;
        assert_eq!((state(&suspended, "Ready"), state(&suspended, "Available")), ("True", "False"));
        assert_eq!(suspended["status"]["phase"], "Suspended");
        // Another resource goes the whole road meanwhile.
        world.file_upload("other", json!({"files": [file("d", "texts", "d.txt")]})).await?;
        world.available("other").await?;
        assert_eq!(puts(world), once(&["d.txt"]));

        world.patch("FileUpload", "three", json!({"spec": {"suspend": false}})).await?;
        world.available("three").await?;
        assert_eq!(puts(world), once(&["a.txt", "b.txt", "c.txt", "d.txt"]));
        Ok(())
    });
}

#[test]
fn suspending_stops_before_the_next_round_and_keeps_what_is_there() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        let spec = twenty(world).await?;
        let hold = Hold::new("the first round");
        world.stub.fault(Step::Put, Fault::hold(&hold).at(Moment::Committed));
        world.operator().await?;
        world.file_upload("twenty", spec).await?;
        hold.reached(DEADLINE).await?;
        world.patch("FileUpload", "twenty", json!({"spec": {"suspend": true}})).await?;
        hold.release();
        let suspended = world.upload("twenty", "Suspended", |upload| reason(upload) == "Suspended").await?;
        let kept = suspended["status"]["filesUploaded"].as_u64();
        assert_eq!(kept, Some(world.stub.objects().len() as u64), "what was stored is in the status");
        assert!(kept <= Some(8), "at most one round of files after the request: {kept:?}");
        assert_eq!((state(&suspended, "Available"), state(&suspended, "Ready")), ("False", "True"));

        world.patch("FileUpload", "twenty", json!({"spec": {"suspend": null}})).await?;
        let upload = world.available("twenty").await?;
        assert_eq!(world.stored_keys(&upload)?.len(), 20);
        assert!(puts(world).values().all(|puts| *puts == 1), "{:?}", puts(world));
        Ok(())
    });
}

#[test]
fn twenty_files_are_uploaded_once_each() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        let spec = twenty(world).await?;
        world.operator().await?;
        world.file_upload("twenty", spec).await?;
        let upload = world.available("twenty").await?;
        assert_eq!(world.stored_keys(&upload)?.len(), 20);
        assert_eq!(upload["status"]["summary"], "20/20");
        assert_eq!((puts(world).len(), world.calls(Step::Put).len(), world.calls(Step::Presign).len()), (20, 20, 20));
        Ok(())
    });
}

async fn twenty(world: &World) -> anyhow::Result<Value> {
    let names: Vec<_> = (1..=20).map(|number| format!("f{number}")).collect();
    let data: Vec<_> = names.iter().map(|name| (name.as_str(), "text")).collect();
    world.config_map("many", &data).await?;
    let list: Vec<_> = names.iter().map(|name| file(name, "many", name)).collect();
    Ok(json!({"files": list}))
}

#[test]
fn toggling_the_output_disturbs_no_key() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        texts(world).await?;
        world.operator().await?;
        world.file_upload("three", three("b.txt")).await?;
        let before = world.available("three").await?;
        world.patch("FileUpload", "three", json!({"spec": {"output": null, "suspend": false}})).await?;
        let after = world.available("three").await?;
        assert_eq!(files(&after), files(&before));
        assert_eq!(world.calls(Step::Presign).len(), 3);
        Ok(())
    });
}

#[test]
fn a_change_while_suspended_withdraws_the_old_key_and_sends_nothing() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        texts(world).await?;
        world.operator().await?;
        world.file_upload("three", three("b.txt")).await?;
        world.available("three").await?;
        world.patch("FileUpload", "three", json!({"spec": {"suspend": true}})).await?;
        let rests = world.upload("three", "Suspended", |upload| reason(upload) == "Suspended").await?;
        assert_eq!(state(&rests, "Available"), "True", "what is there is there");

        world.patch("FileUpload", "three", json!({"spec": three("d.txt")})).await?;
        let changed = world.upload("three", "not Available", |upload| state(upload, "Available") == "False").await?;
        assert_eq!((state(&changed, "Ready"), reason(&changed)), ("True", "Suspended"));
        assert_eq!((key_of(&changed, "b"), world.entry("keys", "b").await?), (None, None));
        assert!(world.entry("keys", "a").await?.is_some());
        assert_eq!(puts(world), once(&["a.txt", "b.txt", "c.txt"]));
        world.patch("FileUpload", "three", json!({"spec": {"suspend": false}})).await?;
        world.available("three").await?;
        assert_eq!(puts(world), once(&["a.txt", "b.txt", "c.txt", "d.txt"]));
        Ok(())
    });
}

#[test]
fn new_content_of_an_uploaded_file_and_a_lost_secret_change_nothing() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        texts(world).await?;
        world.operator().await?;
        world.file_upload("three", three("b.txt")).await?;
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

#[test]
fn forty_resources_at_once_upload_each_file_once() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        texts(world).await?;
        world.operator().await?;
        let names: Vec<_> = (1..=40).map(|number| format!("r{number}")).collect();
        for name in &names {
            let list = json!([file("a", "texts", "a.txt")]);
            let spec = json!({"files": list, "output": {"configMap": {"name": format!("{name}-keys")}}});
            world.file_upload(name, spec).await?;
        }
        for name in &names {
            let upload = world.available(name).await?;
            assert_eq!(world.entry(&format!("{name}-keys"), "a").await?.as_deref(), key_of(&upload, "a"));
        }
        assert_eq!((world.calls(Step::Presign).len(), world.stub.objects().len()), (40, 40));
        Ok(())
    });
}
