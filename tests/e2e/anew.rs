//! What is uploaded again because somebody asks for it, or because its content is another; and what is not.

use cyberun_stub::{Fault, Hold, Rule, Step};
use kube::api::{DeleteParams, PropagationPolicy};
use serde_json::{Value, json};
use test_support::{DEADLINE, World, file, files, key_of, kubectl, message, nodes, not_tried, reason, scenario, state};

use crate::OPERATOR;
use crate::person::Person;

fn spec() -> Value {
    let list = json!([file("a", "texts", "a.txt"), file("b", "more", "b.txt")]);
    json!({"files": list, "output": {"configMap": {"name": "keys"}}})
}

/// Two files of two ConfigMaps, uploaded with these further fields of the spec.
async fn uploaded(world: &mut World, fields: Value) -> anyhow::Result<Value> {
    world.credential().await?;
    world.config_map("texts", &[("a.txt", "one")]).await?;
    world.config_map("more", &[("b.txt", "two")]).await?;
    world.operator().await?;
    let mut spec = spec();
    spec.as_object_mut().into_iter().for_each(|spec| spec.extend(fields.as_object().cloned().unwrap_or_default()));
    world.file_upload("two", spec).await?;
    world.available("two").await
}

async fn request(world: &World, value: Value) -> anyhow::Result<()> {
    world.patch("FileUpload", "two", json!({"metadata": {"annotations": {"cyberun.cloud/requested-at": value}}})).await
}

/// Waits until the resource is Available with so many puts in all; every key is in the store, and in the output.
async fn available_after(world: &World, puts: usize) -> anyhow::Result<Value> {
    let held = |upload: &Value| state(upload, "Available") == "True" && world.calls(Step::Put).len() == puts;
    let upload = world.upload("two", &format!("Available after {puts} puts"), held).await?;
    assert_eq!(world.stored_keys(&upload)?.len(), 2);
    for name in ["a", "b"] {
        assert_eq!(world.entry("keys", name).await?.as_deref(), key_of(&upload, name));
    }
    Ok(upload)
}

/// Another resource goes the whole road: what there was to do before it is done.
async fn meanwhile(world: &World, name: &str) -> anyhow::Result<()> {
    world.config_map(name, &[("x.txt", name)]).await?;
    world.file_upload(name, json!({"files": [file("x", name, "x.txt")]})).await?;
    world.available(name).await.map(drop)
}

fn handled(upload: &Value) -> &Value {
    &upload["status"]["lastHandledRequestedAt"]
}

#[test]
fn each_new_request_uploads_all_files_once_and_the_same_one_again_does_nothing() {
    scenario(OPERATOR, async |world| {
        let first = uploaded(world, json!({})).await?;
        let hold = Hold::new("a file that was asked for");
        world.stub.arm(Rule::once(Step::Put, Fault::hold(&hold)));
        request(world, json!("2026-11-24T10:00:00Z")).await?;
        hold.reached(DEADLINE).await?;
        let during = world.upload("two", "not Available", |upload| state(upload, "Available") == "False").await?;
        assert_eq!((handled(&during), key_of(&during, "b")), (&json!("2026-11-24T10:00:00Z"), None));
        assert_eq!(world.read("ConfigMap", "keys").await?["data"], Value::Null, "the old keys are withdrawn");
        hold.release();
        let second = available_after(world, 4).await?;
        assert_ne!(key_of(&second, "a"), key_of(&first, "a"));

        request(world, json!("again, please")).await?;
        let third = available_after(world, 6).await?;
        assert_eq!(handled(&third), "again, please");

        // The same value, none at all, and the same value once more are no requests.
        request(world, json!("again, please")).await?;
        request(world, Value::Null).await?;
        meanwhile(world, "other").await?;
        request(world, json!("again, please")).await?;
        meanwhile(world, "another").await?;
        let after = available_after(world, 8).await?;
        assert_eq!((key_of(&after, "a"), key_of(&after, "b")), (key_of(&third, "a"), key_of(&third, "b")));
        Ok(())
    });
}

#[test]
fn a_person_who_asks_for_a_refresh_gets_the_new_keys() {
    scenario(OPERATOR, async |world| {
        uploaded(world, json!({})).await?;
        let asked = Person::admin(world).runs(&["refresh", "two", "-n", &world.namespace, "--wait"]).await?;
        let upload = available_after(world, 4).await?;
        let key = |name| key_of(&upload, name).unwrap_or_default();
        assert_eq!(
            (asked.code, asked.stdout),
            (Some(0), format!("a={}\nb={}\n", key("a"), key("b"))),
            "{}",
            asked.stderr
        );
        Ok(())
    });
}

#[test]
fn two_requests_in_a_row_end_with_the_keys_of_the_last() {
    scenario(OPERATOR, async |world| {
        uploaded(world, json!({})).await?;
        let hold = Hold::new("the first request");
        world.stub.arm(Rule::once(Step::Put, Fault::hold(&hold)));
        request(world, json!("one")).await?;
        hold.reached(DEADLINE).await?;
        request(world, json!("two")).await?;
        hold.release();
        let last = |upload: &Value| handled(upload) == "two" && state(upload, "Available") == "True";
        let upload = world.upload("two", "the second request's keys", last).await?;
        assert_eq!(world.stored_keys(&upload)?.len(), 2);
        let puts = world.calls(Step::Put).len();
        assert!((5..=6).contains(&puts), "two at first, what was on its way, and two: {puts}");
        Ok(())
    });
}

#[test]
fn a_request_wakes_what_only_a_person_can_mend() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        world.config_map("texts", &[("a.txt", "one")]).await?;
        world.config_map("more", &[("b.txt", "two")]).await?;
        world.operator().await?;
        world.stub.fault_always(Step::Presign, Fault::status(413));
        world.file_upload("two", spec()).await?;
        let stalled = world.upload("two", "Stalled", |upload| state(upload, "Stalled") == "True").await?;
        assert_eq!(reason(&stalled), "TooLarge");
        world.stub.clear_faults();
        request(world, json!("the limit was raised")).await?;
        available_after(world, 2).await?;
        Ok(())
    });
}

#[test]
fn a_request_that_the_status_has_no_room_for_is_refused_and_costs_no_key() {
    scenario(OPERATOR, async |world| {
        let before = uploaded(world, json!({})).await?;
        request(world, json!("x".repeat(300))).await?;
        let refused = world.upload("two", "InvalidSpec", |upload| reason(upload) == "InvalidSpec").await?;
        assert!(message(&refused).contains("annotation cyberun.cloud/requested-at"), "{}", message(&refused));
        assert_eq!(key_of(&refused, "a"), key_of(&before, "a"));
        request(world, Value::Null).await?;
        available_after(world, 2).await?;
        Ok(())
    });
}

#[test]
fn with_on_change_new_content_is_uploaded_and_nothing_else_is() {
    scenario(OPERATOR, async |world| {
        let first = uploaded(world, json!({"updatePolicy": "OnChange"})).await?;
        let hold = Hold::new("the new content");
        world.stub.arm(Rule::once(Step::Put, Fault::hold(&hold)).for_file("a.txt"));
        world.patch("ConfigMap", "texts", json!({"data": {"a.txt": "changed"}})).await?;
        hold.reached(DEADLINE).await?;
        let during = world.upload("two", "not Available", |upload| state(upload, "Available") == "False").await?;
        assert_eq!((key_of(&during, "a"), key_of(&during, "b")), (None, key_of(&first, "b")), "only the old one goes");
        assert_eq!(world.entry("keys", "a").await?, None);
        hold.release();
        let second = available_after(world, 3).await?;
        assert_eq!(key_of(&second, "b"), key_of(&first, "b"));

        // Another key, an annotation, the same text anew, a deletion: nothing of that is other content.
        world.patch("ConfigMap", "texts", json!({"data": {"other.txt": "new"}})).await?;
        world.patch("ConfigMap", "texts", json!({"metadata": {"annotations": {"note": "hello"}}})).await?;
        meanwhile(world, "other").await?;
        world.delete("ConfigMap", "texts").await?;
        meanwhile(world, "another").await?;
        world.config_map("texts", &[("a.txt", "changed")]).await?;
        meanwhile(world, "third").await?;
        let same = available_after(world, 6).await?;
        assert_eq!(key_of(&same, "a"), key_of(&second, "a"));

        world.delete("ConfigMap", "texts").await?;
        world.config_map("texts", &[("a.txt", "changed once more")]).await?;
        let third = available_after(world, 7).await?;
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

#[test]
fn a_resource_that_has_finished_is_deleted_in_its_time_with_its_output() {
    scenario(OPERATOR, async |world| {
        let uploads = world.history("FileUpload").await?;
        uploaded(world, json!({"ttlSecondsAfterFinished": 3})).await?;
        let gone = async || {
            let (upload, output) = (world.read("FileUpload", "two").await?, world.read("ConfigMap", "keys").await?);
            Ok((upload.is_null() && output.is_null(), (upload, output)))
        };
        world.wait_for(DEADLINE, "the resource and its output to go", gone).await?;
        let ended = uploads.states();
        assert!(ended.iter().any(|upload| state(upload, "Available") == "True"), "but not before it was Available");
        let renews = json!({"files": spec()["files"], "ttlSecondsAfterFinished": 3, "refreshPolicy": "BeforeExpiry"});
        let refused = world.file_upload("never", renews).await;
        assert!(format!("{refused:?}").contains("ttlSecondsAfterFinished needs refreshPolicy Never"), "{refused:?}");
        Ok(())
    });
}

#[test]
fn an_output_that_was_left_behind_is_taken_over_by_a_resource_of_the_same_name() {
    scenario(OPERATOR, async |world| {
        uploaded(world, json!({})).await?;
        let left = world.read("ConfigMap", "keys").await?;
        let orphan = DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
        world.api("FileUpload").delete("two", &orphan).await?;
        let gone = async || world.read("FileUpload", "two").await.map(|upload| (upload.is_null(), upload));
        world.wait_for(DEADLINE, "the resource to go", gone).await?;

        world.file_upload("stranger", spec()).await?;
        world.upload("stranger", "OutputConflict", |upload| reason(upload) == "OutputConflict").await?;
        world.delete("FileUpload", "stranger").await?;

        let puts = world.calls(Step::Put).len();
        world.file_upload("two", spec()).await?;
        let upload = available_after(world, puts + 2).await?;
        let taken = world.read("ConfigMap", "keys").await?;
        assert_eq!(taken["metadata"]["uid"], left["metadata"]["uid"], "it is the same ConfigMap");
        let owners = &taken["metadata"]["ownerReferences"];
        assert_eq!((&owners[0]["uid"], &owners[1]), (&upload["metadata"]["uid"], &Value::Null));
        Ok(())
    });
}

#[test]
fn a_resource_that_is_deleted_and_made_anew_at_once_gets_keys_and_output_anew() {
    scenario(OPERATOR, async |world| {
        let first = uploaded(world, json!({})).await?;
        world.delete("FileUpload", "two").await?;
        world.file_upload("two", spec()).await?;
        let upload = available_after(world, 4).await?;
        assert_ne!(upload["metadata"]["uid"], first["metadata"]["uid"]);
        // The garbage collector may be late; in the end the output is there and right.
        let right = |output: &Value| {
            let owner = &output["metadata"]["ownerReferences"][0]["uid"];
            *owner == upload["metadata"]["uid"] && output["data"]["a"].as_str() == key_of(&upload, "a")
        };
        world.wait("ConfigMap", "keys", "the output of the new resource", right).await?;
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
        uploaded(world, json!({"updatePolicy": "OnChange"})).await?;
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
