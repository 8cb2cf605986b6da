//! Plays Job controller and kubelet: each Job of the operator gets its Pods, they run, report and end, and so does it.
//!
//! Nothing takes time on purpose, so what is measured is how fast the operator goes on. When the operator deletes a Job
//! the garbage collector, which does run, removes its Pods.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use futures::StreamExt as _;
use k8s_openapi::api::batch::v1::Job;
use kube::api::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::foreign::NODE;
use crate::hands;
use crate::report;

/// What the operator marks its objects with.
pub(crate) const OURS: &str = "app.kubernetes.io/managed-by=fileupload-operator";
const LABEL_FILE_UPLOAD: &str = "cyberun.cloud/fileupload";

/// What became of the Jobs so far.
#[derive(Default)]
struct Record {
    /// Jobs that were seen, by uid.
    jobs: BTreeSet<String>,
    /// When the first Job of a FileUpload was seen, by its `NAMESPACE/NAME`.
    first: BTreeMap<String, Instant>,
    /// The keys that were reported, by the `NAMESPACE/NAME` of the FileUpload.
    keys: BTreeMap<String, Vec<String>>,
    /// What went wrong here: then no figure is worth anything.
    trouble: Option<String>,
}

/// The running play.
pub(crate) struct Kubelet {
    record: Arc<Mutex<Record>>,
    task: JoinHandle<()>,
}

fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kubelet {
    pub(crate) fn start(client: &Client) -> Self {
        let record = Arc::<Mutex<Record>>::default();
        let (client, writes) = (client.clone(), Arc::clone(&record));
        let config = watcher::Config::default().labels(OURS);
        let mut jobs = watcher(Api::<Job>::all(client.clone()), config).default_backoff().applied_objects().boxed();
        let task = tokio::spawn(async move {
            while let Some(event) = jobs.next().await {
                let Ok(job) = event else { continue };
                let mut record = lock(&writes);
                if !record.jobs.insert(job.uid().unwrap_or_default()) {
                    continue;
                }
                record.first.entry(upload_of(&job)).or_insert_with(Instant::now);
                drop(record);
                let (client, record) = (client.clone(), Arc::clone(&writes));
                tokio::spawn(async move {
                    if let Err(error) = run(&client, &job, &record).await {
                        lock(&record).trouble.get_or_insert(format!("Job {}: {error:#}", job.name_any()));
                    }
                });
            }
        });
        Self { record, task }
    }

    /// How many Jobs there were; an error if one could not be played.
    pub(crate) fn jobs(&self) -> anyhow::Result<usize> {
        let record = lock(&self.record);
        match &record.trouble {
            Some(trouble) => anyhow::bail!("playing the kubelet failed: {trouble}"),
            None => Ok(record.jobs.len()),
        }
    }

    /// When the first Job of the FileUpload of this `NAMESPACE/NAME` was seen.
    pub(crate) fn first_job(&self, upload: &str) -> Option<Instant> {
        lock(&self.record).first.get(upload).copied()
    }

    /// The keys that were reported for the FileUpload of this `NAMESPACE/NAME`.
    pub(crate) fn keys(&self, upload: &str) -> Vec<String> {
        lock(&self.record).keys.get(upload).cloned().unwrap_or_default()
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(client: &Client, job: &Job, record: &Mutex<Record>) -> anyhow::Result<()> {
    let began = now()?;
    let spec = job.spec.as_ref().context("a Job without a spec")?;
    let shards = usize::try_from(spec.completions.unwrap_or(1))?;
    let container = spec.template.spec.as_ref().and_then(|pod| pod.containers.first());
    let arguments = container.and_then(|container| container.args.clone()).unwrap_or_default();
    let files = report::assignments(&arguments);
    ensure!(!files.is_empty(), "its arguments name no file that can be read here: {arguments:?}");
    let is_indexed = spec.completion_mode.as_deref() == Some("Indexed");
    for index in 0..shards {
        let mine = report::share(files.len(), shards, index);
        let (report, keys) = report::write(&files, mine, &job.uid().unwrap_or_default(), began);
        if !run_pod(client, job, is_indexed.then_some(index), &report, keys, record).await? {
            return Ok(()); // the Job is gone
        }
    }
    let condition = |kind: &str| {
        let time = time(began);
        json!({
            "type": kind, "status": "True", "reason": "CompletionsReached", "lastProbeTime": time,
            "lastTransitionTime": time, "message": "Reached expected number of succeeded pods",
        })
    };
    let mut status = json!({
        "startTime": time(began), "completionTime": time(now()?), "succeeded": shards, "ready": 0,
        "uncountedTerminatedPods": {}, "conditions": [condition("SuccessCriteriaMet"), condition("Complete")],
    });
    if is_indexed {
        let last = shards.saturating_sub(1);
        status["completedIndexes"] = if last == 0 { json!("0") } else { json!(format!("0-{last}")) };
    }
    // A report may be enough for the operator to delete the Job.
    is_there(hands::patch_status(client, "Job", &job.namespace().unwrap_or_default(), &job.name_any(), status).await)?;
    Ok(())
}

/// Creates a Pod, lets it run and end with this report; false if it was removed meanwhile.
async fn run_pod(
    client: &Client,
    job: &Job,
    index: Option<usize>,
    report: &str,
    keys: Vec<String>,
    record: &Mutex<Record>,
) -> anyhow::Result<bool> {
    let pod = hands::create(client, "Pod", pod_of(job, index)?).await?;
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    let running = json!({"running": {"startedAt": time(now()?)}});
    let started = hands::patch_status(client, "Pod", &namespace, &name, status("Running", &running)?).await;
    if !is_there(started)? {
        return Ok(false);
    }
    // Before the operator can know of them.
    lock(record).keys.entry(upload_of(job)).or_default().extend(keys);
    let time = time(now()?);
    let ended = json!({"terminated": {
        "exitCode": 0, "reason": "Completed", "message": report, "startedAt": time, "finishedAt": time,
    }});
    is_there(hands::patch_status(client, "Pod", &namespace, &name, status("Succeeded", &ended)?).await)
}

/// The `NAMESPACE/NAME` of a Job's FileUpload.
fn upload_of(job: &Job) -> String {
    let name = job.labels().get(LABEL_FILE_UPLOAD).cloned().unwrap_or_default();
    format!("{}/{name}", job.namespace().unwrap_or_default())
}

/// Whether the object was there to be changed.
fn is_there(result: kube::Result<()>) -> anyhow::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(kube::Error::Api(refusal)) if refusal.is_not_found() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The Pod that the Job controller would create, given to a node at once.
fn pod_of(job: &Job, index: Option<usize>) -> anyhow::Result<Value> {
    let template = job.spec.as_ref().map(|spec| &spec.template).context("a Job without a spec")?;
    let mut pod = serde_json::to_value(template)?;
    let name = job.name_any();
    pod["spec"]["nodeName"] = NODE.into();
    pod["metadata"]["namespace"] = json!(job.namespace());
    pod["metadata"]["generateName"] = match index {
        Some(index) => {
            let index = index.to_string();
            pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] = json!(index);
            pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] = json!(index);
            pod["spec"]["hostname"] = json!(format!("{name}-{index}"));
            json!(format!("{name}-{index}-"))
        }
        None => json!(format!("{name}-")),
    };
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job.uid(), "controller": true,
        "blockOwnerDeletion": true,
    }]);
    Ok(pod)
}

fn status(phase: &str, state: &Value) -> anyhow::Result<Value> {
    let (time, runs) = (time(now()?), phase == "Running");
    let condition = |kind: &str, is_true: bool| json!({"type": kind, "status": if is_true { "True" } else { "False" }, "lastTransitionTime": time});
    Ok(json!({
        "phase": phase, "startTime": time, "hostIP": "10.0.0.1", "podIP": "10.0.1.1", "podIPs": [{"ip": "10.0.1.1"}],
        "conditions": [
            condition("PodReadyToStartContainers", runs), condition("Initialized", true), condition("Ready", runs),
            condition("ContainersReady", runs), condition("PodScheduled", true),
        ],
        "containerStatuses": [{
            "name": "worker", "image": "bench", "imageID": "bench", "restartCount": 0, "ready": runs, "started": runs,
            "state": state,
        }],
    }))
}

/// Seconds since 1970.
fn now() -> anyhow::Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?)
}

fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}
