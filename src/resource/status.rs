//! The status of a `FileUpload`: what consumers read, and all that the operator remembers.
//!
//! Conditions follow the Kubernetes API conventions and kstatus; `phase` is for people. Optional fields are
//! left out rather than written as null.

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is known of a `FileUpload`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileUploadStatus {
    /// The generation of the spec that this status is about.
    pub observed_generation: i64,
    /// Where it stands, for people; programs read the conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Uploaded files of all files, as `1/2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub summary: Option<String>,
    /// How many files have a key.
    #[schemars(range(min = 0))]
    pub files_uploaded: i64,
    /// How many files the spec names.
    #[schemars(range(min = 0))]
    pub files_total: i64,
    /// The key of the file, where the spec names one file only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub file_key: Option<String>,
    /// Each file, in the order of the spec.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub files: Vec<FileStatus>,
    /// How often sending was tried; it never decreases.
    #[schemars(range(min = 0))]
    pub attempts: i64,
    /// When sending is tried again, if it failed in a way that may pass by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Time>,
    /// The value of the annotation `cyberun.cloud/requested-at` that was heeded last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_requested_at: Option<String>,
    /// The resourceVersion of the Secret that was used last. Another one wakes what a credential stalled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub credentials_version: Option<String>,
    /// The Jobs under way that read volumes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub jobs: Vec<JobStatus>,
    /// The output ConfigMap that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputStatus>,
    /// Ready, Available, and while they hold Reconciling or Stalled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Where a `FileUpload` stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the schema would show them in place of the field's own description")]
pub enum Phase {
    Pending,
    Uploading,
    Ready,
    Expired,
    Suspended,
    Failed,
}

/// The output ConfigMap that was written.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct OutputStatus {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
}

/// A Job under way.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobStatus {
    /// Its name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The claim whose volume it reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub claim_name: Option<String>,
    /// The ConfigMap that it reads, where the operator does not send ConfigMaps itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub config_map_name: Option<String>,
}

/// What is known of one file.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileStatus {
    /// Its name in the spec.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Where it stands.
    pub state: FileState,
    /// Identifies the source, names and credentials that this entry is about.
    #[schemars(length(max = 64))]
    pub revision: String,
    /// The opaque reference to pass to a workflow.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub file_key: Option<String>,
    /// The name it was uploaded under.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub file_name: Option<String>,
    /// The MIME type it was uploaded with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub content_type: Option<String>,
    /// Its size in bytes, when it was last read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub size: Option<i64>,
    /// The SHA-256 of its content when it was last read, in lower-case hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub sha256: Option<String>,
    /// When its upload ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uploaded_at: Option<Time>,
    /// When Cyberun deletes what was uploaded. The key is withdrawn some time before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// Since when it has been looked for and not been there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<Time>,
    /// Why it is not uploaded, or not uploaded anew, in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub reason: Option<String>,
    /// The same in words, and what to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// Where a file stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the schema would show them in place of the field's own description")]
pub enum FileState {
    Pending,
    Uploading,
    Uploaded,
    Expired,
    Failed,
}

impl FileStatus {
    /// A file that nothing is known of yet.
    pub fn pending(name: &str, revision: String) -> Self {
        Self {
            name: name.to_owned(),
            state: FileState::Pending,
            revision,
            file_key: None,
            file_name: None,
            content_type: None,
            size: None,
            sha256: None,
            uploaded_at: None,
            expires_at: None,
            missing_since: None,
            reason: None,
            message: None,
        }
    }
}
