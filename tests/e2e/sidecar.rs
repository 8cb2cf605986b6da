//! Keys without the operator: the Pod of `examples/init-container` and the Jobs of `examples/sidecar` and of
//! `examples/folder`, as they are.
//!
//! Only what a cluster of tests cannot have as written is changed: the API is the double's, by plain HTTP. Their image's
//! name is given to the image under test. Every namespace of a test enforces Pod Security `restricted`.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use cyberun_stub::{Fault, Hold, Kind, Moment, Step};
use serde_json::{Value, json};
use test_support::{DEADLINE, World, kubectl, with_pods};

use crate::OPERATOR;

/// What the examples' files hold.
const PROMPT: &[u8] = b"A portrait in soft morning light.\n";

/// Applies a manifest of the examples.
fn apply(world: &mut World, path: &str) -> anyhow::Result<()> {
    world.cluster.busybox()?;
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(path))?;
    let mut manifest: Value = serde_yaml::from_str(&text)?;
    let pointer = if manifest["kind"] == "Pod" { "/spec" } else { "/spec/template/spec" };
    let containers = manifest.pointer_mut(pointer).context("no pod")?["initContainers"].as_array_mut();
    for container in containers.context("no init containers")? {
        let image = container["image"].as_str().context("no image")?.to_owned();
        if image.starts_with("fileupload-operator:") {
            world.cluster.mend_image(&format!("docker.io/library/{image}"))?;
            let api = json!({"name": "CYBERUN_API_URL", "value": world.stub.api_url()});
            container["env"].as_array_mut().context("no env")?.push(api);
            container["args"].as_array_mut().context("no args")?.push("--allow-http".into());
        }
    }
    let namespace = format!("--namespace={}", world.namespace);
    kubectl(world.cluster, ["apply", &namespace, "--filename", "-"], &manifest.to_string())?;
    Ok(())
}

/// Waits until the one Pod is as it should be.
async fn pod(world: &World, what: &str, holds: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
    let look = async || {
        let pods = world.list("Pod").await?;
        Ok((pods.len() == 1 && holds(&pods[0]), pods))
    };
    world.wait_for(DEADLINE * 4, what, look).await?.pop().context("no pod")
}

/// Waits for the end of the Pod, and checks that its container saw the key of what was stored.
async fn succeeded(world: &World) -> anyhow::Result<Value> {
    let pod = pod(world, "the Pod to succeed", |pod| pod["status"]["phase"] == "Succeeded").await?;
    let name = pod["metadata"]["name"].as_str().context("no name")?;
    let namespace = format!("--namespace={}", world.namespace);
    let said = kubectl(world.cluster, ["logs", &namespace, name, "--container=main"], "")?;
    let (key, object) = world.stub.objects().pop_first().context("nothing is stored")?;
    assert_eq!(said.trim(), format!("run the workflow with prompt={key}"));
    assert_eq!((object.bytes.as_deref(), object.file_name.as_str()), (Some(PROMPT), "prompt.txt"));
    assert_eq!((world.calls(Step::Presign).len(), world.calls(Step::Put).len()), (1, 1));
    Ok(pod)
}

/// The sidecar, which is the second of the init containers.
fn beside(pod: &Value) -> &Value {
    &pod["status"]["initContainerStatuses"][1]
}

#[test]
fn an_init_container_uploads_what_the_one_before_made_and_the_pod_reads_the_key() -> anyhow::Result<()> {
    with_pods(OPERATOR, "an init container that uploads", async |world| {
        world.credential().await?;
        apply(world, "init-container/pod.yaml")?;
        succeeded(world).await?;
        Ok(())
    })
}

#[test]
fn a_sidecar_holds_the_main_container_until_the_keys_are_there_and_its_job_completes() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a sidecar", async |world| {
        world.credential().await?;
        let hold = Hold::new("while the main container must not run");
        world.stub.fault(Step::Put, Fault::hold(&hold).at(Moment::Received));
        apply(world, "sidecar/job.yaml")?;
        hold.reached(DEADLINE * 4).await?;
        // The kubelet has asked it more than once by then, and would have started the other.
        let probed = async || {
            let events = world.list("Event").await?;
            let times = |event: &Value| {
                let text = event.to_string();
                let times = event["deprecatedCount"].as_i64().max(event["series"]["count"].as_i64());
                if text.contains("Startup probe failed") { times.unwrap_or(1) } else { 0 }
            };
            Ok((events.iter().map(times).sum::<i64>() >= 2, events))
        };
        world.wait_for(DEADLINE * 2, "two probes that did not pass", probed).await?;
        let runs = pod(world, "a sidecar that runs", |pod| beside(pod)["state"]["running"].is_object()).await?;
        let main = &runs["status"]["containerStatuses"][0];
        assert_eq!((&beside(&runs)["started"], &main["started"]), (&json!(false), &json!(false)));
        assert_eq!(main["state"]["waiting"]["reason"], "PodInitializing");
        hold.release();

        let ended = succeeded(world).await?;
        let state = &beside(&ended)["state"]["terminated"];
        assert_eq!((&state["exitCode"], &state["reason"]), (&json!(0), &json!("Completed")), "{:#}", ended["status"]);
        assert_eq!(beside(&ended)["restartCount"], 0);
        let name = ended["metadata"]["name"].as_str().context("no name")?;
        let log = world.pod_log(name)?;
        assert!(log.contains("stopping after what is under way") && log.contains("\"stopped\""), "{log}");
        let done = |job: &Value| job["status"]["succeeded"] == 1;
        world.wait("Job", "sidecar", "the Job to complete", done).await?;
        Ok(())
    })
}

#[test]
fn a_sidecar_uploads_the_folder_that_a_container_beside_it_writes_once_its_marker_is_there() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a sidecar with a folder", async |world| {
        world.credential().await?;
        apply(world, "folder/sidecar.yaml")?;
        let pod = pod(world, "the Pod to succeed", |pod| pod["status"]["phase"] == "Succeeded").await?;
        let name = pod["metadata"]["name"].as_str().context("no name")?;
        let namespace = format!("--namespace={}", world.namespace);
        let keys: Value =
            serde_json::from_str(&kubectl(world.cluster, ["logs", &namespace, name, "--container=use"], "")?)?;
        let objects = world.stub.objects();
        for number in 1..=3 {
            let key = keys[format!("{number}.png")]["fileKey"].as_str().context("no key")?;
            assert_eq!(objects[key].bytes.as_deref(), Some(format!("frame {number}\n").as_bytes()));
        }
        let beside = &pod["status"]["initContainerStatuses"][0];
        assert_eq!((&beside["restartCount"], &beside["state"]["terminated"]["exitCode"]), (&json!(0), &json!(0)));
        assert_eq!((objects.len(), world.calls(Step::Put).len()), (3, 3));
        Ok(())
    })
}

#[test]
fn a_sidecar_whose_credential_is_refused_crashes_visibly_until_its_secret_is_changed() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a sidecar that is refused", async |world| {
        let revoked = world.credential().await?;
        assert!(world.stub.revoke(revoked.token()));
        apply(world, "sidecar/job.yaml")?;
        let waits = |pod: &Value| beside(pod)["state"]["waiting"]["reason"] == "CrashLoopBackOff";
        let crashed = pod(world, "a sidecar that crashes", waits).await?;
        assert_eq!(beside(&crashed)["lastState"]["terminated"]["exitCode"], 1);
        let log = world.pod_log(crashed["metadata"]["name"].as_str().context("no name")?)?;
        assert!(log.contains("error: prompt: CredentialsRejected: "), "{log}");
        let new = world.stub.mint(Kind::Integration);
        world.secret("cyberun", &[("CYBERUN_API_KEY", new.token())]).await?;
        let pod = pod(world, "the Pod to succeed", |pod| pod["status"]["phase"] == "Succeeded").await?;
        assert_eq!(
            (beside(&pod)["state"]["terminated"]["exitCode"].as_i64(), world.stub.objects().len()),
            (Some(0), 1)
        );
        Ok(())
    })
}
