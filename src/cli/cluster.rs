//! Where the cluster is: the kubeconfig, read as kubectl does, or the Pod's service account.
//!
//! Every command that talks to Kubernetes uses this module, so that all find the same cluster and report the same
//! errors. An error is one sentence with its fix.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::Status;
use kube::{Client, Config, Error};

use crate::controller::Clients;
use crate::proxy::Variables;
use crate::resource::FileUpload;

mod clients;
mod follow;

pub(super) use self::follow::Sight;

/// The timeout of a request to the cluster.
const ANSWER: Duration = Duration::from_secs(30);

/// Which cluster.
#[derive(Args)]
pub(super) struct Access {
    /// The kubeconfig; default: the files of KUBECONFIG, else ~/.kube/config, else the Pod's service account
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; default: the current context
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// Which cluster, and where in it.
#[derive(Args)]
pub(super) struct Place {
    /// The namespace; default: that of the kubeconfig's context, or of the Pod
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    #[command(flatten)]
    access: Access,
}

/// A cluster and the namespace to use.
pub(super) struct Cluster {
    pub(super) client: Client,
    pub(super) namespace: String,
}

impl Access {
    /// The clients of the operator.
    pub(super) async fn clients(&self) -> anyhow::Result<Clients> {
        clients::new(&config(self).await?).map_err(|error| unusable(&error))
    }
}

/// The address of the cluster, the way to it, and the credentials. `Config::infer` is not used, because it logs what it
/// cannot parse.
async fn config(access: &Access) -> anyhow::Result<Config> {
    let Access { kubeconfig, context } = access;
    let is_told = context.is_some() || kubeconfig.is_some();
    let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
    let read = match kubeconfig.as_ref().map_or_else(Kubeconfig::read, Kubeconfig::read_from) {
        Ok(kubeconfig) => of_kubeconfig(kubeconfig, &options).await,
        Err(error) => Err(error),
    };
    let (mut config, is_own_proxy) = match read {
        Ok(read) => read,
        // Only if there is none: another cluster than the one that it names would be a surprise.
        Err(error) if is_absent(&error) && !is_told => (Config::incluster().map_err(|_| unusable(&error))?, false),
        Err(error) => return Err(unusable(&error)),
    };
    // In a cluster the proxy of the environment is for egress, not for the cluster's own API server.
    if Config::incluster().is_ok_and(|inside| inside.cluster_url == config.cluster_url) {
        config.proxy_url = None;
    } else if !is_own_proxy {
        // kube reads the environment too, but compares NO_PROXY with the proxy's address.
        let proxy = Variables::read().toward(&config.cluster_url)?;
        config.proxy_url = proxy.map(|proxy| proxy.expose_url().parse()).transpose()?;
    }
    Ok(config)
}

/// What a kubeconfig says, and whether it names a proxy.
async fn of_kubeconfig(kubeconfig: Kubeconfig, options: &KubeConfigOptions) -> Result<(Config, bool), KubeconfigError> {
    let context = options.context.as_ref().or(kubeconfig.current_context.as_ref());
    let named = kubeconfig.contexts.iter().find(|named| Some(&named.name) == context);
    let cluster = named.and_then(|named| named.context.as_ref()).map(|context| context.cluster.as_str());
    let named = kubeconfig.clusters.iter().find(|named| Some(named.name.as_str()) == cluster);
    let proxy = named.and_then(|named| named.cluster.as_ref()?.proxy_url.as_deref());
    let is_own_proxy = proxy.is_some_and(|url| !url.is_empty());
    Ok((Config::from_custom_kubeconfig(kubeconfig, options).await?, is_own_proxy))
}

/// Whether there is no kubeconfig, or one without content.
fn is_absent(error: &KubeconfigError) -> bool {
    use KubeconfigError::{CurrentContextNotSet, FindPath, ReadConfig};
    matches!(error, FindPath | ReadConfig(..) | CurrentContextNotSet)
}

/// Why the kubeconfig cannot be used. Its text is not quoted, because a kubeconfig holds credentials.
fn unusable(error: &(dyn std::error::Error + 'static)) -> anyhow::Error {
    if let Some(Error::ProxyProtocolUnsupported { .. }) = error.downcast_ref() {
        return anyhow!("cannot load the kubeconfig: its proxy-url is neither http, https nor socks5: correct it");
    }
    let why = match error.downcast_ref() {
        Some(KubeconfigError::Parse(_)) => "it is not valid YAML".to_owned(),
        Some(KubeconfigError::LoadContext(name)) => format!("it has no context {name}"),
        Some(KubeconfigError::ParseProxyUrl(_)) => "its proxy-url, or HTTPS_PROXY, is not a URL".to_owned(),
        _ => error.to_string(),
    };
    let fix = "name a file by --kubeconfig or KUBECONFIG, and one of its contexts by --context";
    anyhow!("cannot load the kubeconfig: {why}: {fix}")
}

impl Place {
    /// Finds the cluster; it makes no request yet.
    pub(super) async fn find(&self) -> anyhow::Result<Cluster> {
        let config = config(&self.access).await?;
        let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = clients::of_command(&config).map_err(|error| unusable(&error))?;
        Ok(Cluster { client, namespace })
    }
}

impl Cluster {
    /// The answer to a request about the `FileUpload` called `name`, or one sentence that says why there is none.
    pub(super) async fn ask<T>(&self, name: &str, answer: impl Future<Output = kube::Result<T>>) -> anyhow::Result<T> {
        match tokio::time::timeout(ANSWER, answer).await {
            Ok(answer) => answer.map_err(|error| self.complain(name, error)),
            Err(_) => Err(silent()),
        }
    }

    /// What an error of the API server means for a request about the `FileUpload` called `name`.
    pub(super) fn complain(&self, name: &str, error: Error) -> anyhow::Error {
        let namespace = &self.namespace;
        match error {
            Error::Api(said) if is_unknown_kind(&said) => anyhow!(
                "this cluster has no FileUploads: install the chart, or at least the CustomResourceDefinition (fileupload crd)"
            ),
            Error::Api(said) if said.is_not_found() => anyhow!(
                "namespace {namespace} has no FileUpload {name}: see kubectl get fileuploads --all-namespaces, and name its namespace with -n"
            ),
            Error::Api(said) if said.is_forbidden() => anyhow!(
                "you have no right to do this: {}: ask for the rights that the chart adds to the roles view and edit of the namespace",
                said.message
            ),
            Error::Api(said) if said.code == 401 => {
                anyhow!("the cluster rejects the kubeconfig's credentials: log in again, or choose another --context")
            }
            Error::Api(said) => anyhow!("the cluster rejects it: {}", said.message),
            error => anyhow!(
                "the cluster does not answer: {}: check the kubeconfig's server and the network path to it",
                anyhow::Error::from(error).root_cause()
            ),
        }
    }

    /// The `FileUpload`s of the namespace.
    pub(super) fn uploads(&self) -> kube::Api<FileUpload> {
        kube::Api::namespaced(self.client.clone(), &self.namespace)
    }
}

/// There is no answer in time.
fn silent() -> anyhow::Error {
    anyhow!("the cluster does not answer: check the kubeconfig's server and the network path to it")
}

/// The API server knows no such path: it says so in plain text, without the details of an object.
fn is_unknown_kind(said: &Status) -> bool {
    said.code == 404 && said.details.is_none()
}

#[cfg(test)]
mod tests;
