//! How keys are used: the manifests of `examples/`, as they stand there, at work.
//!
//! Jobs run on the cluster's own kubelets.

use std::path::Path;

use anyhow::Context as _;
use cyberun_stub::{Fault, Rule, Step};
use serde_json::{Value, json};
use test_support::{DEADLINE, World, kubectl, scenario, state, with_pods};

use crate::OPERATOR;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");

/// The documents of a manifest of the examples.
fn documents(path: &Path) -> anyhow::Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.split("\n---\n").map(|document| Ok(serde_yaml::from_str(document)?)).collect()
}

pub(crate) fn example(path: &str) -> anyhow::Result<Vec<Value>> {
    documents(&Path::new(EXAMPLES).join(path))
}

pub(crate) fn apply(world: &World, documents: &[Value]) -> anyhow::Result<()> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": documents}).to_string();
    kubectl(world.cluster, ["apply", "--namespace", &world.namespace, "--filename", "-"], &list)?;
    Ok(())
}

/// `kubectl create`, as Argo's executor calls it.
pub(crate) fn create(world: &World, how: &str, object: &Value) -> anyhow::Result<Value> {
    let namespace = format!("--namespace={}", world.namespace);
    let arguments = ["create", &namespace, how, "--validate=strict", "--filename=-", "--output=json"];
    Ok(serde_json::from_str(&kubectl(world.cluster, arguments, &object.to_string())?)?)
}

/// The files and the `FileUpload` of the quickstart, with a credential that the double knows, as a file with a line end
/// would have brought it into the Secret.
async fn quickstart(world: &mut World) -> anyhow::Result<()> {
    let token = format!("{}\n", world.credential().await?.token());
    world.secret("cyberun", &[("CYBERUN_API_KEY", &token), ("CYBERUN_TEAM_ID", "\n")]).await?;
    apply(world, &example("quickstart/files.yaml")?)?;
    apply(world, &example("quickstart/fileupload.yaml")?)
}

async fn done(world: &World, job: &str) -> anyhow::Result<String> {
    let look = async || {
        let job = world.read("Job", job).await?;
        Ok((job["status"]["succeeded"] == 1, job))
    };
    world.wait_for(DEADLINE * 5, &format!("Job {job} to complete"), look).await?;
    log(world, &format!("job/{job}"))
}

fn log(world: &World, what: &str) -> anyhow::Result<String> {
    kubectl(world.cluster, ["logs", "--namespace", &world.namespace, what], "")
}

/// Waits until the pod of each Job is on a node and its container does not start.
async fn all_wait(world: &World, count: usize) -> anyhow::Result<()> {
    let look = async || {
        let pods = world.list("Pod").await?;
        let waits = |pod: &&Value| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].is_string();
        Ok((pods.iter().filter(waits).count() == count, pods))
    };
    world.wait_for(DEADLINE * 2, &format!("{count} pods to wait for their keys"), look).await?;
    Ok(())
}

/// The Job that runs a workflow, with the double as its API.
fn runs_workflow(world: &World) -> anyhow::Result<Vec<Value>> {
    world.cluster.curl()?;
    let mut job = example("run-workflow/job.yaml")?;
    let variables = job[0]["spec"]["template"]["spec"]["containers"][0]["env"].as_array_mut().context("no env")?;
    let url = variables.iter_mut().find(|variable| variable["name"] == "CYBERUN_API_URL").context("no API URL")?;
    url["value"] = world.stub.api_url().as_str().into();
    Ok(job)
}

#[test]
fn jobs_applied_before_the_upload_run_by_themselves_once_their_keys_are_there() -> anyhow::Result<()> {
    with_pods(OPERATOR, "Jobs that read keys", async |world| {
        world.cluster.busybox()?;
        world.operator().await?;
        for job in [example("quickstart/job.yaml")?, example("job/job.yaml")?, runs_workflow(world)?] {
            apply(world, &job)?;
        }
        all_wait(world, 3).await?;

        world.stub.arm(Rule::always(Step::Presign, Fault::status(503)).for_file("prompt.txt"));
        quickstart(world).await?;
        let first = done(world, "portrait").await?;
        let key = world.entry("portrait-keys", "photo").await?.context("no key of the photo")?;
        assert_eq!(first.trim(), format!("run the workflow with photo={key}"), "one key of two is enough for it");
        let answer = done(world, "run-portrait").await?;
        assert!(answer.contains("task_id") && answer.trim_end().ends_with("202"), "{answer}");
        let [run] = &world.calls(Step::Run)[..] else { anyhow::bail!("not one run: {:?}", world.calls(Step::Run)) };
        assert_eq!(run.path, "/api/v1/r/workflows/slug/portrait/run");
        assert_eq!(run.parameters, Some(json!({"photo": key})));
        assert_eq!(run.credential.as_deref(), Some("integration-1"));
        assert!(world.entry("portrait-keys", "keys.json").await?.is_none());
        assert!(world.read("Job", "portrait-all-keys").await?["status"]["succeeded"].is_null(), "it takes all keys");

        world.stub.clear_faults();
        let all: Value = serde_json::from_str(&done(world, "portrait-all-keys").await?)?;
        let upload = world.available("portrait").await?;
        for name in ["photo", "prompt"] {
            assert_eq!(all[name]["fileKey"].as_str(), test_support::key_of(&upload, name));
        }
        Ok(())
    })
}

#[test]
fn a_job_that_waits_in_an_init_container_starts_once_the_file_upload_is_available() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a Job that waits", async |world| {
        world.cluster.busybox()?;
        let image = world.cluster.image()?.to_owned();
        let mut waits = example("wait/job.yaml")?;
        let job = waits.last_mut().context("no Job")?;
        job["spec"]["template"]["spec"]["initContainers"][0]["image"] = image.into();
        apply(world, &waits)?;
        let waiting = async || {
            let pods = world.list("Pod").await?;
            let running = |pod: &Value| pod["status"]["initContainerStatuses"][0]["state"]["running"].is_object();
            Ok((pods.iter().any(running), pods))
        };
        world.wait_for(DEADLINE * 3, "the init container to wait", waiting).await?;
        world.operator().await?;
        quickstart(world).await?;
        let said = done(world, "portrait-wait").await?;
        let key = world.entry("portrait-keys", "photo").await?.context("no key of the photo")?;
        assert_eq!(said.trim(), format!("run the workflow with photo={key}"));
        let arguments = ["logs", "--namespace", &world.namespace, "job/portrait-wait", "--container=wait"];
        let lines = kubectl(world.cluster, arguments, "")?;
        let (first, last) = (lines.lines().next().unwrap_or_default(), lines.lines().last().unwrap_or_default());
        assert_eq!(first, format!("{}/portrait: does not exist yet", world.namespace), "{lines}");
        assert_eq!(last, format!("{}/portrait: Available", world.namespace), "{lines}");
        Ok(())
    })
}

#[test]
fn the_role_of_the_waiting_example_suffices() {
    scenario(OPERATOR, async |world| {
        let documents = example("wait/job.yaml")?;
        let role = documents.iter().find(|document| document["kind"] == "Role").context("no Role")?;
        let container = &documents[3]["spec"]["template"]["spec"]["initContainers"][0];
        let mut arguments: Vec<&str> =
            container["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let namespace = world.namespace.clone();
        arguments.extend(["--namespace", &namespace]);
        let waiting =
            test_support::Person::with_rules(world, "waits", role["rules"].clone()).await?.starts(&arguments)?;
        quickstart(world).await?;
        world.operator().await?;
        let said = test_support::ended(waiting).await?;
        assert_eq!((said.code, said.stdout.as_str()), (Some(0), ""), "{said:?}");
        Ok(())
    });
}

#[test]
fn the_role_of_the_nightly_example_suffices() {
    scenario(OPERATOR, async |world| {
        let (jobs, others): (Vec<_>, Vec<_>) =
            example("cron-job/cronjob.yaml")?.into_iter().partition(|document| document["kind"] == "CronJob");
        apply(world, &others)?;
        let rights: Vec<_> = others.iter().map(Value::to_string).collect();
        world.granted_by(&rights.join("\n---\n")).await?;

        let container = &jobs[0]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["command"], json!(["kubectl"]));
        let words: Vec<_> = container["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let [annotate, overwrite, upload, value] = words[..] else { anyhow::bail!("other words: {words:?}") };
        let value = value.replace("$(POD)", "nightly-upload-1");
        let account = format!("--as=system:serviceaccount:{}:nightly-upload", world.namespace);
        let namespace = format!("--namespace={}", world.namespace);
        kubectl(world.cluster, [annotate, overwrite, upload, &value, &account, &namespace], "")?;
        let upload = world.read("FileUpload", "nightly").await?;
        assert_eq!(upload["metadata"]["annotations"]["cyberun.cloud/requested-at"], "nightly-upload-1");
        Ok(())
    });
}

#[test]
fn the_role_of_the_nightly_folder_example_suffices() {
    scenario(OPERATOR, async |world| {
        let documents = example("folder/nightly.yaml")?;
        let of_kind = |kind: &str| documents.iter().find(|document| document["kind"] == kind).context("it is missing");
        let container = &of_kind("CronJob")?["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0];
        let mut arguments: Vec<&str> =
            container["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        assert_eq!(arguments[..2], ["refresh", "render"]);
        let namespace = world.namespace.clone();
        arguments.extend(["--namespace", &namespace]);
        world.credential().await?;
        world.config_map("prompts", &[("prompt.txt", "soft morning light")]).await?;
        // No node may run here, so that the folder becomes a file of a ConfigMap.
        world.file_upload("render", json!({"files": [test_support::file("prompt", "prompts", "prompt.txt")]})).await?;
        world.operator().await?;
        let key = test_support::key_of(&world.available("render").await?, "prompt").map(str::to_owned);
        let nightly = test_support::Person::with_rules(world, "nightly", of_kind("Role")?["rules"].clone()).await?;
        let said = nightly.runs(&arguments).await?;
        assert_eq!(said.code, Some(0), "{said:?}");
        let upload = world.read("FileUpload", "render").await?;
        let new = test_support::key_of(&upload, "prompt").context("no key")?;
        assert_ne!(key.as_deref(), Some(new));
        assert_eq!(said.stdout.trim(), format!("prompt={new}"));
        Ok(())
    });
}

#[test]
fn a_run_that_is_refused_fails_its_job_and_is_not_repeated() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a Job that runs a workflow", async |world| {
        world.operator().await?;
        quickstart(world).await?;
        world.available("portrait").await?;
        world.stub.fault_always(Step::Run, Fault::status(500));
        apply(world, &runs_workflow(world)?)?;
        let failed =
            |job: &Value| job["status"]["failed"] == 1 && job["status"]["conditions"].to_string().contains("Failed");
        let look = async || world.read("Job", "run-portrait").await.map(|job| (failed(&job), job));
        world.wait_for(DEADLINE * 3, "the Job to fail", look).await?;
        assert_eq!(world.calls(Step::Run).len(), 1, "a second request could be a second task");
        Ok(())
    })
}

#[test]
fn every_manifest_of_the_examples_is_taken_by_the_api_server_as_it_stands() {
    scenario(OPERATOR, async |world| {
        let mut taken = 0;
        for entry in std::fs::read_dir(EXAMPLES)? {
            let folder = entry?.path();
            let others = ["README.md", "external-secret", "flux", "github-actions", "gitlab-ci", "kustomize"];
            if others.iter().any(|other| folder.ends_with(other)) {
                continue;
            }
            for file in std::fs::read_dir(folder)? {
                let file = file?.path();
                for document in documents(&file)?.iter().flat_map(of_the_api_server) {
                    create(world, "--dry-run=server", &document).with_context(|| file.display().to_string())?;
                    taken += 1;
                }
            }
        }
        assert!(taken >= 24, "only {taken} objects were found");
        let unknown = json!({
            "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload", "metadata": {"name": "x"},
            "spec": {"files": [test_support::file("a", "b", "c")], "outputs": {}},
        });
        assert!(create(world, "--dry-run=server", &unknown).is_err(), "a field that is not there is refused");
        Ok(())
    });
}

/// What of a document the API server has a definition for: itself, or the manifests that an engine makes of it.
pub(crate) fn of_the_api_server(document: &Value) -> Vec<Value> {
    let version = document["apiVersion"].as_str().unwrap_or_default();
    if !version.starts_with("argoproj.io/") && !version.starts_with("tekton.dev/") {
        return vec![document.clone()];
    }
    let templates = document["spec"]["templates"].as_array().into_iter().flatten();
    let manifests = templates.filter_map(|template| template["resource"]["manifest"].as_str());
    // As Argo fills in.
    let filled = manifests.map(|manifest| manifest.replace("{{workflow.name}}", "workflow-1"));
    filled.map(|manifest| serde_yaml::from_str(&manifest).unwrap_or_default()).collect()
}

/// The values that a GitOps tool gives the chart, as `helm --set-json` takes them.
fn values_of(file: &str, kind: &str, path: &str) -> anyhow::Result<Vec<String>> {
    let documents = example(file)?;
    let document = documents.iter().find(|document| document["kind"] == kind).context("not there")?;
    let values = document.pointer(path).and_then(Value::as_object).context("no values")?;
    Ok(values.iter().map(|(name, value)| format!("{name}={value}")).collect())
}

#[test]
fn what_flux_and_argo_cd_install_is_taken_and_does_not_drift() {
    scenario(OPERATOR, async |world| {
        let of_argo = values_of("argo-cd/application.yaml", "Application", "/spec/source/helm/valuesObject")?;
        let values = values_of("flux/operator.yaml", "HelmRelease", "/spec/values")?;
        assert_eq!(values, of_argo, "both install the same");
        // Beside the other operators of this cluster, and without Pods of an image that is nowhere.
        let name = format!("fullnameOverride={:?}", world.namespace);
        let own = [name.as_str(), "crds.install=false", "admissionPolicy.enabled=true", "replicas=0"];
        let values: Vec<_> = values.iter().map(String::as_str).chain(own).collect();
        let manifests = world.cluster.chart(&world.namespace, &values)?;
        assert!(manifests.contains("image: \"registry.example.com/fileupload-operator:"), "{manifests}");
        let manager = "--field-manager=gitops";
        kubectl(world.cluster, ["apply", "--server-side", manager, "--filename=-"], &manifests)?;
        let deployment = format!("deployment/{}", world.namespace);
        let namespace = format!("--namespace={}", world.namespace);
        kubectl(world.cluster, ["rollout", "status", &deployment, &namespace, "--timeout=60s"], "")?;
        // It fails where anything differs.
        let diff = kubectl(world.cluster, ["diff", "--server-side", manager, "--filename=-"], &manifests)?;
        assert_eq!(diff, "");
        kubectl(world.cluster, ["delete", "--wait=false", "--filename=-"], &manifests)?;
        Ok(())
    });
}

#[test]
fn a_config_map_that_kustomize_generates_is_found_under_its_generated_name() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        let built = kubectl(world.cluster, ["kustomize", &format!("{EXAMPLES}/kustomize")], "")?;
        assert!(built.contains("name: prompts-"), "{built}");
        kubectl(world.cluster, ["apply", "--namespace", &world.namespace, "--filename", "-"], &built)?;
        world.operator().await?;
        let upload = world.available("prompt").await?;
        assert_eq!(state(&upload, "Ready"), "True");
        Ok(())
    });
}
