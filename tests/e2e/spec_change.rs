//! A changed spec: only what changed is uploaded, and the rest stays as it is.

use cyberun_stub::{Fault, Hold, Rule, Step};
use serde_json::{Value, json};
use test_support::{
    DEADLINE, FOUR_TEXTS, file, files, key_of, kubectl, nodes, not_tried, once, reason, scenario, state, three_files,
};

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

/// A Job that prints the key of file `a`, from the output alone.
fn job(image: &str) -> Value {
    let restricted = json!({
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
    });
    let container = json!({
        "name": "consumer", "image": image, "command": ["sh", "-c", "echo \"key=$KEY\""], "securityContext": restricted,
        "env": [{"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "keys", "key": "a"}}}],
    });
    json!({"spec": {"template": {"spec": {
        "restartPolicy": "Never", "automountServiceAccountToken": false, "containers": [container],
        "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
    }}}})
}

#[test]
fn a_job_made_once_a_changed_spec_is_seen_waits_for_the_new_key() -> anyhow::Result<()> {
    if nodes() == 0 {
        return not_tried("a Job that waits for a new key: no node runs here (TEST_NODES=0), run make test as root");
    }
    scenario(OPERATOR, async |world| {
        world.uploaded_two(json!({})).await?;
        let files = json!([
            {"name": "a", "fileName": "other.txt", "source": {"configMapKeyRef": {"name": "texts", "key": "a.txt"}}},
            file("b", "more", "b.txt"),
        ]);
        let hold = Hold::new("the file under its new name");
        world.stub.arm(Rule::once(Step::Put, Fault::hold(&hold)));
        world.patch("FileUpload", "two", json!({"spec": {"files": files}})).await?;
        world.upload("two", "not Available", |upload| state(upload, "Available") == "False").await?;
        world.create("Job", "consumer", job(world.cluster.busybox()?)).await?;
        let waits = async || {
            let pods = world.pods_of("consumer").await?;
            let waiting =
                &pods.first().map(|pod| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].clone());
            Ok((*waiting == Some(json!("CreateContainerConfigError")), pods))
        };
        world.wait_for(DEADLINE * 2, "the Job's pod to wait for its key", waits).await?;
        hold.release();
        let upload = world.available("two").await?;
        let done = |job: &Value| job["status"]["succeeded"] == 1;
        let complete = async || world.read("Job", "consumer").await.map(|job| (done(&job), job));
        world.wait_for(DEADLINE * 4, "the Job to complete", complete).await?;
        let log = kubectl(world.cluster, ["logs", "--namespace", &world.namespace, "job/consumer"], "")?;
        assert_eq!(log.trim(), format!("key={}", key_of(&upload, "a").unwrap_or_default()));
        assert!(test_support::files(&upload).iter().all(|file| file["state"] == "Uploaded"));
        Ok(())
    });
    Ok(())
}
