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
/// The length of a digest.
const DIGEST: usize = 64;

/// The keys so far that a ConfigMap holds, if they are what was written. Anybody may write a text and its digest: one that
/// says more of the folder than ours do, which is kept in memory, was not written by us.
pub(crate) fn part(found: &ConfigMap) -> Option<(String, Part)> {
    let text = found.data.as_ref()?.get(PART)?;
    let digest = Part::digest(text);
    let is_whole = annotation(found, ANNOTATION_SHA256) == Some(digest.as_str());
    let part = serde_json::from_str(text).ok().filter(|part: &Part| is_whole && part.meta.is_possible())?;
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
        let of = annotation(found, ANNOTATION_PART).filter(|of| is_whole && of.len() <= DIGEST);
        Some(of.unwrap_or_default().to_owned())
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The keys so far with this about the folder as a whole, and with the digest that belongs to them.
    fn part_with(field: &str, value: &Value) -> Option<(String, Part)> {
        let text = json!({"meta": {field: value}, "files": {}}).to_string();
        let metadata = json!({"annotations": {ANNOTATION_SHA256: Part::digest(&text)}});
        part(&serde_json::from_value(json!({"metadata": metadata, "data": {PART: text}})).unwrap())
    }

    #[test]
    fn keys_so_far_that_say_more_than_is_ever_written_count_as_absent() {
        let failure = |path: usize, message: usize| {
            let (path, message) = ("p".repeat(path), "ä".repeat(message));
            json!({"path": path, "reason": "FileNotFound", "message": message})
        };
        let cuts = |number: u16| json!((0..number).collect::<Vec<_>>());
        for (field, largest, too_large) in [
            ("revision", json!("r".repeat(64)), json!("r".repeat(65))),
            ("cuts", cuts(99), cuts(100)),
            ("restless", json!("p".repeat(1024)), json!("p".repeat(1025))),
            ("failures", json!(vec![failure(1024, 300); 20]), json!(vec![failure(1, 1); 21])),
            ("failures", json!([]), json!([failure(1025, 1)])),
            ("failures", json!([]), json!([failure(1, 301)])),
        ] {
            assert!(part_with(field, &largest).is_some(), "{field}");
            assert!(part_with(field, &too_large).is_none(), "{field}");
        }
    }

    #[test]
    fn what_the_complete_keys_are_made_of_is_no_longer_than_a_digest() {
        let upload = json!({
            "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload",
            "metadata": {"name": "x", "namespace": "team", "uid": "u"}, "spec": {"files": []},
        });
        let upload = serde_json::from_value(upload).unwrap();
        let owner = json!({"apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload", "name": "x", "uid": "u"});
        let made_of = |of: &str| {
            let metadata = json!({
                "labels": {"app.kubernetes.io/managed-by": crate::resource::FIELD_MANAGER}, "ownerReferences": [owner],
                "annotations": {ANNOTATION_SHA256: Part::digest("{}"), ANNOTATION_PART: of},
            });
            let found = serde_json::from_value(json!({"metadata": metadata, "data": {"frames.json": "{}"}})).unwrap();
            keys(&found, &upload, "frames")
        };
        let (digest, longer) = ("d".repeat(64), "d".repeat(65));
        assert_eq!(made_of(&digest), Kept::Ours(Some(digest)));
        assert_eq!(made_of(&longer), Kept::Ours(Some(String::new())));
    }
}
