//! Whether the operator lives and is ready: what `/livez` and `/readyz` answer.
//!
//! Not alive means that a restart can help: a reconcile hangs, or the certificate of the API server is no longer trusted,
//! since the cluster's authorities are read at the start alone. An idle operator is alive, and so is one that does not lead
//! or that cannot reach the API server. Not ready means only that the first lists are not complete. A watch
//! that fails later is named in the text of `/readyz`, because taking the Pod out of service would not fix the watch.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The queue ends each reconcile before that: one that runs longer hangs.
const LONGEST_RECONCILE: Duration = Duration::from_mins(5);

/// How long the API server's certificate may not be trusted. After a change of authorities the kubelet takes a minute or
/// two to write the new ones, which a process that starts then reads.
const LONGEST_DISTRUST: Duration = Duration::from_mins(5);

/// The operator's state. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Health(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// First lists that are not complete yet.
    unlisted: usize,
    /// By number, so that the first is the oldest.
    reconciles: BTreeMap<u64, Reconcile>,
    next: u64,
    /// By watch.
    failing: BTreeMap<String, Failing>,
}

struct Failing {
    cause: String,
    /// Since when the API server's certificate has been the cause.
    distrusted: Option<Instant>,
}

struct Reconcile {
    object: String,
    begun: Instant,
}

/// A reconcile that runs until this is dropped.
#[must_use = "dropping it ends the reconcile"]
pub(crate) struct Reconciling {
    health: Health,
    number: u64,
}

impl Health {
    /// Not ready until the lists of this many scopes are complete.
    pub(crate) fn expecting(scopes: usize) -> Self {
        Self(Arc::new(Mutex::new(State { unlisted: scopes, ..State::default() })))
    }

    /// One more scope has all its lists.
    pub(crate) fn lists_complete(&self) {
        let mut state = self.0.lock();
        state.unlisted = state.unlisted.saturating_sub(1);
    }

    /// Begins a reconcile of `object`, whose name is reported if it hangs.
    pub(crate) fn reconcile_begins(&self, object: impl Into<String>) -> Reconciling {
        self.reconcile_began(object.into(), Instant::now())
    }

    fn reconcile_began(&self, object: String, begun: Instant) -> Reconciling {
        let mut state = self.0.lock();
        let number = state.next;
        state.next += 1;
        state.reconciles.insert(number, Reconcile { object, begun });
        Reconciling { health: self.clone(), number }
    }

    /// Notes that a watch fails, perhaps because the API server's certificate is not trusted; returns whether this cause
    /// is new and must be logged.
    #[must_use = "a new cause is logged once"]
    pub(crate) fn watch_fails(&self, watch: &str, cause: &str, is_distrusted: bool) -> bool {
        self.watch_failed(watch, cause, is_distrusted.then(Instant::now))
    }

    fn watch_failed(&self, watch: &str, cause: &str, distrusted: Option<Instant>) -> bool {
        let mut state = self.0.lock();
        let before = state.failing.remove(watch);
        let is_new = before.as_ref().is_none_or(|before| before.cause != cause);
        let since = before.and_then(|before| before.distrusted).or(distrusted);
        let failing = Failing { cause: cause.to_owned(), distrusted: distrusted.and(since) };
        state.failing.insert(watch.to_owned(), failing);
        is_new
    }

    /// Notes that a watch works; returns whether it had failed before.
    pub(crate) fn watch_works(&self, watch: &str) -> bool {
        self.0.lock().failing.remove(watch).is_some()
    }

    /// Says what a restart can help with: the oldest reconcile, if it hangs, or an API server that is not trusted.
    pub(super) fn check_alive(&self) -> Result<(), String> {
        self.alive_at(Instant::now())
    }

    fn alive_at(&self, now: Instant) -> Result<(), String> {
        let state = self.0.lock();
        let age = |since: Instant| now.saturating_duration_since(since);
        if let Some(oldest) = state.reconciles.values().next().filter(|oldest| age(oldest.begun) >= LONGEST_RECONCILE) {
            return Err(format!("the reconcile of {} has run for {} s", oldest.object, age(oldest.begun).as_secs()));
        }
        let distrusted = state.failing.values().filter_map(|failing| failing.distrusted).map(age).max();
        match distrusted.filter(|age| *age >= LONGEST_DISTRUST) {
            Some(age) => Err(format!("the API server's certificate has not been trusted for {} s", age.as_secs())),
            None => Ok(()),
        }
    }

    /// The text for a ready operator, or why it is not ready.
    pub(super) fn check_ready(&self) -> Result<String, &'static str> {
        let state = self.0.lock();
        if state.unlisted > 0 {
            return Err("the first lists are not complete");
        }
        let mut failing = state.failing.iter();
        let Some((watch, Failing { cause, .. })) = failing.next() else { return Ok("ok".to_owned()) };
        let mut text = format!("degraded: {watch}: {cause}");
        for (watch, Failing { cause, .. }) in failing {
            // Writing to a String cannot fail.
            let _ = write!(text, "; {watch}: {cause}");
        }
        Ok(text)
    }
}

impl Drop for Reconciling {
    fn drop(&mut self) {
        self.health.0.lock().reconciles.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_is_alive_unless_a_reconcile_has_run_for_five_minutes() {
        let (health, now) = (Health::expecting(1), Instant::now());
        assert_eq!(health.check_alive(), Ok(()), "nothing to do, and not even a list");
        let slow = health.reconcile_began("team-a/slow".into(), now);
        let later = now + LONGEST_RECONCILE;
        let quick = health.reconcile_began("team-b/quick".into(), later);
        assert_eq!(health.alive_at(later.checked_sub(Duration::from_secs(1)).unwrap()), Ok(()));
        let hangs = health.alive_at(later + Duration::from_secs(7)).unwrap_err();
        assert_eq!(hangs, "the reconcile of team-a/slow has run for 307 s");
        drop(slow);
        assert_eq!(health.alive_at(later), Ok(()));
        drop((quick, health.reconcile_begins("team-c/new")));
        assert_eq!(health.0.lock().reconciles.len(), 0);
    }

    #[test]
    fn it_is_ready_once_every_scope_is_listed_and_stays_so() {
        let health = Health::expecting(2);
        health.lists_complete();
        assert!(health.check_ready().is_err());
        health.lists_complete();
        health.lists_complete();
        assert_eq!(health.check_ready().as_deref(), Ok("ok"));
    }

    /// rancher#25858: the authorities of the cluster were exchanged, and only a restart reads the new ones.
    #[test]
    fn the_operator_is_not_alive_once_it_has_not_trusted_the_api_server_for_five_minutes() {
        let (health, now) = (Health::default(), Instant::now());
        let alive = |seconds| health.alive_at(now + Duration::from_secs(seconds));
        let fails = |cause, seconds: Option<u64>| {
            let _ = health.watch_failed("pods", cause, seconds.map(|seconds| now + Duration::from_secs(seconds)));
        };
        fails("unknown authority", Some(0));
        fails("unknown authority", Some(200));
        assert_eq!(alive(299), Ok(()));
        assert_eq!(alive(301).unwrap_err(), "the API server's certificate has not been trusted for 301 s");
        fails("connection refused", None);
        assert_eq!(alive(301), Ok(()), "it cannot be reached, which no restart helps");
        fails("unknown authority", Some(400));
        assert_eq!((alive(699), alive(700).is_err()), (Ok(()), true));
        assert!(health.watch_works("pods"));
        assert_eq!(alive(700), Ok(()));
    }

    #[test]
    fn a_watch_that_fails_is_told_and_each_cause_is_new_once() {
        let health = Health::default();
        assert!(health.watch_fails("pods", "forbidden", false));
        assert!(!health.watch_fails("pods", "forbidden", false));
        assert!(health.watch_fails("jobs", "not found", false));
        assert_eq!(health.check_ready().as_deref(), Ok("degraded: jobs: not found; pods: forbidden"));
        assert!(health.watch_fails("pods", "timed out", false));
        assert!(health.watch_works("pods") && !health.watch_works("pods"));
        assert!(health.watch_fails("pods", "forbidden", false), "it had worked meanwhile");
        assert!(health.watch_works("jobs") && health.watch_works("pods"));
        assert_eq!(health.check_ready().as_deref(), Ok("ok"));
    }
}
