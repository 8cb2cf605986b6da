//! The status of a `FileUpload`: what consumers read, and everything that the operator remembers.
//!
//! Conditions follow the Kubernetes API conventions and kstatus; `phase` is for people. Optional fields are
//! left out rather than written as null.

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::de::IntoDeserializer;
use serde::de::value::{self, StringDeserializer};
use serde::{Deserialize, Deserializer, Serialize};

use super::folder::FolderStatus;

/// The most Jobs that a status names.
pub const MAX_JOBS: usize = 100;
/// The longest message of a file, in characters.
pub const LONGEST_MESSAGE: usize = 2048;
/// The longest file name, in characters.
pub const LONGEST_FILE_NAME: usize = 255;

/// The state of a `FileUpload`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileUploadStatus {
    /// The generation of the spec that this status describes.
    pub observed_generation: i64,
    /// A summary of the state for people. Programs read the conditions.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "known")]
    pub phase: Option<Phase>,
    /// Uploaded files and all files, as `1/2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub summary: Option<String>,
    /// How many files have a key.
    #[schemars(range(min = 0))]
    pub files_uploaded: i64,
    /// How many files the spec names, with those that its folders hold.
    #[schemars(range(min = 0))]
    pub files_total: i64,
    /// The key of the file, if the spec has exactly one file and no folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub file_key: Option<String>,
    /// The first moment at which a key of this resource is withdrawn. Absent if it has no key. With `refreshPolicy:
    /// BeforeExpiry` a key is renewed before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_until: Option<Time>,
    /// The state of each file, in the order of the spec.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub files: Vec<FileStatus>,
    /// The state of each folder, in the order of the spec.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub folders: Vec<FolderStatus>,
    /// The number of the last attempt. Each upload by the operator and each Job takes the next number. It never
    /// decreases.
    #[schemars(range(min = 0))]
    pub attempts: i64,
    /// The value of `attempts` when a fresh upload was requested. The request is done once every file has a higher
    /// `attempt`. Absent if no request is in progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub requested_attempt: Option<i64>,
    /// The value of the annotation `cyberun.cloud/requested-at` that `requestedAttempt` belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub requested_at: Option<String>,
    /// When the operator tries again, if the last attempt failed and a later one may succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Time>,
    /// The last value of the annotation `cyberun.cloud/requested-at` whose request is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_requested_at: Option<String>,
    /// Identifies the content of the Secret that was used last. New content retries what the old one stalled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub credentials_version: Option<String>,
    /// The Cyberun deployment that the keys are of, if the operator knows several.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub deployment: Option<String>,
    /// The running Jobs that read volumes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_JOBS), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub jobs: Vec<JobStatus>,
    /// The output ConfigMap that the operator wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputStatus>,
    /// Ready and Available; Reconciling or Stalled only while true.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// The state of a `FileUpload`, for people.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the schema would show them in place of the field's own description")]
pub enum Phase {
    #[default]
    Pending,
    Uploading,
    Ready,
    Expired,
    Suspended,
    Failed,
}

impl Phase {
    /// Every phase, with its name.
    pub(crate) const ALL: [(Self, &'static str); 6] = [
        (Self::Pending, "Pending"),
        (Self::Uploading, "Uploading"),
        (Self::Ready, "Ready"),
        (Self::Expired, "Expired"),
        (Self::Suspended, "Suspended"),
        (Self::Failed, "Failed"),
    ];
}

/// The output ConfigMap that the operator wrote.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct OutputStatus {
    /// The name of the ConfigMap.
    #[schemars(length(max = 253))]
    pub name: String,
}

/// A running Job.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobStatus {
    /// The name of the Job.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The PersistentVolumeClaim that it reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub claim_name: Option<String>,
    /// The ConfigMap that it reads, if the operator does not upload ConfigMaps itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub config_map_name: Option<String>,
}

/// The state of one file.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileStatus {
    /// The file's name in the spec.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The state of the file.
    #[serde(deserialize_with = "known_state")]
    pub state: FileState,
    /// Identifies the source, file name, MIME type and Secret that this entry belongs to.
    #[schemars(length(max = 64))]
    pub revision: String,
    /// The number of the attempt that gave the key or the failure.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    pub attempt: i64,
    /// When the current trouble began; to wait for its turn is none. The next attempt waits as long again as it has
    /// lasted, from 1 second to 5 minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// The resourceVersion of the ConfigMap that was last read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub source_version: Option<String>,
    /// The key to pass to a workflow. It is opaque.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub file_key: Option<String>,
    /// The file name at Cyberun.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LONGEST_FILE_NAME))]
    pub file_name: Option<String>,
    /// The MIME type of the upload.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub content_type: Option<String>,
    /// The size in bytes that was last read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub size: Option<i64>,
    /// The SHA-256 of the content that was last read, in lower-case hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub sha256: Option<String>,
    /// When the upload ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uploaded_at: Option<Time>,
    /// When Cyberun deletes the upload. The operator withdraws the key before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// Why the file is not uploaded, or not uploaded again, in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub reason: Option<String>,
    /// The reason in words, and what to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LONGEST_MESSAGE))]
    pub message: Option<String>,
}

/// The state of a file.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the schema would show them in place of the field's own description")]
pub enum FileState {
    #[default]
    Pending,
    Uploading,
    Uploaded,
    Expired,
    Failed,
}

/// None in place of a word that this version does not know: another version may have written it, and what it stands for is
/// derived anew.
fn known<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let word: StringDeserializer<value::Error> = String::deserialize(deserializer)?.into_deserializer();
    Ok(T::deserialize(word).ok())
}

pub(super) fn known_state<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FileState, D::Error> {
    Ok(known(deserializer)?.unwrap_or_default())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
pub(super) fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn a_status_of_another_version_is_read_whatever_its_words_are() {
        let file = json!({"name": "a", "state": "Resting", "revision": "r", "fileKey": "k"});
        let status: FileUploadStatus = from_value(json!({"phase": "Dreaming", "files": [file]})).unwrap();
        assert_eq!((status.phase, status.files[0].state), (None, FileState::Pending));
        assert_eq!(status.files[0].file_key.as_deref(), Some("k"));
        let status: FileUploadStatus = from_value(json!({"phase": "Ready"})).unwrap();
        assert_eq!(status.phase, Some(Phase::Ready));
    }
}
