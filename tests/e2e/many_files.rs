//! Many files and many resources: each file is sent once, and one that fails redoes no other.

use cyberun_stub::{Fault, Rule, Step};
use serde_json::{Value, json};
use test_support::{FOUR_TEXTS, file, key_of, once, reason, scenario, state, three_files};

use crate::OPERATOR;

#[test]
fn a_file_that_fails_never_redoes_the_others() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        world.config_map("texts", &FOUR_TEXTS).await?;
        world.stub.arm(Rule::always(Step::Presign, Fault::status(413)).for_file("b.txt"));
        world.operator().await?;
        world.file_upload("three", three_files("b.txt")).await?;
        let failed = world.upload("three", "TooLarge", |upload| reason(upload) == "TooLarge").await?;
        assert_eq!((state(&failed, "Stalled"), state(&failed, "Available")), ("True", "False"));
        assert_eq!(failed["status"]["summary"], "2/3");
        assert_eq!(world.entry("keys", "a").await?.as_deref(), key_of(&failed, "a"), "what is there can be used");
        assert_eq!(world.entry("keys", "keys.json").await?, None, "keys.json is for all files");
        world.had_its_chance().await?;
        assert_eq!(world.calls(Step::Presign).len(), 3, "nothing changed, nothing is tried");

        world.stub.clear_faults();
        world.patch("ConfigMap", "texts", json!({"data": {"b.txt": "smaller"}})).await?;
        let after = world.available("three").await?;
        assert_eq!(key_of(&after, "a"), key_of(&failed, "a"));
        assert_eq!(world.puts_by_file(), once(&["a.txt", "b.txt", "c.txt"]));
        Ok(())
    });
}

#[test]
fn a_file_that_backs_off_never_redoes_the_others() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        world.config_map("texts", &FOUR_TEXTS).await?;
        let busy = || Rule::once(Step::Put, Fault::status(503)).for_file("b.txt");
        for _ in 0..4 {
            world.stub.arm(busy());
        }
        world.operator().await?;
        world.file_upload("three", three_files("b.txt")).await?;
        let failed = |upload: &Value| reason(upload) == "StorageUnavailable";
        let failed = world.upload("three", "StorageUnavailable", failed).await?;
        assert_eq!(failed["status"]["summary"], "2/3");
        let after = world.available("three").await?;
        assert_eq!(key_of(&after, "c"), key_of(&failed, "c"));
        let mut expected = once(&["a.txt", "c.txt"]);
        expected.insert("b.txt".into(), 5);
        assert_eq!(world.puts_by_file(), expected, "two tries an attempt: four refused, one taken");
        Ok(())
    });
}

#[test]
fn twenty_files_are_uploaded_once_each() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        let spec = world.twenty_files().await?;
        world.operator().await?;
        world.file_upload("twenty", spec).await?;
        let upload = world.available("twenty").await?;
        assert_eq!(world.stored_keys(&upload)?.len(), 20);
        assert_eq!(upload["status"]["summary"], "20/20");
        assert_eq!(
            (world.puts_by_file().len(), world.calls(Step::Put).len(), world.calls(Step::Presign).len()),
            (20, 20, 20)
        );
        Ok(())
    });
}

#[test]
fn forty_resources_at_once_upload_each_file_once() {
    scenario(OPERATOR, async |world| {
        world.with_texts(&FOUR_TEXTS).await?;
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
