//! Each state that a status can tell, and what it means for who waits.

use serde_json::{Value, json};

use super::*;

/// A resource of generation 2 whose conditions have this reason.
fn upload(status: &Value, metadata: &Value) -> FileUpload {
    let mut object = json!({
        "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload",
        "metadata": {"name": "one", "namespace": "team-a", "generation": 2},
        "spec": {"files": [{"name": "a", "source": {"configMapKeyRef": {"name": "m", "key": "a"}}}]},
    });
    object["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
    object["status"] = status.clone();
    serde_json::from_value(object).unwrap()
}

fn status(available: &str, reason: &str, also: &[&str], more: &Value) -> Value {
    let said = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": reason, "message": "why", "lastTransitionTime": "2026-11-23T09:00:00Z"});
    let also = also.iter().map(|kind| said(kind, "True"));
    let conditions: Vec<_> = [said("Available", available)].into_iter().chain(also).collect();
    let mut status = json!({"observedGeneration": 2, "conditions": conditions});
    status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    status
}

fn failed(reason: &str, attempt: i64) -> Value {
    json!([{"name": "a", "state": "Failed", "revision": "r", "attempt": attempt, "reason": reason, "message": "why"}])
}

const REQUESTED: &str = "cyberun.cloud/requested-at";

#[test]
fn it_ends_once_every_key_lives_or_a_person_must_act_and_waits_otherwise() {
    let (none, requested) = (json!({}), json!({"annotations": {REQUESTED: "now"}}));
    let too_large = json!({"files": failed("TooLarge", 1)});
    let over = |reason: &str| State::Over(format!("{reason}: why"));
    let pending = |reason: &str| State::Pending(format!("{reason}: why"));
    for (what, status, metadata, expected) in [
        ("all keys live", status("True", "Uploaded", &[], &none), &none, State::Available),
        ("all keys live, and it is suspended", status("True", "Suspended", &[], &none), &none, State::Available),
        ("suspended", status("False", "Suspended", &["Ready"], &none), &none, pending("Suspended")),
        ("in progress", status("False", "Uploading", &["Reconciling"], &none), &none, pending("Uploading")),
        ("a file stalls", status("False", "TooLarge", &["Stalled"], &too_large), &none, over("TooLarge")),
        (
            "another is retried",
            status("False", "ApiUnavailable", &["Reconciling"], &too_large),
            &none,
            pending("ApiUnavailable"),
        ),
        ("the spec is wrong", status("False", "InvalidSpec", &["Stalled"], &none), &requested, over("InvalidSpec")),
        ("the output is taken", status("False", "OutputConflict", &["Stalled"], &none), &none, over("OutputConflict")),
        ("expired", status("False", "Expired", &["Ready"], &none), &none, over("Expired")),
        ("expired, a new key requested", status("False", "Expired", &["Ready"], &none), &requested, pending("Expired")),
        (
            "expired, as after a request of before",
            status("False", "Expired", &["Ready"], &json!({"lastHandledRequestedAt": "now"})),
            &requested,
            over("Expired"),
        ),
        (
            "stalled before the request",
            status("False", "TooLarge", &["Stalled"], &too_large),
            &requested,
            pending("TooLarge"),
        ),
        (
            "stalled before the request, which is noted",
            status(
                "False",
                "TooLarge",
                &["Stalled"],
                &json!({"files": failed("TooLarge", 1), "requestedAt": "now", "requestedAttempt": 1}),
            ),
            &requested,
            pending("TooLarge"),
        ),
        (
            "stalled after the request was noted",
            status(
                "False",
                "TooLarge",
                &["Stalled"],
                &json!({"files": failed("TooLarge", 2), "requestedAt": "now", "requestedAttempt": 1}),
            ),
            &requested,
            over("TooLarge"),
        ),
        (
            "of an older spec",
            status("True", "Uploaded", &[], &json!({"observedGeneration": 1})),
            &none,
            State::Pending("no operator has looked at its current spec yet".to_owned()),
        ),
        (
            "just made",
            json!({"observedGeneration": -1}),
            &none,
            State::Pending("no operator has looked at it yet".to_owned()),
        ),
        (
            "being deleted",
            status("True", "Uploaded", &[], &none),
            &json!({"deletionTimestamp": "2026-11-23T10:00:00Z"}),
            State::Pending("is being deleted".to_owned()),
        ),
    ] {
        assert_eq!(of(&upload(&status, metadata)), expected, "{what}");
    }
}
