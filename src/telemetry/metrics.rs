//! The metrics, in the text format of `OpenMetrics`. Labels are bounded: reasons, deployments, and as many namespaces as a
//! flag allows; never names of resources.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

type Labels = [(&'static str, &'static str); 1];
type OfCall = [(&'static str, String); 3];

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
    calls: Family<OfCall, Counter>,
    call_duration: Family<Labels, Histogram>,
    waited: Family<Labels, Histogram>,
    resources: Family<Labels, Gauge>,
    earliest_expiry: Family<[(&'static str, String); 1], Gauge>,
    /// The namespaces that have an earliest expiry.
    expiring: Arc<Mutex<BTreeSet<String>>>,
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
        let calls = Family::default();
        registry.register(
            "calls",
            "Calls to Cyberun (presign) and its storage (put) by what came of them",
            calls.clone(),
        );
        let seconds = || Histogram::new(exponential_buckets(0.01, 4.0, 9));
        let call_duration = Family::new_with_constructor(seconds as fn() -> Histogram);
        let help = "How long calls to Cyberun (presign) and its storage (put) took";
        registry.register_with_unit("call_duration", help, Unit::Seconds, call_duration.clone());
        let waited = Family::new_with_constructor(seconds as fn() -> Histogram);
        let help = "How long Sends and workers waited for their place";
        registry.register_with_unit("wait", help, Unit::Seconds, waited.clone());
        let resources = Family::default();
        registry.register("resources", "FileUploads by phase", resources.clone());
        let earliest_expiry = Family::default();
        let help = "When the first key of a namespace is withdrawn, of the namespaces where that is next";
        registry.register_with_unit("earliest_expiry_timestamp", help, Unit::Seconds, earliest_expiry.clone());
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The operator's version", build);
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
            calls,
            call_duration,
            waited,
            resources,
            earliest_expiry,
            expiring: Arc::default(),
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

    /// Counts a call to a deployment of Cyberun, or to its storage, by what came of it.
    pub(crate) fn called(&self, deployment: &str, call: &'static str, outcome: &'static str, took: Duration) {
        let labels =
            [("deployment", deployment.to_owned()), ("call", call.to_owned()), ("outcome", outcome.to_owned())];
        self.calls.get_or_create(&labels).inc();
        self.call_duration.get_or_create(&[("call", call)]).observe(took.as_secs_f64());
    }

    /// How long a `send` or a `worker` waited for its place.
    pub(crate) fn waited(&self, what: &'static str, took: Duration) {
        self.waited.get_or_create(&[("kind", what)]).observe(took.as_secs_f64());
    }

    /// How many FileUploads there are by phase.
    pub(crate) fn resources(&self, by_phase: impl IntoIterator<Item = (&'static str, usize)>) {
        for (phase, number) in by_phase {
            set(&self.resources.get_or_create(&[("phase", phase)]), number);
        }
    }

    /// When the first key of each of these namespaces is withdrawn, in seconds since 1970; of others nothing is said.
    pub(crate) fn earliest_expiry(&self, namespaces: Vec<(String, i64)>) {
        // Prometheus has its own label `namespace`: the operator's.
        let labels = |namespace: &String| [("resource_namespace", namespace.clone())];
        for (namespace, at) in &namespaces {
            self.earliest_expiry.get_or_create(&labels(namespace)).set(*at);
        }
        let named: BTreeSet<_> = namespaces.into_iter().map(|(namespace, _)| namespace).collect();
        for gone in self.expiring.lock().difference(&named) {
            self.earliest_expiry.remove(&labels(gone));
        }
        *self.expiring.lock() = named;
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
        metrics.called("lab", "put", "ok", Duration::from_secs(1));
        metrics.waited("send", Duration::from_secs(1));
        metrics.resources([("Ready", 8)]);
        metrics.earliest_expiry(vec![("team-a".to_owned(), 1), ("team-b".to_owned(), 2)]);
        metrics.earliest_expiry(vec![("team-b".to_owned(), 3)]);
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
            "fileupload_calls_total{deployment=\"lab\",call=\"put\",outcome=\"ok\"} 1",
            "fileupload_call_duration_seconds_count{call=\"put\"} 1",
            "fileupload_wait_seconds_count{kind=\"send\"} 1",
            "fileupload_resources{phase=\"Ready\"} 8",
            "fileupload_earliest_expiry_timestamp_seconds{resource_namespace=\"team-b\"} 3",
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
