//! What the output ConfigMap is to hold, and what has to happen so that it does.
//!
//! A ConfigMap that is not ours is never written, and what a FileUpload of the same name has left is deleted. One without
//! entries is not made; an existing one is emptied rather than deleted, so that a Job that waits for its key goes on waiting.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::facts::OutputFacts;
use super::messages;
use crate::outcome::Trouble;
use crate::reason::Reason;
use crate::resource::{ANNOTATION_GIVEN, FileStatus, FileUpload, KEYS_JSON};

/// What is to happen to the output ConfigMap.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum OutputAct {
    /// Nothing.
    None,
    /// Create it with this content.
    Create(BTreeMap<String, String>),
    /// Give it this content.
    Replace(BTreeMap<String, String>),
    /// Delete it: a FileUpload of the same name has left it, which this says.
    Discard(Trouble),
    /// It is in the way: why.
    Held(Trouble),
}

/// What became of the output.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    /// Why it is not as it is to be.
    pub trouble: Option<Trouble>,
    /// Whether there is one that belongs to this resource.
    pub exists: bool,
}

/// What is to happen to the output, given each file's entry.
pub(super) fn output(upload: &FileUpload, files: &[FileStatus], facts: &OutputFacts) -> OutputAct {
    let Some(name) = upload.spec.output_name() else { return OutputAct::None };
    let wanted = data(files);
    let wanted_hash = || {
        let all = |given: BTreeMap<_, _>| given.into_iter().map(|(key, value)| (key, Some(value))).collect();
        hash(&wanted, upload.spec.output_metadata().map(all), upload.spec.output_record().as_deref())
    };
    match facts {
        OutputFacts::Foreign => {
            let fix = "delete it, or choose another name";
            let what = format!("ConfigMap {name} (spec.output.configMap) exists and was not made for this FileUpload");
            OutputAct::Held(Trouble::new(Reason::OutputConflict, format!("{what}: {fix}")))
        }
        OutputFacts::Orphaned => OutputAct::Discard(messages::discarded(name)),
        OutputFacts::Absent if wanted.is_empty() => OutputAct::None,
        OutputFacts::Absent => OutputAct::Create(wanted),
        OutputFacts::Ours { hash } if hash.as_ref() == Some(&wanted_hash()) => OutputAct::None,
        OutputFacts::Ours { .. } => OutputAct::Replace(wanted),
    }
}

/// A hash of what an output holds: its data, what it has of the labels and annotations that the spec gives it, and the
/// record of which were given. What others add to those is theirs.
pub(crate) fn output_hash(upload: &FileUpload, found: &ConfigMap) -> String {
    let metadata = &found.metadata;
    let [labels, annotations] = upload.spec.output_metadata();
    let has = [(labels, &metadata.labels), (annotations, &metadata.annotations)].map(|(given, found)| {
        let value = |key| found.as_ref().and_then(|found| found.get(key));
        given.into_keys().map(|key| (key, value(key))).collect()
    });
    let record = metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION_GIVEN));
    hash(found.data.as_ref().unwrap_or(&BTreeMap::new()), has, record.map(String::as_str))
}

/// `given` are the labels and the annotations that the spec gives, with the values that an output has.
fn hash(
    data: &BTreeMap<String, String>,
    given: [BTreeMap<&String, Option<&String>>; 2],
    record: Option<&str>,
) -> String {
    let mut hasher = Sha256::new();
    let mut add = |text: Option<&str>| {
        let length = text.map_or(u64::MAX, |text| text.len() as u64);
        hasher.update(length.to_be_bytes());
        hasher.update(text.unwrap_or_default().as_bytes());
    };
    data.iter().flat_map(|(key, text)| [key, text]).for_each(|text| add(Some(text)));
    for given in given {
        add(None); // ends what came before
        for (key, value) in given {
            add(Some(key));
            add(value.map(String::as_str));
        }
    }
    add(record);
    HEXLOWER.encode(&hasher.finalize()[..16])
}

/// Each key under its file's name, and `keys.json` once no key is missing.
fn data(files: &[FileStatus]) -> BTreeMap<String, String> {
    let keys = || files.iter().filter_map(|file| Some((file, file.file_key.clone()?)));
    let mut data: BTreeMap<_, _> = keys().map(|(file, key)| (file.name.clone(), key)).collect();
    if !files.is_empty() && data.len() == files.len() {
        let entry = |(file, key): (&FileStatus, String)| {
            let FileStatus { name, file_name, content_type, size, sha256, uploaded_at, expires_at, .. } = file;
            let entry = json!({
                "fileKey": key, "fileName": file_name, "contentType": content_type,
                "size": size, "sha256": sha256, "uploadedAt": uploaded_at, "expiresAt": expires_at,
            });
            (name.clone(), entry)
        };
        let all: serde_json::Map<_, _> = keys().map(entry).collect();
        data.insert(KEYS_JSON.to_owned(), serde_json::Value::Object(all).to_string());
    }
    data
}
