//! With `updatePolicy: OnChange`, new content of a ConfigMap is uploaded again; nothing else is.

use cyberun_stub::{Fault, Hold, Rule, Step};
use serde_json::{Value, json};

use test_support::{DEADLINE, file, files, key_of, kubectl, message, nodes, not_tried, reason, scenario, state};

use crate::OPERATOR;

#[test]
fn with_on_change_new_content_is_uploaded_and_nothing_else_is() {
    scenario(OPERATOR, async |world| {
        let first = world.uploaded_two(json!({"updatePolicy": "OnChange"})).await?;
        let hold = Hold::new("the new content");
        world.stub.arm(Rule::once(Step::Put, Fault::hold(&hold)).for_file("a.txt"));
        world.patch("ConfigMap", "texts", json!({"data": {"a.txt": "changed"}})).await?;
        hold.reached(DEADLINE).await?;
        let during = world.upload("two", "not Available", |upload| state(upload, "Available") == "False").await?;
        assert_eq!((key_of(&during, "a"), key_of(&during, "b")), (None, key_of(&first, "b")), "only the old one goes");
        assert_eq!(world.entry("keys", "a").await?, None);
        hold.release();
        let second = world.two_after(3).await?;
        assert_eq!(key_of(&second, "b"), key_of(&first, "b"));

        // Another key, an annotation, the same text anew, a deletion: nothing of that is other content.
        world.patch("ConfigMap", "texts", json!({"data": {"other.txt": "new"}})).await?;
        world.patch("ConfigMap", "texts", json!({"metadata": {"annotations": {"note": "hello"}}})).await?;
        world.meanwhile("other").await?;
        world.delete("ConfigMap", "texts").await?;
        world.meanwhile("another").await?;
        world.config_map("texts", &[("a.txt", "changed")]).await?;
        world.meanwhile("third").await?;
        let same = world.two_after(6).await?;
        assert_eq!(key_of(&same, "a"), key_of(&second, "a"));

        world.delete("ConfigMap", "texts").await?;
        world.config_map("texts", &[("a.txt", "changed once more")]).await?;
        let third = world.two_after(7).await?;
        assert_ne!(key_of(&third, "a"), key_of(&second, "a"));
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
fn a_job_made_once_a_change_is_seen_waits_for_the_new_key() -> anyhow::Result<()> {
    if nodes() == 0 {
        return not_tried("a Job that waits for a new key: no node runs here (TEST_NODES=0), run make test as root");
    }
    scenario(OPERATOR, async |world| {
        world.uploaded_two(json!({"updatePolicy": "OnChange"})).await?;
        let changes = [
            ("content", "ConfigMap", "texts", json!({"data": {"a.txt": "new content"}})),
            (
                "request",
                "FileUpload",
                "two",
                json!({"metadata": {"annotations": {"cyberun.cloud/requested-at": "now"}}}),
            ),
            (
                "spec",
                "FileUpload",
                "two",
                json!({"spec": {"files": [
                    {"name": "a", "fileName": "other.txt", "source": {"configMapKeyRef": {"name": "texts", "key": "a.txt"}}},
                    file("b", "more", "b.txt"),
                ]}}),
            ),
        ];
        for (how, kind, name, patch) in changes {
            let hold = Hold::new(how);
            world.stub.arm(Rule::once(Step::Put, Fault::hold(&hold)));
            world.patch(kind, name, patch).await?;
            world.upload("two", "not Available", |upload| state(upload, "Available") == "False").await?;
            world.create("Job", how, job(world.cluster.busybox()?)).await?;
            let waits = async || {
                let pods = world.pods_of(how).await?;
                let waiting = &pods
                    .first()
                    .map(|pod| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].clone());
                Ok((*waiting == Some(json!("CreateContainerConfigError")), pods))
            };
            world.wait_for(DEADLINE * 2, "the Job's pod to wait for its key", waits).await?;
            hold.release();
            let upload = world.available("two").await?;
            let done = |job: &Value| job["status"]["succeeded"] == 1;
            let complete = async || world.read("Job", how).await.map(|job| (done(&job), job));
            world.wait_for(DEADLINE * 4, "the Job to complete", complete).await?;
            let log = kubectl(world.cluster, ["logs", "--namespace", &world.namespace, &format!("job/{how}")], "")?;
            assert_eq!(log.trim(), format!("key={}", key_of(&upload, "a").unwrap_or_default()), "{how}");
            assert!(files(&upload).iter().all(|file| file["state"] == "Uploaded"));
        }
        Ok(())
    });
    Ok(())
}
