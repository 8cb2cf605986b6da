//! The operator's settings on the command line. `controller` uses them, and `render` shows their effect.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args};

use super::{Usage, deployments, duration, worker_defaults};
use crate::controller::{Deployments, Limits, Settings, Target};
use crate::key_life::Terms;
use crate::plan::WorkerSettings;
use crate::proxy::Variables;

/// The largest CA bundle that is written into each Job.
pub(super) const LARGEST_BUNDLE: usize = 32 * 1024;

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
    /// Several deployments of Cyberun, in place of --api-url, --retention and --minimum-life: a YAML file, described in
    /// docs/operations.md
    #[arg(long, value_name = "FILE", conflicts_with_all = ["retention", "minimum_life"])]
    deployments: Option<PathBuf>,
    /// How long Cyberun keeps an upload, such as 24h or 1d
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration::parse)]
    retention: Duration,
    /// How long before its expiry a key is withdrawn: the time that a consumer has to use it; less than half of
    /// --retention
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::parse_or_zero)]
    minimum_life: Duration,
    /// The maximum number of namespaces of which a metric says when their first key is withdrawn
    #[arg(long, value_name = "N", default_value_t = 100)]
    metric_namespaces: u16,
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
    /// Whether a file names the deployments.
    pub(super) fn names_deployments(&self) -> bool {
        self.deployments.is_some()
    }

    /// The settings, for the API at `api_url`, unless a file names several.
    pub(super) fn settings(&self, api_url: &str, allow_http: bool) -> Result<Settings, Usage> {
        let worker = WorkerSettings {
            api_url: api_url.trim().to_owned(),
            allow_http,
            image: self.worker_image.clone(),
            pull_policy: self.worker_image_pull_policy.clone(),
            deadline: self.worker_deadline.into(),
            pull_secrets: self.worker_pull_secret.clone(),
            defaults: self.worker_defaults.as_deref().map(worker_defaults::read).transpose()?.unwrap_or_default(),
            ca_pem: self.ca_pem()?,
            proxies: proxies()?,
        };
        let deployments = if let Some(path) = &self.deployments {
            deployments::read(path, &worker)?
        } else {
            let names = [(self.retention, "--retention"), (self.minimum_life, "--minimum-life")];
            let terms = terms(names[0], names[1]).map_err(Usage)?;
            Deployments::new(vec![Target { worker, terms, ..Target::default() }], Some(0))
        };
        Ok(Settings {
            direct: self.direct_uploads,
            limits: Limits {
                workers: self.max_workers.into(),
                workers_per_namespace: self.max_workers_per_namespace.into(),
                sends: self.max_sends.into(),
            },
            metric_namespaces: self.metric_namespaces.into(),
            deployments: Arc::new(deployments),
        })
    }

    fn ca_pem(&self) -> Result<Option<String>, Usage> {
        let Some(path) = &self.ca_file else { return Ok(None) };
        text_of("--ca-file", path, LARGEST_BUNDLE).map(Some)
    }
}

/// How long keys live; both by name.
pub(super) fn terms(retention: (Duration, &str), minimum: (Duration, &str)) -> Result<Terms, String> {
    let ((retention, of_retention), (minimum_life, of_minimum)) = (retention, minimum);
    if minimum_life.saturating_mul(2) < retention {
        return Ok(Terms { retention, minimum_life });
    }
    let (kept, left) = (retention.as_secs(), minimum_life.as_secs());
    let fix = format!("give a shorter {of_minimum} or a longer {of_retention}");
    Err(format!(
        "{of_minimum} ({left} s) must be less than half of {of_retention} ({kept} s), or keys cannot be renewed in time: {fix}"
    ))
}

/// The text of a file that a flag names.
pub(super) fn text_of(flag: &str, path: &Path, largest: usize) -> Result<String, Usage> {
    let refused = |why: String| Usage(format!("{flag} {}: {why}", path.display()));
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(largest as u64 + 1).read_to_string(&mut text));
    read.map_err(|error| refused(format!("cannot be read: {error}")))?;
    if text.len() > largest {
        return Err(refused(format!("more than {} KiB: leave out what is not needed", largest >> 10)));
    }
    Ok(text)
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
