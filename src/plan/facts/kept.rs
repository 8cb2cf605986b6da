//! Reads a folder's ConfigMaps: whose they are, and whether they hold what was written.
//!
//! A digest stands beside each text. One that somebody has edited without it counts as absent.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;

use super::OutputFacts;
use super::folder::{Kept, Progress};
use super::read::Ownership;
use crate::report::folder::Part;
use crate::resource::{ANNOTATION_PART, ANNOTATION_SHA256, FileUpload};

/// The key of the text in the ConfigMap of the keys so far.
pub(crate) const PART: &str = "part.json";

/// The keys so far that a ConfigMap holds, if they are what was written.
pub(crate) fn part(found: &ConfigMap) -> Option<(String, Part)> {
    let text = found.data.as_ref()?.get(PART)?;
    let digest = Part::digest(text);
    let is_whole = annotation(found, ANNOTATION_SHA256) == Some(digest.as_str());
    let part = serde_json::from_str(text).ok().filter(|_| is_whole)?;
    Some((digest, part))
}

/// How far a folder is, by the ConfigMap of its keys so far.
pub(crate) fn progress(found: &ConfigMap, upload: &FileUpload) -> Kept<Option<Progress>> {
    owned(found, upload, || part(found).map(|(digest, part)| of_part(digest, &part)))
}

/// How far a folder is that has these keys.
pub(crate) fn of_part(digest: String, part: &Part) -> Progress {
    let first: Option<Timestamp> = part.first();
    Progress { digest, files: part.files.len(), bytes: part.bytes(), first, meta: part.meta.clone() }
}

/// From which keys the complete ones of folder `name` were made.
pub(crate) fn keys(found: &ConfigMap, upload: &FileUpload, name: &str) -> Kept<Option<String>> {
    owned(found, upload, || {
        let data = found.data.as_ref().filter(|data| !data.is_empty())?;
        let text = data.get(&format!("{name}.json")).filter(|_| data.len() == 1);
        let digest = text.map(|text| Part::digest(text));
        let is_whole = digest.is_some() && annotation(found, ANNOTATION_SHA256) == digest.as_deref();
        Some(annotation(found, ANNOTATION_PART).filter(|_| is_whole).unwrap_or_default().to_owned())
    })
}

fn owned<T>(found: &ConfigMap, upload: &FileUpload, read: impl FnOnce() -> T) -> Kept<T> {
    match Ownership::of(&found.metadata).output(upload, None) {
        OutputFacts::Ours { .. } => Kept::Ours(read()),
        OutputFacts::Orphaned => Kept::Orphaned,
        OutputFacts::Foreign => Kept::Foreign,
        OutputFacts::Absent => Kept::Absent,
    }
}

fn annotation<'a>(found: &'a ConfigMap, name: &str) -> Option<&'a str> {
    found.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}
