//! Which labels and annotations an output has from the spec: written down on it, so that one which the spec no longer gives
//! goes away, and what others add stays.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::metadata::{MOST, is_reserved};
use super::{ANNOTATION_GIVEN, FileUploadSpec};

/// The longest record that is read, in bytes: anybody may write one. Ours is at most half of it.
const LONGEST: usize = 64 * 1024;

/// The keys that a spec gave.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Given {
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    labels: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    annotations: BTreeSet<String>,
}

impl FileUploadSpec {
    /// The value of [`ANNOTATION_GIVEN`] on the output; none if the spec gives nothing.
    pub fn output_record(&self) -> Option<String> {
        let [labels, annotations] = self.output_metadata().map(|given| given.into_keys().cloned().collect());
        let given = Given { labels, annotations };
        let is_empty = given.labels.is_empty() && given.annotations.is_empty();
        (!is_empty).then(|| serde_json::to_string(&given).unwrap_or_default())
    }

    /// The labels and the annotations that an output with these annotations has from an earlier spec, and that this one
    /// does not give.
    pub fn output_leftovers(&self, annotations: Option<&BTreeMap<String, String>>) -> [Vec<String>; 2] {
        let text = annotations.and_then(|all| all.get(ANNOTATION_GIVEN)).filter(|text| text.len() <= LONGEST);
        let earlier: Given = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let [labels, annotations] = self.output_metadata();
        [(earlier.labels, labels), (earlier.annotations, annotations)].map(|(earlier, given)| {
            let is_left = |key: &String| !given.contains_key(key) && !is_reserved(key);
            earlier.into_iter().filter(is_left).take(MOST).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn spec(map: &Value) -> FileUploadSpec {
        from_value(json!({"files": [], "output": {"configMap": map}})).unwrap()
    }

    #[test]
    fn what_a_spec_gave_is_known_from_its_record() {
        let first = spec(&json!({"name": "keys", "labels": {"team": "a", "tier": "b"}, "annotations": {"note": "x"}}));
        let record = first.output_record().unwrap();
        assert_eq!(record, r#"{"labels":["team","tier"],"annotations":["note"]}"#);
        let annotations = BTreeMap::from([(ANNOTATION_GIVEN.to_owned(), record)]);
        let nothing: [Vec<String>; 2] = Default::default();
        assert_eq!(first.output_leftovers(Some(&annotations)), nothing);
        let second = spec(&json!({"name": "keys", "labels": {"team": "c"}}));
        assert_eq!(second.output_leftovers(Some(&annotations)), [vec!["tier".to_owned()], vec!["note".to_owned()]]);
        assert_eq!(second.output_leftovers(None), nothing);
        assert_eq!(spec(&json!({"name": "keys"})).output_record(), None);
    }

    #[test]
    fn a_record_that_somebody_else_wrote_takes_nothing_of_ours_away_and_is_bounded() {
        let plain = spec(&json!({"name": "keys"}));
        let written = |text: String| {
            plain.output_leftovers(Some(&BTreeMap::from([(ANNOTATION_GIVEN.to_owned(), text)]))).map(|keys| keys.len())
        };
        let ours = json!({"labels": ["app.kubernetes.io/managed-by", "cyberun.cloud/fileupload"]});
        let many: Vec<_> = (0..1000).map(|at| at.to_string()).collect();
        let long = json!({"labels": ["x".repeat(LONGEST)]});
        for (text, left) in [
            (ours.to_string(), 0),
            ("{".to_owned(), 0),
            (json!({"labels": many}).to_string(), MOST),
            (long.to_string(), 0),
        ] {
            assert_eq!(written(text.clone()), [left, 0], "{text:.60}");
        }
    }
}
