//! With `updatePolicy: OnChange`, new content of a ConfigMap is uploaded again; nothing else is.

use cyberun_stub::{Fault, Hold, Moment, Rule, Step};
use serde_json::{Value, json};

use test_support::{DEADLINE, World, file, files, key_of, message, reason, scenario, state};

use crate::OPERATOR;

/// Waits until the operator has looked at `ConfigMap` `texts` as it is now.
async fn seen(world: &World) -> anyhow::Result<Value> {
    let version = world.read("ConfigMap", "texts").await?["metadata"]["resourceVersion"].clone();
    let is_seen =
        |upload: &Value| files(upload).iter().any(|file| file["name"] == "a" && file["sourceVersion"] == version);
    world.upload("two", "the present version of its ConfigMap", is_seen).await
}

#[test]
fn with_on_change_new_content_is_uploaded_while_the_old_key_stays_and_nothing_else_is() {
    scenario(OPERATOR, async |world| {
        let first = world.uploaded_two(json!({"updatePolicy": "OnChange"})).await?;
        let kept = world.watch_two().await?;
        let hold = Hold::new("the new content");
        world.stub.arm(Rule::once(Step::Put, Fault::hold(&hold).at(Moment::Received)).for_file("a.txt"));
        world.patch("ConfigMap", "texts", json!({"data": {"a.txt": "changed"}})).await?;
        hold.reached(DEADLINE).await?;
        world.meanwhile("during").await?;
        let during = world.read("FileUpload", "two").await?;
        assert_eq!(key_of(&during, "a"), key_of(&first, "a"), "it stays until there is a new one");
        hold.release();
        seen(world).await?;
        let second = world.two_after(4).await?;
        assert_eq!(key_of(&second, "b"), key_of(&first, "b"));
        assert_ne!(key_of(&second, "a"), key_of(&first, "a"));

        // None of these changes the content: another key, an annotation, a deletion, the same text written again.
        world.patch("ConfigMap", "texts", json!({"data": {"other.txt": "new"}})).await?;
        seen(world).await?;
        world.patch("ConfigMap", "texts", json!({"metadata": {"annotations": {"note": "hello"}}})).await?;
        seen(world).await?;
        world.delete("ConfigMap", "texts").await?;
        world.meanwhile("other").await?;
        world.config_map("texts", &[("a.txt", "changed")]).await?;
        seen(world).await?;
        let same = world.two_after(5).await?;
        assert_eq!(key_of(&same, "a"), key_of(&second, "a"));

        world.delete("ConfigMap", "texts").await?;
        world.config_map("texts", &[("a.txt", "changed once more")]).await?;
        seen(world).await?;
        let third = world.two_after(6).await?;
        assert_ne!(key_of(&third, "a"), key_of(&second, "a"));
        kept.all_along()
    });
}

#[test]
fn changed_content_whose_upload_fails_withdraws_the_old_key_as_it_stands_for_something_else() {
    scenario(OPERATOR, async |world| {
        let first = world.uploaded_two(json!({"updatePolicy": "OnChange"})).await?;
        world.stub.arm(Rule::always(Step::Presign, Fault::status(413)).for_file("a.txt"));
        world.patch("ConfigMap", "texts", json!({"data": {"a.txt": "too large"}})).await?;
        let failed = world.upload("two", "TooLarge", |upload| reason(upload) == "TooLarge").await?;
        assert_eq!((key_of(&failed, "a"), key_of(&failed, "b")), (None, key_of(&first, "b")));
        assert_eq!((state(&failed, "Available"), state(&failed, "Stalled")), ("False", "True"));
        let data = world.read("ConfigMap", "keys").await?["data"].clone();
        assert_eq!((&data["a"], &data["keys.json"]), (&Value::Null, &Value::Null), "{data:#}");
        assert_eq!(data["b"].as_str(), key_of(&first, "b"));
        world.stub.clear_faults();
        world.patch("ConfigMap", "texts", json!({"data": {"a.txt": "smaller"}})).await?;
        world.two_after(3).await?;
        Ok(())
    });
}

#[test]
fn on_change_needs_a_config_map_and_an_operator_that_reads_it() {
    scenario(OPERATOR, async |world| {
        let volume = json!({"name": "v", "source": {"persistentVolumeClaim": {"claimName": "data", "path": "v"}}});
        let refused = world.file_upload("volumes", json!({"files": [volume], "updatePolicy": "OnChange"})).await;
        let refused = format!("{:#}", refused.err().unwrap_or_else(|| anyhow::anyhow!("it was taken")));
        assert!(refused.contains("updatePolicy OnChange needs a file with source.configMapKeyRef"), "{refused}");

        world.operator_with(&["directUploads=false"]).await?;
        let list = json!([file("a", "texts", "a.txt")]);
        world.file_upload("two", json!({"files": list, "updatePolicy": "OnChange"})).await?;
        let stalled = world.upload("two", "Stalled", |upload| state(upload, "Stalled") == "True").await?;
        assert_eq!((reason(&stalled), world.calls(Step::Presign).len()), ("UpdateUnsupported", 0));
        assert!(message(&stalled).contains("--direct-uploads=true"), "{}", message(&stalled));
        world.patch("FileUpload", "two", json!({"spec": {"updatePolicy": "Once"}})).await?;
        world.upload("two", "waiting for its ConfigMap", |upload| reason(upload) == "ConfigMapNotFound").await?;
        Ok(())
    });
}
