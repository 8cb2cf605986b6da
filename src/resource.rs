//! What the operator reads and writes in Kubernetes: its own kind, and the names it marks things with.
//!
//! Every label, annotation and field-manager name is a constant here and nowhere else.

pub use self::file_upload::{
    ConfigMapKeyReference, Credentials, File, FileUpload, FileUploadSpec, Output, OutputConfigMap, SecretReference,
    Source,
};
pub use self::status::{Condition, FileState, FileStatus, FileUploadStatus, OutputStatus, Phase};

mod file_upload;
mod schema;
mod status;

pub use self::schema::crd;

/// Who we are in `managedFields`, events and logs.
pub const FIELD_MANAGER: &str = "fileupload-operator";
/// Marks the output ConfigMaps that the operator may write, with the value [`FIELD_MANAGER`].
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Names the `FileUpload` that an object was made for.
pub const LABEL_FILE_UPLOAD: &str = "cyberun.cloud/fileupload";
/// The Secret that is used where the spec names none.
pub const DEFAULT_SECRET: &str = "cyberun";
/// The Secret's key that holds the credential.
pub const SECRET_API_KEY: &str = "CYBERUN_API_KEY";
/// The Secret's key that holds the team's id, for user JWTs.
pub const SECRET_TEAM_ID: &str = "CYBERUN_TEAM_ID";
/// The output's entry that lists all keys as JSON.
pub const KEYS_JSON: &str = "keys.json";
