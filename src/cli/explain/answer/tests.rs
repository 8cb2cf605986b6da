//! Each way to stand has its lines.
//!
//! The resources are written here as the API server would return them.

use serde_json::{Value, json};

use super::*;
use crate::resource::ANNOTATION_REQUESTED_AT;

fn now() -> Timestamp {
    "2026-11-23T10:00:00Z".parse().unwrap()
}

/// A resource of two files whose conditions and entries say this.
fn upload(status: &Value) -> FileUpload {
    let file = |name: &str| json!({"name": name, "source": {"configMapKeyRef": {"name": "m", "key": name}}});
    serde_json::from_value(json!({
        "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload",
        "metadata": {"name": "portrait", "namespace": "team-a", "generation": 2},
        "spec": {"files": [file("photo"), file("prompt")]}, "status": status,
    }))
    .unwrap()
}

fn said(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-11-23T09:00:00Z"})
}

fn status(phase: &str, uploaded: i64, conditions: &[Value], files: &[Value]) -> Value {
    let entry = |(name, more): (&str, &Value)| {
        let mut entry = json!({"name": name, "state": "Pending", "revision": "r"});
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    };
    let files: Vec<_> = ["photo", "prompt"].into_iter().zip(files).map(entry).collect();
    json!({"observedGeneration": 2, "phase": phase, "filesUploaded": uploaded, "filesTotal": 2, "conditions": conditions, "files": files})
}

fn text(upload: &FileUpload) -> String {
    Answer { upload, status: upload.status.as_ref(), unread: &[], now: now() }.explanation().text()
}

fn lines(upload: &FileUpload, expected: &[&str]) {
    let text = text(upload);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{text}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{expected:?} is not how this begins: {line:?}");
    }
}

#[test]
fn one_thing_that_is_missing_is_a_headline_a_cause_and_a_fix() {
    let message = "file photo: ConfigMap m does not exist in this namespace: create it";
    let conditions = ["Ready", "Available"].map(|kind| said(kind, "False", "ConfigMapNotFound", message));
    let entry =
        json!({"reason": "ConfigMapNotFound", "message": "ConfigMap m does not exist in this namespace: create it"});
    let upload = upload(&status("Pending", 0, &conditions, &[entry.clone(), entry]));
    lines(
        &upload,
        &[
            "team-a/portrait: Pending, 0/2 files uploaded, not Available (ConfigMapNotFound)",
            "Cause: File photo: ConfigMap m does not exist in this namespace.",
            "Fix: Create it.",
            "Next: The upload starts as soon as the ConfigMap exists.",
        ],
    );
}

#[test]
fn files_that_fail_otherwise_get_a_line_each() {
    let conditions = ["Ready", "Available"].map(|kind| said(kind, "False", "ConfigMapNotFound", "file photo: gone"));
    let first = json!({"reason": "ConfigMapNotFound", "message": "gone"});
    let upload = upload(&status(
        "Pending",
        0,
        &conditions,
        &[first, json!({"reason": "TooLarge", "message": "5 MB\u{1b}[31m"})],
    ));
    let text = text(&upload);
    assert!(text.ends_with("\nAlso: TooLarge: File prompt: 5 MB [31m.\n"), "{text}");
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn a_backoff_says_when_it_is_tried_next() {
    let conditions =
        ["Ready", "Available"].map(|kind| said(kind, "False", "ApiUnavailable", "the Cyberun API is down"));
    let entry = json!({"reason": "ApiUnavailable", "message": "the Cyberun API is down"});
    let mut status = status("Pending", 0, &conditions, &[entry.clone(), entry]);
    for (at, expected) in [
        ("2026-11-23T10:00:42Z", "Next: It is tried again at 2026-11-23T10:00:42Z (in 42 s)."),
        ("2026-11-23T10:03:00Z", "Next: It is tried again at 2026-11-23T10:03:00Z (in 3 min)."),
        ("2026-11-23T09:59:00Z", "Next: It was due to be tried again at 2026-11-23T09:59:00Z: if this does not change"),
    ] {
        status["nextAttemptAt"] = at.into();
        lines(
            &upload(&status),
            &["team-a/portrait: Pending", "Cause: The Cyberun API is down.", "Fix: Wait", expected],
        );
    }
}

#[test]
fn a_refresh_that_fails_is_told_although_every_key_lives() {
    let conditions = ["Ready", "Available"].map(|kind| said(kind, "True", "Uploaded", "every file has a live key"));
    let key = json!({"state": "Uploaded", "fileKey": "k", "expiresAt": "2026-11-24T09:00:00Z"});
    let failing = json!({"state": "Uploaded", "fileKey": "l", "expiresAt": "2026-11-23T12:30:00Z",
        "reason": "FileNotFound", "message": "prompt is not there"});
    let mut upload = upload(&status("Ready", 2, &conditions, &[key, failing]));
    let expected = [
        "team-a/portrait: Ready, 2/2 files uploaded, Available",
        "Cause: File prompt keeps its key, but could not be uploaded again: prompt is not there.",
        "Fix: Compare the path",
        "Next: It is retried automatically",
    ];
    let ends = "Keys: The key of file prompt is the first to expire, at 2026-11-23T12:30:00Z (in 2 h); ";
    let never = format!(
        "{ends}it is not renewed without spec.refreshPolicy: BeforeExpiry or fileupload refresh --namespace team-a portrait."
    );
    lines(&upload, &[&expected[..], &[&never]].concat());
    upload.spec.refresh_policy = Some(crate::resource::RefreshPolicy::BeforeExpiry);
    lines(&upload, &[&expected[..], &[&format!("{ends}it is renewed before that.")]].concat());
}

#[test]
fn all_is_well_when_every_key_lives() {
    let conditions = ["Ready", "Available"].map(|kind| said(kind, "True", "Uploaded", "every file has a live key"));
    let key = json!({"state": "Uploaded", "fileKey": "k"});
    let expected =
        ["team-a/portrait: Ready, 2/2 files uploaded, Available", "Cause: The upload went well.", "Fix: Do nothing"];
    lines(&upload(&status("Ready", 2, &conditions, &[key.clone(), key])), &expected);
}

#[test]
fn keys_that_expired_name_the_command_that_gets_new_ones() {
    let message = "the keys have expired";
    let conditions = [said("Ready", "True", "Expired", message), said("Available", "False", "Expired", message)];
    let gone = json!({"state": "Expired"});
    let upload = upload(&status("Expired", 0, &conditions, &[gone.clone(), gone]));
    let expected = [
        "team-a/portrait: Expired, 0/2 files uploaded, not Available (Expired)",
        "Cause: The keys have expired.",
        "Fix: Ask for a fresh upload with `fileupload refresh --namespace team-a portrait`",
        "Next: Nothing more happens until a fresh upload is requested",
    ];
    lines(&upload, &expected);
}

#[test]
fn what_is_suspended_says_so_even_while_every_key_lives() {
    let conditions = [said("Ready", "True", "Suspended", "suspended"), said("Available", "True", "Uploaded", "")];
    let key = json!({"state": "Uploaded", "fileKey": "k"});
    let upload = upload(&status("Suspended", 2, &conditions, &[key.clone(), key]));
    lines(
        &upload,
        &[
            "team-a/portrait: Suspended, 2/2 files uploaded, Available",
            "Cause: Suspended.",
            "Fix: Set spec.suspend",
            "Next: Nothing happens until spec.suspend is false.",
        ],
    );
}

#[test]
fn what_no_operator_has_looked_at_says_what_to_check() {
    let mut upload = upload(&json!({"observedGeneration": 1, "phase": "Ready", "filesUploaded": 2, "filesTotal": 2}));
    let expected = ["Cause: No operator is running, it serves other", "Fix: Check that a Pod of the operator is ready"];
    let stale =
        "team-a/portrait: Ready, 2/2 files uploaded, not Available, but no operator has looked at its current spec yet";
    lines(&upload, &[&[stale], &expected[..]].concat());
    upload.status = None;
    lines(&upload, &[&["team-a/portrait: no operator has looked at it yet"], &expected[..]].concat());
}

#[test]
fn a_reason_of_a_newer_operator_keeps_its_message() {
    let conditions = ["Ready", "Available"].map(|kind| said(kind, "False", "Eclipsed", "the moon is in the way"));
    let upload = upload(&status("Pending", 0, &conditions, &[]));
    lines(
        &upload,
        &["team-a/portrait: Pending", "Cause: The moon is in the way.", "Fix: Update fileupload to the version"],
    );
}

#[test]
fn a_request_that_nobody_took_up_and_what_could_not_be_read_come_last() {
    let conditions = ["Ready", "Available"].map(|kind| said(kind, "True", "Uploaded", "every file has a live key"));
    let key = json!({"state": "Uploaded", "fileKey": "k"});
    let mut upload = upload(&status("Ready", 2, &conditions, &[key.clone(), key]));
    upload.metadata.annotations = Some([(ANNOTATION_REQUESTED_AT.to_owned(), "now".to_owned())].into());
    let unread = [Unread { kind: "Pods", why: "you have no right to list them".to_owned() }];
    let text =
        Answer { upload: &upload, status: upload.status.as_ref(), unread: &unread, now: now() }.explanation().text();
    let last: Vec<_> = text.lines().skip(3).collect();
    assert!(last[0].starts_with("Also: A fresh upload was requested"), "{text}");
    assert!(
        last[1].starts_with("Not read: Pods of namespace team-a")
            && last[1].ends_with("You have no right to list them."),
        "{text}"
    );
}

#[test]
fn the_fix_in_a_message_is_the_fix_and_is_said_once() {
    for (message, why, fix) in [
        (
            "Secret s does not exist: create it with the key K",
            "Secret s does not exist",
            Some("create it with the key K"),
        ),
        (
            "the key has expired: run 'fileupload refresh p' for a new one",
            "the key has expired",
            Some("run 'fileupload refresh p' for a new one"),
        ),
        ("the worker failed: OOMKilled", "the worker failed: OOMKilled", None),
        ("set: nothing", "set: nothing", None),
        ("all is there", "all is there", None),
    ] {
        assert_eq!(without_fix(message), (why, fix), "{message}");
    }
    let message = "every key has expired and is withdrawn: run 'fileupload refresh portrait' for new ones";
    let conditions = [said("Ready", "True", "Expired", message), said("Available", "False", "Expired", message)];
    let upload = upload(&status("Expired", 0, &conditions, &[]));
    let expected = [
        "team-a/portrait: Expired",
        "Cause: Every key has expired and is withdrawn.",
        "Fix: Run 'fileupload refresh --namespace team-a portrait' for new ones.",
        "Next: Nothing more happens",
    ];
    lines(&upload, &expected);
}

#[test]
fn files_that_fail_alike_are_said_once() {
    let message = "the storage is down";
    let conditions =
        ["Ready", "Available"].map(|kind| said(kind, "False", "StorageUnavailable", "file photo: the storage is down"));
    let entry = json!({"reason": "StorageUnavailable", "message": message});
    let text = text(&upload(&status("Pending", 0, &conditions, &[entry.clone(), entry])));
    assert_eq!(text.matches(message).count(), 1, "{text}");
}

#[test]
fn as_json_it_has_the_same_words_under_names_that_do_not_change() {
    let conditions =
        ["Ready", "Available"].map(|kind| said(kind, "False", "ConfigMapNotFound", "file photo: gone: create it"));
    let first = json!({"reason": "ConfigMapNotFound", "message": "gone: create it"});
    let second = json!({"reason": "TooLarge", "message": "5 GB", "fileKey": "k", "expiresAt": "2026-11-23T12:30:00Z"});
    let upload = upload(&status("Pending", 1, &conditions, &[first, second]));
    let unread = [Unread { kind: "Pods", why: "no right".to_owned() }];
    let said = Answer { upload: &upload, status: upload.status.as_ref(), unread: &unread, now: now() }.explanation();
    let also = json!([{"file": "prompt", "reason": "TooLarge",
        "cause": "File prompt keeps its key, but could not be uploaded again: 5 GB."}]);
    assert_eq!(
        serde_json::to_value(said).unwrap(),
        json!({
            "namespace": "team-a", "name": "portrait", "phase": "Pending", "available": false, "observed": true,
            "filesUploaded": 1, "filesTotal": 2, "reason": "ConfigMapNotFound", "cause": "File photo: gone.",
            "fix": "Create it.", "next": "The upload starts as soon as the ConfigMap exists.", "nextAttemptAt": null, "availableUntil": null,
            "also": also, "deleting": false, "requested": false,
            "expires": {"file": "prompt", "at": "2026-11-23T12:30:00Z", "isOnly": true, "renewed": false},
            "unread": [{"kind": "Pods", "why": "No right."}],
        })
    );
}

/// A resource of two folders whose conditions and entries say this.
fn of_folders(phase: &str, (uploaded, total): (i64, i64), conditions: &[Value], folders: &[Value]) -> FileUpload {
    let source = json!({"persistentVolumeClaim": {"claimName": "render", "path": "out"}});
    let entry = |(name, more): (&str, &Value)| {
        let mut entry = json!({"name": name, "state": "Pending", "revision": "r", "files": 200});
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    };
    let names = ["frames", "masks"];
    let entries: Vec<_> = names.into_iter().zip(folders).map(entry).collect();
    serde_json::from_value(json!({
        "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload",
        "metadata": {"name": "portrait", "namespace": "team-a", "generation": 2},
        "spec": {"folders": names.map(|name| json!({"name": name, "source": source}))},
        "status": {"observedGeneration": 2, "phase": phase, "filesUploaded": uploaded, "filesTotal": total,
            "conditions": conditions, "folders": entries},
    }))
    .unwrap()
}

#[test]
fn folders_are_well_once_all_their_files_have_keys() {
    let conditions = ["Ready", "Available"].map(|kind| said(kind, "True", "Uploaded", "every file has a live key"));
    let folder = json!({"state": "Uploaded", "uploaded": 200, "availableUntil": "2026-11-24T09:00:00Z"});
    let upload = of_folders("Ready", (400, 400), &conditions, &[folder.clone(), folder]);
    let text = text(&upload);
    assert!(text.starts_with("team-a/portrait: Ready, 400/400 files uploaded, Available\n"), "{text}");
    assert!(!text.contains("Also: "), "{text}");
    let ends = "\nKeys: The keys of folder frames are the first to be withdrawn, at 2026-11-24T09:00:00Z (in 23 h); \
                they are not renewed without spec.refreshPolicy: BeforeExpiry or ";
    assert!(text.contains(ends), "{text}");
}

#[test]
fn each_folder_that_fails_is_told_the_one_that_decides_first() {
    let message = "folder frames: 2500 files match, and maxFiles is 2000";
    let conditions = ["Ready", "Available"].map(|kind| said(kind, "False", "TooManyFiles", message));
    let frames = json!({"reason": "TooManyFiles", "message": "2500 files match, and maxFiles is 2000"});
    let masks =
        json!({"reason": "SourceChanged", "message": "a.png changed", "availableUntil": "2026-11-23T12:00:00Z"});
    let upload = of_folders("Failed", (200, 2700), &conditions, &[frames, masks]);
    lines(
        &upload,
        &[
            "team-a/portrait: Failed, 200/2700 files uploaded, not Available (TooManyFiles)",
            "Cause: Folder frames: 2500 files match, and maxFiles is 2000.",
            "Fix: Narrow include, add to exclude",
            "Next: ",
            "Also: SourceChanged: Folder masks keeps its keys, but could not be uploaded again: a.png changed.",
            "Keys: The keys of folder masks are withdrawn at 2026-11-23T12:00:00Z (in 2 h); they are not renewed without",
        ],
    );
}
