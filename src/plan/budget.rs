//! How many workers may run at the same time, and who gets the next place: first come, first served.
//!
//! Whoever is held back by a bound of its own (its claim, its credential) does not hold back those behind it. The
//! bounds keep one resource, claim or credential from taking the cluster or the API for itself.

use super::volume::Volume;

/// The bounds on workers.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// In all.
    pub total: usize,
    /// On one claim.
    pub per_claim: usize,
    /// With one Secret's credential.
    pub per_credential: usize,
}

/// Workers that run, or are about to.
#[derive(Clone, Debug)]
pub struct Running {
    /// Their namespace.
    pub namespace: String,
    /// What they read.
    pub volume: Volume,
    /// The Secret they use.
    pub secret: String,
    /// How many they are.
    pub workers: usize,
    /// Whether each has a node.
    pub placed: bool,
}

/// Somebody who asks for workers.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its namespace.
    pub namespace: String,
    /// What they are to read.
    pub volume: Volume,
    /// The Secret they are to use.
    pub secret: String,
    /// How many at most.
    pub workers: usize,
    /// Whether workers on other nodes may read it at the same time.
    pub shared: bool,
    /// The bound for this credential, where the API asked to slow down.
    pub per_credential: Option<usize>,
}

/// How many workers each one gets who asks, in the order of the queue.
pub fn grant(running: &[Running], queue: &[Asked], limits: Limits) -> Vec<usize> {
    let mut running = running.to_vec();
    let grant = |asked: &Asked| {
        let granted = free(&running, asked, limits).min(asked.workers);
        if granted > 0 {
            let Asked { namespace, volume, secret, .. } = asked.clone();
            running.push(Running { namespace, volume, secret, workers: granted, placed: false });
        }
        granted
    };
    queue.iter().map(grant).collect()
}

fn free(running: &[Running], asked: &Asked, limits: Limits) -> usize {
    let used = |counts: &dyn Fn(&Running) -> bool| -> usize {
        running.iter().filter(|running| counts(running)).map(|running| running.workers).sum()
    };
    let same = |running: &Running| running.namespace == asked.namespace && running.volume == asked.volume;
    // Where one node has the volume, the next worker follows the one before: so that must have its node.
    if !asked.shared && running.iter().any(|running| same(running) && !running.placed) {
        return 0;
    }
    let of_credential = |running: &Running| running.namespace == asked.namespace && running.secret == asked.secret;
    let per_claim = match asked.volume {
        Volume::Claim(_) => limits.per_claim,
        Volume::ConfigMap(_) => usize::MAX,
    };
    let bounds = [
        limits.total.saturating_sub(used(&|_| true)),
        per_claim.saturating_sub(used(&same)),
        asked.per_credential.unwrap_or(limits.per_credential).saturating_sub(used(&of_credential)),
    ];
    bounds.into_iter().min().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { total: 10, per_claim: 4, per_credential: 8 };

    fn asked(claim: &str, secret: &str, workers: usize) -> Asked {
        let (namespace, volume, secret) = ("team".into(), Volume::Claim(claim.into()), secret.into());
        Asked { namespace, volume, secret, workers, shared: true, per_credential: None }
    }

    fn running(claim: &str, secret: &str, workers: usize, placed: bool) -> Running {
        Running {
            namespace: "team".into(),
            volume: Volume::Claim(claim.into()),
            secret: secret.into(),
            workers,
            placed,
        }
    }

    #[test]
    fn each_bound_holds() {
        let many =
            vec![asked("a", "s", 3), asked("a", "s", 3), asked("b", "s", 4), asked("c", "s", 4), asked("d", "t", 4)];
        assert_eq!(grant(&[], &many, LIMITS), [3, 1, 4, 0, 2], "claim a has 4, credential s 8, all have 10");
        let elsewhere = [Running { namespace: "other".into(), ..running("a", "s", 4, true) }];
        assert_eq!(grant(&elsewhere, &[asked("a", "s", 4)], LIMITS), [4], "a name means another claim elsewhere");
    }

    #[test]
    fn whoever_came_first_is_served_first_and_holds_nobody_back_for_a_bound_of_its_own() {
        let full = [running("a", "s", 4, true)];
        assert_eq!(grant(&full, &[asked("a", "s", 1), asked("b", "s", 1)], LIMITS), [0, 1]);
        let one_left = Limits { total: 5, ..LIMITS };
        assert_eq!(grant(&full, &[asked("b", "s", 4), asked("c", "t", 1)], one_left), [1, 0]);
    }

    #[test]
    fn a_volume_of_one_node_waits_until_the_worker_before_has_its_node() {
        let one_node = || Asked { shared: false, ..asked("a", "s", 1) };
        assert_eq!(grant(&[], &[one_node(), one_node()], LIMITS), [1, 0]);
        assert_eq!(grant(&[running("a", "s", 1, false)], &[one_node()], LIMITS), [0]);
        assert_eq!(grant(&[running("a", "s", 1, true)], &[one_node()], LIMITS), [1]);
    }

    #[test]
    fn a_credential_that_was_slowed_down_has_a_lower_bound() {
        let slowed = Asked { per_credential: Some(1), ..asked("a", "s", 4) };
        assert_eq!(grant(&[], std::slice::from_ref(&slowed), LIMITS), [1]);
        assert_eq!(grant(&[running("b", "s", 1, true)], &[slowed], LIMITS), [0]);
    }
}
