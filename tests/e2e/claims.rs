//! Claims: whatever their mode and whoever else uses them, their files become keys; and what keeps a worker from one.
//!
//! Every namespace of a test enforces Pod Security `restricted`, so each worker that runs was admitted under it.

use anyhow::Context as _;
use serde_json::{Value, json};
use test_support::{World, key_of, on_claim, with_pods};

use crate::OPERATOR;

fn one(claim: &str) -> Value {
    json!({"files": [on_claim("a", claim, "a.txt")]})
}

/// A worker's pod, once it has a node.
async fn placed(world: &World) -> anyhow::Result<Value> {
    let look = async || {
        let pods = world.list("Pod").await?;
        let is_placed = |pod: &&Value| {
            pod["metadata"]["labels"]["batch.kubernetes.io/job-name"].is_string() && pod["spec"]["nodeName"].is_string()
        };
        Ok((pods.iter().any(|pod| is_placed(&pod)), pods.iter().find(is_placed).cloned()))
    };
    world.wait_for(test_support::DEADLINE, "a worker on a node", look).await?.context("no worker")
}

#[test]
fn a_file_of_a_claim_gets_its_key_whatever_the_access_mode() -> anyhow::Result<()> {
    with_pods(OPERATOR, "files of claims of each mode", async |world| {
        world.credential().await?;
        let mut list = Vec::new();
        for (name, mode) in [("rwo", "ReadWriteOnce"), ("rwx", "ReadWriteMany"), ("rox", "ReadOnlyMany")] {
            world.volume(name, &[mode], &[("raw/deep/a.txt", mode.as_bytes())]).await?;
            list.push(on_claim(name, name, "raw/deep/a.txt"));
        }
        world.operator().await?;
        world.file_upload("three", json!({"files": list, "output": {"configMap": {"name": "keys"}}})).await?;
        let contents: [(&str, &[u8]); 3] =
            [("rwo", b"ReadWriteOnce"), ("rwx", b"ReadWriteMany"), ("rox", b"ReadOnlyMany")];
        let upload = world.stored("three", &contents).await?;
        assert_eq!(upload["status"]["summary"], "3/3");
        for (name, _) in contents {
            assert_eq!(world.entry("keys", name).await?.as_deref(), key_of(&upload, name));
        }
        world.upload("three", "no Job is named once all are done", |upload| upload["status"]["jobs"].is_null()).await?;
        Ok(())
    })
}

#[test]
fn a_worker_goes_beside_the_pod_that_holds_its_claim_taints_or_not() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a held claim", async |world| {
        world.credential().await?;
        world.volume("data", &["ReadWriteOnce"], &[("a.txt", b"held")]).await?;
        let key = format!("cyberun.cloud/{}", world.namespace);
        let spec = json!({
            "nodeSelector": {"kubernetes.io/hostname": "node-2"},
            "tolerations": [{"key": key, "operator": "Exists"}],
            "containers": [{
                "command": ["busybox", "sleep", "1000"], "volumeMounts": [{"name": "claim", "mountPath": "/claim"}],
            }],
            "volumes": [{"name": "claim", "persistentVolumeClaim": {"claimName": "data"}}],
        });
        world.pod("holder", spec).await?;
        world.running("holder").await?;
        world.operator().await?;
        // Only for as long as the worker takes to find its node: others want pods there too.
        world.taint("node-2", &key).await?;
        world.file_upload("one", one("data")).await?;
        let worker = placed(world).await?;
        world.untaint("node-2", &key).await?;
        assert_eq!(worker["spec"]["nodeName"], "node-2");
        // It could be there by chance, as it puts up with what the holder puts up with.
        let affinity = worker["spec"]["affinity"]["nodeAffinity"].to_string();
        assert!(affinity.contains("metadata.name") && affinity.contains("node-2"), "{affinity}");
        world.stored("one", &[("a", b"held")]).await?;
        world.running("holder").await?;
        Ok(())
    })
}

#[test]
fn a_claim_for_one_pod_is_waited_for_while_it_is_in_use() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a claim for one pod", async |world| {
        world.credential().await?;
        world.volume("data", &["ReadWriteOncePod"], &[("a.txt", b"free at last")]).await?;
        world.holder("holder", "data", None).await?;
        world.operator().await?;
        world.file_upload("one", one("data")).await?;
        let words = ["PersistentVolumeClaim data", "ReadWriteOncePod", "is in use", "once that Pod has ended"];
        world.says("one", ("ClaimInUse", "Reconciling"), &words).await?;
        assert!(world.list("Job").await?.is_empty(), "no worker waits in the holder's way");
        world.delete("Pod", "holder").await?;
        world.stored("one", &[("a", b"free at last")]).await?;
        Ok(())
    })
}

/// A class whose claims are bound only once a pod uses them. It stays: any test may use it.
fn late_class(world: &World) -> anyhow::Result<()> {
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "bound-by-its-consumer"},
        "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer",
    });
    test_support::kubectl(world.cluster, ["apply", "--filename", "-"], &class.to_string())?;
    Ok(())
}

#[test]
fn an_unbound_claim_is_bound_by_its_own_consumer_and_never_by_a_worker() -> anyhow::Result<()> {
    with_pods(OPERATOR, "an unbound claim", async |world| {
        world.credential().await?;
        late_class(world)?;
        let folder = world.folder.path().join("late");
        std::fs::create_dir(&folder)?;
        std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
        let label = json!({"for": world.namespace});
        let mode = ["ReadWriteOnce"];
        world
            .persistent_volume_with(
                "late",
                json!({"labels": label}),
                json!({
                    "accessModes": mode, "storageClassName": "bound-by-its-consumer", "claimRef": null,
                    "hostPath": {"path": folder, "type": "Directory"},
                }),
            )
            .await?;
        world.create("PersistentVolumeClaim", "late", json!({"spec": {
            "accessModes": mode, "storageClassName": "bound-by-its-consumer", "selector": {"matchLabels": label},
            "resources": {"requests": {"storage": "1Gi"}},
        }})).await?;
        world.operator().await?;
        world.file_upload("one", one("late")).await?;
        let words = ["PersistentVolumeClaim late", "not bound to a volume yet", "the operator never binds a claim"];
        world.says("one", ("ClaimNotBound", "Reconciling"), &words).await?;
        world.had_its_chance().await?;
        assert!(world.list("Job").await?.is_empty());
        assert_eq!(world.read("PersistentVolumeClaim", "late").await?["status"]["phase"], "Pending");

        let consumer = json!({
            "containers": [{
                "command": ["sh", "-c", "echo -n made > /claim/a.txt && busybox sleep 1000"],
                "volumeMounts": [{"name": "claim", "mountPath": "/claim"}],
            }],
            "volumes": [{"name": "claim", "persistentVolumeClaim": {"claimName": "late"}}],
        });
        world.pod("consumer", consumer).await?;
        world.stored("one", &[("a", b"made")]).await?;
        Ok(())
    })
}

#[test]
fn a_missing_claim_is_waited_for() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a missing claim", async |world| {
        world.credential().await?;
        world.operator().await?;
        world.file_upload("one", one("data")).await?;
        let words = ["PersistentVolumeClaim data", "does not exist in this namespace", "claimName"];
        world.says("one", ("ClaimNotFound", "Reconciling"), &words).await?;
        assert!(world.list("Job").await?.is_empty());
        world.volume("data", &["ReadWriteOnce"], &[("a.txt", b"there now")]).await?;
        world.stored("one", &[("a", b"there now")]).await?;
        Ok(())
    })
}
