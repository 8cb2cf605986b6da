//! Claims: whatever their mode and whoever else uses them, their files become keys; and what keeps a worker from one.
//!
//! Every namespace of a test enforces Pod Security `restricted`, so each worker that runs was admitted under it.

use anyhow::Context as _;
use cyberun_stub::Step;
use serde_json::{Value, json};
use test_support::{World, condition, key_of, message, on_claim, reason, sha256, state};

use crate::hands::with_pods;

/// Waits for the reason of the whole resource, and checks that everything else in the status agrees with its class.
pub(crate) async fn says(
    world: &World,
    upload: &str,
    (expected, also): (&str, &str),
    words: &[&str],
) -> anyhow::Result<Value> {
    let told = world.upload(upload, expected, |upload| reason(upload) == expected).await?;
    let (absent, phase) = if also == "Stalled" { ("Reconciling", "Failed") } else { ("Stalled", "Pending") };
    assert_eq!((state(&told, "Ready"), state(&told, "Available")), ("False", "False"));
    assert_eq!((state(&told, also), state(&told, absent)), ("True", ""), "{:#}", told["status"]);
    assert_eq!(
        (told["status"]["phase"].as_str(), condition(&told, also)["reason"].as_str()),
        (Some(phase), Some(expected))
    );
    for word in words {
        assert!(message(&told).contains(word), "{word:?} is not in: {}", message(&told));
    }
    Ok(told)
}

/// Waits for the keys, whose objects have these bytes, and for the end of all that was made for them; counts the calls.
pub(crate) async fn stored(world: &World, upload: &str, contents: &[(&str, &[u8])]) -> anyhow::Result<Value> {
    world.available(upload).await?;
    world.jobs(0).await?;
    let upload = world.read("FileUpload", upload).await?;
    let objects = world.stub.objects();
    for (name, bytes) in contents {
        let key = key_of(&upload, name).with_context(|| format!("{name} has no key"))?;
        assert_eq!(objects.get(key).map(|object| object.sha256.clone()), Some(sha256(bytes)), "the bytes of {name}");
    }
    let calls = (world.calls(Step::Presign).len(), world.calls(Step::Put).len());
    assert_eq!(calls, (contents.len(), contents.len()), "presigns and puts in all");
    Ok(upload)
}

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
    with_pods("files of claims of each mode", async |world| {
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
        let upload = stored(world, "three", &contents).await?;
        assert_eq!(upload["status"]["summary"], "3/3");
        for (name, _) in contents {
            assert_eq!(world.entry("keys", name).await?.as_deref(), key_of(&upload, name));
        }
        assert!(upload["status"]["jobs"].is_null(), "no Job is named once all are done");
        Ok(())
    })
}

#[test]
fn a_worker_goes_beside_the_pod_that_holds_its_claim_taints_or_not() -> anyhow::Result<()> {
    with_pods("a held claim", async |world| {
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
        stored(world, "one", &[("a", b"held")]).await?;
        world.running("holder").await?;
        Ok(())
    })
}

#[test]
fn a_claim_for_one_pod_is_waited_for_while_it_is_in_use() -> anyhow::Result<()> {
    with_pods("a claim for one pod", async |world| {
        world.credential().await?;
        world.volume("data", &["ReadWriteOncePod"], &[("a.txt", b"free at last")]).await?;
        world.holder("holder", "data", None).await?;
        world.operator().await?;
        world.file_upload("one", one("data")).await?;
        let words = ["PersistentVolumeClaim data", "ReadWriteOncePod", "is in use", "once that Pod has ended"];
        says(world, "one", ("ClaimInUse", "Reconciling"), &words).await?;
        assert!(world.list("Job").await?.is_empty(), "no worker waits in the holder's way");
        world.delete("Pod", "holder").await?;
        stored(world, "one", &[("a", b"free at last")]).await?;
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
    with_pods("an unbound claim", async |world| {
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
        says(world, "one", ("ClaimNotBound", "Reconciling"), &words).await?;
        world.looked_at("cyberun", 1).await?;
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
        stored(world, "one", &[("a", b"made")]).await?;
        Ok(())
    })
}

#[test]
fn a_missing_claim_is_waited_for() -> anyhow::Result<()> {
    with_pods("a missing claim", async |world| {
        world.credential().await?;
        world.operator().await?;
        world.file_upload("one", one("data")).await?;
        let words = ["PersistentVolumeClaim data", "does not exist in this namespace", "claimName"];
        says(world, "one", ("ClaimNotFound", "Reconciling"), &words).await?;
        assert!(world.list("Job").await?.is_empty());
        world.volume("data", &["ReadWriteOnce"], &[("a.txt", b"there now")]).await?;
        stored(world, "one", &[("a", b"there now")]).await?;
        Ok(())
    })
}
