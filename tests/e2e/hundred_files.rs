//! A hundred files in one resource: as many pods as there are reports to write, and none of a file's bytes in vain.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use cyberun_stub::{Fault, Hold, Rule, Step};
use futures::StreamExt as _;
use kube::api::{DynamicObject, WatchEvent, WatchParams};
use serde_json::json;
use test_support::{DEADLINE, Signal, World, on_claim, sha256, state, with_pods};

use crate::OPERATOR;

const COUNT: usize = 100;

fn path(number: usize) -> String {
    format!("renders/scene-{:02}/frame-{number:04}.png", number / 10)
}

/// The name it is uploaded under, by which a fault finds it.
fn file_name(number: usize) -> String {
    format!("frame-{number:04}.png")
}

/// Every worker's pod that ever was, by uid, with its name.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<String, String>>>);

impl Seen {
    /// Sees all pods from now on, until the test ends.
    async fn watch(world: &World) -> anyhow::Result<Self> {
        let (seen, pods) = (Self::default(), world.api("Pod"));
        let mut events = pods.watch(&WatchParams::default().timeout(290), "0").await?.boxed();
        let into = seen.clone();
        tokio::spawn(async move {
            while let Some(Ok(event)) = events.next().await {
                if let WatchEvent::Added(pod) | WatchEvent::Modified(pod) | WatchEvent::Deleted(pod) = event {
                    into.add(pod);
                }
            }
        });
        Ok(seen)
    }

    fn add(&self, pod: DynamicObject) {
        if let (Some(uid), Some(name)) = (pod.metadata.uid, pod.metadata.name) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid, name);
        }
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

async fn hundred(world: &mut World, mode: &str) -> anyhow::Result<Seen> {
    world.credential().await?;
    let paths: Vec<_> = (0..COUNT).map(path).collect();
    let files: Vec<_> = paths.iter().map(|path| (path.as_str(), path.as_bytes())).collect();
    world.volume("data", &[mode], &files).await?;
    world.operator().await?;
    let seen = Seen::watch(world).await?;
    let list: Vec<_> = (0..COUNT).map(|number| on_claim(&format!("f{number:03}"), "data", &path(number))).collect();
    world.file_upload("hundred", json!({"files": list, "output": {"configMap": {"name": "keys"}}})).await?;
    Ok(seen)
}

/// Every file has a key of its own whose object is the file's, in status and output; counts pods, presigns and puts.
async fn all_there(world: &World, seen: &Seen, pods: usize, calls: usize) -> anyhow::Result<()> {
    // Four Pods may have to start one after another.
    let sent = async || world.read("FileUpload", "hundred").await.map(|it| (state(&it, "Available") == "True", it));
    let upload = world.wait_for(DEADLINE * 3, "every file to be sent", sent).await?;
    world.jobs(0).await?;
    let (keys, objects) = (world.stored_keys(&upload)?, world.stub.objects());
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(objects[key].sha256, sha256(path(number).as_bytes()), "the bytes of {}", path(number));
        let told = world.entry("keys", &format!("f{number:03}")).await?;
        assert_eq!(told.as_ref(), Some(key), "the output says what the status says");
    }
    assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), COUNT);
    assert_eq!(objects.len(), COUNT, "nothing is stored twice");
    assert_eq!((world.calls(Step::Presign).len(), world.calls(Step::Put).len()), (calls, calls));
    assert_eq!(seen.count(), pods, "pods of workers over the whole run");
    Ok(())
}

#[test]
fn a_hundred_files_of_a_shared_claim_take_four_pods_and_each_is_sent_once() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a hundred files of a shared claim", async |world| {
        let seen = hundred(world, "ReadWriteMany").await?;
        let jobs = world.jobs(1).await?;
        let spec = &jobs[0]["spec"];
        assert_eq!((&spec["completions"], &spec["parallelism"]), (&json!(4), &json!(4)));
        all_there(world, &seen, 4, COUNT).await
    })
}

#[test]
fn a_hundred_files_of_a_claim_for_one_node_are_sent_by_one_pod_after_another() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a hundred files of a claim for one node", async |world| {
        let seen = hundred(world, "ReadWriteOnce").await?;
        let jobs = world.jobs(1).await?;
        let spec = &jobs[0]["spec"];
        assert_eq!((&spec["completions"], &spec["parallelism"]), (&json!(4), &json!(1)));
        all_there(world, &seen, 4, COUNT).await
    })
}

#[test]
fn of_a_pod_killed_half_way_only_what_was_in_flight_is_sent_again() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a kill among a hundred files", async |world| {
        // All that one pod sends at the same time, in the middle of the second share of 25.
        let holds: Vec<_> = (36..40).map(|number| Hold::new(&format!("kill at {number}"))).collect();
        for (number, hold) in (36..40).zip(&holds) {
            world.stub.arm(Rule::once(Step::Put, Fault::hold(hold)).for_file(&file_name(number)));
        }
        let seen = hundred(world, "ReadWriteMany").await?;
        for hold in &holds {
            hold.reached(DEADLINE).await?;
        }
        let second = world
            .list("Pod")
            .await?
            .into_iter()
            .find(|pod| pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] == "1");
        let second = second.context("no pod has the second share")?;
        world.signal(second["metadata"]["name"].as_str().unwrap_or_default(), Signal::KILL).await?;
        // The killed one's are held no longer than it lives; what follows is a fifth pod, with what it left.
        all_there(world, &seen, 5, COUNT + holds.len()).await
    })
}
