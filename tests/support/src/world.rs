//! All that one test has for itself: a namespace, a double of Cyberun, an operator, and the admin's client.

use std::path::PathBuf;

use anyhow::Context as _;
use cyberun_stub::{Call, Credential, Kind, Options, Step, Stub};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;
use tempfile::TempDir;

use crate::audit::{self, Request};
use crate::cluster::{Cluster, RELEASE, SYSTEM};
use crate::operator::Operator;
use crate::untried::not_tried;

/// What a test acts in.
pub struct World {
    /// The test's own namespace, in which Pod Security `restricted` is enforced.
    pub namespace: String,
    /// The test's own double of Cyberun.
    pub stub: Stub,
    /// The cluster, shared with the other tests.
    pub cluster: &'static Cluster,
    /// The admin's client.
    pub client: kube::Client,
    /// A folder for the test's files.
    pub folder: TempDir,
    pub(crate) binary: PathBuf,
    /// The operator, once it was started.
    pub operator: Option<Operator>,
    /// Who the operator is to the API server.
    account: String,
    pub(crate) refusals_expected: bool,
    /// What must never be seen anywhere.
    pub(crate) secrets: Vec<String>,
}

impl World {
    pub(crate) async fn new(binary: &str, name: &str, options: Options) -> anyhow::Result<Self> {
        let cluster = Cluster::with_chart()?;
        let client = cluster.client().await?;
        let namespace = namespace_of(name);
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        let object = serde_json::from_value(json!({"metadata": {"name": namespace, "labels": labels}}))?;
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await?;
        let stub = Stub::start(options).await?;
        let secrets = Kind::ALL.iter().map(|kind| stub.credential(*kind).token().to_owned()).collect();
        let (folder, binary) = (TempDir::new()?, binary.into());
        Ok(Self {
            namespace,
            stub,
            cluster,
            client,
            folder,
            binary,
            operator: None,
            account: String::new(),
            refusals_expected: false,
            secrets,
        })
    }

    /// Starts the operator under the chart's account, for this namespace alone.
    pub async fn operator(&mut self) -> anyhow::Result<&mut Operator> {
        self.operator_as(SYSTEM, RELEASE).await
    }

    /// As [`World::operator`], under another account, unless one runs already.
    pub async fn operator_as(&mut self, namespace: &str, account: &str) -> anyhow::Result<&mut Operator> {
        if self.operator.is_none() {
            let token = self.service_account_token(namespace, account).await?;
            self.account = format!("system:serviceaccount:{namespace}:{account}");
            std::fs::write(self.folder.path().join("kubeconfig"), self.cluster.kubeconfig_for(&token)?)?;
            let arguments = ["--api-url", self.stub.api_url().as_str(), "--allow-http", "--namespace", &self.namespace];
            let arguments = arguments.map(str::to_owned);
            self.operator = Some(Operator::start(&self.binary, self.folder.path(), &arguments).await?);
        }
        self.operator.as_mut().context("the operator was just started")
    }

    /// A token that Kubernetes issues for one of its accounts; it must never be seen anywhere.
    pub async fn service_account_token(&mut self, namespace: &str, account: &str) -> anyhow::Result<String> {
        let request = TokenRequest { spec: TokenRequestSpec::default(), ..TokenRequest::default() };
        let api = Api::<ServiceAccount>::namespaced(self.client.clone(), namespace);
        let answer = api.create_token_request(account, &PostParams::default(), &request).await?;
        let token = answer.status.context("a TokenRequest without a token")?.token;
        self.secrets.push(token.clone());
        Ok(token)
    }

    /// Puts the double's first integration key into the default Secret.
    pub async fn credential(&mut self) -> anyhow::Result<Credential> {
        let credential = self.stub.credential(Kind::Integration);
        self.secret("cyberun", &[("CYBERUN_API_KEY", credential.token())]).await?;
        Ok(credential)
    }

    /// Makes a Secret, or replaces its content; its values must never be seen anywhere.
    pub async fn secret(&mut self, name: &str, values: &[(&str, &str)]) -> anyhow::Result<()> {
        let tokens = values.iter().filter(|(key, _)| *key == "CYBERUN_API_KEY").map(|(_, value)| (*value).to_owned());
        self.secrets.extend(tokens);
        let data: serde_json::Map<_, _> = values.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        if self.read("Secret", name).await?.is_null() {
            return self.create("Secret", name, json!({"stringData": data})).await;
        }
        self.patch("Secret", name, json!({"data": null, "stringData": data})).await
    }

    /// The calls of one step so far.
    pub fn calls(&self, step: Step) -> Vec<Call> {
        self.stub.snapshot().of(step).cloned().collect()
    }

    /// What the operator asked the API server for in this namespace; none where the cluster keeps that to itself.
    ///
    /// Without it a test says so, and with CI=true it fails.
    pub fn requests(&self) -> anyhow::Result<Option<Vec<Request>>> {
        if let Some(log) = &self.cluster.audit_log {
            return Ok(Some(audit::read(log, &self.account, &self.namespace)?));
        }
        not_tried("counting the operator's requests: TEST_AUDIT_LOG is not set")?;
        Ok(None)
    }

    /// Waits until the operator has looked at a Secret `times` more: it had its chance to act, and what it did not
    /// do it did not want to.
    pub async fn looked_at(&self, secret: &str, times: usize) -> anyhow::Result<()> {
        let looks = || {
            let of_secret = |request: &Request| request.resource == "secrets" && request.name == secret;
            anyhow::Ok(self.requests()?.map(|all| all.into_iter().filter(of_secret).count()))
        };
        let Some(before) = looks()? else { return Ok(()) };
        let look = async || looks().map(|now| (now >= Some(before + times), now));
        self.wait_for(crate::DEADLINE * 2, &format!("{times} more looks at Secret {secret}"), look).await?;
        Ok(())
    }

    /// Says that this test took a right away on purpose.
    pub fn expect_refusals(&mut self) {
        self.refusals_expected = true;
    }

    pub(crate) async fn end(&mut self) -> anyhow::Result<()> {
        self.operator = None;
        Api::<Namespace>::all(self.client.clone()).delete(&self.namespace, &DeleteParams::background()).await?;
        Ok(())
    }
}

/// The test's name, as a namespace can have it, and the process's number, for clusters that live longer than it.
fn namespace_of(test: &str) -> String {
    let name = test.rsplit("::").next().unwrap_or(test).replace('_', "-");
    let name: String = name.chars().take(50).collect();
    format!("{}-{}", name.trim_end_matches('-'), std::process::id())
}
