//! What a worker reads, and whether and where it may: one volume for each worker.
//!
//! A claim that only one node may use puts the worker beside whoever uses it; one that only one Pod may use is
//! waited for. A claim without a volume is waited for too: binding it would choose its place for its owner.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Toleration;

use super::observed::{ClaimUser, ClaimView, JobView};
use crate::reason::Reason;
use crate::resource::File;

/// The one volume that a worker reads.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Volume {
    /// A claim's.
    Claim(String),
    /// A ConfigMap, mounted.
    ConfigMap(String),
}

/// Where a worker is to run, and how it mounts its volume.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placement {
    /// The one node that can use the volume now.
    pub node: Option<String>,
    /// What the Pods there put up with.
    pub tolerations: Vec<Toleration>,
    /// Whether several workers may use the volume at the same time, on any node.
    pub shared: bool,
    /// Whether the volume can be attached only for reading.
    pub read_only: bool,
}

impl Volume {
    /// The volume that a worker reads `file` from; `None` for what the operator sends itself.
    pub fn of(file: &File, by_worker: bool) -> Option<Self> {
        let config_map = file.source.config_map_key_ref.as_ref().filter(|_| by_worker);
        let claim = file.source.persistent_volume_claim.as_ref();
        claim
            .map(|file| Self::Claim(file.claim_name.clone()))
            .or_else(|| config_map.map(|reference| Self::ConfigMap(reference.name.clone())))
    }

    /// The path of `file` on it.
    pub(super) fn path(file: &File) -> &str {
        let claim = file.source.persistent_volume_claim.as_ref().map(|file| &file.path);
        claim.or(file.source.config_map_key_ref.as_ref().map(|reference| &reference.key)).map_or("", String::as_str)
    }

    /// What it is called in messages.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Claim(name) => format!("PersistentVolumeClaim {name}"),
            Self::ConfigMap(name) => format!("ConfigMap {name}"),
        }
    }
}

impl ClaimView {
    fn allows(&self, mode: &str) -> bool {
        self.access_modes.iter().any(|allowed| allowed == mode)
    }

    fn is_shared(&self) -> bool {
        self.allows("ReadWriteMany") || self.is_read_only()
    }

    fn is_read_only(&self) -> bool {
        !self.access_modes.is_empty() && self.access_modes.iter().all(|mode| mode == "ReadOnlyMany")
    }

    fn is_for_one_pod(&self) -> bool {
        !self.access_modes.is_empty() && self.access_modes.iter().all(|mode| mode == "ReadWriteOncePod")
    }
}

/// Where a worker on the claim `name` is to run; or why it must wait.
pub(super) fn access(name: &str, claim: &ClaimView) -> Result<Placement, (Reason, String)> {
    let say = |reason, text: &str| Err((reason, format!("PersistentVolumeClaim {name} {text}")));
    match claim.phase.as_str() {
        "" => say(Reason::ClaimNotFound, "does not exist in this namespace: create it, or correct claimName"),
        _ if claim.deleting => say(Reason::ClaimNotFound, "is being deleted: name another, or create it anew"),
        "Lost" => {
            say(Reason::ClaimNotBound, "has lost its volume: restore the PersistentVolume, or name another claim")
        }
        "Bound" if claim.block => say(
            Reason::NotAFile,
            "is a raw block device (volumeMode: Block) and holds no files: name one with a file system",
        ),
        "Bound" if claim.is_for_one_pod() && !claim.users.is_empty() => say(
            Reason::ClaimInUse,
            "may be used by one Pod at a time (ReadWriteOncePod) and is in use: it is read once that Pod has ended",
        ),
        "Bound" => Ok(place(claim)),
        _ => say(
            Reason::ClaimNotBound,
            "is not bound to a volume yet: it is read once the Pod that fills it has run (the operator never binds a claim)",
        ),
    }
}

fn place(claim: &ClaimView) -> Placement {
    let (shared, read_only) = (claim.is_shared(), claim.is_read_only());
    let on_a_node = || claim.users.iter().filter(|user| user.node.is_some());
    let holder = on_a_node().find(|user| user.started).or_else(|| on_a_node().next()).filter(|_| !shared);
    Placement {
        node: holder.and_then(|user| user.node.clone()),
        tolerations: holder.map(|user| user.tolerations.clone()).unwrap_or_default(),
        shared,
        read_only,
    }
}

/// How long somebody else's Pod may wait for a claim before a worker makes way.
const PATIENCE: i64 = 15;

/// What somebody else's Pod that does not start means for a worker that holds the same claim.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Rival {
    /// There is none.
    None,
    /// It may start yet.
    Starting,
    /// It waits, and only for the worker to make way.
    Waiting,
}

/// Whether a worker is in somebody's way, as only one node or Pod may use the claim.
pub(super) fn rival(job: &JobView, claim: &ClaimView, now: Timestamp) -> Rival {
    let alive = job.pods.iter().filter(|pod| !pod.is_over());
    let nodes: BTreeSet<&String> = alive.filter_map(|pod| pod.node.as_ref()).collect();
    if claim.is_shared() || nodes.is_empty() {
        return Rival::None;
    }
    let locked_out = |user: &&ClaimUser| {
        let elsewhere = user.node.as_ref().is_some_and(|node| !nodes.contains(node));
        user.worker_of.is_none() && !user.started && (elsewhere || claim.is_for_one_pod())
    };
    let judge = |user: &ClaimUser| {
        let waits = user.created.is_some_and(|created| now.as_second() - created.as_second() >= PATIENCE);
        if waits { Rival::Waiting } else { Rival::Starting }
    };
    claim.users.iter().filter(locked_out).map(judge).max().unwrap_or(Rival::None)
}
