//! The operator's settings on the command line. `controller` uses them, and `render` shows their effect.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};

use super::{Usage, duration, worker_defaults};
use crate::controller::{Limits, Settings};
use crate::key_life::Terms;
use crate::plan::{Deployment, WorkerSettings};
use crate::proxy::Variables;

/// The largest CA bundle that is written into each Job.
const LARGEST_BUNDLE: usize = 32 * 1024;

/// Kubernetes' own words for when a node pulls an image.
const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];

/// The operator's settings.
#[derive(Args)]
pub(super) struct Operating {
    /// The image of the worker Pods: the operator's own image, preferably by digest
    // The chart sets one. Its user may override it by extraArgs.
    #[arg(long, value_name = "IMAGE", overrides_with = "worker_image", default_value = concat!("fileupload-operator:", env!("CARGO_PKG_VERSION")))]
    worker_image: String,
    /// Upload files of ConfigMaps from the operator itself; if false, worker Pods upload them, and the operator needs
    /// no right on Secrets
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, default_value_t = true, num_args = 0..=1, default_missing_value = "true")]
    direct_uploads: bool,
    /// The maximum number of workers
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    max_workers: u16,
    /// The maximum number of workers in one namespace
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    max_workers_per_namespace: u16,
    /// The maximum number of FileUploads whose ConfigMap files the operator uploads at the same time; at most 4 of them
    /// in one namespace
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    max_sends: u16,
    /// How long Cyberun keeps an upload, such as 24h or 1d
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration::parse)]
    retention: Duration,
    /// How long before its expiry a key is withdrawn: the time that a consumer has to use it; less than half of
    /// --retention
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::parse_or_zero)]
    minimum_life: Duration,
    /// The deadline of a worker's Job
    #[arg(long, value_name = "SECONDS", default_value_t = 86400, value_parser = clap::value_parser!(u32).range(1..))]
    worker_deadline: u32,
    /// When a node pulls the image of the worker Pods; default: the cluster decides by the tag
    #[arg(long, value_name = "POLICY", value_parser = PULL_POLICIES)]
    worker_image_pull_policy: Option<String>,
    /// An image pull Secret of the worker Pods; it must exist in each namespace (repeatable)
    #[arg(long, value_name = "NAME")]
    worker_pull_secret: Vec<String>,
    /// Defaults of spec.worker: a YAML file of its shape, of at most 64 KiB. Maps merge with those of the spec, which
    /// wins; lists are replaced
    #[arg(long, value_name = "FILE")]
    worker_defaults: Option<PathBuf>,
    /// Additional CA certificates that the operator and its workers trust: a PEM file of at most 32 KiB
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

impl Operating {
    /// The settings, for the API at `api_url`.
    pub(super) fn settings(&self, api_url: &str, allow_http: bool) -> Result<Settings, Usage> {
        Ok(Settings {
            direct: self.direct_uploads,
            limits: Limits {
                workers: self.max_workers.into(),
                workers_per_namespace: self.max_workers_per_namespace.into(),
                sends: self.max_sends.into(),
            },
            worker: WorkerSettings {
                api_url: api_url.trim().to_owned(),
                allow_http,
                image: self.worker_image.clone(),
                pull_policy: self.worker_image_pull_policy.clone(),
                deadline: self.worker_deadline.into(),
                pull_secrets: self.worker_pull_secret.clone(),
                defaults: self.worker_defaults.as_deref().map(worker_defaults::read).transpose()?.unwrap_or_default(),
                ca_pem: self.ca_pem()?,
                proxies: proxies()?,
            },
            deployment: Deployment { terms: self.terms()? },
        })
    }

    fn terms(&self) -> Result<Terms, Usage> {
        let Self { retention, minimum_life, .. } = *self;
        if minimum_life.saturating_mul(2) >= retention {
            let (retention, minimum) = (retention.as_secs(), minimum_life.as_secs());
            let fix = "give a shorter --minimum-life or a longer --retention";
            return Err(Usage(format!(
                "--minimum-life ({minimum} s) must be less than half of --retention ({retention} s), or keys cannot be renewed in time: {fix}"
            )));
        }
        Ok(Terms { retention, minimum_life })
    }

    fn ca_pem(&self) -> Result<Option<String>, Usage> {
        let Some(path) = &self.ca_file else { return Ok(None) };
        let pem = fs::read_to_string(path).map_err(|error| Usage(format!("--ca-file {}: {error}", path.display())))?;
        if pem.len() > LARGEST_BUNDLE {
            let fix = "name only the authorities that the API and the storage need";
            return Err(Usage(format!("--ca-file {}: more than 32 KiB: {fix}", path.display())));
        }
        Ok(Some(pem))
    }
}

/// The proxies of the environment, which workers use too. A password in them would be visible to everyone who may read
/// Jobs.
fn proxies() -> Result<BTreeMap<String, String>, Usage> {
    let proxies: BTreeMap<String, String> =
        Variables::read().of_workers().map(|(name, value)| (name.to_owned(), value)).collect();
    match proxies.iter().find(|(name, value)| *name != "NO_PROXY" && value.contains('@')) {
        Some((name, _)) => Err(Usage(format!(
            "{name} contains a user or password, which everyone who may read Jobs would see: use a proxy without one"
        ))),
        None => Ok(proxies),
    }
}
