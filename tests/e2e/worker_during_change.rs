//! What happens to a `FileUpload` while its worker is on its way: deleted, changed, or in somebody's way.

use anyhow::Context as _;
use cyberun_stub::{Fault, Hold, Moment, Rule, Step};
use serde_json::{Value, json};
use test_support::{DEADLINE, World, file, files, message, on_claim, reason, state, with_pods};

use crate::OPERATOR;

/// A claim with three files, and a hold at the first PUT of `a`.
async fn prepared(world: &mut World) -> anyhow::Result<Hold> {
    world.credential().await?;
    let files: [(&str, &[u8]); 3] = [("a", b"first"), ("b", b"second"), ("c", b"third")];
    world.volume("data", &["ReadWriteOnce"], &files).await?;
    let hold = Hold::new("on its way");
    world.stub.arm(Rule::once(Step::Put, Fault::hold(&hold).at(Moment::Accepted)).for_file("a"));
    world.operator().await?;
    Ok(hold)
}

fn on_data(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| on_claim(name, "data", name)).collect()
}

fn puts(world: &World, name: &str) -> usize {
    world.calls(Step::Put).iter().filter(|call| call.file_name.as_deref() == Some(name)).count()
}

/// The worker's pod, once it is being deleted and the worker has heard of it: it begins nothing more.
async fn ending(world: &World) -> anyhow::Result<Value> {
    let is_ending = |pod: &Value| pod["metadata"]["deletionTimestamp"].is_string();
    let look = async || world.list("Pod").await.map(|pods| (pods.iter().any(is_ending), pods));
    let pods = world.wait_for(DEADLINE * 2, "the worker to be asked to end", look).await?;
    let pod = pods.into_iter().find(is_ending).context("no pod ends")?;
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let heard = async || world.pod_log(name).map(|log| (log.contains("stopping after what is under way"), log));
    world.wait_for(DEADLINE, "the signal to be heard", heard).await?;
    Ok(pod)
}

#[test]
fn a_file_upload_deleted_midway_leaves_no_job_no_pod_and_no_output() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a deletion midway", async |world| {
        let hold = prepared(world).await?;
        world.config_map("texts", &[("t.txt", "sent by the operator")]).await?;
        let list = [on_data(&["a"]), vec![file("t", "texts", "t.txt")]].concat();
        world.file_upload("one", json!({"files": list, "output": {"configMap": {"name": "keys"}}})).await?;
        hold.reached(DEADLINE).await?;
        world.wait("ConfigMap", "keys", "the output of the other file", |keys| keys["data"]["t"].is_string()).await?;
        world.delete("FileUpload", "one").await?;
        ending(world).await?;
        hold.release();
        world.jobs(0).await?;
        let look = async || world.list("Pod").await.map(|pods| (pods.is_empty(), pods));
        world.wait_for(DEADLINE, "no pod", look).await?;
        world.wait("ConfigMap", "keys", "the output is gone", Value::is_null).await?;
        Ok(())
    })
}

#[test]
fn a_change_that_keeps_a_file_lets_its_worker_go_on_and_sends_nothing_twice() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a change that keeps a file", async |world| {
        let hold = prepared(world).await?;
        world.file_upload("one", json!({"files": on_data(&["a", "b"])})).await?;
        hold.reached(DEADLINE).await?;
        let before = world.jobs(1).await?.remove(0);
        world.patch("FileUpload", "one", json!({"spec": {"files": on_data(&["a", "c"])}})).await?;
        let queued =
            |upload: &Value| files(upload).iter().any(|file| file["name"] == "c" && file["reason"] == "Queued");
        let upload = world.upload("one", "c waits for its turn", queued).await?;
        assert_ne!(reason(&upload), "ClaimInUse");
        world.meanwhile("behind").await?;
        let after = world.jobs(1).await?.remove(0);
        assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
        assert!(after["metadata"]["deletionTimestamp"].is_null(), "it is not asked to end");
        hold.release();
        let upload = world.available("one").await?;
        assert_eq!(world.stored_keys(&upload)?.len(), 2);
        assert_eq!([puts(world, "a"), puts(world, "b"), puts(world, "c")], [1, 1, 1], "b was the worker's already");
        world.jobs(0).await?;
        Ok(())
    })
}

#[test]
fn a_change_that_keeps_no_file_ends_the_worker_before_the_next_is_launched() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a change that keeps no file", async |world| {
        let hold = prepared(world).await?;
        world.file_upload("one", json!({"files": on_data(&["a", "b"])})).await?;
        hold.reached(DEADLINE).await?;
        let before = world.jobs(1).await?.remove(0);
        world.patch("FileUpload", "one", json!({"spec": {"files": on_data(&["c"])}})).await?;
        let pod = ending(world).await?;
        world.meanwhile("behind").await?;
        let jobs = world.list("Job").await?;
        assert!(jobs.iter().all(|job| job["metadata"]["uid"] == before["metadata"]["uid"]), "{jobs:#?}");
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        assert!(world.read("Pod", name).await?.is_object(), "the old one is still there");
        hold.release();
        let upload = world.available("one").await?;
        assert_eq!(world.stored_keys(&upload)?.len(), 1);
        assert_eq!((puts(world, "a"), puts(world, "c")), (1, 1));
        assert!(puts(world, "b") <= 1, "it may have been on its way too");
        Ok(())
    })
}

#[test]
fn a_worker_that_does_not_start_makes_way_for_another_pod_and_the_next_one_follows() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a worker that makes way", async |world| {
        world.credential().await?;
        let folder = world.volume("data", &["ReadWriteOnce"], &[("a", b"first")]).await?;
        // A volume that no node can mount stands for one that does not attach.
        let away = folder.with_extension("away");
        std::fs::rename(&folder, &away)?;
        world.operator().await?;
        world.file_upload("one", json!({"files": on_data(&["a"])})).await?;
        let placed =
            |pods: &Vec<Value>| pods.iter().find_map(|pod| pod["spec"]["nodeName"].as_str().map(str::to_owned));
        let look = async || world.list("Pod").await.map(|pods| (placed(&pods).is_some(), pods));
        let pods = world.wait_for(DEADLINE, "a node for the worker", look).await?;
        let other = if placed(&pods).as_deref() == Some("node-1") { "node-2" } else { "node-1" };
        let rival = json!({
            "nodeSelector": {"kubernetes.io/hostname": other},
            "containers": [{"command": ["busybox", "sleep", "1000"], "volumeMounts": [{"name": "claim", "mountPath": "/claim"}]}],
            "volumes": [{"name": "claim", "persistentVolumeClaim": {"claimName": "data"}}],
        });
        world.pod("rival", rival).await?;
        let made_way = |upload: &Value| message(upload).contains("another Pod waits for PersistentVolumeClaim data");
        let look = async || world.read("FileUpload", "one").await.map(|upload| (made_way(&upload), upload));
        let upload = world.wait_for(DEADLINE * 4, "the worker to make way", look).await?;
        assert_eq!((reason(&upload), state(&upload, "Reconciling")), ("ClaimInUse", "True"));
        std::fs::rename(&away, &folder)?;
        // The next worker waits as long again as this one did not start.
        let sent = async || {
            world.read("FileUpload", "one").await.map(|upload| (state(&upload, "Available") == "True", upload))
        };
        let upload = world.wait_for(DEADLINE * 5, "the next worker to send it", sent).await?;
        assert_eq!((world.stored_keys(&upload)?.len(), puts(world, "a")), (1, 1));
        Ok(())
    })
}
