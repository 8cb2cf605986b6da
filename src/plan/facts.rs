//! What was observed, as far as a plan may depend on it: plain facts, and neither bytes nor credentials.
//!
//! The controller fills these from its index and its own memory, `render` from manifests, `explain` from what its user
//! may read. Nothing is judged here: what a fact means is the matter of the other rooms.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Toleration;

use crate::outcome::{Trouble, Upload};
use crate::report::Assignment;

pub(crate) mod folder;
mod jobs;
pub(crate) mod kept;
pub(crate) mod objects;
pub(crate) mod read;
pub(crate) mod volume;

pub(crate) use self::jobs::{
    Container, JobFacts, NORMAL_START_UP, PodFacts, Presence, Said, Standing, Terminated, Volume,
};

/// What was observed for one resource.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// The Sends, Launches and Jobs of this resource.
    pub work: Vec<WorkFacts>,
    /// The claims that its files are on, by name.
    pub claims: BTreeMap<String, ClaimFacts>,
    /// The ConfigMaps that its files come from, by name.
    pub config_maps: BTreeMap<String, ConfigMapFacts>,
    /// Its Secret.
    pub secret: SecretFacts,
    /// The ConfigMaps of its folders, by the folder's name.
    pub folders: BTreeMap<String, self::folder::FolderFacts>,
    /// Its output ConfigMap.
    pub output: OutputFacts,
    /// A hash of the settings that a Job would be made with now.
    pub settings_hash: String,
    /// When a Send of this process last read a ConfigMap for this resource.
    pub last_read: Option<Timestamp>,
}

/// A file and what its upload stands for.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct FileId {
    /// Its name in the spec.
    pub name: String,
    /// The hash of all that its upload depends on.
    pub revision: String,
}

/// Work that was begun for the resource.
#[derive(Clone, Debug)]
pub(crate) enum WorkFacts {
    /// A Send of this process.
    Send(SendFacts),
    /// A Job that this process is about to create, or that the API server refused.
    Launch(LaunchFacts),
    /// A Job that exists, or whose Pods may still tell something.
    Job(JobFacts),
}

/// A Send: files of one ConfigMap that the operator sends itself.
#[derive(Clone, Debug)]
pub(crate) struct SendFacts {
    /// Which attempt it is.
    pub attempt: i64,
    /// How far it is.
    pub stage: SendStage,
    /// Its files.
    pub files: Vec<FileId>,
    /// What came of files so far, by index.
    pub results: BTreeMap<usize, SendResult>,
    /// Why nothing could be sent, where that is not about one file.
    pub trouble: Option<Trouble>,
    /// Identifies the content of the Secret that it used.
    pub credentials_version: Option<String>,
}

/// How far a Send is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SendStage {
    /// It waits for its place since this moment.
    Waiting(Timestamp),
    /// It has its place since this moment.
    Running(Timestamp),
    /// It is over.
    Ended,
}

/// What came of one file of a Send.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum SendResult {
    /// It is stored.
    Stored {
        /// Its key.
        upload: Upload,
        /// The resourceVersion of the ConfigMap that was read.
        source_version: String,
    },
    /// The content is what it was, so nothing was sent.
    Unchanged {
        /// The resourceVersion of the ConfigMap that was read.
        source_version: String,
    },
    /// It is not stored, or not known to be.
    Failed {
        /// Why.
        trouble: Trouble,
        /// The resourceVersion of the ConfigMap that was read, if there is one.
        source_version: Option<String>,
        /// What was read, if the key is there.
        content: Option<Content>,
    },
}

/// A content that was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Content {
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256 in lower-case hex.
    pub sha256: String,
}

/// A Job that is about to be created.
#[derive(Clone, Debug)]
pub(crate) struct LaunchFacts {
    /// The Job's name.
    pub name: String,
    /// What it will read.
    pub volume: Volume,
    /// Which attempt it is.
    pub attempt: i64,
    /// Its files.
    pub files: Vec<FileId>,
    /// How far it is.
    pub stage: LaunchStage,
    /// Identifies the content of the Secret that was read for it.
    pub credentials_version: Option<String>,
}

/// How far a Launch is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum LaunchStage {
    /// It waits for its place since this moment.
    Waiting(Timestamp),
    /// Its Job is being created.
    Creating,
    /// There is no Job, and why.
    Refused(Trouble),
}

/// What is known of a ConfigMap that files come from.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum ConfigMapFacts {
    /// The watch has not told of it since it is named: it may exist.
    #[default]
    Unknown,
    /// It does not exist.
    Missing,
    /// It exists.
    There {
        /// Its resourceVersion.
        version: String,
        /// What each key holds, where it was read; the operator leaves that to its Sends.
        contents: Option<BTreeMap<String, Content>>,
    },
}

/// What is known of the Secret.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum SecretFacts {
    /// Nobody has looked since it is waited for.
    #[default]
    Unknown,
    /// There is none of that name.
    Missing,
    /// The operator has no right to read it.
    Forbidden,
    /// It holds nothing that may be sent to Cyberun.
    Invalid {
        /// Identifies its content.
        version: String,
        /// What is wrong with it.
        problem: String,
    },
    /// It holds a credential.
    Usable {
        /// Identifies its content.
        version: String,
    },
}

/// What is known of the output ConfigMap.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum OutputFacts {
    /// There is none of that name, as far as is known.
    #[default]
    Absent,
    /// It belongs to this resource.
    Ours {
        /// A hash of its data; none if it was not read.
        hash: Option<String>,
    },
    /// It belongs to a FileUpload of the same name that is gone.
    Orphaned,
    /// It belongs to somebody else.
    Foreign,
}

/// What is known of a claim.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ClaimFacts {
    /// Its `status.phase`: `Pending`, `Bound` or `Lost`; empty if there is no such claim.
    pub phase: String,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it is a raw block device rather than a file system.
    pub block: bool,
    /// What its volume allows, as in `status.accessModes`.
    pub access_modes: Vec<String>,
    /// Whether it is made of a snapshot, of another claim or by a populator: its content is there before any Pod is.
    pub has_data_source: bool,
    /// The Pods that name it and have not ended.
    pub users: Vec<ClaimUser>,
}

/// A Pod that names a claim.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ClaimUser {
    /// Its node, once it is scheduled.
    pub node: Option<String>,
    /// Whether a container of it has started.
    pub started: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its tolerations.
    pub tolerations: Vec<Toleration>,
    /// The SELinux level that it or a container of it names.
    pub level: Option<Box<str>>,
    /// The Job that it belongs to, if that is one of our workers'.
    pub worker_of: Option<String>,
    /// When it was created.
    pub created: Option<Timestamp>,
}

impl FileId {
    /// The file that a worker is given.
    pub(crate) fn of(file: &Assignment) -> Self {
        Self { name: file.name.clone(), revision: file.revision.clone() }
    }
}

impl SecretFacts {
    /// What identifies the content of a Secret that was read.
    pub(crate) fn version(&self) -> Option<&str> {
        match self {
            Self::Invalid { version, .. } | Self::Usable { version } => Some(version),
            Self::Unknown | Self::Missing | Self::Forbidden => None,
        }
    }
}
