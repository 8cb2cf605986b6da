//! What the output ConfigMap is to hold, and what has to happen so that it does.
//!
//! A ConfigMap that is not ours is never written. One without entries is not made; an existing one is
//! emptied rather than deleted, so that a Job that waits for its key goes on waiting.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::reason::Reason;
use crate::resource::{FileStatus, FileUpload, KEYS_JSON};

/// What is known of the output ConfigMap.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum OutputView {
    /// There is none of that name.
    #[default]
    Absent,
    /// It is there and ours.
    Ours {
        /// What it holds.
        data: BTreeMap<String, String>,
    },
    /// It is there and was a `FileUpload`'s of the same name, which no longer exists.
    Orphaned,
    /// It is there and somebody else's.
    Foreign,
}

/// What is to happen to the output ConfigMap.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OutputAct {
    /// Nothing.
    None,
    /// Create it with this content.
    Create(BTreeMap<String, String>),
    /// Make it this resource's, with this content.
    Adopt(BTreeMap<String, String>),
    /// Give it this content.
    Replace(BTreeMap<String, String>),
    /// It is in the way.
    Conflict,
}

/// What is to happen to the output, given each file's entry.
pub fn output(upload: &FileUpload, files: &[FileStatus], view: &OutputView) -> OutputAct {
    if upload.spec.output.is_none() {
        return OutputAct::None;
    }
    let wanted = data(files);
    match view {
        OutputView::Foreign => OutputAct::Conflict,
        OutputView::Orphaned => OutputAct::Adopt(wanted),
        OutputView::Absent if wanted.is_empty() => OutputAct::None,
        OutputView::Absent => OutputAct::Create(wanted),
        OutputView::Ours { data } if *data == wanted => OutputAct::None,
        OutputView::Ours { .. } => OutputAct::Replace(wanted),
    }
}

/// What is said of an output that is in the way.
pub fn conflict(upload: &FileUpload) -> (Reason, String) {
    let name = upload.spec.output_name().unwrap_or_default();
    let message = format!(
        "ConfigMap {name} (spec.output.configMap) exists and was not made for this FileUpload: delete it, or choose another name"
    );
    (Reason::OutputConflict, message)
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
