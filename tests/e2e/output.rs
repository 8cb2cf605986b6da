//! The output `ConfigMap`: the operator's own, kept as it should be, never somebody else's.

use cyberun_stub::{Fault, Hold, Step};
use serde_json::{Value, json};
use test_support::{DEADLINE, World, condition, file, key_of, kubectl, message, reason, scenario, state};

use crate::OPERATOR;

fn spec(output: &str) -> Value {
    json!({"files": [file("a", "texts", "a.txt")], "output": {"configMap": {"name": output}}})
}

async fn prepared(world: &mut World) -> anyhow::Result<()> {
    world.with_texts(&[("a.txt", "first")]).await?;
    Ok(())
}

/// Uploaded, with the output called `keys`.
async fn uploaded(world: &mut World) -> anyhow::Result<String> {
    prepared(world).await?;
    world.file_upload("one", spec("keys")).await?;
    let upload = world.available("one").await?;
    Ok(key_of(&upload, "a").unwrap_or_default().to_owned())
}

async fn holds_the_key(world: &World, output: &str, key: &str) -> anyhow::Result<Value> {
    let right = |object: &Value| object["data"]["a"] == key && object["data"]["keys.json"].is_string();
    world.wait("ConfigMap", output, &format!("the key in {output}"), right).await
}

#[test]
fn a_foreign_config_map_is_never_touched_and_its_deletion_heals() {
    scenario(OPERATOR, async |world| {
        prepared(world).await?;
        world.config_map("keys", &[("a", "of somebody else")]).await?;
        let foreign = world.read("ConfigMap", "keys").await?;
        world.file_upload("one", spec("keys")).await?;
        let conflict = world.upload("one", "OutputConflict", |upload| reason(upload) == "OutputConflict").await?;
        assert_eq!((state(&conflict, "Stalled"), state(&conflict, "Available")), ("True", "False"));
        assert_eq!(condition(&conflict, "Available")["reason"], "OutputConflict");
        assert!(message(&conflict).contains("ConfigMap keys (spec.output.configMap)"), "{}", message(&conflict));
        assert_eq!(world.read("ConfigMap", "keys").await?, foreign, "untouched, to the last field");

        world.delete("ConfigMap", "keys").await?;
        let upload = world.available("one").await?;
        holds_the_key(world, "keys", key_of(&upload, "a").unwrap_or_default()).await?;
        assert_eq!(world.stub.objects().len(), 1, "the key was there already");
        Ok(())
    });
}

#[test]
fn a_config_map_of_another_file_upload_is_a_conflict_too() {
    scenario(OPERATOR, async |world| {
        uploaded(world).await?;
        let output = world.read("ConfigMap", "keys").await?;
        world.file_upload("two", spec("keys")).await?;
        world.upload("two", "OutputConflict", |upload| reason(upload) == "OutputConflict").await?;
        assert_eq!(world.read("ConfigMap", "keys").await?, output, "untouched, to the last field");
        let first = world.available("one").await?;
        assert_eq!(state(&first, "Ready"), "True");
        Ok(())
    });
}

#[test]
fn the_output_says_whose_it_is() {
    scenario(OPERATOR, async |world| {
        let key = uploaded(world).await?;
        let output = holds_the_key(world, "keys", &key).await?;
        let metadata = &output["metadata"];
        assert_eq!(metadata["labels"]["app.kubernetes.io/managed-by"], "fileupload-operator");
        assert_eq!(metadata["labels"]["cyberun.cloud/fileupload"], "one");
        let owner = &metadata["ownerReferences"][0];
        assert_eq!((&owner["kind"], &owner["name"]), (&json!("FileUpload"), &json!("one")));
        assert!(owner["blockOwnerDeletion"].is_null());
        Ok(())
    });
}

#[test]
fn the_output_has_the_labels_and_annotations_of_the_spec_also_those_that_come_later_and_none_that_went() {
    scenario(OPERATOR, async |world| {
        prepared(world).await?;
        let with = |labels: Value, annotations: Value| {
            let mut spec = spec("keys");
            spec["output"]["configMap"]["labels"] = labels;
            spec["output"]["configMap"]["annotations"] = annotations;
            spec
        };
        world.file_upload("one", with(json!({"team": "a"}), json!({"note": "first"}))).await?;
        let upload = world.available("one").await?;
        let key = key_of(&upload, "a").unwrap_or_default().to_owned();
        let output = holds_the_key(world, "keys", &key).await?;
        let metadata = &output["metadata"];
        assert_eq!((&metadata["labels"]["team"], &metadata["annotations"]["note"]), (&json!("a"), &json!("first")));
        assert_eq!(metadata["labels"]["cyberun.cloud/fileupload"], "one");

        // What others add stays, and what is given is given again.
        let foreign = json!({"metadata": {"labels": {"team": "b", "theirs": "x"}, "annotations": {"theirs": "y"}}});
        world.patch("ConfigMap", "keys", foreign).await?;
        let later = json!({"spec": with(json!({"team": "a", "tier": "front"}), json!({"note": "second"}))});
        world.patch("FileUpload", "one", later).await?;
        let right = |object: &Value| {
            let (labels, annotations) = (&object["metadata"]["labels"], &object["metadata"]["annotations"]);
            let own = labels["cyberun.cloud/fileupload"] == "one" && labels["app.kubernetes.io/managed-by"].is_string();
            let given = labels["team"] == "a" && labels["tier"] == "front" && annotations["note"] == "second";
            own && given && labels["theirs"] == "x" && annotations["theirs"] == "y" && object["data"]["a"] == key
        };
        world.wait("ConfigMap", "keys", "the new labels and annotations", right).await?;

        // What the spec no longer gives goes, and what others added stays.
        let fewer = json!({"spec": {"output": {"configMap": {"labels": {"team": null}, "annotations": null}}}});
        world.patch("FileUpload", "one", fewer).await?;
        let right = |object: &Value| {
            let (labels, annotations) = (&object["metadata"]["labels"], &object["metadata"]["annotations"]);
            let own = labels["cyberun.cloud/fileupload"] == "one" && labels["app.kubernetes.io/managed-by"].is_string();
            let left = labels["team"].is_null() && labels["tier"] == "front" && annotations["note"].is_null();
            own && left && labels["theirs"] == "x" && annotations["theirs"] == "y" && object["data"]["a"] == key
        };
        world.wait("ConfigMap", "keys", "only the labels and annotations that are given", right).await?;
        assert_eq!(world.stub.objects().len(), 1, "nothing is uploaded again for them");
        Ok(())
    });
}

#[test]
fn kubectl_shows_whether_keys_are_there_and_until_when() {
    scenario(OPERATOR, async |world| {
        uploaded(world).await?;
        let upload = world.available("one").await?;
        let namespace = format!("--namespace={}", world.namespace);
        for short in ["fu", "fup"] {
            let table = kubectl(world.cluster, ["get", short, "one", &namespace], "")?;
            let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
            assert_eq!(lines[0], ["NAME", "READY", "AVAILABLE", "REASON", "FILES", "EXPIRES", "AGE"], "{table}");
            let until = upload["status"]["availableUntil"].as_str().unwrap_or_default();
            assert_eq!(lines[1][..6], ["one", "True", "True", "Uploaded", "1/1", until], "{table}");
        }
        let wide = kubectl(world.cluster, ["get", "fup", &namespace, "--output=wide"], "")?;
        assert!(wide.lines().next().is_some_and(|head| head.contains("KEY") && head.contains("MESSAGE")), "{wide}");
        Ok(())
    });
}

#[test]
fn an_edited_output_is_restored() {
    scenario(OPERATOR, async |world| {
        let key = uploaded(world).await?;
        let edit = json!({"data": {"a": "edited", "added": "by hand", "keys.json": null}});
        world.patch("ConfigMap", "keys", edit).await?;
        let output = holds_the_key(world, "keys", &key).await?;
        assert!(output["data"]["added"].is_null());
        assert_eq!(world.stub.objects().len(), 1);
        Ok(())
    });
}

#[test]
fn a_deleted_output_is_made_again() {
    scenario(OPERATOR, async |world| {
        let key = uploaded(world).await?;
        world.delete("ConfigMap", "keys").await?;
        holds_the_key(world, "keys", &key).await?;
        assert_eq!(world.stub.objects().len(), 1);
        Ok(())
    });
}

#[test]
fn an_output_edited_while_the_operator_was_away_is_restored() {
    scenario(OPERATOR, async |world| {
        let key = uploaded(world).await?;
        world.operator().await?.terminate().await?;
        world.patch("ConfigMap", "keys", json!({"data": {"a": "edited"}})).await?;
        world.operator().await?.restart().await?;
        holds_the_key(world, "keys", &key).await?;
        Ok(())
    });
}

#[test]
fn a_renamed_output_moves() {
    scenario(OPERATOR, async |world| {
        let key = uploaded(world).await?;
        world.patch("FileUpload", "one", json!({"spec": {"output": {"configMap": {"name": "others"}}}})).await?;
        holds_the_key(world, "others", &key).await?;
        world.wait("ConfigMap", "keys", "the old output is gone", Value::is_null).await?;
        let upload = world.available("one").await?;
        assert_eq!(upload["status"]["output"]["name"], "others");
        assert_eq!(key_of(&upload, "a"), Some(key.as_str()));
        Ok(())
    });
}

#[test]
fn an_output_that_is_no_longer_asked_for_is_deleted() {
    scenario(OPERATOR, async |world| {
        let key = uploaded(world).await?;
        world.patch("FileUpload", "one", json!({"spec": {"output": null}})).await?;
        world.wait("ConfigMap", "keys", "the output is gone", Value::is_null).await?;
        let without = |upload: &Value| upload["status"]["output"].is_null();
        let upload = world.upload("one", "no output in the status", without).await?;
        assert_eq!((state(&upload, "Available"), key_of(&upload, "a")), ("True", Some(key.as_str())));
        Ok(())
    });
}

#[test]
fn a_foreign_config_map_survives_a_rename_of_the_output() {
    scenario(OPERATOR, async |world| {
        prepared(world).await?;
        world.config_map("keys", &[("a", "of somebody else")]).await?;
        world.file_upload("one", spec("keys")).await?;
        world.upload("one", "OutputConflict", |upload| reason(upload) == "OutputConflict").await?;
        world.patch("FileUpload", "one", json!({"spec": {"output": {"configMap": {"name": "others"}}}})).await?;
        world.available("one").await?;
        assert_eq!(world.entry("keys", "a").await?.as_deref(), Some("of somebody else"));
        Ok(())
    });
}

#[test]
fn the_output_goes_with_its_file_upload() {
    scenario(OPERATOR, async |world| {
        uploaded(world).await?;
        world.delete("FileUpload", "one").await?;
        world.wait("FileUpload", "one", "the FileUpload is gone: nothing holds it", Value::is_null).await?;
        world.wait("ConfigMap", "keys", "the output is collected", Value::is_null).await?;
        Ok(())
    });
}

#[test]
fn a_file_upload_that_is_made_anew_gets_an_output_of_its_own() {
    scenario(OPERATOR, async |world| {
        let old = uploaded(world).await?;
        world.delete("FileUpload", "one").await?;
        world.wait("FileUpload", "one", "the FileUpload is gone", Value::is_null).await?;
        world.file_upload("one", spec("keys")).await?;
        let upload = world.available("one").await?;
        let key = key_of(&upload, "a").unwrap_or_default().to_owned();
        assert_ne!(key, old);
        let output = holds_the_key(world, "keys", &key).await?;
        assert_eq!(output["metadata"]["ownerReferences"][0]["uid"], upload["metadata"]["uid"]);
        Ok(())
    });
}

#[test]
fn a_file_upload_deleted_while_its_file_is_sent_leaves_no_output() {
    scenario(OPERATOR, async |world| {
        prepared(world).await?;
        let hold = Hold::new("on its way");
        world.stub.fault(Step::Put, Fault::hold(&hold));
        world.file_upload("one", spec("keys")).await?;
        hold.reached(DEADLINE).await?;
        world.delete("FileUpload", "one").await?;
        world.wait("FileUpload", "one", "the FileUpload is gone", Value::is_null).await?;
        hold.release();
        // Another resource goes the whole road behind it.
        world.file_upload("behind", spec("others")).await?;
        world.available("behind").await?;
        world.wait("ConfigMap", "keys", "no output", Value::is_null).await?;
        Ok(())
    });
}

#[test]
fn an_output_that_the_cluster_does_not_admit_is_told_and_tried_again() {
    scenario(OPERATOR, async |world| {
        prepared(world).await?;
        world.expect_refusals();
        // Already used up: one by the cluster itself, one by the file.
        world.wait("ConfigMap", "kube-root-ca.crt", "the cluster's own ConfigMap", Value::is_object).await?;
        world.quota(json!({"configmaps": "2"}), ("ConfigMap", json!({}))).await?;
        world.file_upload("one", spec("keys")).await?;
        let denied = world.upload("one", "AdmissionDenied", |upload| reason(upload) == "AdmissionDenied").await?;
        assert_eq!((state(&denied, "Available"), state(&denied, "Reconciling")), ("False", "True"));
        assert!(message(&denied).contains("exceeded quota"), "{}", message(&denied));
        world.delete("ResourceQuota", "full").await?;
        let upload = world.available("one").await?;
        holds_the_key(world, "keys", key_of(&upload, "a").unwrap_or_default()).await?;
        assert_eq!(world.stub.objects().len(), 1, "nothing is uploaded again for the output's sake");
        Ok(())
    });
}
