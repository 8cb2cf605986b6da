//! The spec of a `FileUpload`. Its doc comments are the descriptions in the CRD, and its attributes are the bounds.
//!
//! No field has a default in the schema, because a default would show up as drift in GitOps tools. The code supplies
//! the defaults. A field is absent until it works.

#![expect(unreachable_pub, reason = "KubeSchema derives through a type of its own that cannot be reached")]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::folder::Folder;
use super::metadata;
use super::status::FileUploadStatus;
use super::worker::Worker;

/// Uploads files to Cyberun and keeps each one's `file_key` in the status.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "cyberun.cloud",
    version = "v1alpha1",
    kind = "FileUpload",
    plural = "fileuploads",
    shortname = "fu",
    shortname = "fup",
    category = "cyberun",
    namespaced,
    status = "FileUploadStatus",
    derive = "PartialEq",
    doc = "Uploads files to Cyberun and keeps each one's file_key in the status.",
    validation = Rule::new("self.metadata.name.size() <= 63").message("metadata.name must be at most 63 characters, as it is used as a label"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Available", type_ = "string", json_path = ".status.conditions[?(@.type==\"Available\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Files", type_ = "string", json_path = ".status.summary", description = "Uploaded files of all files"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.availableUntil", description = "When the first key is withdrawn"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Key", type_ = "string", json_path = ".status.fileKey", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1)
)]
#[x_kube(validation = Rule::new("!has(self.updatePolicy) || self.updatePolicy != 'OnChange' || has(self.files) && self.files.exists(file, has(file.source.configMapKeyRef))").message("updatePolicy OnChange needs a file with source.configMapKeyRef: the files of volumes are not watched"))]
#[x_kube(validation = Rule::new("!has(self.ttlSecondsAfterFinished) || !has(self.refreshPolicy) || self.refreshPolicy != 'BeforeExpiry'").message("ttlSecondsAfterFinished needs refreshPolicy Never: a FileUpload that renews its keys never finishes"))]
#[x_kube(validation = Rule::new("has(self.files) && self.files.size() > 0 || has(self.folders) && self.folders.size() > 0").message("name at least one file in files, or one folder in folders"))]
#[x_kube(validation = Rule::new("!has(self.folders) || self.folders.size() == 0 || has(self.output)").message("folders need output, as their keys are in ConfigMaps named after it"))]
#[x_kube(validation = Rule::new("!has(self.folders) || !has(self.output) || self.output.configMap.name.size() <= 180").message("output.configMap.name must be at most 180 characters where there are folders"))]
#[x_kube(validation = Rule::new("!has(self.folders) || !has(self.files) || self.folders.all(folder, !self.files.exists(file, file.name == folder.name))").message("a file and a folder must not have the same name"))]
#[serde(rename_all = "camelCase")]
pub struct FileUploadSpec {
    /// The team's Cyberun credential. Defaults to the Secret `cyberun`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,

    /// The Cyberun deployment that the files go to, where the operator knows several. Defaults to the operator's default
    /// one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub deployment: Option<String>,

    /// The files to upload, by name. May be left out where there are folders.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub files: Vec<File>,

    /// Folders whose files are uploaded, by name. The keys of folder NAME are in the ConfigMap OUTPUT-NAME, under
    /// NAME.json, once every file has one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub folders: Vec<Folder>,

    /// Where the operator writes the keys, for Jobs to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,

    /// What happens before a key expires, about a day after its upload. `Never` does nothing. `BeforeExpiry` uploads
    /// the file again, and keeps the old key until the new one is written. Defaults to `Never`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_policy: Option<RefreshPolicy>,

    /// What happens when the content of a ConfigMap changes. `Once` does nothing. `OnChange` uploads the file again,
    /// and keeps the old key until the new one is written; if that upload fails, the old key is withdrawn. Defaults to
    /// `Once`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_policy: Option<UpdatePolicy>,

    /// Deletes the FileUpload and its output this many seconds after it has finished. It has finished once every file
    /// is uploaded, or once a person must act. If unset, it is not deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub ttl_seconds_after_finished: Option<i32>,

    /// Stops the operator before its next step. Uploaded files and their keys stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,

    /// Settings of the Pods that read volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<Worker>,
}

/// What happens before a key expires.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the schema would show them in place of the field's own description")]
pub enum RefreshPolicy {
    #[default]
    Never,
    BeforeExpiry,
}

/// What happens when the content of a ConfigMap changes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the schema would show them in place of the field's own description")]
pub enum UpdatePolicy {
    #[default]
    Once,
    OnChange,
}

/// The team's Cyberun credential.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// A Secret in the same namespace with the key `CYBERUN_API_KEY`, and `CYBERUN_TEAM_ID` for a user JWT.
    pub secret_ref: SecretReference,
}

/// A Secret in the same namespace.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct SecretReference {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
}

/// One file to upload.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(validation = Rule::new("self.name.matches('^[-._a-zA-Z0-9]+$')").message("name must be letters, digits, '-', '_' and '.'"))]
#[x_kube(validation = Rule::new("!self.name.endsWith('.json') && self.name != '.' && !self.name.startsWith('..')").message("name must not end in .json, which is the operator's, and must not be '.' or begin with '..'"))]
#[x_kube(validation = Rule::new(r"!has(self.fileName) || self.fileName.matches(r'^[^/\\\x00-\x1f\x7f]+$')").message("fileName must not hold slashes, backslashes or control characters"))]
#[x_kube(validation = Rule::new(r"has(self.fileName) || !has(self.source.persistentVolumeClaim) || self.source.persistentVolumeClaim.path.matches(r'(^|/)[^/\\\x00-\x1f\x7f]+$')").message("the last part of path cannot be a file's name: set fileName, or correct source.persistentVolumeClaim.path"))]
#[serde(rename_all = "camelCase")]
pub struct File {
    /// The file's name in the status and in the output: letters, digits, `-`, `_` and `.`, as in the key of a ConfigMap.
    /// A name like `PHOTO_KEY` is a variable where the output is used by `envFrom`. Names that end in `.json` are the
    /// operator's.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,

    /// Where the file's content comes from.
    pub source: Source,

    /// The file name at Cyberun. Defaults to the last part of the path, or to the key of the ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub file_name: Option<String>,

    /// The MIME type. Defaults to a guess from the file name, then from the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 3, max = 127),
        regex(pattern = r"^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+( *; *[A-Za-z0-9_-]+=[A-Za-z0-9_.+-]+)*$")
    )]
    pub content_type: Option<String>,
}

/// Where the file's content comes from: exactly one of the fields.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(validation = Rule::new("has(self.configMapKeyRef) != has(self.persistentVolumeClaim)").message("source must name exactly one place: configMapKeyRef or persistentVolumeClaim"))]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// A key of a ConfigMap in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<ConfigMapKeyReference>,
    /// A file on the volume of a PersistentVolumeClaim in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<VolumeFile>,
}

/// A file on the volume of a PersistentVolumeClaim in the same namespace.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(validation = Rule::new("!self.path.startsWith('/')").message("path is relative to the volume's root: leave out the leading '/'"))]
#[x_kube(validation = Rule::new("!self.path.endsWith('/')").message("path must name a file: leave out the '/' at its end"))]
#[x_kube(validation = Rule::new(r"!self.path.matches(r'(^|/)\.\.(/|$)')").message("path must not hold '..': name the file from the volume's root"))]
#[serde(rename_all = "camelCase")]
pub struct VolumeFile {
    /// The name of the PersistentVolumeClaim.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub claim_name: String,
    /// The file, relative to the volume's root.
    #[schemars(length(min = 1, max = 4096))]
    pub path: String,
}

/// A key of a ConfigMap in the same namespace, in `data` or `binaryData`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ConfigMapKeyReference {
    /// The name of the ConfigMap.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// The key in the ConfigMap.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// Where the keys are written to.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// A ConfigMap in the same namespace. The operator creates, owns and updates it.
    pub config_map: OutputConfigMap,
}

/// The output ConfigMap.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct OutputConfigMap {
    /// The name of the ConfigMap. It holds each file's key under the file's name. `keys.json` holds all keys, and is
    /// present only while every file has one.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Labels of the ConfigMap, besides those that others add to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "metadata::labels")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations of the ConfigMap, besides those that others add to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "metadata::annotations")]
    pub annotations: Option<BTreeMap<String, String>>,
}

impl FileUploadSpec {
    /// The name of the Secret that is used.
    pub fn secret_name(&self) -> &str {
        self.credentials.as_ref().map_or(super::DEFAULT_SECRET, |credentials| &credentials.secret_ref.name)
    }

    /// The name of the output ConfigMap, if the spec has one.
    pub fn output_name(&self) -> Option<&str> {
        self.output.as_ref().map(|output| output.config_map.name.as_str())
    }

    /// The labels and the annotations that the spec gives the output ConfigMap, but for the operator's own.
    pub fn output_metadata(&self) -> [BTreeMap<&String, &String>; 2] {
        let output = self.output.as_ref().map(|output| &output.config_map);
        [output.and_then(|output| output.labels.as_ref()), output.and_then(|output| output.annotations.as_ref())]
            .map(|given| given.into_iter().flatten().filter(|(key, _)| !OutputConfigMap::is_reserved(key)).collect())
    }

    /// Whether keys are renewed before they expire.
    pub fn renews(&self) -> bool {
        self.refresh_policy == Some(RefreshPolicy::BeforeExpiry)
    }

    /// Whether a changed ConfigMap is uploaded again.
    pub fn follows_changes(&self) -> bool {
        self.update_policy == Some(UpdatePolicy::OnChange)
    }

    /// Whether the operator stops before its next step.
    pub fn is_suspended(&self) -> bool {
        self.suspend.unwrap_or_default()
    }
}

impl OutputConfigMap {
    /// Whether this label or annotation is the operator's.
    pub fn is_reserved(key: &str) -> bool {
        metadata::is_reserved(key)
    }
}

impl File {
    /// Whether a file may have this name: it is a key of a ConfigMap beside the operator's own.
    #[expect(clippy::case_sensitive_file_extension_comparisons, reason = "so is the API server's rule")]
    pub fn is_name(name: &str) -> bool {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let is_key = (1..=63).contains(&name.len()) && name.bytes().all(known);
        is_key && name != "." && !name.starts_with("..") && !name.ends_with(".json")
    }

    /// The file name at Cyberun.
    pub fn effective_name(&self) -> &str {
        let Source { config_map_key_ref, persistent_volume_claim } = &self.source;
        match (&self.file_name, config_map_key_ref, persistent_volume_claim) {
            (Some(name), ..) => name,
            (None, Some(reference), _) => &reference.key,
            (None, None, Some(file)) => file.path.rsplit('/').next().unwrap_or_default(),
            (None, None, None) => &self.name,
        }
    }
}
