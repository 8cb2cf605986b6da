//! Log settings of long-running commands. Logs go to stderr.

use clap::{Args, ValueEnum};

use super::Usage;
use crate::telemetry::{self, LogFormat};

#[derive(Args)]
pub(super) struct Logging {
    /// The format of log lines
    #[arg(long, value_enum, default_value_t = Format::Json)]
    log_format: Format,
    /// The log level, or directives such as info,kube=debug
    #[arg(long, env = "RUST_LOG", default_value = "info")]
    log_level: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Json,
    Text,
}

impl Logging {
    /// Starts logging.
    pub(super) fn start(&self) -> Result<(), Usage> {
        let format = match self.log_format {
            Format::Json => LogFormat::Json,
            Format::Text => LogFormat::Text,
        };
        // An empty variable counts as unset.
        let level = Some(self.log_level.trim()).filter(|level| !level.is_empty()).unwrap_or("info");
        telemetry::log(format, level).map_err(|error| Usage(format!("--log-level: {error}")))
    }
}
