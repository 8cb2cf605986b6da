//! The main road: files of `ConfigMap`s become keys in the status and in the output.

use anyhow::Context as _;
use cyberun_stub::Step;
use serde_json::{Value, json};
use test_support::{DEADLINE, file, files, key_of, reason, scenario, sha256, state, texts, with_output};

use crate::OPERATOR;

/// Not UTF-8, so that it can only be `binaryData`.
const PICTURE: &[u8] = b"\x89PNG\r\n\x1a\n\xff\xfe\x00";

#[test]
fn a_text_and_a_binary_file_get_keys_in_status_and_output() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        world.config_map("prompts", &[("prompt.txt", "soft morning light")]).await?;
        let picture = json!({"binaryData": {"photo.png": "iVBORw0KGgr//gA="}});
        world.create("ConfigMap", "pictures", picture).await?;
        world.operator().await?;
        let list = json!([file("photo", "pictures", "photo.png"), file("prompt", "prompts", "prompt.txt")]);
        world.file_upload("portrait", json!({"files": list, "output": {"configMap": {"name": "keys"}}})).await?;

        let upload = world.available("portrait").await?;
        assert_eq!((state(&upload, "Ready"), reason(&upload)), ("True", "Uploaded"));
        assert_eq!(upload["status"]["phase"], "Ready");
        assert_eq!(upload["status"]["summary"], "2/2");
        assert!(upload["status"]["fileKey"].is_null(), "fileKey is for a single file");
        assert_eq!(
            upload["status"]["conditions"].as_array().map(Vec::len),
            Some(2),
            "Reconciling and Stalled are absent"
        );

        let objects = world.stub.objects();
        assert_eq!(objects.len(), 2);
        for (name, bytes, kind) in
            [("photo", PICTURE, "image/png"), ("prompt", b"soft morning light".as_slice(), "text/plain")]
        {
            let key = key_of(&upload, name).context("no key")?;
            assert_eq!(objects[key].sha256, sha256(bytes));
            assert_eq!(objects[key].content_type, kind);
            assert_eq!(world.entry("keys", name).await?.as_deref(), Some(key), "the output says what the status says");
        }
        let listed: Value = serde_json::from_str(&world.entry("keys", "keys.json").await?.context("no keys.json")?)?;
        for entry in files(&upload) {
            let name = entry["name"].as_str().context("a file without a name")?;
            assert!(listed.to_string().contains(entry["sha256"].as_str().context("no sha256")?), "{name} in {listed}");
        }
        Ok(())
    });
}

#[test]
fn a_single_file_has_its_key_in_status_file_key() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        world.config_map("prompts", &[("prompt.txt", "one")]).await?;
        world.operator().await?;
        world.file_upload("one", json!({"files": [file("prompt", "prompts", "prompt.txt")]})).await?;
        let upload = world.available("one").await?;
        assert_eq!(upload["status"]["fileKey"].as_str(), key_of(&upload, "prompt"));
        assert_eq!(world.stored_keys(&upload)?.len(), 1);
        Ok(())
    });
}

#[test]
fn an_empty_file_is_uploaded_too() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        world.config_map("empty", &[("nothing.txt", "")]).await?;
        world.operator().await?;
        world.file_upload("empty", json!({"files": [file("nothing", "empty", "nothing.txt")]})).await?;
        let upload = world.available("empty").await?;
        let keys = world.stored_keys(&upload)?;
        assert_eq!(world.stub.objects()[&keys[0]].size, 0);
        assert_eq!(files(&upload)[0]["size"], 0);
        assert_eq!(world.calls(Step::Put)[0].header("content-length"), Some("0"));
        Ok(())
    });
}

#[test]
fn names_and_content_types_of_the_spec_are_those_at_the_store() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        world.config_map("prompts", &[("prompt.txt", "one")]).await?;
        world.operator().await?;
        let mut named = file("prompt", "prompts", "prompt.txt");
        named["fileName"] = "ein schönes Bild.json".into();
        named["contentType"] = "application/x-prompt; charset=utf-8".into();
        world.file_upload("one", json!({"files": [named]})).await?;
        let upload = world.available("one").await?;
        let object = world.stub.objects().into_values().next().context("nothing stored")?;
        assert_eq!(object.file_name, "ein schönes Bild.json");
        assert_eq!(object.content_type, "application/x-prompt; charset=utf-8");
        assert_eq!(files(&upload)[0]["fileName"], "ein schönes Bild.json");
        Ok(())
    });
}

#[test]
fn one_file_with_output_costs_five_requests_in_all() {
    scenario(OPERATOR, async |world| {
        let (elsewhere, _) = world.space("elsewhere").await?;
        world.with_texts(&[("a.txt", "one")]).await?;
        let Some(before) = world.requests()? else { return Ok(()) };
        world.file_upload("one", with_output(&texts(&["a"]), "keys")).await?;
        world.available("one").await?;
        let told = async || {
            let events = world.list("Event").await?;
            Ok((events.iter().any(|event| event["reason"] == "Uploaded"), events))
        };
        world.wait_for(DEADLINE, "the event", told).await?;
        // What its own writes woke is done when a resource of another namespace has gone the whole road behind it.
        elsewhere.meanwhile("behind").await?;
        world.operator().await?.terminate().await?;

        let requests = world.requests()?.unwrap_or_default();
        let counted: Vec<_> = requests[before.len()..].iter().filter(|request| request.verb != "watch").collect();
        assert!(counted.len() <= 5, "{counted:#?}");
        assert!(counted.iter().any(|request| request.resource == "events"), "not all is counted: {counted:#?}");
        Ok(())
    });
}
