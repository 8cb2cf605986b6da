//! The operator's token in the hands of a thief: what its rights would allow, and the chart's policies refuse.
//!
//! The thief begins with a Job that the operator itself has created, so that each refusal comes from the one change.

use cyberun_stub::Options;
use kube::api::PostParams;
use serde_json::{Value, json};
use test_support::{DEADLINE, SYSTEM, Space, World, file, kubectl, on_claim, scenario_alone, with_output};

use crate::OPERATOR;

const CONTAINER: &str = "/spec/template/spec/containers/0";
const POD: &str = "/spec/template/spec";
const TEMPLATE: &str = "/spec/template/metadata";
const CREDENTIALS: &str = "/spec/template/spec/volumes/1/projected/sources/0/secret";

/// An object with this value at a place (a JSON pointer) that may be new.
fn with(object: &Value, place: &str, value: Value) -> Value {
    let mut changed = object.clone();
    let (parent, field) = place.rsplit_once('/').unwrap_or_default();
    match changed.pointer_mut(parent) {
        Some(Value::Array(list)) => list[field.parse::<usize>().unwrap_or_default()] = value,
        Some(parent) => parent[field.replace("~1", "/")] = value,
        None => unreachable!("there is no {parent} in {object:#}"),
    }
    changed
}

/// A worker's Job as somebody could create it again.
fn copy_of(job: &Value) -> Value {
    let mut copy = json!({"metadata": {}, "spec": job["spec"]});
    for field in ["labels", "annotations", "ownerReferences"] {
        copy["metadata"][field] = job["metadata"][field].clone();
    }
    copy["spec"]["selector"].take();
    for labels in ["/metadata/labels", "/spec/template/metadata/labels"] {
        if let Some(Value::Object(labels)) = copy.pointer_mut(labels) {
            labels.retain(|name, _| !name.contains("job-name") && !name.contains("controller-uid"));
        }
    }
    copy
}

/// What the thief does to the copy of a Job, and a word of the answer.
fn misuses() -> Vec<(String, Value, &'static str)> {
    let container = |field: &str, value: Value, word| (format!("{CONTAINER}/{field}"), value, word);
    let pod = |field: &str, value: Value, word| (format!("{POD}/{field}"), value, word);
    let arguments = "gets no other arguments than its files";
    let (image, user) = ("one container, of the image", "not privileged, and never root");
    let (mounts, secret) =
        ("a worker mounts one claim or ConfigMap", "CYBERUN_API_KEY and CYBERUN_TEAM_ID of one Secret");
    let mesh = "keep service meshes away";
    let (node, token) = ("no network, name, process or priority of its node", "no service account and no token");
    let mount = json!([{"name": "credentials", "mountPath": "/source", "readOnly": true}]);
    let key = json!([{"key": "PASSWORD", "path": "PASSWORD"}]);
    vec![
        container("image", json!("registry.example/thief:1"), image),
        container("command", json!(["/thief"]), image),
        pod("initContainers", json!([{"name": "first", "image": "registry.example/thief:1"}]), image),
        container("args/2", json!("https://thief.example/api/v1"), "a worker calls only http"),
        container("args/4", json!("/credentials"), arguments),
        container("args", json!(["upload", "/credentials/CYBERUN_API_KEY"]), arguments),
        container(
            "env",
            json!([{"name": "HTTPS_PROXY", "value": "http://thief.example"}]),
            "only the operator's proxies",
        ),
        container("envFrom", json!([{"secretRef": {"name": "other"}}]), "only the operator's proxies"),
        container("volumeMounts", mount, mounts),
        pod("volumes/0", json!({"name": "source", "hostPath": {"path": "/"}}), mounts),
        (format!("{CREDENTIALS}/items"), key, secret),
        (format!("{CREDENTIALS}/name"), json!("other"), secret),
        pod("serviceAccountName", json!("admin"), token),
        pod("automountServiceAccountToken", json!(true), token),
        pod("hostNetwork", json!(true), node),
        pod("hostAliases", json!([{"ip": "192.0.2.1", "hostnames": ["core.cyberun.cloud"]}]), node),
        pod("nodeName", json!("node-1"), node),
        container("securityContext", json!({"privileged": true}), user),
        pod("securityContext/runAsUser", json!(0), user),
        (format!("{TEMPLATE}/labels/sidecar.istio.io~1inject"), json!("true"), mesh),
        (format!("{TEMPLATE}/annotations/linkerd.io~1inject"), json!("enabled"), mesh),
        ("/metadata/ownerReferences".to_owned(), json!([]), "belongs to one FileUpload"),
    ]
}

/// Asserts that the API server refuses this to the thief, with this word.
fn is_refused(what: &str, answer: anyhow::Result<()>, word: &str) {
    let Err(error) = answer else { unreachable!("{what} is not refused") };
    assert!(format!("{error:#}").contains(word), "{what}: {word:?} is not in: {error:#}");
}

/// The operator at work, with a worker's Job that stays because no node runs; returns the Job's copy.
async fn at_work(world: &mut World) -> anyhow::Result<Value> {
    world.credential().await?;
    world.config_map("texts", &[("a.txt", "one")]).await?;
    world.volume("data", &["ReadWriteOnce"], &[("a.txt", b"one")]).await?;
    world.operator_everywhere(&[]).await?;
    world.file_upload("on-claim", json!({"files": [on_claim("a", "data", "a.txt")]})).await?;
    let job = async || {
        let jobs = world.list("Job").await?;
        Ok((!jobs.is_empty(), jobs))
    };
    let jobs = world.wait_for(DEADLINE, "a worker's Job", job).await?;
    Ok(copy_of(&jobs[0]))
}

/// Waits until each policy is in force; nothing is created.
async fn in_force(thief: &Space, job: &Value) -> anyhow::Result<()> {
    let other = with(job, &format!("{CONTAINER}/image"), json!("registry.example/thief:1"));
    thief.refuses("Job", other, "--worker-image").await?;
    thief.refuses("ConfigMap", json!({}), "carry its label").await?;
    thief.refuses("Event", event_of_pod(thief), "only events of FileUploads").await
}

fn event_of_pod(thief: &Space) -> Value {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "name": "one", "namespace": thief.namespace});
    json!({
        "regarding": pod, "type": "Normal", "action": "Upload", "reason": "Uploaded", "note": "done",
        "eventTime": "2026-11-27T00:00:00.000000Z", "reportingController": "thief", "reportingInstance": "thief",
    })
}

#[test]
fn a_worker_that_is_not_the_operators_is_refused_for_each_thing_that_differs() -> anyhow::Result<()> {
    scenario_alone(OPERATOR, Options::default(), "a stolen token", async |world| {
        let job = at_work(world).await?;
        let thief = world.thief().await?;
        in_force(&thief, &job).await?;
        world.expect_refusals();
        for (place, value, word) in misuses() {
            is_refused(&place, thief.create("Job", "loot", with(&job, &place, value)).await, word);
        }
        // It would take over, and delete, Pods of other Jobs.
        let mut selecting = with(&job, "/spec/manualSelector", json!(true));
        let all = json!({"matchLabels": {"app.kubernetes.io/managed-by": "fileupload-operator"}});
        selecting["spec"]["selector"] = all;
        is_refused("a selector", thief.create("Job", "loot", selecting).await, "belongs to one FileUpload");
        let kube = "nothing but its Lease into namespaces of the cluster itself";
        is_refused("kube-system", thief.at("kube-system").create("Job", "loot", job.clone()).await, kube);
        // With none of that it is a worker like any other.
        thief.create("Job", "worker", job).await
    })
}

/// Another release whose policies know two deployments; no operator of it runs.
#[test]
fn a_worker_calls_the_api_of_a_deployment_only_from_the_namespaces_that_may_use_it() -> anyhow::Result<()> {
    scenario_alone(OPERATOR, Options::default(), "a deployment of some namespaces", async |world| {
        let job = at_work(world).await?;
        let name = "of-two-deployments";
        let lab = "https://lab.example/api/v1";
        let deployments = json!([
            {"name": "main", "default": true, "apiUrl": world.stub.api_url()},
            {"name": "lab", "apiUrl": lab, "namespaces": ["lab", "team-*"]},
        ]);
        let values = [
            "image={\"repository\":\"none\",\"tag\":\"none\"}".to_owned(),
            format!("fullnameOverride={name:?}"),
            format!("deployments={deployments}"),
            "allowHttp=true".to_owned(),
            "crds.install=false".to_owned(),
        ];
        let values: Vec<_> = values.iter().map(String::as_str).collect();
        let manifests = world.cluster.chart_in(&world.namespace, &values)?;
        kubectl(world.cluster, ["apply", "--filename=-"], &manifests)?;
        let user = format!("--as=system:serviceaccount:{}:{name}", world.namespace);
        let create = |namespace: &str, job: &Value| {
            let mut job = job.clone();
            job["apiVersion"] = "batch/v1".into();
            job["kind"] = "Job".into();
            job["metadata"]["name"] = "loot".into();
            let namespace = format!("--namespace={namespace}");
            let create = ["create", "--dry-run=server", "--filename=-", &namespace, &user];
            kubectl(world.cluster, create, &job.to_string()).map(drop)
        };
        let of_lab = with(&job, &format!("{CONTAINER}/args/2"), json!(lab));
        let refusal = "each only in the namespaces of its deployment";
        let look = async || {
            let answer = create(&world.namespace, &of_lab).err().map(|error| format!("{error:#}"));
            Ok((answer.as_ref().is_some_and(|answer| answer.contains(refusal)), answer))
        };
        world.wait_for(DEADLINE, "the API of another namespace to be refused", look).await?;
        create(&world.namespace, &job)?;
        for namespace in ["lab", "team-a", "laboratory"] {
            kubectl(world.cluster, ["create", "namespace", namespace], "")?;
        }
        create("lab", &of_lab)?;
        create("team-a", &of_lab)?;
        create("team-a", &job)?;
        is_refused("a name that only begins so", create("laboratory", &of_lab), refusal);
        Ok(())
    })
}

#[test]
fn what_is_not_the_operators_is_neither_written_nor_deleted_with_its_token() -> anyhow::Result<()> {
    scenario_alone(OPERATOR, Options::default(), "a stolen token", async |world| {
        let job = at_work(world).await?;
        world.create("Job", "foreign", foreign_job()).await?;
        world.secret("other", &[("PASSWORD", "not for the operator")]).await?;
        let thief = world.thief().await?;
        in_force(&thief, &job).await?;
        world.expect_refusals();
        let maps = "only ConfigMaps that carry its label and belong to a FileUpload";
        is_refused("a ConfigMap", thief.config_map("loot", &[("a", "b")]).await, maps);
        is_refused("a change", thief.patch("ConfigMap", "texts", json!({"data": {"a.txt": "two"}})).await, maps);
        let mut ours = job.clone();
        ours["metadata"]["annotations"].take();
        let labelled = thief.patch("ConfigMap", "texts", json!({"metadata": ours["metadata"]})).await;
        is_refused("a ConfigMap made ours", labelled, maps);
        is_refused("a deletion", thief.delete("ConfigMap", "texts").await, maps);
        is_refused("a Job", thief.delete("Job", "foreign").await, "deletes only Jobs with its label");
        let lasting = "deletes only FileUploads with spec.ttlSecondsAfterFinished";
        is_refused("a FileUpload", thief.delete("FileUpload", "on-claim").await, lasting);
        is_refused(
            "a Lease",
            thief.at(SYSTEM).create("Lease", "loot", json!({"spec": {}})).await,
            "only its own Lease",
        );
        is_refused("an event", thief.create("Event", "loot", event_of_pod(&thief)).await, "only events of FileUploads");
        // What its rights do not allow at all.
        is_refused("a Secret", thief.read("Secret", "other").await.map(drop), "cannot get resource \"secrets\"");
        let pod = json!({"spec": {"containers": [{"name": "loot", "image": "registry.example/thief:1"}]}});
        is_refused("a Pod", thief.create("Pod", "loot", pod).await, "cannot create resource \"pods\"");
        // Rights that somebody adds do not help.
        let account = format!("--serviceaccount={SYSTEM}:{}", test_support::RELEASE);
        let bind = ["create", "clusterrolebinding", "too-much", "--clusterrole=cluster-admin", &account];
        kubectl(world.cluster, bind, "")?;
        let never = "fileupload-operator never does this: CREATE /secrets";
        thief.refuses("Secret", json!({"stringData": {"a": "b"}}), never).await
    })
}

fn foreign_job() -> Value {
    let container = json!({"name": "own", "image": "registry.example/own:1"});
    json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}})
}

#[test]
fn the_operator_does_all_its_work_within_its_policies() -> anyhow::Result<()> {
    scenario_alone(OPERATOR, Options::default(), "the operator's own work", async |world| {
        let job = at_work(world).await?;
        let thief = world.thief().await?;
        // In force, and not because anything is refused: the audit log is judged at the end.
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let mut allowed = job.clone();
        for (field, value) in [("apiVersion", "batch/v1"), ("kind", "Job")] {
            allowed[field] = value.into();
        }
        allowed["metadata"]["name"] = "worker".into();
        thief.api("Job").create(&dry, &serde_json::from_value(allowed)?).await?;
        let checked = async || {
            let policies = world.list("ValidatingAdmissionPolicy").await?;
            let seen = |policy: &Value| policy["status"]["observedGeneration"] == policy["metadata"]["generation"];
            Ok((policies.len() == 3 && policies.iter().all(seen), policies))
        };
        for policy in world.wait_for(DEADLINE, "each policy to be checked", checked).await? {
            let warnings = &policy["status"]["typeChecking"]["expressionWarnings"];
            assert!(warnings.is_null(), "{}: {warnings:#}", policy["metadata"]["name"]);
        }
        world.file_upload("one", with_output(&json!([file("a", "texts", "a.txt")]), "keys")).await?;
        world.available("one").await?;
        world.patch("FileUpload", "one", json!({"spec": {"output": {"configMap": {"labels": {"a": "b"}}}}})).await?;
        world.wait("ConfigMap", "keys", "its label", |map| map["metadata"]["labels"]["a"] == "b").await?;
        world.patch("FileUpload", "one", json!({"spec": {"output": null}})).await?;
        world.wait("ConfigMap", "keys", "the output is gone", Value::is_null).await?;
        let other = json!({"spec": {"files": [on_claim("a", "data", "b.txt")]}});
        let first: Vec<_> = world.list("Job").await?.iter().map(|job| job["metadata"]["uid"].clone()).collect();
        world.patch("FileUpload", "on-claim", other).await?;
        let replaced = async || {
            let jobs = world.list("Job").await?;
            let is_new = |job: &Value| !first.contains(&job["metadata"]["uid"]);
            Ok((!jobs.is_empty() && jobs.iter().all(is_new), jobs))
        };
        world.wait_for(DEADLINE, "a Job in the place of the first", replaced).await?;
        world.patch("FileUpload", "one", json!({"spec": {"ttlSecondsAfterFinished": 0}})).await?;
        world.wait("FileUpload", "one", "it has finished", Value::is_null).await?;
        Ok(())
    })
}
