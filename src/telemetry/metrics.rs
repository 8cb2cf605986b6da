//! The metrics, in the text format of `OpenMetrics`. Labels are bounded: reasons, never names.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

type Labels = [(&'static str, &'static str); 1];

/// What is counted. Clones count together.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    attempts: Family<Labels, Counter>,
    sent: Counter,
    duration: Histogram,
    workers: Family<Labels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("fileupload");
        let attempts = Family::default();
        registry.register("attempts", "Upload attempts by the reason they ended with", attempts.clone());
        let sent = Counter::default();
        registry.register_with_unit("uploaded", "Size of the files uploaded", Unit::Bytes, sent.clone());
        let duration = Histogram::new(exponential_buckets(0.01, 4.0, 9));
        registry.register_with_unit(
            "attempt_duration",
            "How long upload attempts took",
            Unit::Seconds,
            duration.clone(),
        );
        let workers = Family::default();
        registry.register("workers", "Workers that run, and resources' volumes that wait for one", workers.clone());
        Self { registry: Arc::new(registry), attempts, sent, duration, workers }
    }
}

impl Metrics {
    /// Counts an attempt that ended with `reason` and uploaded `size` bytes.
    pub fn attempt(&self, reason: &'static str, size: u64, took: Duration) {
        self.attempts.get_or_create(&[("reason", reason)]).inc();
        self.sent.inc_by(size);
        self.duration.observe(took.as_secs_f64());
    }

    /// Counts what a worker reports of a file: `reason`, and its `size` if it was uploaded.
    pub fn reported(&self, reason: &'static str, size: u64) {
        self.attempts.get_or_create(&[("reason", reason)]).inc();
        self.sent.inc_by(size);
    }

    /// How many workers run now, and how many are waited for.
    pub fn workers(&self, running: usize, queued: usize) {
        for (state, number) in [("running", running), ("queued", queued)] {
            self.workers.get_or_create(&[("state", state)]).set(i64::try_from(number).unwrap_or(i64::MAX));
        }
    }

    /// All metrics as text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
