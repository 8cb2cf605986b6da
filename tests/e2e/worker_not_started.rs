//! Whatever keeps a worker's pod from being made or started is named in words, frozen at first sight, and heals.
//!
//! The trouble is real: a node that nobody has, a quota, a limit, Pod Security, a policy, a claim or Secret that goes
//! away. Nothing is sent meanwhile, and once it is mended each file is sent once.

use cyberun_stub::Step;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use test_support::{PATIENCE, World, files, message, with_pods};

use crate::OPERATOR;

const FILES: [&str; 2] = ["a", "b"];

async fn two(world: &mut World, spec: Value) -> anyhow::Result<()> {
    world.shared_claim("data", &FILES).await?;
    world.operator().await?;
    world.upload_from("data", "two", &FILES, spec).await
}

/// The cause has been fixed: each file is sent once, and nothing was sent before.
async fn both_are_sent_once(world: &World) -> anyhow::Result<()> {
    world.heals("two").await?;
    world.tidied().await?;
    assert_eq!((world.calls(Step::Presign).len(), world.calls(Step::Put).len()), (2, 2));
    Ok(())
}

/// The reason and its words; no pod's name stands in them, and no call was made.
async fn waits(world: &World, expected: &str, words: &[&str]) -> anyhow::Result<Value> {
    let upload = world.says("two", (expected, "Reconciling"), words).await?;
    for pod in world.list("Pod").await? {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        assert!(!message(&upload).contains(name), "{name} is in: {}", message(&upload));
    }
    let job = world.list("Job").await?.first().and_then(|job| job["metadata"]["name"].as_str().map(str::to_owned));
    assert!(job.is_none_or(|job| !message(&upload).contains(&job)), "a Job's name is in: {}", message(&upload));
    assert_eq!(world.stub.calls().len(), 0, "nothing is sent");
    assert!(files(&upload).iter().all(|file| file["reason"] == expected), "{:#}", upload["status"]);
    Ok(upload)
}

/// A label that no node has until a test gives it to one: the way in for a worker that is to wait.
fn gate(world: &World) -> (String, Value) {
    let label = format!("gate-{}", world.namespace);
    let spec = json!({"worker": {"nodeSelector": {label.as_str(): "open"}}});
    (label, spec)
}

async fn set_gate(world: &World, label: &str, value: Value) -> anyhow::Result<()> {
    let node = world.node_names().await?.last().cloned().unwrap_or_default();
    world.patch("Node", &node, json!({"metadata": {"labels": {label: value}}})).await
}

/// A pod that does nothing, which the namespace admits as long as there is room for it.
fn idle(world: &World) -> anyhow::Result<Value> {
    let little = json!({"requests": {"cpu": "1m"}});
    world.pod_body(json!({"containers": [{"command": ["busybox", "true"], "resources": little}]}))
}

#[test]
fn a_worker_that_no_node_can_run_says_so_and_follows_the_spec() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let jobs = world.history("Job").await?;
        two(world, json!({"worker": {"nodeSelector": {"disk": "none-has-this"}}})).await?;
        let words = ["file a", "no node can run the worker", "didn't match", "spec.worker.nodeSelector"];
        let first = waits(world, "WorkerPending", &words).await?;
        let pod = world.list("Pod").await?.remove(0)["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let other = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": format!("{pod}: 7/9 nodes are otherwise")}]);
        let patch = Patch::Merge(json!({"status": {"conditions": other}}));
        world.api("Pod").patch_status(&pod, &PatchParams::default(), &patch).await?;
        world.had_its_chance().await?;
        assert_eq!(message(&world.read("FileUpload", "two").await?), message(&first), "frozen at first sight");
        assert_eq!(jobs.names().len(), 1, "one that waits is not made again");

        world.patch("FileUpload", "two", json!({"spec": {"worker": {"nodeSelector": null}}})).await?;
        both_are_sent_once(world).await?;
        assert_eq!(jobs.names().len(), 2, "it is made anew for the new spec");
        Ok(())
    })
}

/// Waits until the operator has read the events of its worker so often: it has looked at all that the cluster says.
async fn looked_at_events(world: &World, times: usize) -> anyhow::Result<()> {
    let looks = || {
        let requests =
            world.requests()?.map(|all| all.iter().filter(|it| it.resource == "events" && it.verb == "list").count());
        anyhow::Ok(requests)
    };
    // A look reads the events of the Job and of its pod.
    let Some(before) = looks()? else { return Ok(()) };
    let look = async || looks().map(|now| (now >= Some(before + 2 * times), now));
    world.wait_for(PATIENCE, "more looks at events", look).await?;
    Ok(())
}

#[test]
fn a_quota_without_room_for_a_pod_is_named() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let jobs = world.history("Job").await?;
        world.quota(json!({"pods": "0"}), ("Pod", idle(world)?)).await?;
        two(world, json!({})).await?;
        let words = ["PersistentVolumeClaim data", "exceeded quota: full", "pods=0", "ResourceQuota raised"];
        let first = waits(world, "QuotaExceeded", &words).await?;
        looked_at_events(world, 1).await?;
        assert_eq!(message(&world.read("FileUpload", "two").await?), message(&first));
        world.delete("ResourceQuota", "full").await?;
        both_are_sent_once(world).await?;
        assert_eq!(jobs.names().len(), 1, "the same Job gets its pod");
        Ok(())
    })
}

#[test]
fn a_quota_without_room_for_a_job_is_named() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        // The API server answers 403, as it does where a right is lacking.
        world.expect_refusals();
        let job = json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "none"}]}}}});
        world.quota(json!({"count/jobs.batch": "0"}), ("Job", job)).await?;
        two(world, json!({})).await?;
        waits(world, "QuotaExceeded", &["the worker's Job", "exceeded quota: full", "count/jobs.batch=0"]).await?;
        world.delete("ResourceQuota", "full").await?;
        both_are_sent_once(world).await
    })
}

#[test]
fn a_limit_that_a_worker_does_not_meet_is_named_and_met_by_the_spec() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let limits = json!([{"type": "Container", "min": {"cpu": "300m"}}]);
        world.create("LimitRange", "large", json!({"spec": {"limits": limits}})).await?;
        world.refuses("Pod", idle(world)?, "minimum cpu usage").await?;
        two(world, json!({})).await?;
        waits(world, "AdmissionDenied", &["the worker's Pod", "minimum cpu usage per Container is 300m"]).await?;
        let resources = json!({"limits": {"cpu": "300m"}});
        world.patch("FileUpload", "two", json!({"spec": {"worker": {"resources": resources}}})).await?;
        both_are_sent_once(world).await
    })
}

#[test]
fn a_label_of_selinux_that_pod_security_forbids_is_named() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        two(world, json!({"worker": {"securityContext": {"seLinuxOptions": {"type": "spc_t"}}}})).await?;
        waits(world, "AdmissionDenied", &["the worker's Pod", "PodSecurity \"restricted", "seLinuxOptions", "spc_t"])
            .await?;
        world.patch("FileUpload", "two", json!({"spec": {"worker": {"securityContext": null}}})).await?;
        both_are_sent_once(world).await
    })
}

#[test]
fn a_policy_against_workers_pods_is_named_in_its_own_words() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        world.forbid("pods", ("CREATE", "/pods"), "false", "ask the platform team first").await?;
        two(world, json!({})).await?;
        waits(world, "AdmissionDenied", &["the worker's Pod", "ask the platform team first"]).await?;
        world.permit("pods").await?;
        both_are_sent_once(world).await
    })
}

#[test]
fn a_claim_that_goes_while_the_worker_waits_is_named() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let (label, spec) = gate(world);
        two(world, spec).await?;
        waits(world, "WorkerPending", &["no node can run the worker"]).await?;
        world.delete("PersistentVolumeClaim", "data").await?;
        waits(world, "ClaimNotFound", &["PersistentVolumeClaim data", "create it"]).await?;
        // What was a claim's is kept for it: only a person may give it to another.
        let released = json!({"spec": {"claimRef": {"uid": null, "resourceVersion": null}}});
        world.patch("PersistentVolume", &format!("{}-data", world.namespace), released).await?;
        world.claim("data", &["ReadWriteMany"]).await?;
        set_gate(world, &label, "open".into()).await?;
        both_are_sent_once(world).await?;
        set_gate(world, &label, Value::Null).await
    })
}

#[test]
fn a_secret_that_goes_while_the_worker_waits_is_named() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let (label, spec) = gate(world);
        two(world, spec).await?;
        waits(world, "WorkerPending", &["no node can run the worker"]).await?;
        world.delete("Secret", "cyberun").await?;
        set_gate(world, &label, "open".into()).await?;
        waits(world, "SecretNotFound", &["Secret cyberun", "does not exist"]).await?;
        world.credential().await?;
        both_are_sent_once(world).await?;
        set_gate(world, &label, Value::Null).await
    })
}
