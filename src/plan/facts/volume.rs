//! Claims and placement: what a worker reads, and whether and where it may.
//!
//! A claim that only one node may use puts the worker on the node of its holder. A claim that only one Pod may use is
//! waited for. A claim without a volume is waited for too: to bind it would choose its place for its owner. Only one that
//! is restored from something, and that no other Pod names, would wait for ever.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Toleration;

use super::{ClaimFacts, ClaimUser, JobFacts};
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
pub(in crate::plan) const MAX_PARALLELISM: usize = 4;

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
}

/// Where a worker on the claim `name` is to run; or why it must wait.
pub(in crate::plan) fn access(name: &str, claim: &ClaimFacts) -> Result<Placement, Trouble> {
    let say = |reason, text: &str| Err(Trouble::new(reason, format!("PersistentVolumeClaim {name} {text}")));
    let is_usable = claim.phase == "Bound" || claim.may_be_bound_by_worker();
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
        _ if is_usable && claim.is_for_one_pod() && !claim.users.is_empty() => say(
            Reason::ClaimInUse,
            "may be used by one Pod at a time (ReadWriteOncePod) and is in use: it is read once that Pod has ended",
        ),
        // The next worker follows the one before to its node, once that has one.
        _ if is_usable
            && !claim.is_shared()
            && claim.users.iter().any(|user| user.worker_of.is_some() && user.node.is_none()) =>
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
    let on_a_node = || claim.users.iter().filter(|user| user.node.is_some());
    let holder = on_a_node().find(|user| user.started).or_else(|| on_a_node().next());
    let level = holder.and_then(|user| user.level.clone()).or_else(|| on_a_node().find_map(|user| user.level.clone()));
    let holder = holder.filter(|_| !shared);
    Placement {
        node: holder.and_then(|user| user.node.clone()),
        tolerations: holder.map(|user| user.tolerations.clone()).unwrap_or_default(),
        level,
        shared,
        read_only,
    }
}

/// How long a Pod takes to start anyway, in seconds: before that it does not wait for anybody.
const NORMAL_START_UP: i64 = 15;

/// Whether a Pod elsewhere waits for the claim of a worker, which only one node or Pod may use, and would get it if the
/// worker went.
pub(in crate::plan) fn is_wanted_elsewhere(job: &JobFacts, claim: &ClaimFacts, now: Timestamp) -> bool {
    let alive = job.pods.iter().filter(|pod| !pod.is_over());
    let nodes: BTreeSet<&String> = alive.filter_map(|pod| pod.node.as_ref()).collect();
    if claim.is_shared() || nodes.is_empty() {
        return false;
    }
    let others = || claim.users.iter().filter(|user| user.worker_of.is_none());
    let is_here = |user: &ClaimUser| user.node.as_ref().is_some_and(|node| nodes.contains(node));
    // The volume comes to this node, or stays here, as long as another Pod here names it, whether that has started or not.
    let is_held_here = others().any(is_here);
    let waits = |user: &ClaimUser| {
        let elsewhere = user.node.is_some() && !is_here(user) && !is_held_here;
        let is_late = user.created.is_some_and(|created| now.as_second() - created.as_second() >= NORMAL_START_UP);
        !user.started && is_late && (elsewhere || claim.is_for_one_pod())
    };
    others().any(waits)
}
