use std::time::Instant;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, from_value, json};

use super::*;
use crate::plan::{ConfigMapFacts, OutputFacts, read};

mod work;

fn index() -> Index {
    Index::new(Arc::default())
}

/// A list that begins now.
fn list(round: u32) -> List {
    List { round, began: Instant::now() }
}

fn key() -> Key {
    Key::new("team", "x")
}

/// A FileUpload with one file, and without a status: it waits for that.
fn upload(version: &str, source: &Value) -> FileUpload {
    from_value(json!({
        "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload",
        "metadata": {"name": "x", "namespace": "team", "uid": "u", "generation": 1, "resourceVersion": version},
        "spec": {"files": [{"name": "a", "source": source}], "output": {"configMap": {"name": "out"}}},
    }))
    .unwrap()
}

fn of_config_map(version: &str) -> FileUpload {
    upload(version, &json!({"configMapKeyRef": {"name": "inputs", "key": "a"}}))
}

/// The same, uploaded: nothing is waited for.
fn done(version: &str) -> FileUpload {
    let status = from_value(json!({"observedGeneration": 1})).unwrap();
    FileUpload { status: Some(status), ..of_config_map(version) }
}

fn meta(name: &str, version: &str) -> ObjectMeta {
    from_value(json!({"name": name, "namespace": "team", "resourceVersion": version})).unwrap()
}

fn output(version: &str) -> ConfigMap {
    from_value(json!({"metadata": {
        "name": "out", "namespace": "team", "resourceVersion": version,
        "labels": {"app.kubernetes.io/managed-by": crate::resource::FIELD_MANAGER},
        "ownerReferences": [{"apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload", "name": "x", "uid": "u"}],
    }}))
    .unwrap()
}

fn source(index: &Index) -> ConfigMapFacts {
    index.config_map(&key(), "inputs")
}

fn version_of(index: &Index) -> Option<String> {
    index.get(&key())?.upload.metadata.resource_version
}

#[test]
fn a_late_answer_does_not_undo_what_the_watch_told() {
    let index = index();
    index.apply_upload(of_config_map("101"), Told::Watch(1));
    assert!(!index.wrote_upload(of_config_map("100")));
    assert_eq!(version_of(&index).as_deref(), Some("101"));
    let before = list(2);
    assert!(index.wrote_upload(of_config_map("102")));
    index.apply_upload(of_config_map("101"), Told::Watch(1));
    index.apply_upload(of_config_map("101"), Told::List(before));
    assert_eq!(version_of(&index).as_deref(), Some("102"), "the list began before the write");
    index.delete_upload(&key());
    assert!(!index.wrote_upload(of_config_map("103")) && index.get(&key()).is_none());
}

#[test]
fn only_a_list_is_believed_what_is_older() {
    let index = index();
    index.apply_upload(of_config_map("101"), Told::Watch(1));
    index.apply_upload(of_config_map("90"), Told::Watch(1));
    assert_eq!(version_of(&index).as_deref(), Some("101"));
    index.apply_upload(of_config_map("90"), Told::List(list(2)));
    assert_eq!(version_of(&index).as_deref(), Some("90"), "the cluster was restored");
    index.wrote_upload(of_config_map("102"));
    index.apply_upload(of_config_map("95"), Told::List(list(3)));
    assert_eq!(version_of(&index).as_deref(), Some("95"), "it was restored just after a write");
}

#[test]
fn a_late_answer_does_not_bring_an_output_back() {
    let (index, upload) = (index(), of_config_map("1"));
    index.apply_upload(upload.clone(), Told::List(list(1)));
    index.wrote_output(&upload, &output("10"));
    let known = |index: &Index| index.output(&upload, "out");
    assert!(matches!(known(&index), (OutputFacts::Ours { hash: Some(_) }, Some(version)) if version == "10"));
    index.delete_config_map(&meta("out", "12"), 1);
    index.wrote_output(&upload, &output("11"));
    assert!(matches!(known(&index), (OutputFacts::Absent, None)));
    index.wrote_output(&upload, &output("13"));
    index.delete_config_map(&meta("out", "12"), 1);
    assert!(matches!(known(&index), (OutputFacts::Ours { .. }, Some(version)) if version == "13"));
}

#[test]
fn what_is_named_while_a_list_is_made_is_not_missing() {
    let index = index();
    index.begin_config_maps(None);
    // Its page passes while nobody names it.
    index.apply_config_map(&meta("inputs", "5"), Told::List(list(1)));
    index.apply_upload(of_config_map("1"), Told::Watch(1));
    index.sweep_config_maps(None, list(1));
    assert_eq!(source(&index), ConfigMapFacts::Unknown);
    index.begin_config_maps(None);
    index.sweep_config_maps(None, list(2));
    assert_eq!(source(&index), ConfigMapFacts::Missing);
}

#[test]
fn a_source_wakes_only_those_who_wait_or_follow() {
    let index = index();
    let wakes = |index: &Index, name: &str, version: &str| {
        index.apply_config_map(&meta(name, version), Told::Watch(1)).wakes.len()
    };
    index.apply_upload(of_config_map("1"), Told::Watch(1));
    assert_eq!((wakes(&index, "inputs", "5"), wakes(&index, "out", "5")), (1, 1));
    index.apply_upload(done("2"), Told::Watch(1));
    assert_eq!((wakes(&index, "inputs", "6"), wakes(&index, "out", "6")), (0, 1));
    let mut follows = done("3");
    follows.spec.update_policy = Some(crate::resource::UpdatePolicy::OnChange);
    index.apply_upload(follows, Told::Watch(1));
    assert_eq!((wakes(&index, "inputs", "7"), wakes(&index, "other", "7")), (1, 0));
}

fn pod(claims: usize) -> Pod {
    let volume =
        |at: usize| json!({"name": format!("v{at}"), "persistentVolumeClaim": {"claimName": format!("c{at}")}});
    let toleration = |at: usize| json!({"key": format!("t{at}"), "operator": "Exists"});
    from_value(json!({
        "metadata": {"name": "p", "namespace": "team"},
        "spec": {
            "containers": [],
            "volumes": (0..claims).map(volume).collect::<Vec<_>>(),
            "tolerations": (0..2000).map(toleration).collect::<Vec<_>>(),
        },
    }))
    .unwrap()
}

fn claim(name: &str, mode: &str) -> PersistentVolumeClaim {
    from_value(json!({"metadata": {"name": name, "namespace": "team"}, "spec": {"accessModes": [mode]}})).unwrap()
}

#[test]
fn of_a_foreign_pod_only_so_much_is_kept() {
    let index = index();
    for name in ["c99", "c100"] {
        index.apply_claim(&claim(name, "ReadWriteOnce"), Told::Watch(1));
    }
    index.apply_pod(&pod(2000), Told::Watch(1));
    let users = |name: &str| index.claim(&key(), name).users;
    assert_eq!(users("c99").first().map(|user| user.tolerations.len()), Some(16));
    assert!(users("c100").is_empty());
    index.delete_pod(&pod(2000));
    assert!(users("c99").is_empty());
}

#[test]
fn pods_on_a_shared_claim_wake_nobody() {
    let index = index();
    let on_claim = json!({"persistentVolumeClaim": {"claimName": "c0", "path": "a"}});
    index.apply_upload(upload("1", &on_claim), Told::Watch(1));
    for (mode, woken) in [("ReadWriteMany", 0), ("ReadOnlyMany", 0), ("ReadWriteOnce", 1)] {
        assert_eq!(index.apply_claim(&claim("c0", mode), Told::Watch(1)).wakes.len(), 1);
        assert_eq!(index.apply_pod(&pod(1), Told::Watch(1)).wakes.len(), woken, "{mode}");
        assert_eq!(index.delete_pod(&pod(1)).wakes.len(), woken, "{mode}");
    }
}

#[test]
fn a_config_map_that_a_request_does_not_find_is_gone_although_the_watch_has_not_told_so() {
    let index = index();
    index.apply_upload(of_config_map("1"), Told::Watch(1));
    index.apply_config_map(&meta("inputs", "10"), Told::Watch(1));
    let before = source(&index);
    assert!(matches!(&before, ConfigMapFacts::There { version, .. } if version == "10"));
    index.looked_up(&Key::new("team", "inputs"), &before, None);
    assert_eq!(source(&index), ConfigMapFacts::Missing);
    index.apply_config_map(&meta("inputs", "9"), Told::Watch(1));
    assert_eq!(source(&index), ConfigMapFacts::Missing, "a late event does not bring it back");
    index.apply_config_map(&meta("inputs", "12"), Told::Watch(1));
    index.looked_up(&Key::new("team", "inputs"), &before, None);
    assert!(matches!(source(&index), ConfigMapFacts::There { .. }), "it was made while the request was on its way");
}

#[test]
fn thousands_of_pods_on_one_claim_cost_nobody_else_and_hide_none_that_matters() {
    let index = index();
    index.apply_claim(&claim("c0", "ReadWriteOnce"), Told::Watch(1));
    let apply = |name: &str, node: Option<&str>, started: bool, created: i64| {
        let volume = json!({"name": "v", "persistentVolumeClaim": {"claimName": "c0"}});
        let metadata = json!({"name": name, "namespace": "team"});
        let mut pod: Pod = from_value(json!({"metadata": metadata, "spec": {"volumes": [volume]}})).unwrap();
        pod.metadata.creation_timestamp = from_value(json!(Timestamp::from_second(created).unwrap())).unwrap();
        let spec = pod.spec.as_mut().unwrap();
        spec.node_name = node.map(str::to_owned);
        let state = json!({"containerStatuses": [{"name": "a", "state": {"running": {}}}]});
        pod.status = started.then(|| from_value(state).unwrap());
        index.apply_pod(&pod, Told::Watch(1));
    };
    for number in 0..5_000 {
        // In an order that is not theirs.
        apply(&format!("p{:05}", number * 7919 % 5_000), None, false, 1000 + number);
    }
    apply("p0", Some("here"), true, 5000);
    apply("p1", Some("there"), false, 5000);
    apply("p1", Some("there"), false, 6000);
    let users = index.claim(&key(), "c0").users;
    let seen: Vec<_> = users.iter().map(|user| (user.node.as_deref(), user.started, user.created)).collect();
    let at = |second| Some(Timestamp::from_second(second).unwrap());
    assert_eq!(seen, [(Some("here"), true, at(5000)), (Some("there"), false, at(6000)), (None, false, at(1000))]);
    index.sweep_pods(None, list(2));
    assert!(index.claim(&key(), "c0").users.is_empty());
}
