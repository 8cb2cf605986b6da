//! Claims and placement: what a worker reads, and whether and where it may.
//!
//! A claim that only one node may use puts the worker on the node of its holder. A claim that only one Pod may use is
//! waited for. A claim without a volume is waited for too: to bind it would choose its place for its owner. Only one that
//! is restored from something, and that no other Pod names, would wait for ever.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Toleration;

use super::super::moments;
use super::{ClaimFacts, ClaimUser, JobFacts, NORMAL_START_UP};
use crate::outcome::Trouble;
use crate::reason::Reason;

/// Where a worker is to run, and how it mounts its volume.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Placement {
    /// The one node that can use the volume now.
    pub node: Option<String>,
    /// The tolerations of the Pods there.
    pub tolerations: Vec<Toleration>,
    /// The SELinux level of a Pod that uses it.
    pub level: Option<Box<str>>,
    /// Whether several workers may use the volume at the same time, on any node.
    pub shared: bool,
    /// Whether the volume can be attached only for reading.
    pub read_only: bool,
}

/// The most workers of one Job that run at the same time.
pub(crate) const MAX_PARALLELISM: usize = 4;
/// A worker that has not started for so long makes way for a Pod that waits for its claim, and nobody waits for it.
pub(in crate::plan) const YIELD_AFTER: Duration = Duration::from_mins(1);

impl Placement {
    /// How many of these shares are read at the same time.
    pub(crate) fn parallelism(&self, shards: usize) -> usize {
        if self.shared { shards.min(MAX_PARALLELISM) } else { 1 }
    }
}

impl ClaimFacts {
    fn allows(&self, mode: &str) -> bool {
        self.access_modes.iter().any(|allowed| allowed == mode)
    }

    /// Whether Pods on any node may use it at the same time.
    pub(crate) fn is_shared(&self) -> bool {
        self.allows("ReadWriteMany") || self.is_read_only()
    }

    fn is_read_only(&self) -> bool {
        !self.access_modes.is_empty() && self.access_modes.iter().all(|mode| mode == "ReadOnlyMany")
    }

    /// Whether it waits for nothing but a Pod that uses it. Where its class binds at once, that Pod waits as we would.
    fn may_be_bound_by_worker(&self) -> bool {
        let waits = self.phase == "Pending" && self.has_data_source;
        waits && self.users.iter().all(|user| user.worker_of.is_some())
    }

    fn is_for_one_pod(&self) -> bool {
        !self.access_modes.is_empty() && self.access_modes.iter().all(|mode| mode == "ReadWriteOncePod")
    }

    /// Whether a worker that names it has not started. What then becomes of the claim is a matter of time.
    pub(in crate::plan) fn has_worker_to_start(&self) -> bool {
        self.users.iter().any(|user| user.worker_of.is_some() && !user.started)
    }

    /// The same without the Pods of a Job, which decided nothing of where it runs.
    pub(in crate::plan) fn without(&self, job: &JobFacts) -> Self {
        let users = self.others(job).cloned().collect();
        Self { users, ..self.clone() }
    }

    fn others(&self, job: &JobFacts) -> impl Iterator<Item = &ClaimUser> {
        self.users.iter().filter(|user| user.worker_of.as_ref() != Some(&job.name))
    }
}

impl ClaimUser {
    /// Whether others wait for it: not for a worker that may never start.
    fn is_waited_for(&self, now: Timestamp) -> bool {
        let is_young = || self.created.is_none_or(|created| moments::age(created, now) < YIELD_AFTER);
        self.worker_of.is_none() || self.started || is_young()
    }
}

/// Where a worker on the claim `name` is to run; or why it must wait.
pub(crate) fn access(name: &str, claim: &ClaimFacts, now: Timestamp) -> Result<Placement, Trouble> {
    let say = |reason, text: &str| Err(Trouble::new(reason, format!("PersistentVolumeClaim {name} {text}")));
    let is_usable = claim.phase == "Bound" || claim.may_be_bound_by_worker();
    let waited_for = || claim.users.iter().filter(|user| user.is_waited_for(now));
    match claim.phase.as_str() {
        "" => say(Reason::ClaimNotFound, "does not exist in this namespace: create it, or correct claimName"),
        _ if claim.deleting => say(Reason::ClaimNotFound, "is being deleted: name another, or create it again"),
        "Lost" => {
            say(Reason::ClaimNotBound, "has lost its volume: restore the PersistentVolume, or name another claim")
        }
        _ if is_usable && claim.block => say(
            Reason::NotAFile,
            "is a raw block device (volumeMode: Block) and holds no files: name one with a file system",
        ),
        _ if is_usable && claim.is_for_one_pod() && waited_for().next().is_some() => say(
            Reason::ClaimInUse,
            "may be used by one Pod at a time (ReadWriteOncePod) and is in use: it is read once that Pod has ended",
        ),
        // The next worker follows the one before to its node, once that has one.
        _ if is_usable
            && !claim.is_shared()
            && waited_for().any(|user| user.worker_of.is_some() && user.node.is_none()) =>
        {
            say(Reason::Queued, "is about to be read by another worker: waiting until that has its node")
        }
        _ if is_usable => Ok(place(claim)),
        _ => say(
            Reason::ClaimNotBound,
            "is not bound to a volume yet: it is read once the Pod that fills it has run (the operator never binds a claim without a data source)",
        ),
    }
}

fn place(claim: &ClaimFacts) -> Placement {
    let (shared, read_only) = (claim.is_shared(), claim.is_read_only());
    // One that is being deleted and has not started never will.
    let on_a_node = || claim.users.iter().filter(|user| user.node.is_some() && (user.started || !user.deleting));
    // One that is being deleted may be stuck on a node that is lost: where its successor is, the volume will be.
    let holder = on_a_node().min_by_key(|user| (user.deleting, !user.started));
    let level = holder.and_then(|user| user.level.clone()).or_else(|| on_a_node().find_map(|user| user.level.clone()));
    // Of a claim for one Pod nobody is the holder but the next worker.
    let holder = holder.filter(|_| !shared && !claim.is_for_one_pod());
    Placement {
        node: holder.and_then(|user| user.node.clone()),
        tolerations: holder.map(|user| user.tolerations.clone()).unwrap_or_default(),
        level,
        shared,
        read_only,
    }
}

/// Whether a Pod elsewhere waits for the claim of a worker, which only one node or Pod may use, and would get it if the
/// worker went.
pub(in crate::plan) fn is_wanted_elsewhere(job: &JobFacts, claim: &ClaimFacts, now: Timestamp) -> bool {
    let Some(here) = job.node_of_pod().filter(|_| !claim.is_shared()) else { return false };
    let is_here = |user: &ClaimUser| user.node.as_deref() == Some(here);
    let others = || claim.others(job).filter(|user| !user.deleting);
    // The volume comes to this node, or stays here, as long as another Pod here names it, whether that has started or not.
    let is_held_here = others().any(is_here);
    let waits = |user: &ClaimUser| {
        let elsewhere = user.node.is_some() && !is_here(user) && !is_held_here;
        // Before that it does not wait for anybody.
        let is_late = user.created.is_some_and(|created| moments::age(created, now) >= NORMAL_START_UP);
        !user.started && is_late && (elsewhere || claim.is_for_one_pod())
    };
    others().any(waits)
}

/// Whether a worker that has not started would be put on another node now: those who use its claim have moved.
pub(in crate::plan) fn is_misplaced(name: &str, job: &JobFacts, claim: &ClaimFacts, now: Timestamp) -> bool {
    let Ok(Placement { node, shared: false, .. }) = access(name, &claim.without(job), now) else { return false };
    let others = || claim.others(job).filter(|user| !user.deleting && user.node.is_some());
    let is_used_on = |here: &str| others().any(|user| user.node.as_deref() == Some(here));
    match (job.node_of_pod(), &job.node) {
        // A Pod that has its node is given up only for a volume that is surely elsewhere.
        (Some(here), _) => !is_used_on(here) && others().any(|user| user.started),
        (None, demanded) => *demanded != node && !demanded.as_deref().is_some_and(is_used_on),
    }
}
