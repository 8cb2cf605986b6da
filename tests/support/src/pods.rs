//! Pods of the test's namespace: made, looked into, and signalled from outside as a node would.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::EvictParams;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::DEADLINE;
use crate::world::World;

impl World {
    /// Makes a pod that Pod Security `restricted` admits. What its spec lacks is filled in: the image, which has busybox
    /// as `sh` and `busybox`, an end without delay, and no start after the first.
    pub async fn pod(&self, name: &str, spec: Value) -> anyhow::Result<()> {
        self.default_account().await?;
        self.create("Pod", name, self.pod_body(spec)?).await
    }

    /// What [`World::pod`] creates.
    pub fn pod_body(&self, mut spec: Value) -> anyhow::Result<Value> {
        let image = self.cluster.busybox()?;
        let pod = json!({
            "restartPolicy": "Never", "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        });
        let container = json!({"name": "main", "image": image, "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        }});
        for lacking in spec["containers"].as_array_mut().into_iter().flatten() {
            fill(lacking, &container);
        }
        fill(&mut spec, &pod);
        Ok(json!({"spec": spec}))
    }

    /// Makes a pod that does nothing but hold a claim, on this node if one is named, and waits until it runs.
    pub async fn holder(&self, name: &str, claim: &str, node: Option<&str>) -> anyhow::Result<Value> {
        let selector = node.map(|node| json!({"kubernetes.io/hostname": node}));
        let spec = json!({
            "nodeSelector": selector,
            "containers": [{
                "command": ["busybox", "sleep", "1000"], "volumeMounts": [{"name": "claim", "mountPath": "/claim"}],
            }],
            "volumes": [{"name": "claim", "persistentVolumeClaim": {"claimName": claim}}],
        });
        self.pod(name, spec).await?;
        self.running(name).await
    }

    /// Waits until a pod's container runs: the worker, or else the first.
    pub async fn running(&self, pod: &str) -> anyhow::Result<Value> {
        let runs = |pod: &Value| container(pod)["state"]["running"].is_object();
        self.wait("Pod", pod, &format!("pod {pod} to run"), runs).await
    }

    /// The pods of a Job, by its name.
    pub async fn pods_of(&self, job: &str) -> anyhow::Result<Vec<Value>> {
        let pods = self.list("Pod").await?;
        Ok(pods.into_iter().filter(|pod| pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] == job).collect())
    }

    /// Waits until the namespace has as many Jobs as this, those that are done included.
    pub async fn jobs(&self, count: usize) -> anyhow::Result<Vec<Value>> {
        let counted = async || self.list("Job").await.map(|jobs| (jobs.len() == count, jobs));
        self.wait_for(DEADLINE, &format!("{count} Jobs"), counted).await
    }

    /// Sends a signal to the process that a pod's container was started with, from outside of the container.
    pub async fn signal(&self, pod: &str, signal: Signal) -> anyhow::Result<()> {
        kill_process(self.process_of(pod).await?, signal).with_context(|| format!("cannot signal pod {pod}"))
    }

    /// Tells a pod's init container, which runs, to end.
    pub async fn tell_init(&self, pod: &str) -> anyhow::Result<()> {
        let seen = self.read("Pod", pod).await?;
        let id = seen["status"]["initContainerStatuses"][0]["containerID"].as_str().unwrap_or_default();
        kill_process(main_process(id)?, Signal::TERM).with_context(|| format!("cannot signal pod {pod}"))
    }

    /// Evicts a pod by the Eviction API, as who drains a node does.
    pub async fn evict(&self, pod: &str) -> anyhow::Result<()> {
        let pods = kube::Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        pods.evict(pod, &EvictParams::default()).await.with_context(|| format!("cannot evict pod {pod}"))?;
        Ok(())
    }

    /// Uses up the memory that a pod's container may have, so that the kernel kills its process: what takes the memory
    /// joins the container's group, and the process is made the one to be killed.
    pub async fn starve(&self, pod: &str) -> anyhow::Result<()> {
        let process = self.process_of(pod).await?.as_raw_nonzero();
        fs::write(format!("/proc/{process}/oom_score_adj"), "1000").context("cannot choose what is killed")?;
        let groups = fs::read_to_string(format!("/proc/{process}/cgroup"))?;
        let of_memory = |line: &str| {
            let (_, rest) = line.split_once(':')?;
            let (kinds, path) = rest.split_once(':')?;
            match kinds {
                "" => Some(format!("/sys/fs/cgroup{path}")),
                _ => kinds.split(',').any(|kind| kind == "memory").then(|| format!("/sys/fs/cgroup/memory{path}")),
            }
        };
        // Where there are both, that with a controller comes first.
        let group = groups.lines().find_map(of_memory).context("a container without a group")?;
        let eats = format!("echo $$ > {group}/cgroup.procs && exec dd if=/dev/zero of=/dev/null bs=1G count=1");
        // It is killed as well, once it is alone.
        Command::new("sh").args(["-c", &eats]).stderr(Stdio::null()).status().await?;
        Ok(())
    }

    /// The process that a pod's container was started with, once it runs, as this host numbers it.
    pub async fn process_of(&self, pod: &str) -> anyhow::Result<Pid> {
        let pod = self.running(pod).await?;
        let id = container(&pod)["containerID"].as_str().unwrap_or_default();
        main_process(id)
    }

    /// What the containers of a pod wrote, over all their starts, even if it is gone.
    pub fn pod_log(&self, pod: &str) -> anyhow::Result<String> {
        let logs = self.logs.as_ref().context("TEST_POD_LOGS is not set: the logs of pods cannot be read")?;
        Ok(logs.text(&format!("{}_{pod}_", self.namespace)))
    }
}

/// The status of a pod's worker, which may stand among containers that were injected, or else of its first container.
pub(crate) fn container(pod: &Value) -> &Value {
    let all = pod["status"]["containerStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().find(|status| status["name"] == "worker").or(all.first()).unwrap_or(&Value::Null)
}

/// Adds the fields that an object lacks.
fn fill(object: &mut Value, defaults: &Value) {
    for (key, value) in defaults.as_object().into_iter().flatten() {
        if object[key].is_null() {
            object[key] = value.clone();
        }
    }
}

/// The process that a container was started with: the first of its process namespace.
pub(crate) fn main_process(container: &str) -> anyhow::Result<Pid> {
    let id = container.rsplit('/').next().filter(|id| !id.is_empty()).context("a container without an id")?;
    let of_container = |pid: &u32| {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        groups.contains(id) && is_first(*pid)
    };
    let pid = processes().find(of_container).and_then(|pid| Pid::from_raw(pid.cast_signed()));
    pid.with_context(|| format!("no process of container {id} runs on this host"))
}

/// Whether a signal was sent that the process, stopped as it is, does not hear.
pub(crate) fn is_pending(process: Pid, signal: Signal) -> bool {
    let signals = status(process.as_raw_nonzero().get().cast_unsigned(), "ShdPnd");
    // A process that has ended has none.
    u64::from_str_radix(&signals, 16).unwrap_or_default() & 1 << (signal.as_raw() - 1) != 0
}

/// Whether a process is there: not once it was reaped, when all its threads are gone and its connections closed.
pub(crate) fn lives(process: Pid) -> bool {
    Path::new("/proc").join(process.as_raw_nonzero().to_string()).exists()
}

fn is_first(pid: u32) -> bool {
    status(pid, "NSpid").split_whitespace().last() == Some("1")
}

/// A field of a process's status; empty if it has ended.
pub(crate) fn status(pid: u32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.unwrap_or_default().trim().to_owned()
}

/// Every process that this host sees, those in containers included.
fn processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
