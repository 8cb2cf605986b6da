//! The schema of `spec.worker` where it differs from the types: bounds of Kubernetes' own types, and fields that are
//! refused by name.
//!
//! A field that the schema does not have is dropped without a word by clients that do not ask for strictness. So fields
//! that people would expect here, or that were here, are in the schema and refused with the reason.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::super::metadata::{MOST, rules};

/// Why a worker does not run as root, and what to do.
pub(super) const ROOT: &str = "runAsUser must not be 0, because a worker never runs as root: name the uid or a group of the files, or upload files that only root may read with a sidecar (fileupload sidecar)";
/// Why a worker has no fsGroup, and what to do.
pub(super) const FS_GROUP: &str = "fsGroup is not possible, because Kubernetes would give all files of the volume to that group: use runAsUser, runAsGroup or supplementalGroups";
/// The fields that stand in `securityContext`.
const MOVED: [&str; 4] = ["runAsUser", "runAsGroup", "supplementalGroups", "seLinuxOptions"];
/// The longest strings of a toleration and of SELinux labels, in characters.
pub(super) const LONGEST_KEY: usize = 317;
pub(super) const LONGEST_VALUE: usize = 63;
pub(super) const LONGEST_SE_LINUX: usize = 253;
/// What a toleration may say.
pub(super) const OPERATORS: [&str; 3] = ["", "Equal", "Exists"];
pub(super) const EFFECTS: [&str; 4] = ["", "NoExecute", "NoSchedule", "PreferNoSchedule"];
/// The most resources that are requested or limited.
pub(super) const MOST_RESOURCES: usize = 16;

/// Refuses each field that has moved, naming where it is now.
pub(super) fn with_moved(schema: &mut Schema) {
    let number = json!({ "x-kubernetes-int-or-string": true });
    let kinds = [
        number.clone(),
        number.clone(),
        json!({ "type": "array", "maxItems": MOST, "items": number }),
        json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true }),
    ];
    for (name, kind) in MOVED.into_iter().zip(kinds) {
        refuse(schema, name, kind, &moved_to(name));
    }
}

/// Refuses `fsGroup`.
pub(super) fn with_fs_group(schema: &mut Schema) {
    refuse(schema, "fsGroup", json!({ "x-kubernetes-int-or-string": true }), FS_GROUP);
}

/// Why there is no such field beneath `spec.worker`, if people would expect it there.
pub fn why_refused(field: &str) -> Option<String> {
    match field {
        "fsGroup" => Some(FS_GROUP.to_owned()),
        _ => MOVED.contains(&field).then(|| moved_to(field)),
    }
}

fn moved_to(name: &str) -> String {
    format!("{name} has moved to spec.worker.securityContext.{name}")
}

fn refuse(schema: &mut Schema, name: &str, mut kind: Value, message: &str) {
    kind["description"] = format!("Refused: {message}.").into();
    let all = schema.ensure_object();
    all.entry("properties").or_insert_with(|| json!({}))[name] = kind;
    let known = all.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
    if let (Value::Array(known), Value::Array(more)) = (known, rules(&[(&format!("!has(self.{name})"), message)])) {
        known.extend(more);
    }
}

/// Tolerations, as in a Pod.
pub(super) fn tolerations(_: &mut SchemaGenerator) -> Schema {
    let text = |longest: usize, about: &str| json!({ "type": "string", "maxLength": longest, "description": about });
    json_schema!({
        "type": "array",
        "maxItems": MOST,
        "items": {
            "type": "object",
            "properties": {
                "key": text(LONGEST_KEY, "The key of the taint. Empty with `operator: Exists`: every taint."),
                "operator": { "type": "string", "enum": OPERATORS, "description": "Defaults to `Equal`." },
                "value": text(LONGEST_VALUE, "The value of the taint, for `Equal`."),
                "effect": {
                    "type": "string", "enum": EFFECTS,
                    "description": "The effect of the taint. Empty: every effect.",
                },
                "tolerationSeconds": {
                    "type": "integer", "format": "int64", "minimum": 0, "maximum": i32::MAX,
                    "description": "How long a Pod stays on a node with the taint, for `NoExecute`.",
                },
            },
        },
    })
}

/// SELinux labels, as in a Pod.
pub(super) fn se_linux_options(_: &mut SchemaGenerator) -> Schema {
    let label = json!({ "type": "string", "maxLength": LONGEST_SE_LINUX });
    json_schema!({ "type": "object", "properties": { "level": label, "role": label, "type": label, "user": label } })
}

/// Amounts by resource, written as in a Pod: `1`, `250m`, `64Mi`.
pub(super) fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": MOST_RESOURCES,
        "additionalProperties": {
            "maxLength": 40,
            "pattern": r"^[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+|[kMGTPE]i?|Ki|m)?$",
            "x-kubernetes-int-or-string": true,
        },
        "x-kubernetes-validations": rules(&[(
            "self.all(name, !format.qualifiedName().validate(name).hasValue())",
            "each name must be that of a resource, such as cpu, memory or example.com/device",
        )]),
    })
}
