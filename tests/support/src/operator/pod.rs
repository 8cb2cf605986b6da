//! The operator as a pod: the chart's Deployment, under a name of the test's own.
//!
//! An end is scaling to 0, a start scaling to 1. A kill is a real SIGKILL of the process, by this host. A kubelet starts
//! again what ends by itself, so the process is stopped first, where it stands, until the kubelet has given it up: it
//! does nothing more, and of the kubelet's SIGTERM it never hears.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::TryStreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt as _};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{END, START};
use crate::pod_logs::PodLogs;
use crate::{http, pods};

/// The chart's port.
const PORT: u16 = 8080;

/// A running pod, or one that was ended.
pub struct Pod {
    deployments: Api<Deployment>,
    pods: Api<v1::Pod>,
    name: String,
    logs: Arc<PodLogs>,
    log_prefix: String,
    running: Option<Running>,
    /// The names of those that were killed or asked to end.
    over: Vec<String>,
    /// How the one that was asked to end did end.
    end: Option<JoinHandle<anyhow::Result<ExitStatus>>>,
}

struct Running {
    pod: String,
    address: IpAddr,
    process: Pid,
}

impl Pod {
    /// Creates the Deployment and waits until its pod is ready.
    pub(crate) async fn start(
        client: Client,
        namespace: &str,
        deployment: Value,
        logs: Arc<PodLogs>,
    ) -> anyhow::Result<Self> {
        let deployments = Api::namespaced(client.clone(), namespace);
        let created: Deployment =
            deployments.create(&PostParams::default(), &serde_json::from_value(deployment)?).await?;
        let name = created.name_any();
        let mut pod = Self {
            deployments,
            pods: Api::namespaced(client, namespace),
            log_prefix: format!("{namespace}_{name}-"),
            name,
            logs,
            running: None,
            over: Vec::new(),
            end: None,
        };
        if let Err(error) = pod.ready().await {
            let log = pod.log();
            pod.remove().await?;
            return Err(error.context(format!("it logged: {log}")));
        }
        Ok(pod)
    }

    pub(super) async fn restart(&mut self) -> anyhow::Result<()> {
        self.scale(1).await?;
        self.ready().await
    }

    pub(super) async fn kill_9(&mut self) -> anyhow::Result<()> {
        let running = self.running.take().context("the operator does not run")?;
        kill_process(running.process, Signal::STOP).context("cannot stop the operator")?;
        self.scale(0).await?;
        let given_up = async {
            while pods::lives(running.process) && !pods::is_pending(running.process, Signal::TERM) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        // A kubelet that was not heard of by then has long seen that the pod is deleted, and starts nothing in it again.
        let _ = timeout(END / 2, given_up).await;
        match kill_process(running.process, Signal::KILL) {
            // The kubelet's own SIGKILL came first.
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => return Err(error).context("cannot kill the operator"),
        }
        let dead = async {
            while pods::lives(running.process) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(END, dead).await.context("the operator does not die")?;
        self.over.push(running.pod);
        Ok(())
    }

    pub(super) async fn ask_to_end(&mut self) -> anyhow::Result<()> {
        let running = self.running.take().context("the operator does not run")?;
        // From before the request, as the exit code is told only until the pod is gone.
        let now = self.pods.list_metadata(&ListParams::default().limit(1)).await?.metadata.resource_version;
        self.end = Some(tokio::spawn(exit_status(self.pods.clone(), running.pod.clone(), now.unwrap_or_default())));
        self.over.push(running.pod);
        self.scale(0).await
    }

    pub(super) async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let end = self.end.take().context("the operator was not asked to end")?;
        timeout(END, end).await.context("the operator does not end")??
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let running = self.running.as_ref().context("the operator does not run")?;
        http::get(SocketAddr::new(running.address, PORT), path).await
    }

    pub(super) fn process(&self) -> anyhow::Result<Pid> {
        Ok(self.running.as_ref().context("the operator does not run")?.process)
    }

    pub(super) fn runs(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn log(&self) -> String {
        self.logs.text(&self.log_prefix)
    }

    /// The token under which it talks to the API server.
    pub(crate) fn token(&self) -> anyhow::Result<String> {
        let running = self.running.as_ref().context("the operator does not run")?;
        let root = format!("/proc/{}/root", running.process.as_raw_nonzero());
        Ok(std::fs::read_to_string(root + "/var/run/secrets/kubernetes.io/serviceaccount/token")?)
    }

    /// Deletes the Deployment; its pod goes some time later.
    pub(crate) async fn remove(&mut self) -> anyhow::Result<()> {
        self.running = None;
        self.deployments.delete(&self.name, &DeleteParams::background()).await?;
        Ok(())
    }

    async fn scale(&self, replicas: u32) -> anyhow::Result<()> {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        self.deployments.patch_scale(&self.name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let ready = async {
            loop {
                if let Some(running) = self.look().await? {
                    let answer = http::get(SocketAddr::new(running.address, PORT), "/readyz").await;
                    if matches!(answer, Ok((200, _))) {
                        return anyhow::Ok(running);
                    }
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        self.running = Some(timeout(START, ready).await.context("the operator does not become ready")??);
        Ok(())
    }

    /// The pod that is to be the operator, once its process runs.
    async fn look(&self) -> anyhow::Result<Option<Running>> {
        let of_deployment = ListParams::default().labels(&format!("app.kubernetes.io/name={}", self.name));
        let pods = self.pods.list(&of_deployment).await?;
        let Some(pod) = pods.items.into_iter().find(|pod| !self.over.contains(&pod.name_any())) else {
            return Ok(None);
        };
        let name = pod.name_any();
        let status = pod.status.unwrap_or_default();
        let container = status.container_statuses.unwrap_or_default().into_iter().next();
        let Some((container, state)) = container.and_then(|it| it.state.clone().map(|state| (it, state))) else {
            return Ok(None);
        };
        if container.restart_count > 0 || state.terminated.is_some() {
            bail!("the operator ended at its start: {state:?}, before: {:?}", container.last_state);
        }
        let (Some(_), Some(id), Some(address)) = (state.running, container.container_id, status.pod_ip) else {
            return Ok(None);
        };
        Ok(Some(Running { pod: name, address: address.parse()?, process: pods::main_process(&id)? }))
    }
}

/// How a pod's container ended, told when the pod is gone.
async fn exit_status(pods: Api<v1::Pod>, name: String, since: String) -> anyhow::Result<ExitStatus> {
    let only = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut events = Box::pin(pods.watch(&only, &since).await?);
    let mut code = None;
    while let Some(event) = events.try_next().await? {
        let (WatchEvent::Modified(pod) | WatchEvent::Deleted(pod)) = &event else { continue };
        let status = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref()?.first()?.state.as_ref());
        code = status.and_then(|state| state.terminated.as_ref()).map(|end| end.exit_code).or(code);
        if matches!(event, WatchEvent::Deleted(_)) {
            let code = code.with_context(|| format!("pod {name} is gone and did not tell how it ended"))?;
            return Ok(ExitStatus::from_raw(code << 8));
        }
    }
    bail!("the watch of pod {name} ended before it did")
}
