//! How much of Cyberun and its storage each namespace may use at the same time: one measure for its Sends and its workers.
//!
//! Additive increase, multiplicative decrease: whoever meets a server under load halves the shares of the namespace at both
//! Gates, and each success gives one place back. A `Retry-After` holds the next ones of the namespace back. So other
//! namespaces, which have other teams' limits, lose nothing.

use std::time::Duration;

use super::gate::Gate;
use crate::backoff;
use crate::outcome::Trouble;

/// What namespaces may use. Clones are the same.
#[derive(Clone)]
pub(super) struct Budget {
    pub(super) sends: Gate,
    pub(super) workers: Gate,
}

impl Budget {
    /// An upload of this namespace succeeded.
    pub(super) fn succeeded(&self, namespace: &str) {
        self.gates().for_each(|gate| gate.speed_up(namespace));
    }

    /// An upload of this namespace failed.
    pub(super) fn failed(&self, namespace: &str, trouble: &Trouble) {
        if trouble.is_strain() {
            self.strained(namespace, trouble.retry_after);
        }
    }

    /// What this namespace uses is under load, and asked for so long a wait.
    pub(super) fn strained(&self, namespace: &str, asked: Option<Duration>) {
        for gate in self.gates() {
            gate.slow_down(namespace);
            if let Some(asked) = asked {
                // A mistyped header must not stop a namespace for an hour: who was answered waits for that alone.
                gate.hold(namespace, asked.min(backoff::LONGEST));
            }
        }
    }

    /// How many namespaces have less than their full share, or are held back.
    pub(super) fn slowed(&self) -> usize {
        self.gates().map(Gate::slowed).max().unwrap_or_default()
    }

    /// Namespaces without work begin anew after a while.
    pub(super) fn forgive(&self) {
        self.gates().for_each(Gate::forgive);
    }

    fn gates(&self) -> impl Iterator<Item = &Gate> {
        [&self.sends, &self.workers].into_iter()
    }
}
