//! What was seen of the world, as far as a plan may depend on it: plain facts, and neither bytes nor credentials.
//!
//! The controller fills these from its caches, `render` from manifests. Nothing is judged here: what a fact means
//! is the matter of the other files of this module.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Toleration;

use super::{OutputView, Terms, Volume};
use crate::report::Assignment;

/// What was seen of the world, as far as it was asked for.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The credentials Secret.
    pub credentials: CredentialsView,
    /// The content of the files that were looked at, by file name.
    pub contents: BTreeMap<String, Content>,
    /// The output ConfigMap.
    pub output: OutputView,
    /// How many attempts in a row failed in a way that may pass by itself.
    pub failures: u32,
    /// The claims that files without a key are on, by name.
    pub claims: BTreeMap<String, ClaimView>,
    /// The Jobs made for this resource that exist, or whose Pods may still tell something.
    pub jobs: Vec<JobView>,
    /// How many workers may be started on each volume now; `None` sets no bound.
    pub slots: Option<BTreeMap<Volume, usize>>,
    /// Identifies the settings that a Job would be made with now.
    pub settings: String,
    /// Whether files of ConfigMaps are sent by workers too.
    pub by_worker: bool,
    /// The SHA-256 of what ConfigMaps hold now, in lower-case hex, by file name: where it is asked whether it changed.
    pub hashes: BTreeMap<String, String>,
    /// How long keys live.
    pub terms: Terms,
}

/// What is known of the credentials Secret.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum CredentialsView {
    /// It was not looked at.
    #[default]
    Unseen,
    /// There is none of that name.
    Missing,
    /// The operator has no right to read it.
    Forbidden,
    /// It exists but holds nothing that may be sent to Cyberun.
    Invalid {
        /// Its resourceVersion.
        version: String,
        /// What is wrong with it.
        problem: String,
    },
    /// It holds a credential.
    Usable {
        /// Its resourceVersion.
        version: String,
    },
    /// Only workers read it: the operator has no right on Secrets.
    LeftToWorkers,
}

impl CredentialsView {
    /// The resourceVersion of a Secret that may be used; empty where only workers see it.
    pub(super) fn usable(&self) -> Option<&str> {
        match self {
            Self::Usable { version } => Some(version),
            Self::LeftToWorkers => Some(""),
            _ => None,
        }
    }
}

/// What is known of a file's content.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Content {
    /// The ConfigMap does not exist.
    NoConfigMap,
    /// The ConfigMap does not have the key.
    NoKey,
    /// It is there, but only a worker reads it.
    Unread,
    /// It is there.
    Found {
        /// Size in bytes.
        size: i64,
        /// SHA-256 in lower-case hex.
        sha256: String,
    },
}

/// What is known of a claim.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClaimView {
    /// Its `status.phase`: `Pending`, `Bound` or `Lost`; empty if there is no such claim.
    pub phase: String,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it is a raw block device rather than a file system.
    pub block: bool,
    /// What its volume allows, as in `status.accessModes`.
    pub access_modes: Vec<String>,
    /// The Pods that name it and have not ended.
    pub users: Vec<ClaimUser>,
}

/// A Pod that names a claim.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClaimUser {
    /// Its node, once it is scheduled.
    pub node: Option<String>,
    /// Whether a container of it has started.
    pub started: bool,
    /// The taints it puts up with.
    pub tolerations: Vec<Toleration>,
    /// The Job that it belongs to, if that is one of our workers'.
    pub worker_of: Option<String>,
    /// When it was made.
    pub created: Option<Timestamp>,
}

/// A Job that was made for this resource.
#[derive(Clone, Debug)]
pub struct JobView {
    /// Its name.
    pub name: String,
    /// Its uid; empty where only Pods of it are left.
    pub uid: String,
    /// What it reads.
    pub volume: Volume,
    /// Which attempt it is.
    pub attempt: i64,
    /// The generation of the spec that it was launched for.
    pub generation: Option<i64>,
    /// The resourceVersion of the Secret that it was launched with.
    pub credentials_version: String,
    /// The settings that it was made with.
    pub settings: String,
    /// Its Pods' image.
    pub image: String,
    /// Whether the Job itself still exists.
    pub exists: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Its share of files.
    pub files: Vec<Assignment>,
    /// Into how many shares the files are cut.
    pub shards: usize,
    /// Whether it ended, and if it failed, how: the condition's reason and message.
    pub ended: Option<Said>,
    /// What the cluster said of it, latest last.
    pub events: Vec<Said>,
    /// Its Pods, those included that were deleted a while ago.
    pub pods: Vec<PodView>,
    /// Whether the API server itself, rather than a cache, was asked for all this.
    pub confirmed: bool,
}

/// A Pod of a worker.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact that the cluster tells by itself")]
#[derive(Clone, Debug, Default)]
pub struct PodView {
    /// Its name.
    pub name: String,
    /// Which share of the files it was given.
    pub index: usize,
    /// Its node, once it is scheduled.
    pub node: Option<String>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Its `status.phase`.
    pub phase: String,
    /// Its `status.reason` and `status.message`, as with `Evicted`.
    pub said: Option<Said>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it no longer exists.
    pub gone: bool,
    /// Why no node was found for it.
    pub unschedulable: Option<Said>,
    /// Why it was disrupted (the condition `DisruptionTarget`).
    pub disrupted: Option<Said>,
    /// Why its container does not run yet.
    pub waiting: Option<Said>,
    /// Whether its container runs.
    pub running: bool,
    /// Whether it runs and yet is not ready, as when its node does not answer.
    pub unready: bool,
    /// How its container ended.
    pub terminated: Option<Terminated>,
    /// What the cluster said of it, latest last.
    pub events: Vec<Said>,
}

/// How a container ended.
#[derive(Clone, Debug, Default)]
pub struct Terminated {
    /// As `OOMKilled` or `Error`.
    pub reason: String,
    /// Its exit code.
    pub exit_code: i32,
    /// Its termination message.
    pub message: String,
}

/// A reason and a message of the cluster's.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Said {
    /// One word.
    pub reason: String,
    /// In words.
    pub message: String,
}

impl PodView {
    /// Whether it has ended or is no longer there.
    pub(super) fn is_over(&self) -> bool {
        self.gone || matches!(self.phase.as_str(), "Succeeded" | "Failed")
    }
}

impl JobView {
    /// Whether nothing of it runs or will run.
    pub(super) fn is_over(&self) -> bool {
        let no_more = self.ended.is_some() || !self.exists;
        no_more && self.pods.iter().all(PodView::is_over)
    }

    /// Whether a container of it runs, or ran.
    pub(super) fn has_started(&self) -> bool {
        self.pods.iter().any(|pod| pod.running || pod.terminated.is_some())
    }
}
