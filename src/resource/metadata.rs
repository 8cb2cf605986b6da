//! Labels and annotations that people give to objects which the operator makes: the bounds in the schema, and the same
//! rules in code.
//!
//! The schema's rules answer at admission. The code's are for settings in files, for `render`, and for what an API server
//! with an older schema let through.

use schemars::{Schema, SchemaGenerator, json_schema};

/// The most labels, annotations or node labels that a field holds.
pub(super) const MOST: usize = 32;
/// The longest value of an annotation, in characters.
const LONGEST_ANNOTATION: usize = 4096;
const LONGEST_LABEL: usize = 63;
const LONGEST_DOMAIN: usize = 253;
/// The values that Kubernetes accepts for labels.
const LABEL_VALUE: &str = "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$";
/// Each key is what Kubernetes accepts: a name, perhaps after a domain and a slash.
const KEYS: &str = "self.all(key, !format.qualifiedName().validate(key).hasValue())";
const KEYS_SAID: &str = "each key must be a name of up to 63 letters, digits, '-', '_' and '.' that begins and ends with a letter or digit, perhaps after a domain in lower case and '/'";
const OURS: &str = "self.all(key, !key.startsWith('cyberun.cloud/') && key != 'app.kubernetes.io/managed-by')";
const OURS_SAID: &str = "must not hold cyberun.cloud/* or app.kubernetes.io/managed-by, which are the operator's";
const OF_JOBS: &str =
    "self.all(key, !key.startsWith('batch.kubernetes.io/') && key != 'controller-uid' && key != 'job-name')";
const OF_JOBS_SAID: &str =
    "must not hold batch.kubernetes.io/*, controller-uid or job-name, by which Kubernetes knows the Pods of a Job";

/// Labels of an output.
pub(super) fn labels(_: &mut SchemaGenerator) -> Schema {
    words(&[(KEYS, KEYS_SAID), (OURS, OURS_SAID)])
}

/// Labels of Jobs and their Pods.
pub(super) fn worker_labels(_: &mut SchemaGenerator) -> Schema {
    words(&[(KEYS, KEYS_SAID), (OURS, OURS_SAID), (OF_JOBS, OF_JOBS_SAID)])
}

/// Labels that a node must have.
pub(super) fn node_labels(_: &mut SchemaGenerator) -> Schema {
    words(&[(KEYS, KEYS_SAID)])
}

/// Annotations of what the operator makes.
pub(super) fn annotations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": MOST,
        "additionalProperties": { "type": "string", "maxLength": LONGEST_ANNOTATION },
        "x-kubernetes-validations": rules(&[(KEYS, KEYS_SAID), (OURS, OURS_SAID)]),
    })
}

fn words(given: &[(&str, &str)]) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": MOST,
        "additionalProperties": { "type": "string", "maxLength": LONGEST_LABEL, "pattern": LABEL_VALUE },
        "x-kubernetes-validations": rules(given),
    })
}

/// Rules in CEL with what is said where they are broken.
pub(super) fn rules(given: &[(&str, &str)]) -> serde_json::Value {
    given.iter().map(|(rule, message)| serde_json::json!({ "rule": rule, "message": message })).collect()
}

/// Whether this label or annotation is the operator's.
pub(super) fn is_reserved(key: &str) -> bool {
    key == super::LABEL_MANAGED_BY || key.starts_with("cyberun.cloud/")
}

/// Whether this is a label by which Kubernetes knows the Pods of a Job.
pub(super) fn is_of_jobs(key: &str) -> bool {
    key.starts_with("batch.kubernetes.io/") || matches!(key, "controller-uid" | "job-name")
}

/// Whether this is the key of a label: a name, perhaps after a domain and a slash.
pub(super) fn is_label_key(key: &str) -> bool {
    let (domain, name) = key.split_once('/').map_or((None, key), |(domain, name)| (Some(domain), name));
    is_label_word(name) && domain.is_none_or(is_domain)
}

/// Whether this is the value of a label.
pub(super) fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_label_word(value)
}

/// Whether an annotation may have this value.
pub(super) fn is_annotation(value: &str) -> bool {
    value.chars().nth(LONGEST_ANNOTATION).is_none()
}

/// Whether this is a name as most objects have it: words in lower case with dots between.
pub(super) fn is_domain(domain: &str) -> bool {
    let is_part = |part: &str| {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        part.bytes().all(known) && !part.is_empty() && !part.starts_with('-') && !part.ends_with('-')
    };
    domain.len() <= LONGEST_DOMAIN && domain.split('.').all(is_part)
}

/// Whether this is a name or a value of a label: letters and digits at both ends.
fn is_label_word(word: &str) -> bool {
    let bytes = word.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    bytes.len() <= LONGEST_LABEL
        && ends.iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_those_that_kubernetes_accepts() {
        let (long, longest) = ("x".repeat(64), "x".repeat(63));
        for key in ["team", "kueue.x-k8s.io/queue-name", "a_B.9", &longest, &format!("d.e/{longest}")] {
            assert!(is_label_key(key), "{key}");
        }
        for key in ["", "te am", "-team", "team-", "Example.com/team", "a/b/c", "/a", "a/", ".a/b", "a..b/c", &long] {
            assert!(!is_label_key(key), "{key}");
        }
        for (value, is_value) in [("", true), ("data", true), ("data!", false), ("-", false), (&*long, false)] {
            assert_eq!(is_label_value(value), is_value, "{value}");
        }
    }

    #[test]
    fn the_keys_of_the_operator_and_of_jobs_are_taken() {
        for (key, ours, of_jobs) in [
            ("app.kubernetes.io/managed-by", true, false),
            ("cyberun.cloud/fileupload", true, false),
            ("mycyberun.cloud/a", false, false),
            ("batch.kubernetes.io/job-name", false, true),
            ("job-name", false, true),
            ("controller-uid", false, true),
            ("team", false, false),
        ] {
            assert_eq!((is_reserved(key), is_of_jobs(key)), (ours, of_jobs), "{key}");
        }
    }
}
