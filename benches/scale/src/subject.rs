//! The operator that is measured: a process under the chart's own account, with the chart's arguments.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cyberun_stub::Stub;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tempfile::TempDir;
use test_support::{Cluster, Process, RELEASE, SYSTEM};

use crate::options::Options;
use crate::proc::{self, Memory};

/// The last lines of its log that are shown when it fails.
const LAST_LINES: usize = 20;

/// Who it is to the API server.
pub(crate) fn account() -> String {
    format!("system:serviceaccount:{SYSTEM}:{RELEASE}")
}

/// The running operator.
pub(crate) struct Subject {
    process: Process,
    pid: u32,
    folder: TempDir,
}

impl Subject {
    /// Starts it for all namespaces and waits until it is ready.
    pub(crate) async fn start(
        cluster: &Cluster,
        client: &Client,
        stub: &Stub,
        options: &Options,
    ) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        std::fs::write(folder.path().join("kubeconfig"), cluster.kubeconfig_for(&token(client).await?)?)?;
        let values = [&format!("apiUrl={:?}", stub.api_url().as_str()), "allowHttp=true"];
        let deployment = cluster.deployment_in(SYSTEM, &values)?;
        let arguments = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
        let mut arguments: Vec<String> = serde_json::from_value(arguments.clone())?;
        arguments.extend(options.operator_args.iter().filter(|argument| !argument.is_empty()).cloned());
        let process = Process::start(&options.operator, folder.path(), &arguments).await?;
        let pid = process.id().context("the operator ended at its start")?;
        Ok(Self { process, pid, folder })
    }

    /// Its CPU time so far; an error if it has ended.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        proc::cpu(self.pid).with_context(|| format!("the operator does not run; its log ends so:\n{}", self.last_log()))
    }

    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        proc::memory(self.pid)
    }

    /// The last lines of its log.
    pub(crate) fn last_log(&self) -> String {
        let log = self.process.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }

    /// Ends it as Kubernetes would.
    pub(crate) async fn end(&mut self) -> anyhow::Result<()> {
        self.process.ask_to_end()?;
        let status = self.process.ended().await?;
        ensure!(status.success(), "asked to end, the operator ended with {status}:\n{}", self.last_log());
        Ok(())
    }

    /// A client of the same library with the same account and the same settings as the operator's.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        let file: PathBuf = self.folder.path().join("kubeconfig");
        let file = Kubeconfig::read_from(file)?;
        let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        config.proxy_url = None;
        Ok(Client::try_from(config)?)
    }
}

async fn token(client: &Client) -> anyhow::Result<String> {
    let day = TokenRequestSpec { expiration_seconds: Some(86400), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec: day, ..TokenRequest::default() };
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), SYSTEM);
    let answer = accounts.create_token_request(RELEASE, &PostParams::default(), &request).await?;
    Ok(answer.status.context("a TokenRequest without a token")?.token)
}
