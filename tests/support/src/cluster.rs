//! The cluster of this run: who made it, and the chart that is installed into it once.
//!
//! It is found through `TEST_KUBECONFIG` and its companions, which `tests/cluster/run` sets. A plain `KUBECONFIG` is
//! never used: it may be somebody's production.

use std::io::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, bail, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};

/// Where the chart's objects are.
pub const SYSTEM: &str = "fileupload-system";
/// The chart's release, and so its `ServiceAccount`.
pub const RELEASE: &str = "fileupload-operator";

/// What the environment says of the cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its admin's kubeconfig.
    pub kubeconfig: PathBuf,
    /// Requests of service accounts, a JSON object a line; none where the cluster is somebody else's.
    pub audit_log: Option<PathBuf>,
    /// The cluster script, which loads images; none where the cluster is somebody else's.
    pub(crate) script: Option<PathBuf>,
    /// What only our own nodes have; none where there is no node or the cluster is somebody else's.
    pub(crate) pods: Option<Pods>,
    /// kubectl, under whatever name.
    pub kubectl: PathBuf,
    helm: PathBuf,
    /// The manifests of the chart that is installed.
    pub(crate) installed: String,
}

/// What operators run with where they are pods.
#[derive(Clone, Debug)]
pub(crate) struct Pods {
    /// The image under test, loaded into each node; set before any test begins.
    pub(crate) image: String,
    /// The address of this host for pods.
    pub(crate) host: IpAddr,
    /// The folder whose `NODE/logs` hold the logs of pods.
    pub(crate) logs: PathBuf,
}

#[expect(clippy::disallowed_methods, reason = "the one place of the tests that reads the environment")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// How many nodes can run a pod.
pub fn nodes() -> usize {
    environment("TEST_NODES").and_then(|nodes| nodes.parse().ok()).unwrap_or_default()
}

/// Whether what cannot be tried is a failure.
pub(crate) fn in_ci() -> bool {
    environment("CI").as_deref() == Some("true")
}

/// The file to which each test writes how long it took, if anybody wants to know.
pub(crate) fn times() -> Option<PathBuf> {
    environment("TEST_TIMES").map(PathBuf::from)
}

/// The variable by which the cluster script finds what it has to take down.
pub(crate) fn member() -> Option<(&'static str, String)> {
    environment("CLUSTER_MEMBER").map(|folder| ("CLUSTER_MEMBER", folder))
}

fn pods(logs: PathBuf) -> anyhow::Result<Pods> {
    let host = environment("TEST_HOST_IP").context("TEST_HOST_IP is not set")?;
    Ok(Pods { image: String::new(), host: host.parse()?, logs })
}

impl Cluster {
    /// The cluster with the chart in it; the first caller installs it, the others wait.
    pub fn with_chart() -> anyhow::Result<&'static Self> {
        static READY: OnceLock<Result<Cluster, String>> = OnceLock::new();
        let prepare = || {
            let mut cluster = Self::find()?;
            cluster.install_chart()?;
            if cluster.pods.is_some() {
                let image = cluster.image_under_test()?;
                cluster.pods.iter_mut().for_each(|pods| pods.image.clone_from(&image));
            }
            anyhow::Ok(cluster)
        };
        let ready = READY.get_or_init(|| prepare().map_err(|error| format!("{error:#}")));
        ready.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// Whether the nodes have the driver of `tests/cluster/disk`: only our own do.
    pub fn has_disks(&self) -> bool {
        self.pods.is_some()
    }

    /// Another one of our own without nodes, with the chart in it.
    pub(crate) fn at(kubeconfig: PathBuf, audit_log: PathBuf) -> anyhow::Result<Self> {
        let mut cluster = Self { kubeconfig, audit_log: Some(audit_log), pods: None, ..Self::find()? };
        cluster.install_chart()?;
        Ok(cluster)
    }

    pub(crate) fn find() -> anyhow::Result<Self> {
        let path = |name| environment(name).map(PathBuf::from);
        let kubeconfig =
            path("TEST_KUBECONFIG").context("no cluster (TEST_KUBECONFIG is not set): run me by make test")?;
        Ok(Self {
            kubeconfig,
            audit_log: path("TEST_AUDIT_LOG"),
            pods: path("TEST_POD_LOGS").filter(|_| nodes() > 0).map(pods).transpose()?,
            script: path("TEST_CLUSTER"),
            kubectl: path("TEST_KUBECTL").unwrap_or_else(|| "kubectl".into()),
            helm: path("TEST_HELM").unwrap_or_else(|| "helm".into()),
            installed: String::new(),
        })
    }

    /// The admin's client: the hands of a test, never the operator's.
    pub async fn client(&self) -> anyhow::Result<kube::Client> {
        client(Kubeconfig::read_from(&self.kubeconfig)?).await
    }

    /// A client with this token.
    pub(crate) async fn client_with(&self, token: &str) -> anyhow::Result<kube::Client> {
        client(Kubeconfig::from_yaml(&self.kubeconfig_for(token)?)?).await
    }

    /// Where the API server is.
    pub(crate) fn server(&self) -> anyhow::Result<String> {
        let mut command =
            self.kubectl(["config", "view", "--minify", "--output=jsonpath={.clusters[0].cluster.server}"]);
        output(&mut command, "")
    }

    /// A kubeconfig of one account: this cluster, that token.
    pub fn kubeconfig_for(&self, token: &str) -> anyhow::Result<String> {
        let admin = std::fs::read_to_string(&self.kubeconfig)?;
        let mut command = self.kubectl(["config", "view", "--raw", "--minify", "--flatten", "--output", "json"]);
        let view: serde_json::Value = serde_json::from_str(&output(&mut command, &admin)?)?;
        let cluster = &view["clusters"][0]["cluster"];
        let config = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "operator",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "operator", "user": {"token": token}}],
            "contexts": [{"name": "operator", "context": {"cluster": "test", "user": "operator"}}],
        });
        Ok(config.to_string())
    }

    /// The chart's manifests for a namespace but for the operator itself, with these values (`PATH=JSON`).
    pub fn chart_in(&self, namespace: &str, values: &[&str]) -> anyhow::Result<String> {
        let manifests = self.chart(namespace, values)?;
        Ok(manifests.split_inclusive("\n---\n").filter(|manifest| !manifest.contains("\nkind: Deployment\n")).collect())
    }

    /// The chart's Deployment for a namespace, with these values.
    pub fn deployment_in(&self, namespace: &str, values: &[&str]) -> anyhow::Result<serde_json::Value> {
        deployment_of(&self.chart(namespace, values)?)
    }

    /// All of the chart's manifests for a namespace but those of `helm test`, with these values and the repository that
    /// `.ci/image` names.
    pub fn chart(&self, namespace: &str, values: &[&str]) -> anyhow::Result<String> {
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/fileupload-operator");
        let mut command = Command::new(&self.helm);
        command.args(["template", RELEASE, chart, "--namespace", namespace, "--skip-tests"]);
        command.args(["--set-json", "image.repository=\"fileupload-operator\""]);
        command.args(values.iter().flat_map(|value| ["--set-json", value]));
        output(&mut command, "")
    }

    fn install_chart(&mut self) -> anyhow::Result<()> {
        let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {SYSTEM}}}\n");
        kubectl(self, ["apply", "--filename", "-"], &namespace)?;
        // Each operator brings policies of its own: `bounds`.
        self.installed = self.chart_in(SYSTEM, &["admissionPolicy.enabled=false"])?;
        kubectl(self, ["apply", "--namespace", SYSTEM, "--filename", "-"], &self.installed)?;
        kubectl(self, ["wait", "--for=condition=Established", "crd/fileuploads.cyberun.cloud", "--timeout=60s"], "")?;
        Ok(())
    }

    fn kubectl<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(arguments);
        command
    }
}

async fn client(file: Kubeconfig) -> anyhow::Result<kube::Client> {
    let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    // A proxy of the environment is for the way out, not for this cluster.
    config.proxy_url = None;
    Ok(kube::Client::try_from(config)?)
}

/// The Deployment among the chart's manifests.
pub(crate) fn deployment_of(manifests: &str) -> anyhow::Result<serde_json::Value> {
    let deployment = manifests.split("\n---\n").find(|manifest| manifest.contains("\nkind: Deployment\n"));
    Ok(serde_yaml::from_str(deployment.context("the chart has no Deployment")?)?)
}

/// What kubectl prints as the cluster's admin; its complaint is the error.
pub fn kubectl<const N: usize>(cluster: &Cluster, arguments: [&str; N], input: &str) -> anyhow::Result<String> {
    output(&mut cluster.kubectl(arguments), input)
}

/// What helm prints as the cluster's admin; its complaint is the error.
pub fn helm(cluster: &Cluster, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(&cluster.helm);
    output(command.arg("--kubeconfig").arg(&cluster.kubeconfig).args(arguments), "")
}

pub(crate) fn output(command: &mut Command, input: &str) -> anyhow::Result<String> {
    let what = command.get_program().display().to_string();
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {what}"))?;
    let Some(mut stdin) = child.stdin.take() else { bail!("{what} has no standard input") };
    // Whoever does not read its input is judged by its answer.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8(output.stdout)?)
}
