//! `spec.folders` and `status.folders`: files whose names nobody knows in advance.
//!
//! Its doc comments are the descriptions in the CRD, and its attributes are the bounds. A folder's keys are in ConfigMaps,
//! whose names are made here.

#![expect(unreachable_pub, reason = "KubeSchema derives through a type of its own that cannot be reached")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::file_upload::FileUpload;
use super::status::{FileState, LONGEST_MESSAGE, is_zero, known_state};

/// The most failures that a status names.
pub const MAX_FAILURES: usize = 20;
/// The most files of a folder, which is also the default of `maxFiles`.
const MAX_FILES: usize = 2000;
/// What ends the name of the ConfigMap that holds the keys so far.
const PART: &str = "-part";

/// A folder to upload.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(validation = Rule::new("!self.name.endsWith('-part')").message("name must not end in -part, which is the operator's"))]
#[x_kube(validation = Rule::new("!has(self.minFiles) || self.minFiles <= (has(self.maxFiles) ? self.maxFiles : 2000)").message("minFiles must not be larger than maxFiles"))]
#[serde(rename_all = "camelCase")]
pub struct Folder {
    /// The folder's name in the status and in the names of its ConfigMaps.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub name: String,

    /// Where the folder is.
    pub source: FolderSource,

    /// Globs of the files to upload, relative to the folder: `*` stays within a name, `**` does not. Defaults to all files,
    /// except hidden ones, which a glob has to name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 256)))]
    pub include: Option<Vec<String>>,

    /// Globs of the files to leave out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 256)))]
    pub exclude: Option<Vec<String>>,

    /// The operator waits until so many files are there. Defaults to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_FILES))]
    pub min_files: Option<i64>,

    /// More files are refused. Defaults to 2000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_FILES))]
    pub max_files: Option<i64>,
}

/// Where a folder is.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FolderSource {
    /// A folder on the volume of a PersistentVolumeClaim in the same namespace.
    pub persistent_volume_claim: VolumeFolder,
}

/// A folder on the volume of a PersistentVolumeClaim in the same namespace.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(validation = Rule::new("!has(self.path) || !self.path.startsWith('/')").message("path is relative to the volume's root: leave out the leading '/'"))]
#[x_kube(validation = Rule::new("!has(self.path) || !self.path.matches('(^|/)[.][.](/|$)')").message("path must not contain '..'"))]
#[serde(rename_all = "camelCase")]
pub struct VolumeFolder {
    /// The name of the PersistentVolumeClaim.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub claim_name: String,
    /// The path of the folder on the volume. Defaults to the volume's root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 3000))]
    pub path: Option<String>,
}

/// The state of one folder.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FolderStatus {
    /// The folder's name in the spec.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The state of the folder. It is uploaded once every file in it has a key.
    #[serde(deserialize_with = "known_state")]
    pub state: FileState,
    /// Identifies the source, globs and Secret that this entry belongs to.
    #[schemars(length(max = 64))]
    pub revision: String,
    /// The number of the attempt that made the keys complete or failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    pub attempt: i64,
    /// When the current trouble began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// How many files matched when the folder was last listed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub files: i64,
    /// How many files have a key.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub uploaded: i64,
    /// The size in bytes of the files that have a key.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub bytes: i64,
    /// The output that its ConfigMaps are named after.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub output: Option<String>,
    /// Identifies the complete keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub sha256: Option<String>,
    /// When the first of the complete keys was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uploaded_at: Option<Time>,
    /// When the keys are withdrawn, all at the first one's moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_until: Option<Time>,
    /// Why the folder is not uploaded, or not uploaded again, in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub reason: Option<String>,
    /// The reason in words, and what to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LONGEST_MESSAGE))]
    pub message: Option<String>,
    /// The first files that cannot be uploaded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_FAILURES))]
    pub failures: Vec<FailureStatus>,
}

/// A file of a folder that cannot be uploaded.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct FailureStatus {
    /// Its path in the folder.
    #[schemars(length(max = 1024))]
    pub path: String,
    /// Why, in one word.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// Why, in words.
    #[schemars(length(max = 512))]
    pub message: String,
}

impl FileUpload {
    /// The ConfigMaps of its folders: those of the spec, and those that the status still knows.
    pub fn folder_maps(&self) -> Vec<String> {
        let of = |output: &str, folder: &str| [Folder::keys_name(output, folder), Folder::part_name(output, folder)];
        let wanted = self.spec.output_name().into_iter();
        let wanted =
            wanted.flat_map(|output| self.spec.folders.iter().flat_map(move |folder| of(output, &folder.name)));
        wanted.chain(self.former_folder_maps().into_iter().map(|(_, map)| map)).collect()
    }

    /// The ConfigMaps of folders that the status knows and the spec no longer names, each with its folder.
    pub fn former_folder_maps(&self) -> Vec<(String, String)> {
        let Some(status) = &self.status else { return Vec::new() };
        let is_kept = |folder: &FolderStatus| {
            let is_named = self.spec.folders.iter().any(|named| named.name == folder.name);
            is_named && self.spec.output_name() == folder.output.as_deref()
        };
        let former = status.folders.iter().filter(|folder| !is_kept(folder));
        let maps = |folder: &FolderStatus| {
            let output = folder.output.clone().unwrap_or_default();
            [Folder::keys_name(&output, &folder.name), Folder::part_name(&output, &folder.name)]
                .map(|map| (folder.name.clone(), map))
        };
        former.filter(|folder| folder.output.is_some()).flat_map(maps).collect()
    }
}

impl Folder {
    /// The path of the folder on its volume; empty for the root.
    pub fn path(&self) -> &str {
        self.source.persistent_volume_claim.path.as_deref().unwrap_or_default()
    }

    /// The claim that it is on.
    pub fn claim(&self) -> &str {
        &self.source.persistent_volume_claim.claim_name
    }

    /// It waits for so many files.
    pub fn least(&self) -> usize {
        self.min_files.and_then(|number| usize::try_from(number).ok()).unwrap_or(1).min(MAX_FILES)
    }

    /// It refuses more files than this.
    pub fn most(&self) -> usize {
        self.max_files.and_then(|number| usize::try_from(number).ok()).unwrap_or(MAX_FILES).min(MAX_FILES)
    }

    /// The ConfigMap of its keys, where the output has this name.
    pub fn keys_name(output: &str, folder: &str) -> String {
        format!("{output}-{folder}")
    }

    /// The ConfigMap of its keys so far.
    pub fn part_name(output: &str, folder: &str) -> String {
        format!("{output}-{folder}{PART}")
    }

    /// Whether a folder may have this name: it is a part of the names of its ConfigMaps.
    pub fn is_name(name: &str) -> bool {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = name.as_bytes();
        let is_word = (1..=63).contains(&bytes.len()) && bytes.iter().all(|byte| known(*byte));
        is_word && ends(bytes.first()) && ends(bytes.last()) && !name.ends_with(PART)
    }
}
