//! What only a node can show: a Job that was applied first starts by itself when its key is there.

use serde_json::{Value, json};
use test_support::{file, key_of, kubectl, nodes, not_tried, scenario};

use crate::OPERATOR;

fn job(image: &str) -> Value {
    let restricted = json!({
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
    });
    let container = json!({
        "name": "consumer", "image": image, "command": ["sh", "-c", "echo \"key=$KEY\""], "securityContext": restricted,
        "env": [{"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "keys", "key": "prompt"}}}],
    });
    json!({"spec": {"template": {"spec": {
        "restartPolicy": "Never", "automountServiceAccountToken": false, "containers": [container],
        "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
    }}}})
}

#[test]
fn a_job_applied_before_the_upload_starts_by_itself_and_reads_its_key() -> anyhow::Result<()> {
    if nodes() == 0 {
        return not_tried("a Job that reads its key: no node runs here (TEST_NODES=0), run make test as root");
    }
    scenario(OPERATOR, async |world| {
        world.create("Job", "consumer", job(world.cluster.busybox()?)).await?;
        let waits = async || {
            let pods = world.list("Pod").await?;
            let state = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].clone();
            Ok((pods.iter().any(|pod| state(pod) == "CreateContainerConfigError"), pods))
        };
        world.wait_for(test_support::DEADLINE * 2, "the Job's pod to wait for its key", waits).await?;

        world.credential().await?;
        world.config_map("prompts", &[("prompt.txt", "soft morning light")]).await?;
        world.operator().await?;
        let list = json!([file("prompt", "prompts", "prompt.txt")]);
        world.file_upload("prompt", json!({"files": list, "output": {"configMap": {"name": "keys"}}})).await?;
        let upload = world.available("prompt").await?;
        let done = async || {
            let job = world.read("Job", "consumer").await?;
            Ok((job["status"]["succeeded"] == 1, job))
        };
        world.wait_for(test_support::DEADLINE * 4, "the Job to complete", done).await?;
        let log = kubectl(world.cluster, ["logs", "--namespace", &world.namespace, "job/consumer"], "")?;
        assert_eq!(log.trim(), format!("key={}", key_of(&upload, "prompt").unwrap_or_default()));
        Ok(())
    });
    Ok(())
}
