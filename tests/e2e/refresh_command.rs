//! `fileupload refresh`: the request, and the wait for its answer. The operator's part is played by hand here.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use test_support::{Person, World, ended, file, scenario};

use crate::OPERATOR;

const ANNOTATION: &str = "cyberun.cloud/requested-at";

/// A status in which every condition has this reason; `kind` is the one besides Ready and Available that is true.
async fn write(
    world: &World,
    handled: &Value,
    key: Option<&str>,
    reason: &str,
    kind: Option<&str>,
) -> anyhow::Result<()> {
    let is = |kind: &str, truth: bool| {
        json!({"type": kind, "status": if truth { "True" } else { "False" }, "reason": reason, "message": "as the test has it",
            "observedGeneration": 1, "lastTransitionTime": "2026-11-24T10:00:00Z"})
    };
    let good = key.is_some();
    let conditions: Vec<_> =
        [is("Ready", good), is("Available", good)].into_iter().chain(kind.map(|kind| is(kind, true))).collect();
    let entry =
        json!({"name": "photo", "state": if good { "Uploaded" } else { "Pending" }, "revision": "r", "fileKey": key});
    let status = json!({
        "observedGeneration": 1, "phase": if good { "Ready" } else { "Pending" }, "filesUploaded": i64::from(good),
        "filesTotal": 1, "attempts": 0, "files": [entry], "conditions": conditions, "lastHandledRequestedAt": handled,
    });
    let patch = Patch::Merge(json!({"status": status}));
    world.api("FileUpload").patch_status("one", &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Waits for another request than `before`, and returns it.
async fn requested(world: &World, before: &Value) -> anyhow::Result<Value> {
    let other = |upload: &Value| {
        let value = &upload["metadata"]["annotations"][ANNOTATION];
        value.is_string() && value != before
    };
    Ok(world.wait("FileUpload", "one", "a request", other).await?["metadata"]["annotations"][ANNOTATION].clone())
}

#[test]
fn a_refresh_ends_with_the_new_keys_and_not_with_those_of_before() {
    scenario(OPERATOR, async |world| {
        world.file_upload("one", json!({"files": [file("photo", "texts", "a.txt")]})).await?;
        write(world, &Value::Null, Some("old"), "Uploaded", None).await?;
        let namespace = world.namespace.clone();
        let admin = Person::admin(world);
        let said = admin.runs(&["refresh", "one", "-n", &namespace]).await?;
        assert_eq!((said.code, said.stdout.as_str()), (Some(0), ""), "{said:?}");
        assert!(said.stderr.contains(&format!("{namespace}/one")), "{said:?}");
        let first = requested(world, &Value::Null).await?;
        let upload = world.read("FileUpload", "one").await?;
        let managers: Vec<_> = upload["metadata"]["managedFields"].as_array().into_iter().flatten().collect();
        assert!(managers.iter().any(|field| field["manager"] == "fileupload"), "{managers:#?}");
        assert_eq!(upload["metadata"]["generation"], 1, "the spec is not touched");

        let mut waiting = admin.starts(&["refresh", "one", "-n", &namespace, "--wait"])?;
        let second = requested(world, &first).await?;
        // Keys of before, also of the request before, and a request taken up without a key are no answer.
        write(world, &first, Some("old"), "Uploaded", None).await?;
        write(world, &second, None, "Uploading", Some("Reconciling")).await?;
        assert!(waiting.try_wait()?.is_none(), "it waits");
        write(world, &second, Some("new"), "Uploaded", None).await?;
        let said = ended(waiting).await?;
        assert_eq!((said.code, said.stdout.as_str()), (Some(0), "photo=new\n"), "{said:?}");
        Ok(())
    });
}

#[test]
fn a_refresh_that_cannot_succeed_ends_with_why() {
    scenario(OPERATOR, async |world| {
        world.file_upload("one", json!({"files": [file("photo", "texts", "a.txt")]})).await?;
        let namespace = world.namespace.clone();
        let admin = Person::admin(world);
        let asks = ["refresh", "one", "-n", &namespace, "--wait"];
        let waiting = admin.starts(&asks)?;
        let first = requested(world, &Value::Null).await?;
        write(world, &first, None, "TooLarge", Some("Stalled")).await?;
        ended(waiting)
            .await?
            .fails(3, &["Cause: As the test has it.", "Fix: Make the file smaller", "not Available (TooLarge)"]);

        // Of another request nothing is known: the time ends it.
        let said = admin.runs(&[&asks[..], &["--timeout", "2s"]].concat()).await?;
        said.fails(4, &["timed out", "requested, and is not done yet"]);

        let before = world.read("FileUpload", "one").await?["metadata"]["annotations"][ANNOTATION].clone();
        let waiting = admin.starts(&asks)?;
        requested(world, &before).await?;
        world.patch("FileUpload", "one", json!({"metadata": {"annotations": {ANNOTATION: "another"}}})).await?;
        ended(waiting).await?.fails(1, &["another request came after this one"]);

        world.patch("FileUpload", "one", json!({"spec": {"suspend": true}})).await?;
        admin.runs(&asks).await?.fails(3, &["is suspended", "once spec.suspend is false"]);
        let said = admin.runs(&asks[..4]).await?;
        assert!(said.code == Some(0) && said.stderr.contains("suspended"), "{said:?}");

        let waiting = admin.runs(&["refresh", "absent", "-n", &namespace]).await?;
        waiting.fails(1, &["has no FileUpload absent"]);
        Ok(())
    });
}

#[test]
fn who_may_not_ask_for_a_refresh_is_told_so() {
    scenario(OPERATOR, async |world| {
        world.file_upload("one", json!({"files": [file("photo", "texts", "a.txt")]})).await?;
        let namespace = world.namespace.clone();
        let begun = std::time::Instant::now();
        let viewer = Person::with_cluster_role(world, "viewer", "view").await?;
        viewer.runs(&["refresh", "one", "-n", &namespace]).await?.fails(1, &["no right", "patch", "fileuploads"]);
        // One who may ask but not watch is not left waiting.
        let patch = json!([{"apiGroups": ["cyberun.cloud"], "resources": ["fileuploads"], "verbs": ["get", "patch"]}]);
        let blind = Person::with_rules(world, "blind", patch).await?;
        blind.runs(&["refresh", "one", "-n", &namespace, "--wait"]).await?.fails(1, &["no right", "watch"]);
        let patch =
            json!([{"apiGroups": ["cyberun.cloud"], "resources": ["fileuploads"], "verbs": ["get", "patch", "watch"]}]);
        let few = Person::with_rules(world, "few", patch).await?;
        let asks = ["refresh", "one", "-n", &namespace, "--wait", "--timeout", "2s"];
        few.runs(&asks).await?.fails(4, &["timed out"]);
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        Ok(())
    });
}
