//! Workers as they were observed: what they read, their Jobs and their Pods.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::super::moments;
use crate::report::Assignment;
use crate::resource::{File, JobStatus};

/// How long a Pod may take to start without anything being wrong.
pub(crate) const NORMAL_START_UP: Duration = Duration::from_secs(15);

/// The one volume that a worker reads.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Volume {
    /// A claim's.
    Claim(String),
    /// A ConfigMap, mounted.
    ConfigMap(String),
}

impl Default for Volume {
    fn default() -> Self {
        Self::Claim(String::new())
    }
}

/// A Job that was created for this resource.
#[derive(Clone, Debug, Default)]
pub(crate) struct JobFacts {
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
    /// Identifies the content of the Secret that it was launched with.
    pub credentials_version: String,
    /// The hash of the settings that it was made with.
    pub settings_hash: String,
    /// Its Pods' image.
    pub image: String,
    /// The one node that its Pods may run on, if it names one.
    pub node: Option<String>,
    /// Whether it exists, and whether it has ended.
    pub standing: Standing,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether another controller, such as Kueue, has suspended it. Kubernetes then deletes its Pods; the files have not failed.
    pub suspended: bool,
    /// When it was last suspended or resumed, as far as the controller of Jobs has acted by it.
    pub suspension_changed: Option<Timestamp>,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// Its files, shared as they are copied with each look.
    pub files: Arc<[Assignment]>,
    /// Into how many shares the files are cut.
    pub shards: usize,
    /// How many of those are read at the same time.
    pub parallelism: usize,
    /// What the cluster said of it, latest last.
    pub events: Vec<Said>,
    /// Its Pods, those included that are gone but whose report is known; the living last.
    pub pods: Vec<PodFacts>,
    /// Whether the API server itself, rather than a cache, was asked for all this.
    pub confirmed: bool,
}

/// How a Job stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum Standing {
    /// It exists and has not ended.
    #[default]
    Alive,
    /// It exists and has ended: the condition's reason and message.
    Ended(Said),
    /// It does not exist.
    Gone,
}

/// A Pod of a worker.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodFacts {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Which share of the files it was given.
    pub index: usize,
    /// Its node, once it is scheduled.
    pub node: Option<String>,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// Whether it exists.
    pub presence: Presence,
    /// Whether its `status.phase` is `Succeeded` or `Failed`.
    pub has_ended: bool,
    /// Its `status.reason` and `status.message`, as with `Evicted`.
    pub said: Option<Said>,
    /// Why no node was found for it.
    pub unschedulable: Option<Said>,
    /// Why it was disrupted (the condition `DisruptionTarget`).
    pub disrupted: Option<Said>,
    /// The container called `worker`.
    pub container: Container,
    /// What the cluster said of it, latest last.
    pub events: Vec<Said>,
}

/// Whether a Pod exists.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Presence {
    /// It exists.
    #[default]
    There,
    /// It is being deleted.
    Deleting,
    /// It no longer exists.
    Gone,
}

/// The state of a worker's container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Container {
    /// It does not run yet, and why, if the kubelet says so.
    Waiting(Option<Said>),
    /// It runs.
    Running {
        /// Whether the Pod is ready; it is not when its node does not answer.
        ready: bool,
    },
    /// It has ended.
    Ended(Terminated),
}

impl Default for Container {
    fn default() -> Self {
        Self::Waiting(None)
    }
}

/// How a container ended.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Terminated {
    /// As `OOMKilled` or `Error`.
    pub reason: String,
    /// Its exit code.
    pub exit_code: i32,
    /// Its termination message.
    pub message: String,
}

/// A reason and a message of the cluster's.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Said {
    /// One word.
    pub reason: String,
    /// In words.
    pub message: String,
}

impl Volume {
    /// The volume that a worker reads `file` from; `None` for what the operator sends itself.
    pub(crate) fn of(file: &File, by_worker: bool) -> Option<Self> {
        let config_map = file.source.config_map_key_ref.as_ref().filter(|_| by_worker);
        let claim = file.source.persistent_volume_claim.as_ref();
        claim
            .map(|file| Self::Claim(file.claim_name.clone()))
            .or_else(|| config_map.map(|reference| Self::ConfigMap(reference.name.clone())))
    }

    /// The path of `file` on it.
    pub(crate) fn path(file: &File) -> &str {
        let claim = file.source.persistent_volume_claim.as_ref().map(|file| &file.path);
        claim.or(file.source.config_map_key_ref.as_ref().map(|reference| &reference.key)).map_or("", String::as_str)
    }

    /// How the status names a Job that reads it.
    pub(crate) fn job_status(&self, job: &str) -> JobStatus {
        let (claim_name, config_map_name) = match self {
            Self::Claim(claim) => (Some(claim.clone()), None),
            Self::ConfigMap(config_map) => (None, Some(config_map.clone())),
        };
        JobStatus { name: job.to_owned(), claim_name, config_map_name }
    }

    /// What a Job reads that the status names; none if the status does not say.
    pub(crate) fn of_job(job: &JobStatus) -> Option<Self> {
        let claim = job.claim_name.clone().map(Self::Claim);
        claim.or_else(|| job.config_map_name.clone().map(Self::ConfigMap))
    }

    /// The name of the claim or ConfigMap.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Claim(name) | Self::ConfigMap(name) => name,
        }
    }

    /// What it is called in messages.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Claim(name) => format!("PersistentVolumeClaim {name}"),
            Self::ConfigMap(name) => format!("ConfigMap {name}"),
        }
    }
}

impl PodFacts {
    /// How its worker ended.
    pub(crate) fn terminated(&self) -> Option<&Terminated> {
        match &self.container {
            Container::Ended(terminated) => Some(terminated),
            _ => None,
        }
    }

    /// Whether its worker runs.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.container, Container::Running { .. })
    }

    /// Whether its container runs, or ran.
    pub(crate) fn has_started(&self) -> bool {
        !matches!(self.container, Container::Waiting(_))
    }

    /// Whether its worker has ended or is no longer there. What a webhook put beside it may run on.
    pub(crate) fn is_over(&self) -> bool {
        let ended_alone = self.presence == Presence::There && self.terminated().is_some();
        self.presence == Presence::Gone || self.has_ended || ended_alone
    }
}

impl JobFacts {
    /// Whether nothing of it runs or will run.
    pub(crate) fn is_over(&self) -> bool {
        let pods = || self.pods.iter();
        // A Job is never retried: where each worker has ended beside a container that goes on, it waits for that alone.
        let ended_beside =
            |pod: &PodFacts| pod.presence == Presence::There && pod.terminated().is_some() && !pod.has_ended;
        let share_is_over = |share| pods().any(|pod| pod.index == share && ended_beside(pod));
        let no_more = self.standing != Standing::Alive || self.deleting || (0..self.shards).all(share_is_over);
        no_more && pods().all(PodFacts::is_over)
    }

    /// Whether it was suspended after a Pod of it had started, and perhaps resumed since: its next Pod would begin again
    /// with all that the first was given.
    pub(crate) fn was_stopped(&self) -> bool {
        let was_there = |pod: &PodFacts| {
            let changed = self.suspension_changed.zip(pod.created).is_some_and(|(changed, created)| changed > created);
            // A suspension deletes the Pods that run. The first admission by a queue deletes none, and may also bear a
            // later time than the Pod: Kubernetes creates the Pod, and then writes down that the Job was resumed.
            let is_deleted = pod.presence != Presence::There;
            pod.has_started() && (self.suspended || changed && is_deleted)
        };
        self.pods.iter().any(was_there)
    }

    /// This Job as it is now, with what only `before` tells: a Job that was suspended when its deletion began does not run
    /// again, even if somebody resumes it.
    pub(crate) fn after(self, before: &Self) -> Self {
        let ends = self.deleting || self.standing == Standing::Gone;
        Self {
            suspended: self.suspended || ends && before.suspended,
            suspension_changed: self.suspension_changed.or(before.suspension_changed),
            ..self
        }
    }

    /// Whether a container of it runs, or ran.
    pub(crate) fn has_started(&self) -> bool {
        self.pods.iter().any(PodFacts::has_started)
    }

    /// The node of a Pod of it that is not over.
    pub(crate) fn node_of_pod(&self) -> Option<&str> {
        self.pods.iter().filter(|pod| !pod.is_over()).find_map(|pod| pod.node.as_deref())
    }

    /// The folder that it sends, if it sends one.
    pub(crate) fn folder(&self) -> Option<&Assignment> {
        self.files.iter().find(|file| file.folder.is_some())
    }

    /// For how long it exists.
    pub(crate) fn age(&self, now: Timestamp) -> Duration {
        self.created.map_or(Duration::ZERO, |created| moments::age(created, now))
    }

    /// A Job that the status names and of which nothing else is found; its attempt is not known, and is at most this.
    pub(crate) fn vanished(name: &str, volume: Volume, attempt: i64) -> Self {
        Self { name: name.to_owned(), volume, attempt, standing: Standing::Gone, shards: 1, ..Self::default() }
    }
}
