//! All that one test has for itself: a namespace, a double of Cyberun, an operator, and the admin's client.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use cyberun_stub::{Call, Credential, Kind, Options, Step, Stub};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use serde_json::Value;
use tempfile::TempDir;

use crate::alone::Alone;
use crate::audit::{self, Request};
use crate::cluster::{Cluster, RELEASE, SYSTEM, deployment_of, kubectl};
use crate::operator::Operator;
use crate::operator::pod::Pod;
use crate::operator::process::Process;
use crate::pod_logs::PodLogs;
use crate::space::{Secrets, Space};
use crate::untried::not_tried;
use crate::wire::Wire;

/// What a test acts in: a [`Space`] with all else that it has.
pub struct World {
    space: Space,
    /// The test's own double of Cyberun.
    pub stub: Stub,
    /// A folder for the test's files.
    pub folder: TempDir,
    pub(crate) binary: PathBuf,
    /// The cluster, if it is this test's alone.
    pub(crate) alone: Option<Alone>,
    /// The wire through which the operator reaches the API server, if there is one between.
    wire: Option<Wire>,
    /// The operator, once it was started.
    pub operator: Option<Operator>,
    /// Who the operator is to the API server.
    pub(crate) account: String,
    /// The namespace that the operator runs in.
    system: String,
    pub(crate) refusals_expected: bool,
    /// The test's further namespaces.
    pub(crate) others: Vec<Space>,
    /// The logs of the test's pods, where they can be read.
    pub(crate) logs: Option<Arc<PodLogs>>,
    /// The `PersistentVolumes` that go with the test.
    pub(crate) volumes: Vec<String>,
    /// Node and key of each taint that goes with the test.
    pub(crate) taints: Vec<(String, String)>,
}

impl Deref for World {
    type Target = Space;

    fn deref(&self) -> &Space {
        &self.space
    }
}

/// The arguments of a Deployment's operator.
fn arguments_of(deployment: &Value) -> anyhow::Result<Vec<String>> {
    Ok(serde_json::from_value(deployment["spec"]["template"]["spec"]["containers"][0]["args"].clone())?)
}

impl World {
    pub(crate) async fn new(
        cluster: &'static Cluster,
        binary: &str,
        name: &str,
        mut options: Options,
    ) -> anyhow::Result<Self> {
        let secrets = Secrets::default();
        let space = Space::new(cluster, cluster.client().await?, namespace_of(name), secrets.clone()).await?;
        if let Some(pods) = &cluster.pods {
            options.bind = pods.host;
        }
        let stub = Stub::start(options).await?;
        for kind in Kind::ALL {
            secrets.add(stub.credential(kind).token());
        }
        let (folder, binary) = (TempDir::new()?, binary.into());
        let prefixes = vec![format!("{}_", space.namespace), format!("{SYSTEM}_{}-", space.namespace)];
        let logs = cluster.pods.as_ref().map(|pods| PodLogs::follow(&pods.logs, prefixes));
        Ok(Self {
            space,
            stub,
            folder,
            binary,
            alone: None,
            wire: None,
            operator: None,
            account: String::new(),
            system: SYSTEM.to_owned(),
            refusals_expected: false,
            others: Vec::new(),
            logs,
            volumes: Vec::new(),
            taints: Vec::new(),
        })
    }

    /// Starts the operator under the chart's account, for the namespaces that the test has by now.
    pub async fn operator(&mut self) -> anyhow::Result<&mut Operator> {
        if self.operator.is_none() {
            self.granted_by(&self.cluster.installed).await?;
        }
        self.operator_as(SYSTEM, RELEASE).await
    }

    /// As [`World::operator`], under another account, unless one runs already.
    pub async fn operator_as(&mut self, namespace: &str, account: &str) -> anyhow::Result<&mut Operator> {
        if self.operator.is_none() {
            self.start(namespace, account, &[]).await?;
        }
        self.operator.as_mut().context("the operator was just started")
    }

    /// As [`World::operator`], under the account of a release that serves its own namespace alone.
    pub async fn operator_of(&mut self, space: &Space, account: &str) -> anyhow::Result<&mut Operator> {
        let only = format!("watchNamespaces={:?}", [&space.namespace]);
        self.start(&space.namespace, account, &[&only]).await?;
        self.operator.as_mut().context("the operator was just started")
    }

    /// As [`World::operator`], with these values of the chart (`PATH=JSON`) and with the rights of such a chart alone,
    /// under an account of the test's own.
    pub async fn operator_with(&mut self, values: &[&str]) -> anyhow::Result<&mut Operator> {
        let (namespace, account) = (self.namespace.clone(), format!("{}-account", self.namespace));
        let own = [format!("fullnameOverride={:?}", self.namespace), format!("serviceAccount.name={account:?}")];
        let own = own.iter().map(String::as_str).chain(["crds.install=false", "rbac.aggregateToUserRoles=false"]);
        let namespaces = format!("watchNamespaces={:?}", self.served());
        let all: Vec<_> = own.chain([namespaces.as_str()]).chain(values.iter().copied()).collect();
        let manifests = self.cluster.chart_in(&namespace, &all)?;
        kubectl(self.cluster, ["apply", "--filename", "-"], &manifests)?;
        self.granted_by(&manifests).await?;
        self.start(&namespace, &account, values).await?;
        self.operator.as_mut().context("the operator was just started")
    }

    /// Starts the operator under the chart's account for all namespaces, with these values of the chart; only in a
    /// cluster that is this test's alone.
    pub async fn operator_everywhere(&mut self, values: &[&str]) -> anyhow::Result<&mut Operator> {
        anyhow::ensure!(self.alone.is_some(), "it would serve the namespaces of other tests");
        self.granted_by(&self.cluster.installed).await?;
        let all: Vec<_> = ["watchNamespaces=[]"].into_iter().chain(values.iter().copied()).collect();
        self.start(SYSTEM, RELEASE, &all).await?;
        self.operator.as_mut().context("the operator was just started")
    }

    /// Puts a wire between the API server and an operator that is started from now on.
    pub async fn wire(&mut self) -> anyhow::Result<&Wire> {
        let server = self.cluster.server()?;
        let address = server.trim_start_matches("https://").parse().context("the API server has no plain address")?;
        Ok(self.wire.insert(Wire::to(address).await?))
    }

    /// One more operator with the arguments of the one that was started last, beside it; only where it is a process.
    pub async fn another_operator(&self, values: &[&str]) -> anyhow::Result<Operator> {
        let account = self.account.rsplit(':').next().unwrap_or_default();
        let all: Vec<_> = ["watchNamespaces=[]"].into_iter().chain(values.iter().copied()).collect();
        let deployment = deployment_of(&self.manifests(&self.system, account, &all)?)?;
        let folder = self.folder.path().join("another");
        std::fs::create_dir_all(&folder)?;
        std::fs::copy(self.folder.path().join("kubeconfig"), folder.join("kubeconfig"))?;
        let process = Process::start(&self.binary, &folder, &arguments_of(&deployment)?).await?;
        Ok(Operator::Process(Box::new(process)))
    }

    /// Another operator is the one of this test from now on; returns the one that was.
    pub fn exchange_operator(&mut self, other: Operator) -> anyhow::Result<Operator> {
        self.operator.replace(other).context("there is no operator")
    }

    async fn start(&mut self, namespace: &str, account: &str, values: &[&str]) -> anyhow::Result<()> {
        self.account = format!("system:serviceaccount:{namespace}:{account}");
        namespace.clone_into(&mut self.system);
        let manifests = self.manifests(namespace, account, values)?;
        self.bound_by(&manifests).await?;
        let deployment = deployment_of(&manifests)?;
        self.operator = Some(if let Some(logs) = self.logs.clone() {
            let pod = Pod::start(self.client.clone(), namespace, deployment, logs).await?;
            self.secrets.add(&pod.token()?);
            Operator::Pod(Box::new(pod))
        } else {
            let token = self.service_account_token(namespace, account).await?;
            let mut kubeconfig = self.cluster.kubeconfig_for(&token)?;
            if let Some(wire) = &self.wire {
                kubeconfig = kubeconfig.replace(&self.cluster.server()?, &format!("https://{}", wire.address()));
            }
            std::fs::write(self.folder.path().join("kubeconfig"), kubeconfig)?;
            let arguments = arguments_of(&deployment)?;
            Operator::Process(Box::new(Process::start(&self.binary, self.folder.path(), &arguments).await?))
        });
        Ok(())
    }

    /// The chart with an operator for this test alone.
    fn manifests(&self, namespace: &str, account: &str, values: &[&str]) -> anyhow::Result<String> {
        let name = &self.namespace;
        let image = self.cluster.pods.as_ref().and_then(|pods| pods.image.rsplit_once(':'));
        let (repository, tag) = image.unwrap_or(("none", "none"));
        let mut own = vec![
            format!("nameOverride={name:?}"),
            format!("fullnameOverride={name:?}"),
            format!("watchNamespaces={:?}", self.served()),
            format!("serviceAccount={{\"create\": false, \"name\": {account:?}}}"),
            format!("image={{\"repository\": {repository:?}, \"tag\": {tag:?}}}"),
            format!("apiUrl={:?}", self.stub.api_url().as_str()),
            "allowHttp=true".to_owned(),
            // Other nodes are left to what tests do with them.
            "nodeSelector={\"kubernetes.io/hostname\": \"node-1\"}".to_owned(),
            "resources.requests={\"cpu\": \"1m\", \"memory\": \"16Mi\"}".to_owned(),
            // Each test has an operator of its own, under an account that they share.
            "replicas=1".to_owned(),
            "leaderElection.enabled=false".to_owned(),
            "admissionPolicy.enabled=true".to_owned(),
        ];
        own.extend(values.iter().map(|value| (*value).to_owned()));
        self.cluster.chart(namespace, &own.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn served(&self) -> Vec<&str> {
        std::iter::once(&**self).chain(&self.others).map(|space| space.namespace.as_str()).collect()
    }

    /// How the folders of the operator's logs begin.
    pub(crate) fn operator_logs(&self) -> String {
        format!("{}_{}-", self.system, self.namespace)
    }

    /// A token that Kubernetes issues for one of its accounts; it must never be seen anywhere.
    pub async fn service_account_token(&mut self, namespace: &str, account: &str) -> anyhow::Result<String> {
        let request = TokenRequest { spec: TokenRequestSpec::default(), ..TokenRequest::default() };
        let api = Api::<ServiceAccount>::namespaced(self.client.clone(), namespace);
        let answer = api.create_token_request(account, &PostParams::default(), &request).await?;
        let token = answer.status.context("a TokenRequest without a token")?.token;
        self.secrets.add(&token);
        Ok(token)
    }

    /// Puts the double's first integration key into the default Secret.
    pub async fn credential(&mut self) -> anyhow::Result<Credential> {
        let credential = self.stub.credential(Kind::Integration);
        self.secret("cyberun", &[("CYBERUN_API_KEY", credential.token())]).await?;
        Ok(credential)
    }

    /// The calls of one step so far.
    pub fn calls(&self, step: Step) -> Vec<Call> {
        self.stub.snapshot().of(step).cloned().collect()
    }

    /// What the operator asked the API server for in this namespace; none where the cluster keeps that to itself.
    ///
    /// Without it a test says so, and with CI=true it fails.
    pub fn requests(&self) -> anyhow::Result<Option<Vec<Request>>> {
        self.audit(&self.namespace, |request| request.user == self.account && request.namespace == self.namespace)
    }

    /// As [`World::requests`], of anybody but people and the cluster's own parts: logged in a line with this text in it,
    /// a pod's address say, and as asked for.
    pub fn audit(&self, with: &str, matches: impl Fn(&Request) -> bool) -> anyhow::Result<Option<Vec<Request>>> {
        if let Some(log) = &self.cluster.audit_log {
            return Ok(Some(audit::read(log, with, matches)?));
        }
        not_tried("counting requests: TEST_AUDIT_LOG is not set")?;
        Ok(None)
    }

    /// The wire of [`World::wire`].
    pub fn its_wire(&self) -> anyhow::Result<&Wire> {
        self.wire.as_ref().context("there is no wire")
    }

    /// Waits until the operator has looked at every `FileUpload` of the namespace again, and served what came after: it
    /// had its chance to act, and what it did not do it did not want to.
    pub async fn had_its_chance(&self) -> anyhow::Result<()> {
        for turn in ["first", "second"] {
            let touched = format!("{turn}-{}", self.stub.snapshot().calls.len());
            for upload in self.list("FileUpload").await? {
                let name = upload["metadata"]["name"].as_str().unwrap_or_default();
                let patch = serde_json::json!({"metadata": {"annotations": {"test/touched": touched}}});
                self.patch("FileUpload", name, patch).await?;
            }
            let name = format!("sentinel-{turn}");
            let file = crate::file("none", "none", "none");
            self.file_upload(&name, serde_json::json!({"suspend": true, "files": [file]})).await?;
            self.upload(&name, "seen", |upload| upload["status"]["phase"] == "Suspended").await?;
            self.delete("FileUpload", &name).await?;
        }
        Ok(())
    }

    /// Says that this test took a right away on purpose.
    pub fn expect_refusals(&mut self) {
        self.refusals_expected = true;
    }

    /// Ends what would go on without the test, and removes what is not in its namespace.
    pub(crate) async fn clear(&mut self) -> anyhow::Result<()> {
        if let Some(Operator::Pod(mut pod)) = self.operator.take() {
            pod.remove().await?;
        }
        for (node, key) in std::mem::take(&mut self.taints) {
            self.untaint(&node, &key).await?;
        }
        for volume in std::mem::take(&mut self.volumes) {
            self.delete("PersistentVolume", &volume).await?;
        }
        Ok(())
    }

    pub(crate) async fn end(&self) -> anyhow::Result<()> {
        for space in &self.others {
            space.remove().await?;
        }
        self.remove().await
    }
}

/// The test's name, as a namespace and what is named after it can have it, and the process's number, for clusters that live longer than it.
fn namespace_of(test: &str) -> String {
    let name = test.rsplit("::").next().unwrap_or(test).replace('_', "-");
    let name: String = name.chars().take(45).collect();
    format!("{}-{}", name.trim_end_matches('-'), std::process::id())
}
