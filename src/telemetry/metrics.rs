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
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    attempts: Family<Labels, Counter>,
    sent: Counter,
    duration: Histogram,
    workers: Family<Labels, Gauge>,
    sends: Family<Labels, Gauge>,
    owed_results: Gauge,
    skipped_objects: Gauge,
    slowed_namespaces: Gauge,
    leader: Gauge,
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
        registry.register("workers", "Workers that run, and volumes that wait for a worker slot", workers.clone());
        let sends = Family::default();
        registry.register(
            "sends",
            "Sends of ConfigMap files that run, and Sends that wait for an upload slot",
            sends.clone(),
        );
        let owed_results = Gauge::default();
        registry.register(
            "owed_results",
            "Sends that have ended, but whose result is not in a status yet",
            owed_results.clone(),
        );
        let skipped_objects = Gauge::default();
        registry.register(
            "skipped_objects",
            "Objects that the operator cannot read and treats as absent",
            skipped_objects.clone(),
        );
        let slowed_namespaces = Gauge::default();
        registry.register(
            "slowed_namespaces",
            "Namespaces that have fewer upload slots for now, as Cyberun or its storage is under load",
            slowed_namespaces.clone(),
        );
        let leader = Gauge::default();
        registry.register("leader", "Whether this operator works (1) or stands by for another (0)", leader.clone());
        let registry = Arc::new(registry);
        Self {
            registry,
            attempts,
            sent,
            duration,
            workers,
            sends,
            owed_results,
            skipped_objects,
            slowed_namespaces,
            leader,
        }
    }
}

impl Metrics {
    /// Whether this operator works, of several that share a Lease.
    pub(crate) fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Counts an attempt that ended with `reason` and uploaded `size` bytes.
    pub(crate) fn attempt(&self, reason: &'static str, size: u64, took: Duration) {
        self.attempts.get_or_create(&[("reason", reason)]).inc();
        self.sent.inc_by(size);
        self.duration.observe(took.as_secs_f64());
    }

    /// Counts what a worker reports of a file: `reason`, and its `size` if it was uploaded.
    pub(crate) fn reported(&self, reason: &'static str, size: u64) {
        self.attempts.get_or_create(&[("reason", reason)]).inc();
        self.sent.inc_by(size);
    }

    /// How many workers run now, and how many volumes wait for a worker slot.
    pub(crate) fn workers(&self, running: usize, queued: usize) {
        set_states(&self.workers, running, queued);
    }

    /// How many Sends run now, and how many wait for an upload slot.
    pub(crate) fn sends(&self, running: usize, queued: usize) {
        set_states(&self.sends, running, queued);
    }

    /// How many Sends have ended, but whose result is not in a status yet.
    pub(crate) fn owed_results(&self, number: usize) {
        set(&self.owed_results, number);
    }

    /// How many objects the operator cannot read and treats as absent.
    pub(crate) fn skipped_objects(&self, number: usize) {
        set(&self.skipped_objects, number);
    }

    /// How many namespaces have fewer upload slots for now.
    pub(crate) fn slowed_namespaces(&self, number: usize) {
        set(&self.slowed_namespaces, number);
    }

    /// All metrics as text.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

fn set(gauge: &Gauge, number: usize) {
    gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
}

fn set_states(family: &Family<Labels, Gauge>, running: usize, queued: usize) {
    for (state, number) in [("running", running), ("queued", queued)] {
        set(&family.get_or_create(&[("state", state)]), number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of metrics of which each has been set.
    fn all_set() -> String {
        let metrics = Metrics::default();
        metrics.attempt("Uploaded", 7, Duration::from_secs(1));
        metrics.reported("Uploaded", 3);
        metrics.workers(1, 2);
        metrics.sends(3, 4);
        metrics.owed_results(5);
        metrics.skipped_objects(6);
        metrics.slowed_namespaces(7);
        metrics.render()
    }

    #[test]
    fn every_metric_has_its_name_unit_and_bounded_labels() {
        let text = all_set();
        for line in [
            "fileupload_attempts_total{reason=\"Uploaded\"} 2",
            "fileupload_uploaded_bytes_total 10",
            "fileupload_attempt_duration_seconds_count 1",
            "fileupload_workers{state=\"running\"} 1",
            "fileupload_workers{state=\"queued\"} 2",
            "fileupload_sends{state=\"running\"} 3",
            "fileupload_sends{state=\"queued\"} 4",
            "fileupload_owed_results 5",
            "fileupload_skipped_objects 6",
            "fileupload_slowed_namespaces 7",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
    }

    /// The names of metrics in a text.
    fn named(text: &str) -> impl Iterator<Item = String> {
        let after = text.split("fileupload_").skip(1);
        after.map(|rest| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect())
    }

    #[test]
    fn every_metric_of_the_charts_alerts_and_dashboard_is_exported() {
        let text = all_set();
        let exported = |name: &str| {
            text.lines().any(|line| {
                let metric = line.strip_prefix("fileupload_").and_then(|line| line.strip_prefix(name));
                metric.is_some_and(|rest| rest.starts_with(['{', ' ']))
            })
        };
        for path in ["charts/fileupload-operator/files/alerts.yaml", "charts/fileupload-operator/files/dashboard.json"]
        {
            let file = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
            assert!(named(&file).count() >= 9, "{path} names few metrics");
            for name in named(&file) {
                assert!(exported(&name), "{path}: no metric is called fileupload_{name}\n{text}");
            }
        }
    }
}
