//! How much of Cyberun and its storage each namespace may use at the same time: one measure for its Sends and its workers.
//!
//! Additive increase, multiplicative decrease: whoever meets a server under load halves the shares of the namespace at both
//! Gates, and each success gives one place back. A `Retry-After` holds the next ones of the namespace back. So other
//! namespaces, which have other teams' limits, lose nothing; nor does the same namespace at another deployment: a lane is
//! what a namespace uses of one.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::deployments::namespace_of;
use super::gate::{Gate, Place};
use crate::backoff;
use crate::outcome::Trouble;

/// What namespaces may use. Clones are the same.
#[derive(Clone)]
pub(super) struct Budget {
    pub(super) sends: Slots,
    pub(super) workers: Slots,
}

/// Places for one kind of work. Clones give the same ones.
#[derive(Clone)]
pub(super) struct Slots {
    /// Those of a lane.
    shares: Gate,
    /// Those of a namespace, whatever lanes it has, and of the process.
    all: Gate,
}

/// The right to do one thing, until it is dropped.
pub(super) struct Slot {
    place: Place,
    _share: Place,
}

impl Budget {
    /// An upload of this lane succeeded.
    pub(super) fn succeeded(&self, lane: &str) {
        self.shares().for_each(|gate| gate.speed_up(lane));
    }

    /// An upload of this lane failed.
    pub(super) fn failed(&self, lane: &str, trouble: &Trouble) {
        if trouble.is_strain() {
            self.strained(lane, trouble.retry_after);
        }
    }

    /// What this lane uses is under load, and asked for so long a wait.
    pub(super) fn strained(&self, lane: &str, asked: Option<Duration>) {
        for gate in self.shares() {
            gate.slow_down(lane);
            if let Some(asked) = asked {
                // A mistyped header must not stop a namespace for an hour: who was answered waits for that alone.
                gate.hold(lane, asked.min(backoff::LONGEST));
            }
        }
    }

    /// How many namespaces have less than their full share of a deployment, or are held back.
    pub(super) fn slowed(&self) -> usize {
        let lanes: Vec<_> = self.shares().flat_map(Gate::slowed).collect();
        lanes.iter().map(|lane| namespace_of(lane)).collect::<BTreeSet<_>>().len()
    }

    /// Gives lanes that had no work for a while their full share again.
    pub(super) fn forgive(&self) {
        self.shares().for_each(Gate::forgive);
    }

    fn shares(&self) -> impl Iterator<Item = &Gate> {
        [&self.sends.shares, &self.workers.shares].into_iter()
    }
}

impl Slots {
    /// Slots for each namespace, and in all.
    pub(super) fn new(per_namespace: usize, process: usize) -> Self {
        Self { shares: Gate::new(per_namespace, Semaphore::MAX_PERMITS), all: Gate::new(per_namespace, process) }
    }

    /// As [`Gate::enter`].
    #[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice")]
    pub(super) fn enter(&self, lane: &str) -> impl Future<Output = Slot> {
        async move {
            let share = self.shares.enter(lane).await;
            Slot { place: self.all.enter(namespace_of(lane)).await, _share: share }
        }
    }

    /// As [`Gate::try_enter`].
    pub(super) fn try_enter(&self, lane: &str) -> Option<Slot> {
        let share = self.shares.try_enter(lane)?;
        Some(Slot { place: self.all.try_enter(namespace_of(lane))?, _share: share })
    }

    /// As [`Gate::take`].
    pub(super) fn take(&self, lane: &str) -> Slot {
        Slot { place: self.all.take(namespace_of(lane)), _share: self.shares.take(lane) }
    }

    /// How many callers wait.
    pub(super) fn waiting(&self) -> usize {
        self.shares.waiting() + self.all.waiting()
    }

    /// How many slots of the process are out.
    pub(super) fn taken(&self) -> usize {
        self.all.taken()
    }
}

impl Slot {
    /// As [`Place::release_process`].
    pub(super) fn release_process(&mut self) {
        self.place.release_process();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn what_one_deployment_asks_to_wait_for_another_need_not_wait_for() {
        let budget = Budget { sends: Slots::new(4, 16), workers: Slots::new(4, 16) };
        budget.strained("team-a/lab", Some(Duration::from_mins(1)));
        assert!(budget.sends.enter("team-a/lab").now_or_never().is_none());
        assert!(budget.sends.enter("team-a/main").now_or_never().is_some());
        assert!(budget.workers.try_enter("team-a/lab").is_none());
        budget.strained("team-a/main", None);
        budget.strained("team-b/lab", None);
        assert_eq!(budget.slowed(), 2, "namespaces");
    }

    #[tokio::test]
    async fn of_several_deployments_a_namespace_gets_no_more_slots_than_of_one() {
        let slots = Slots::new(4, 16);
        let held: Vec<_> = (0..8).map(|number| slots.enter(&format!("team-a/{number}")).now_or_never()).collect();
        assert_eq!((held.iter().flatten().count(), slots.taken()), (4, 4));
        assert!(slots.try_enter("team-a/9").is_none() && slots.enter("team-b/0").now_or_never().is_some());
        drop(held);
        assert_eq!((slots.taken(), slots.waiting()), (0, 0));
    }
}
