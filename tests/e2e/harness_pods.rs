//! What tests of volumes rely on is itself tested: claims, nodes, signals, logs that outlive their pod, and who asked.

use anyhow::Context as _;
use serde_json::{Value, json};
use test_support::{Request, Signal, World, file, kubectl, nodes, not_tried, with_pods};

use crate::OPERATOR;

async fn ends(world: &World, pod: &str) -> anyhow::Result<Value> {
    let ended = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["terminated"].is_object();
    let pod = world.wait("Pod", pod, &format!("pod {pod} to end"), ended).await?;
    Ok(pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"].clone())
}

#[test]
fn a_pod_reads_the_files_of_a_claim_and_its_log_outlives_it() -> anyhow::Result<()> {
    with_pods(OPERATOR, "files of a claim", async |world| {
        world.volume("data", &["ReadWriteOnce"], &[("deep/er/a.txt", b"of the claim")]).await?;
        let spec = json!({
            "containers": [{
                "command": ["sh", "-c", "busybox cat /data/deep/er/a.txt"],
                "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": true}],
            }],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        });
        world.pod("reader", spec).await?;
        assert_eq!(ends(world, "reader").await?, 0);
        world.delete("Pod", "reader").await?;
        world.wait("Pod", "reader", "the pod is gone", Value::is_null).await?;
        assert_eq!(world.pod_log("reader")?, "of the claim", "as it was written");
        Ok(())
    })
}

#[test]
fn a_tainted_node_gets_no_pod_and_a_signal_reaches_a_container() -> anyhow::Result<()> {
    with_pods(OPERATOR, "taints and signals", async |world| {
        let names = world.node_names().await?;
        let [first, second] = names.as_slice() else { return not_tried("a taint: it takes two nodes") };
        world.volume("data", &["ReadWriteMany"], &[]).await?;
        world.taint(second, "cyberun.cloud/test").await?;
        for name in ["one", "two", "three"] {
            let pod = world.holder(name, "data", None).await?;
            assert_eq!(pod["spec"]["nodeName"].as_str(), Some(first.as_str()));
        }
        world.untaint(second, "cyberun.cloud/test").await?;
        let pod = world.holder("there", "data", Some(second)).await?;
        assert_eq!(pod["spec"]["nodeName"].as_str(), Some(second.as_str()));

        world.signal("there", Signal::KILL).await?;
        assert_eq!(ends(world, "there").await?, 137);
        assert!(world.running("one").await.is_ok(), "no other pod is hit");
        Ok(())
    })
}

#[test]
fn a_request_of_a_pod_is_logged_with_its_address() -> anyhow::Result<()> {
    with_pods(OPERATOR, "requests of a pod", async |world| {
        world.with_texts(&[("a.txt", "first")]).await?;
        world.file_upload("one", json!({"files": [file("a", "texts", "a.txt")]})).await?;
        world.available("one").await?;
        let selector = format!("app.kubernetes.io/name={}", world.namespace);
        let address = "jsonpath={.items[*].status.podIP}";
        let of_operator =
            ["get", "pods", "--namespace=fileupload-system", "--selector", &selector, "--output", address];
        let address = kubectl(world.cluster, of_operator, "")?;
        let Some(requests) = world.audit(&address, |request| request.source == address)? else { return Ok(()) };
        let reads = |request: &&Request| request.resource == "secrets" && request.namespace == world.namespace;
        let read = requests.iter().find(reads).context("the Secret was not read")?;
        assert_eq!(read.user, "system:serviceaccount:fileupload-system:fileupload-operator");
        Ok(())
    })
}

#[test]
fn a_token_in_the_log_of_a_pod_fails_the_test() -> anyhow::Result<()> {
    let judged = std::panic::catch_unwind(|| {
        with_pods(OPERATOR, "a token in a log", async |world| {
            world.credential().await?;
            let key =
                json!({"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "cyberun", "key": "CYBERUN_API_KEY"}}});
            let tells = json!({"containers": [{"command": ["sh", "-c", "echo $KEY"], "env": [key]}]});
            world.pod("tells", tells).await?;
            assert_eq!(ends(world, "tells").await?, 0);
            Ok(())
        })
    });
    let Err(panic) = judged else { return if nodes() == 0 { Ok(()) } else { anyhow::bail!("the token was not seen") } };
    let words = panic.downcast_ref::<String>().context("a panic without words")?;
    assert!(words.contains("a token or signed URL can be read"), "{words}");
    Ok(())
}
