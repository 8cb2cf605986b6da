//! What the bench is told, by flags or, through make, by variables of the same names.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// Measure the operator at scale.
///
/// Run it by `make bench-scale N=… M=…`: it needs the cluster of `tests/cluster/run`.
#[derive(Parser)]
pub(crate) struct Options {
    /// FileUploads of one ConfigMap file and an output each; by default 500, or none with --queued
    #[arg(long, env = "N")]
    uploads: Option<usize>,
    /// Namespaces that all is spread over
    #[arg(long, env = "M", default_value_t = 20, value_parser = at_least_one)]
    pub(crate) namespaces: usize,
    /// Volume FileUploads that wait for workers; the bench plays Job controller and kubelet
    #[arg(long, env = "QUEUED", default_value_t = 0)]
    pub(crate) queued: usize,
    /// Pods that are none of the operator's business; half of them name a claim
    #[arg(long, env = "FOREIGN_PODS", default_value_t = 0)]
    pub(crate) foreign_pods: usize,
    /// ConfigMaps that are none of the operator's business, of 1 KiB each
    #[arg(long, env = "FOREIGN_CONFIG_MAPS", default_value_t = 0)]
    pub(crate) foreign_config_maps: usize,
    /// Let the FileUploads of a namespace share one source ConfigMap; by default each has its own
    #[arg(long, env = "SHARED_SOURCE", value_name = "BOOL", num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) shared_source: bool,
    /// The program to measure
    #[arg(long, env = "OPERATOR")]
    pub(crate) operator: PathBuf,
    /// A further argument of the operator (repeatable; as a variable: separated by spaces)
    #[arg(long, env = "OPERATOR_ARGS", value_name = "ARGUMENT", value_delimiter = ' ', allow_hyphen_values = true)]
    pub(crate) operator_args: Vec<String>,
    /// Requests that the bench has under way while it creates, and while it measures the floor
    #[arg(long, env = "CONCURRENCY", default_value_t = 32, value_parser = at_least_one)]
    pub(crate) concurrency: usize,
    /// Seconds of rest before the idle time
    #[arg(long, env = "REST", default_value_t = 30)]
    rest: u64,
    /// Seconds of idle time that are measured
    #[arg(long, env = "IDLE", default_value_t = 60)]
    idle: u64,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "a number of at least 1 is needed".to_owned())
}

impl Options {
    /// How many FileUploads of ConfigMaps there are.
    pub(crate) fn uploads(&self) -> usize {
        self.uploads.unwrap_or(if self.queued > 0 { 0 } else { 500 })
    }

    pub(crate) fn rest(&self) -> Duration {
        Duration::from_secs(self.rest)
    }

    pub(crate) fn idle(&self) -> Duration {
        Duration::from_secs(self.idle)
    }
}
