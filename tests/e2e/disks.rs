//! A disk that one node has at a time, as clouds have them: a worker neither takes it from a pod nor gives up for one
//! that cannot have it anyway, and waits for one that comes late.
//!
//! The cluster itself attaches, refuses and detaches; only that an attachment succeeds, and when, is played
//! (`tests/support/src/disk.rs`).

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use test_support::{DEADLINE, PATIENCE, World, message, not_tried, once, with_pods};

use crate::OPERATOR;

/// A worker that has not started after 60 s may make way.
const YIELDS: Duration = Duration::from_secs(70);
/// A pod that does not run after 15 s waits for something.
const WAITS: Duration = Duration::from_secs(17);

/// A container that ends well once it is told to.
const UNTIL_TOLD: &str = "trap 'exit 0' TERM; while true; do busybox sleep 1; done";

/// Waits until an object has been there for so long.
async fn is_old(world: &World, kind: &str, name: &str, age: Duration) -> anyhow::Result<()> {
    let object = world.read(kind, name).await?;
    let created: Timestamp = object["metadata"]["creationTimestamp"].as_str().context("it is gone")?.parse()?;
    let look = async || {
        let now = SystemTime::from(created).elapsed().unwrap_or_default();
        Ok((now >= age, now))
    };
    world.wait_for(age + DEADLINE, &format!("{kind} {name} to be {age:?} old"), look).await.map(drop)
}

/// A Deployment of one pod that holds the claim `data`, on this node.
async fn deploy(world: &World, node: &str) -> anyhow::Result<()> {
    world.default_account().await?;
    let pod = world.pod_body(json!({
        "restartPolicy": "Always",
        "nodeSelector": {"kubernetes.io/hostname": node},
        "containers": [{
            "command": ["busybox", "sleep", "10000"], "volumeMounts": [{"name": "claim", "mountPath": "/claim"}],
        }],
        "volumes": [{"name": "claim", "persistentVolumeClaim": {"claimName": "data"}}],
    }))?;
    let spec = json!({
        "replicas": 1, "selector": {"matchLabels": {"app": "app"}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {"metadata": {"labels": {"app": "app"}}, "spec": pod["spec"]},
    });
    world.create("Deployment", "app", json!({"spec": spec})).await
}

/// The Deployment's pod on this node, once it is as it should be.
async fn of_app(world: &World, node: &str, what: &str, holds: impl Fn(&Value) -> bool) -> anyhow::Result<String> {
    let look = async || {
        let pods = world.list("Pod").await?;
        let is_it = |pod: &&Value| pod["metadata"]["labels"]["app"] == "app" && pod["spec"]["nodeName"] == node;
        let pod = pods.iter().find(is_it).cloned().unwrap_or_default();
        Ok((pod.is_object() && holds(&pod), pod))
    };
    let pod = world.wait_for(PATIENCE, &format!("the pod on {node} {what}"), look).await?;
    pod["metadata"]["name"].as_str().map(str::to_owned).context("a pod without a name")
}

fn runs(pod: &Value) -> bool {
    pod["status"]["containerStatuses"][0]["state"]["running"].is_object()
}

/// Waits until the cluster says that the disk is at another node than this pod's.
async fn is_refused_the_disk(world: &World, pod: &str) -> anyhow::Result<()> {
    let look = async || {
        let events = world.list("Event").await?;
        let about = |event: &&Value| event["regarding"]["name"] == pod && event["reason"] == "FailedAttachVolume";
        let notes: Vec<_> = events.iter().filter(about).map(|event| event["note"].to_string()).collect();
        Ok((notes.iter().any(|note| note.contains("Multi-Attach error")), notes))
    };
    world.wait_for(PATIENCE, &format!("{pod} to be refused the disk"), look).await.map(drop)
}

#[test]
fn a_worker_beside_a_roll_out_stuck_on_multi_attach_does_not_make_way() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a roll-out that is stuck on a disk", async |world| {
        if !world.cluster.has_disks() {
            return not_tried("a roll-out that is stuck on a disk: the driver of tests/cluster/disk does not run here");
        }
        world.credential().await?;
        let disk = world.disk("data", &[("a.txt", b"this is a")]).await?;
        deploy(world, "node-1").await?;
        of_app(world, "node-1", "runs", runs).await?;
        let to_other = json!({"kubernetes.io/hostname": "node-2"});
        let update = json!({"spec": {"template": {"spec": {"nodeSelector": to_other}}}});
        world.patch("Deployment", "app", update).await?;
        let new = of_app(world, "node-2", "has its node", |_| true).await?;
        is_refused_the_disk(world, &new).await?;
        is_old(world, "Pod", &new, WAITS).await?;

        // Once it runs, a worker is never called off. This one is kept from it.
        world.inject_init("slow", UNTIL_TOLD).await?;
        let jobs = world.history("Job").await?;
        world.operator().await?;
        world.upload_from("data", "one", &["a"], json!({})).await?;
        let job = world.jobs(1).await?.remove(0)["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let placed = async || {
            let pods = world.pods_of(&job).await?;
            Ok((pods.iter().any(|pod| pod["status"]["initContainerStatuses"][0]["state"]["running"].is_object()), pods))
        };
        let pods = world.wait_for(DEADLINE, "the worker's pod to begin", placed).await?;
        assert_eq!(pods[0]["spec"]["nodeName"], "node-1", "beside the pod that has the disk");
        is_old(world, "Job", &job, YIELDS).await?;
        world.had_its_chance().await?;
        assert_eq!(jobs.names(), [job.as_str()], "the worker made way, and nothing was gained");
        world.tell_init(pods[0]["metadata"]["name"].as_str().unwrap_or_default()).await?;
        world.heals("one").await?;
        world.tidied().await?;
        assert_eq!((jobs.names().len(), world.puts_by_file()), (1, once(&["a.txt"])));
        let stuck = world.read("Pod", &new).await?;
        assert!(!runs(&stuck), "the roll-out was stuck all the time: {stuck:#}");

        // The way out of it: the old pod goes first. The worker does not hold the disk back either.
        let recreate = json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}});
        world.patch("Deployment", "app", recreate).await?;
        let moved = async || {
            let mut all = world.list("VolumeAttachment").await?;
            all.retain(|one| one["spec"]["source"]["persistentVolumeName"] == disk.volume.as_str());
            let is_there = |one: &Value| one["spec"]["nodeName"] == "node-2" && one["status"]["attached"] == true;
            Ok((all.iter().any(is_there), all))
        };
        world.wait_for(PATIENCE, "the disk to move", moved).await.map(drop)
    })
}

#[test]
fn a_worker_waits_for_a_disk_that_is_slow_to_leave_another_node() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a disk that comes late", async |world| {
        if !world.cluster.has_disks() {
            return not_tried("a disk that comes late: the driver of tests/cluster/disk does not run here");
        }
        world.credential().await?;
        let disk = world.disk("data", &[("a.txt", b"this is a")]).await?;
        world.holder("producer", "data", Some("node-1")).await?;
        disk.stays();
        world.delete("Pod", "producer").await?;
        world.wait("Pod", "producer", "the producer is gone", Value::is_null).await?;
        let jobs = world.history("Job").await?;
        world.operator().await?;
        let elsewhere = json!({"worker": {"nodeSelector": {"kubernetes.io/hostname": "node-2"}}});
        world.upload_from("data", "one", &["a"], elsewhere).await?;
        let words = ["PersistentVolumeClaim data is still attached to another node", "starts once it is attached"];
        let first = world.says("one", ("ClaimInUse", "Reconciling"), &words).await?;
        let job = jobs.names().remove(0);
        is_old(world, "Job", &job, YIELDS).await?;
        world.had_its_chance().await?;
        assert_eq!(message(&world.read("FileUpload", "one").await?), message(&first), "it goes on waiting");
        disk.leaves();
        world.heals("one").await?;
        world.tidied().await?;
        assert_eq!((jobs.names(), world.puts_by_file()), (vec![job], once(&["a.txt"])));
        Ok(())
    })
}
