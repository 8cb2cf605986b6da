//! Objects that this version cannot understand: each is named once in the log, counted, and left out.

use std::collections::HashMap;

use tracing::warn;

use super::super::index::{Key, List, is_in};
use super::received::Odd;
use crate::telemetry::Metrics;

/// Those of all watches, by kind, each with the list that it was last seen in.
#[derive(Default)]
pub(in crate::controller) struct Skipped(HashMap<(&'static str, Key), u32>);

impl Skipped {
    /// Returns whether that is news.
    pub(super) fn skips(&mut self, kind: &'static str, odd: &Odd, round: u32, metrics: &Metrics) -> bool {
        let is_new = self.0.insert((kind, odd.key.clone()), round).is_none();
        if is_new {
            let (namespace, name, why) = (odd.key.namespace(), odd.key.name(), crate::redact::quote(&odd.why));
            warn!(kind, namespace, name, why, "an object that this version cannot understand is skipped");
        }
        metrics.skipped_objects(self.0.len());
        is_new
    }

    /// The object is understood by now, or gone.
    pub(super) fn forget(&mut self, kind: &'static str, key: impl FnOnce() -> Key, metrics: &Metrics) {
        if !self.0.is_empty() && self.0.remove(&(kind, key())).is_some() {
            metrics.skipped_objects(self.0.len());
        }
    }

    /// A list is complete: those that it lacks are gone.
    pub(super) fn sweep(&mut self, kind: &'static str, namespace: Option<&str>, list: List, metrics: &Metrics) {
        self.0.retain(|(of, key), seen| *of != kind || *seen == list.round || !is_in(key, namespace));
        metrics.skipped_objects(self.0.len());
    }
}
