//! When a request counts as answered, by each status that may follow it.

use serde_json::{Value, json};

use super::*;

/// A resource whose request has the value `now`, and what its status says.
fn upload(files: &Value, more: &Value) -> FileUpload {
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "Uploaded", "message": "", "lastTransitionTime": "2026-11-23T09:00:00Z"});
    let mut status =
        json!({"observedGeneration": 1, "files": files, "conditions": [condition("Ready"), condition("Available")]});
    status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload",
        "metadata": {"name": "one", "namespace": "team-a", "generation": 1, "annotations": {ANNOTATION_REQUESTED_AT: "now"}},
        "spec": {"files": []}, "status": status,
    }))
    .unwrap()
}

/// A file that has a key; with a reason it is an old one.
fn file(name: &str, attempt: i64, reason: Option<&str>) -> Value {
    json!({"name": name, "state": "Uploaded", "revision": "r", "attempt": attempt, "fileKey": format!("key-{name}"),
        "reason": reason, "message": reason})
}

/// The keys, nothing yet, or the exit code of the error.
fn outcome(upload: &FileUpload) -> Result<Option<String>, u8> {
    answered(upload, "now").map_err(|error| crate::cli::code(&error))
}

#[test]
fn a_request_is_answered_by_new_keys_alone_and_given_up_once_a_file_stalled_for_it() {
    let noted = json!({"requestedAt": "now", "requestedAttempt": 3});
    let handled = json!({"lastHandledRequestedAt": "now"});
    let (fresh, retried) = (file("b", 5, None), file("b", 5, Some("StorageUnavailable")));
    let stalled = |attempt| file("a", attempt, Some("TooLarge"));
    let rejected = json!([{"type": "Stalled", "status": "True", "reason": "InvalidSpec", "message": "", "lastTransitionTime": "2026-11-23T09:00:00Z"}]);
    for (what, files, more, expected) in [
        ("nobody has taken it up", json!([file("a", 1, None), fresh]), json!({}), Ok(None)),
        ("it is noted", json!([file("a", 1, None), fresh]), noted.clone(), Ok(None)),
        ("a file stalled before it", json!([stalled(3), retried]), noted.clone(), Ok(None)),
        ("a file stalled before it was noted", json!([stalled(3), fresh]), json!({}), Ok(None)),
        ("a file stalled for it, another is retried", json!([stalled(4), retried]), noted, Err(3)),
        ("it is done, and a file stalled for it", json!([stalled(4), fresh]), handled.clone(), Err(3)),
        (
            "it is done, and a file that failed has its old key",
            json!([file("a", 4, None), retried]),
            handled.clone(),
            Ok(None),
        ),
        ("the spec is wrong", json!([]), json!({"conditions": rejected}), Err(3)),
        ("it is done", json!([file("a", 4, None), fresh]), handled, Ok(Some("a=key-a\nb=key-b\n".to_owned()))),
        (
            "of an older spec",
            json!([stalled(4)]),
            json!({"observedGeneration": 0, "lastHandledRequestedAt": "now"}),
            Ok(None),
        ),
    ] {
        assert_eq!(outcome(&upload(&files, &more)), expected, "{what}");
    }
}

#[test]
fn another_request_and_a_suspension_end_the_wait() {
    let mut other = upload(&json!([]), &json!({}));
    assert_eq!(answered(&other, "before").map_err(|error| crate::cli::code(&error)), Err(1));
    other.spec.suspend = Some(true);
    assert_eq!(outcome(&other), Err(3), "a person must act");
}

#[test]
fn a_folder_answers_a_request_by_complete_new_keys_and_ends_it_once_it_stalled() {
    let handled = json!({"lastHandledRequestedAt": "now"});
    let noted = json!({"requestedAt": "now", "requestedAttempt": 3});
    let folder = |attempt: i64, reason: Option<&str>, has_keys: bool| {
        let until = has_keys.then_some("2026-11-24T09:00:00Z");
        json!([{"name": "frames", "state": "Uploaded", "revision": "r", "attempt": attempt, "reason": reason,
            "availableUntil": until}])
    };
    for (what, folders, mut more, expected) in [
        ("it is done", folder(4, None, true), handled.clone(), Ok(Some(String::new()))),
        ("it failed and has its old keys", folder(4, Some("StorageUnavailable"), true), handled.clone(), Ok(None)),
        ("it has no keys", folder(4, None, false), handled.clone(), Ok(None)),
        ("it stalled for the request", folder(4, Some("TooManyFiles"), true), noted.clone(), Err(3)),
        ("it stalled before the request", folder(3, Some("TooManyFiles"), true), noted, Ok(None)),
    ] {
        more["folders"] = folders;
        assert_eq!(outcome(&upload(&json!([]), &more)), expected, "{what}");
    }
}
