//! The worker's pod as its namespace and its node see it: what is in it, what is not, and whom it never talks to.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Command;

use anyhow::{Context as _, ensure};
use cyberun_stub::{Fault, Hold, Moment, Step};
use serde_json::{Value, json};
use test_support::{DEADLINE, Request, World, kubectl, on_claim, with_pods};

use crate::OPERATOR;

/// Labels that the Job controller adds to a Job's pods, and the API server to the Job's template.
const OF_JOBS: [&str; 4] =
    ["batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name"];
/// Ours, on Jobs and pods.
const OURS: [&str; 3] = ["app.kubernetes.io/managed-by", "cyberun.cloud/fileupload", "cyberun.cloud/fileupload-uid"];
/// Those by which meshes are told to stay away.
const OF_MESHES: [&str; 2] = ["kuma.io/sidecar-injection", "sidecar.istio.io/inject"];

/// A worker that stands at the store until the hold is released: its Job and its pod.
async fn held(world: &mut World) -> anyhow::Result<(Hold, Value, Value)> {
    world.credential().await?;
    world.volume("data", &["ReadWriteOnce"], &[("a.txt", b"held")]).await?;
    let hold = Hold::new("while the pod is looked at");
    world.stub.fault(Step::Put, Fault::hold(&hold).at(Moment::Accepted));
    world.operator().await?;
    world.file_upload("one", json!({"files": [on_claim("a", "data", "a.txt")]})).await?;
    hold.reached(DEADLINE).await?;
    let job = world.jobs(1).await?.remove(0);
    let pod = world.pods_of(name(&job)).await?.into_iter().next().context("the Job has no pod")?;
    let pod = world.running(name(&pod)).await?;
    Ok((hold, job, pod))
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = object.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    keys
}

fn sorted(labels: &[&[&'static str]]) -> Vec<&'static str> {
    let mut labels = labels.concat();
    labels.sort_unstable();
    labels
}

#[test]
fn a_worker_has_no_token_of_the_cluster_no_rights_and_no_labels_but_ours() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a worker's pod", async |world| {
        let (hold, job, pod) = held(world).await?;
        assert_eq!(keys(&job["metadata"]["labels"]), sorted(&[&OURS]));
        assert_eq!(keys(&pod["metadata"]["labels"]), sorted(&[&OURS, &OF_MESHES, &OF_JOBS]));
        let spec = &pod["spec"];
        assert_eq!(
            (&spec["automountServiceAccountToken"], &spec["enableServiceLinks"]),
            (&json!(false), &json!(false))
        );
        assert!(!spec.to_string().contains("serviceAccountToken"), "{:#}", spec["volumes"]);

        let process = world.process_of(name(&pod)).await?.as_raw_nonzero().get();
        let mounts = fs::read_to_string(format!("/proc/{process}/mountinfo"))?;
        let at = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        let of_system = |at: &&str| !["/proc", "/sys", "/dev"].iter().any(|system| at.starts_with(system));
        let mut at: Vec<_> = at.filter(of_system).collect();
        at.sort_unstable();
        assert_eq!(at, ["/", "/credentials", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/source"]);
        for place in ["/", "/source", "/credentials"] {
            let options = mounts
                .lines()
                .find(|line| line.split(' ').nth(4) == Some(place))
                .and_then(|line| line.split(' ').nth(5));
            assert!(
                options.is_some_and(|options| options.split(',').any(|option| option == "ro")),
                "{place}: {options:?}"
            );
        }
        for folder in ["var/run/secrets", "run/secrets"] {
            assert!(!fs::exists(format!("/proc/{process}/root/{folder}"))?, "{folder}");
        }
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        assert_eq!(field("Uid:"), "65532\t65532\t65532\t65532");
        assert_eq!(
            (field("CapEff:"), field("CapBnd:"), field("NoNewPrivs:")),
            ("0000000000000000", "0000000000000000", "1")
        );
        hold.release();
        world.stored("one", &[("a", b"held")]).await?;
        Ok(())
    })
}

#[test]
fn a_worker_asks_the_api_server_for_nothing() -> anyhow::Result<()> {
    with_pods(OPERATOR, "what a worker asks for", async |world| {
        let (hold, _, pod) = held(world).await?;
        hold.release();
        world.stored("one", &[("a", b"held")]).await?;
        let address = pod["status"]["podIP"].as_str().context("the pod has no address")?.to_owned();
        // An address is given again once all others of the node had their turn.
        let created =
            pod["metadata"]["creationTimestamp"].as_str().context("the pod has no time")?.trim_end_matches('Z');
        let of_pod = |request: &Request| request.source == address && request.at.as_str() >= created;
        let Some(requests) = world.audit(&address, of_pod)? else { return Ok(()) };
        assert!(requests.is_empty(), "{requests:#?}");
        let accounts = format!("system:serviceaccount:{}:", world.namespace);
        let as_account = world.audit(&accounts, |request: &Request| request.user.starts_with(&accounts))?;
        assert!(as_account.is_some_and(|requests| requests.is_empty()), "an account of the namespace asked");
        let nobody = |request: &Request| request.user == "system:anonymous";
        let unknown =
            world.audit("system:anonymous", |request| nobody(request) && request.namespace == world.namespace)?;
        assert!(unknown.is_some_and(|requests| requests.is_empty()), "somebody without an account asked");
        assert!(world.requests()?.is_some_and(|requests| !requests.is_empty()), "the operator's are logged");
        Ok(())
    })
}

#[test]
fn a_worker_is_as_the_spec_asks_and_as_the_operators_defaults_say_where_it_asks_nothing() -> anyhow::Result<()> {
    with_pods(OPERATOR, "settings of workers", async |world| {
        let class = json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": world.namespace}, "value": 7,
        });
        kubectl(world.cluster, ["create", "--filename", "-"], &class.to_string())?;
        world.credential().await?;
        let folder = world.volume("data", &["ReadWriteOnce"], &[("a.txt", b"only mine")]).await?;
        chown(folder.join("a.txt"), Some(1234), Some(1234))?;
        fs::set_permissions(folder.join("a.txt"), Permissions::from_mode(0o600))?;
        let hold = Hold::new("while the pod is looked at");
        world.stub.fault(Step::Put, Fault::hold(&hold).at(Moment::Accepted));
        let defaults = json!({
            "securityContext": {"runAsUser": 5, "runAsGroup": 6, "supplementalGroups": [4000]},
            "nodeSelector": {"kubernetes.io/os": "plan9"},
            "tolerations": [{"key": "batch", "operator": "Exists"}],
            "resources": {"requests": {"cpu": "10m"}, "limits": {"memory": "96Mi"}},
            "priorityClassName": world.namespace,
            "labels": {"team": "platform", "example.com/queue": "uploads"},
            "annotations": {"example.com/cost": "shared"},
        });
        world.operator_with(&[&format!("workers.defaults={defaults}"), "image.pullPolicy=\"Never\""]).await?;
        let asked = json!({
            "securityContext": {"runAsUser": 1234},
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "labels": {"team": "data"},
        });
        world.file_upload("one", json!({"files": [on_claim("a", "data", "a.txt")], "worker": asked})).await?;
        hold.reached(DEADLINE).await?;
        let job = world.jobs(1).await?.remove(0);
        let pod = world.pods_of(name(&job)).await?.into_iter().next().context("the Job has no pod")?;
        let pod = world.running(name(&pod)).await?;
        for object in [&job, &pod] {
            let metadata = &object["metadata"];
            assert_eq!(
                (&metadata["labels"]["team"], &metadata["labels"]["example.com/queue"]),
                (&json!("data"), &json!("uploads"))
            );
            assert_eq!(metadata["annotations"]["example.com/cost"], "shared");
        }
        let spec = &pod["spec"];
        assert_eq!((&spec["priorityClassName"], &spec["priority"]), (&json!(world.namespace), &json!(7)));
        assert_eq!(spec["nodeSelector"]["kubernetes.io/os"], "linux");
        assert_eq!(spec["containers"][0]["imagePullPolicy"], "Never");
        assert_eq!(spec["tolerations"][0], json!({"key": "batch", "operator": "Exists"}));
        let resources = json!({"requests": {"cpu": "10m", "memory": "96Mi"}, "limits": {"memory": "96Mi"}});
        assert_eq!(spec["containers"][0]["resources"], resources);
        let process = world.process_of(name(&pod)).await?.as_raw_nonzero().get();
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        let ids = (field("Uid:"), field("Gid:"), field("Groups:"));
        assert_eq!(ids, ("1234\t1234\t1234\t1234", "1234\t1234\t1234\t1234", "1234 4000"));
        hold.release();
        world.stored("one", &[("a", b"only mine")]).await?;
        kubectl(world.cluster, ["delete", "priorityclass", &world.namespace], "")?;
        Ok(())
    })
}

/// What the API server or a controller adds to a Job, by JSON pointer.
const GENERATED: [&str; 15] = [
    "/metadata/uid",
    "/metadata/resourceVersion",
    "/metadata/generation",
    "/metadata/creationTimestamp",
    "/metadata/managedFields",
    "/status",
    "/spec/selector",
    "/spec/suspend",
    "/spec/completionMode",
    "/spec/manualSelector",
    "/spec/template/metadata/creationTimestamp",
    "/spec/template/spec/dnsPolicy",
    "/spec/template/spec/schedulerName",
    "/spec/template/spec/terminationGracePeriodSeconds",
    "/spec/template/spec/containers/0/terminationMessagePath",
];

fn remove(object: &mut Value, pointer: &str) {
    let Some((parent, field)) = pointer.rsplit_once('/') else { return };
    if let Some(parent) = object.pointer_mut(parent).and_then(Value::as_object_mut) {
        parent.remove(field);
    }
}

/// Without nulls and what is empty: neither is stored.
fn without_empty(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(without_empty);
            let is_empty = |value: &Value| {
                value.is_null()
                    || value.as_array().is_some_and(Vec::is_empty)
                    || value.as_object().is_some_and(serde_json::Map::is_empty)
            };
            map.retain(|_, value| !is_empty(value));
        }
        Value::Array(items) => items.iter_mut().for_each(without_empty),
        _ => {}
    }
}

/// What `render` prints of these manifests with the operator's own flags: each document.
fn render(world: &World, manifests: &str) -> anyhow::Result<Vec<Value>> {
    let arguments = "jsonpath={.items[0].spec.template.spec.containers[0].args}";
    let selector = format!("--field-selector=metadata.name={}", world.namespace);
    let of_operator = ["get", "deployments", "--namespace=fileupload-system", &selector, "--output", arguments];
    let arguments: Vec<String> = serde_json::from_str(&kubectl(world.cluster, of_operator, "")?)?;
    let of_both = arguments.iter().filter(|argument| {
        !["controller", "--namespace", "--listen", "--log"].iter().any(|only| argument.starts_with(only))
    });
    let file = world.folder.path().join("manifests.yaml");
    fs::write(&file, manifests)?;
    let output = Command::new(OPERATOR).arg("render").args(of_both).arg("--filename").arg(&file).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_yaml::from_multiple(&String::from_utf8(output.stdout)?)?)
}

#[test]
fn render_prints_the_job_that_the_operator_made() -> anyhow::Result<()> {
    with_pods(OPERATOR, "render and the operator", async |world| {
        let (hold, job, _) = held(world).await?;
        let (mut manifests, namespace) = (String::new(), format!("--namespace={}", world.namespace));
        for kinds in ["fileuploads", "persistentvolumeclaims", "secrets", "pods"] {
            manifests += &kubectl(world.cluster, ["get", kinds, &namespace, "--output=yaml"], "")?;
            manifests += "\n---\n";
        }
        let mut made = world.read("Job", name(&job)).await?;
        let mut printed = render(world, &manifests)?
            .into_iter()
            .find(|document| document["kind"] == "Job")
            .context("no Job is printed")?;
        for pointer in GENERATED {
            remove(&mut made, pointer);
        }
        let labels = made["spec"]["template"]["metadata"]["labels"].as_object_mut().context("no labels")?;
        labels.retain(|label, _| !OF_JOBS.contains(&label.as_str()));
        without_empty(&mut made);
        without_empty(&mut printed);
        assert_eq!(format!("{printed:#}"), format!("{made:#}"));
        hold.release();
        world.stored("one", &[("a", b"held")]).await?;
        Ok(())
    })
}
