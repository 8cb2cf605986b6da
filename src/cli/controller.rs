//! `fileupload controller`: the operator, on a laptop with a kubeconfig or in a cluster.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Parser};
use tracing::info;

use super::cluster::Access;
use super::logging::Logging;
use super::operating::Operating;
use super::{Api, courier, install_tls_provider, listen, stop_on_signal};
use crate::controller::{LeaseSettings, Operator, Settings, Target};
use crate::delivery::Courier;
use crate::reason::Reason;
use crate::telemetry::{self, Health, Metrics};

/// The length of the queue of connections to accept.
const BACKLOG: u32 = 1024;

/// Run the operator.
///
/// Uses the kubeconfig, or the Pod's service account in a cluster.
#[derive(Parser)]
pub(super) struct Controller {
    /// The URL of the Cyberun API, with its /api/v1
    #[arg(long, env = "CYBERUN_API_URL", required_unless_present = "deployments")]
    api_url: Option<String>,
    #[command(flatten)]
    operating: Operating,
    /// A namespace to watch (repeatable); default: all namespaces
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Vec<String>,
    /// The address that serves /livez, /readyz and /metrics; default: port 8080 of every address
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    election: Election,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    logging: Logging,
    #[command(flatten)]
    api: Api,
}

/// How several operators agree on the one that works.
#[derive(Args)]
struct Election {
    /// Work only while holding a Lease that all replicas share
    #[arg(long)]
    leader_elect: bool,
    /// The name of that Lease
    #[arg(long, value_name = "NAME", default_value = "fileupload-operator")]
    lease_name: String,
    /// The namespace of that Lease; default: that of the Pod, or of the kubeconfig's context
    #[arg(long, value_name = "NAMESPACE")]
    lease_namespace: Option<String>,
}

impl Election {
    /// `namespace` is the default one.
    fn settings(&self, namespace: &str) -> anyhow::Result<Option<LeaseSettings>> {
        if !self.leader_elect {
            return Ok(None);
        }
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").context("cannot read the host's name")?;
        // Of a Pod it is the Pod's; two processes of one host are told apart by the rest.
        let own = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id());
        Ok(Some(LeaseSettings {
            name: self.lease_name.clone(),
            namespace: self.lease_namespace.as_deref().unwrap_or(namespace).to_owned(),
            holder: format!("{}_{own:016x}", host.trim()),
        }))
    }
}

impl Controller {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        install_tls_provider();
        self.logging.start()?;
        let settings = self.api.settings(&self.operating, self.api_url.as_deref())?;
        let targets = settings.deployments.targets().iter();
        let couriers =
            targets.map(|Target { worker, .. }| courier(&worker.api_url, worker.allow_http, worker.ca_pem.as_deref()));
        let couriers = couriers.collect::<Result<Vec<_>, _>>()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(self.operate(couriers, Arc::new(settings)))?;
        Ok(ExitCode::SUCCESS)
    }

    async fn operate(self, couriers: Vec<Courier>, settings: Arc<Settings>) -> anyhow::Result<()> {
        let clients = self.access.clients().await?;
        let listener = listen::bound(self.listen)?.listen(BACKLOG).context("cannot serve probes")?;
        // A namespace that is named twice is served once.
        let namespaces: BTreeSet<String> = self.namespace.into_iter().collect();
        let (metrics, health) = (Metrics::default(), Health::expecting(1));
        let telling = |(courier, target): (Courier, &Target)| {
            let (metrics, name) = (metrics.clone(), target.name.clone());
            courier.telling(Box::new(move |call, failure, took| {
                metrics.called(&name, call.as_str(), failure.map_or("ok", Reason::as_str), took);
            }))
        };
        let couriers = couriers.into_iter().zip(settings.deployments.targets()).map(telling).collect();
        let stop = stop_on_signal()?;
        let server =
            telemetry::serve(listener.into_std()?, metrics.clone(), health.clone()).context("cannot serve probes")?;
        let lease = self.election.settings(clients.calls.default_namespace())?;
        let operator = Operator { clients, couriers, settings, lease, metrics, health, stop };
        info!(version = env!("CARGO_PKG_VERSION"), "started");
        tokio::select! {
            ended = operator.run(namespaces) => ended?,
            error = server => return Err(error).context("the server of probes has ended"),
        }
        info!("stopped");
        Ok(())
    }
}
