//! The operator's logs, metrics, liveness and readiness.
//!
//! Logs go to stderr. No token, signed URL or file key is a label or a field anywhere.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

pub(crate) use self::health::Health;
pub(crate) use self::metrics::Metrics;
pub(crate) use self::server::serve;

mod health;
mod metrics;
mod server;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Sends logs to stderr from now on. `filter` is a level or a list of directives such as `info,kube=debug`.
pub(crate) fn log(format: LogFormat, filter: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    let builder = tracing_subscriber::fmt().with_env_filter(quieted(filter)?).with_writer(io::stderr);
    match format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).init(),
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).init(),
    }
    Ok(())
}

/// The filter, with the crates silenced that would log secrets.
fn quieted(filter: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    let mut filter = EnvFilter::try_new(filter)?;
    // At their lower levels these may show whole requests.
    for quiet in ["hyper", "hyper_util", "rustls", "tower_http"] {
        filter = filter.add_directive(format!("{quiet}=info").parse()?);
    }
    // It logs the whole answer that it cannot parse, which may be a Secret.
    filter = filter.add_directive("kube_client::client=error".parse()?);
    // It logs a watch that fails at each attempt: the watches of the operator log that once per cause.
    Ok(filter.add_directive("kube_runtime=error".parse()?))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing::{debug, error, info, warn};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_filter_shows_the_bodies_of_requests_and_answers() {
        for filter in ["info", "trace", "kube_client=trace", "kube_client::client=trace,hyper=trace"] {
            let log = Log::default();
            let writer = log.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_env_filter(quieted(filter).unwrap())
                .with_writer(move || writer.clone())
                .finish();
            tracing::subscriber::with_default(subscriber, || {
                warn!(target: "kube_client::client", "body of an answer");
                debug!(target: "hyper::proto", "body of a request");
                error!(target: "kube_client::client", "an error");
                info!(target: "fileupload_operator", "our own");
            });
            let log = String::from_utf8(log.0.lock().clone()).unwrap();
            assert!(!log.contains("body") && log.contains("an error"), "{filter}: {log}");
            assert_eq!(log.contains("our own"), filter == "info" || filter == "trace", "{filter}: {log}");
        }
    }
}
