//! What the operator reads and writes in Kubernetes: its own kind, and the names of its labels and annotations.
//!
//! Every label, annotation and field-manager name is a constant here and nowhere else.

pub use self::file_upload::{
    ConfigMapKeyReference, Credentials, File, FileUpload, FileUploadSpec, Output, OutputConfigMap, RefreshPolicy,
    SecretReference, Source, UpdatePolicy, VolumeFile,
};
pub use self::folder::{FailureStatus, Folder, FolderSource, FolderStatus, VolumeFolder};
pub use self::status::{
    Condition, FileState, FileStatus, FileUploadStatus, JobStatus, LONGEST_FILE_NAME, LONGEST_MESSAGE, MAX_JOBS,
    OutputStatus, Phase,
};
pub use self::worker::{Worker, WorkerResources, WorkerSecurityContext, why_refused};

#[cfg(test)]
pub(crate) mod arbitrary;
mod file_upload;
mod folder;
mod given;
mod metadata;
mod schema;
mod status;
mod worker;

pub use self::schema::crd;

/// The operator's name in `managedFields`, events and logs.
pub const FIELD_MANAGER: &str = "fileupload-operator";
/// The name of the command line in `managedFields`.
pub const FIELD_MANAGER_COMMAND: &str = "fileupload";
/// Marks the output ConfigMaps that the operator may write, with the value [`FIELD_MANAGER`].
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The name of the `FileUpload` that an object belongs to.
pub const LABEL_FILE_UPLOAD: &str = "cyberun.cloud/fileupload";
/// The Secret that is used if the spec names none.
pub const DEFAULT_SECRET: &str = "cyberun";
/// The Secret's key that holds the credential.
pub const SECRET_API_KEY: &str = "CYBERUN_API_KEY";
/// The Secret's key that holds the team's id, for user JWTs.
pub const SECRET_TEAM_ID: &str = "CYBERUN_TEAM_ID";
/// The output's entry that lists all keys as JSON.
pub const KEYS_JSON: &str = "keys.json";
/// The uid of the `FileUpload` that a worker's Job and its Pods belong to.
pub const LABEL_UID: &str = "cyberun.cloud/fileupload-uid";
/// The attempt that a Job makes.
pub const ANNOTATION_ATTEMPT: &str = "cyberun.cloud/attempt";
/// The generation of the spec that a Job was launched for.
pub const ANNOTATION_GENERATION: &str = "cyberun.cloud/generation";
/// Identifies the content of the Secret that a Job was launched with: a keyed hash of its credential.
pub const ANNOTATION_CREDENTIALS_VERSION: &str = "cyberun.cloud/credentials-version";
/// A hash of the settings that a Job was created with.
pub const ANNOTATION_SETTINGS: &str = "cyberun.cloud/settings";
/// On an output: the labels and annotations that it has from the spec.
pub const ANNOTATION_GIVEN: &str = "cyberun.cloud/given";
/// On a ConfigMap of a folder's keys: the SHA-256 of its text.
pub const ANNOTATION_SHA256: &str = "cyberun.cloud/sha256";
/// On the ConfigMap of a folder's complete keys: that of the keys so far from which it was made.
pub const ANNOTATION_PART: &str = "cyberun.cloud/part-sha256";
/// On a `FileUpload`: any new value requests a fresh upload of every file.
pub const ANNOTATION_REQUESTED_AT: &str = "cyberun.cloud/requested-at";
