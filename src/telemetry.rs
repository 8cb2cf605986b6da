//! What the operator says about itself: logs, metrics, and whether it lives and is ready.
//!
//! Logs go to stderr. No token, signed URL or file key is a label or a field anywhere.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

pub use self::health::{Health, Reconciling};
pub use self::metrics::Metrics;
pub use self::server::serve;

mod health;
mod metrics;
mod server;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Sends logs to stderr from now on. `filter` is a level or a list of directives such as `info,kube=debug`.
pub fn log(format: LogFormat, filter: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    let mut filter = EnvFilter::try_new(filter)?;
    // At their lower levels these may show whole requests, and so what must never be logged.
    for quiet in ["hyper", "hyper_util", "reqwest", "rustls", "tower_http"] {
        filter = filter.add_directive(format!("{quiet}=info").parse()?);
    }
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).init(),
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).init(),
    }
    Ok(())
}
