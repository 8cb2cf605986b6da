//! What the API server refuses of `spec.worker`, with the field and the way out; and what it must let through.

use serde_json::{Value, json};
use test_support::{kubectl, scenario};

use super::{NO_KEYS, apply, on_volume, refused};
use crate::OPERATOR;

/// A spec with these settings of workers.
fn with_worker(worker: Value) -> Value {
    let mut spec = on_volume("a");
    spec["worker"] = worker;
    spec
}

#[test]
fn what_a_worker_may_be_told_is_bounded() {
    scenario(OPERATOR, async |world| {
        let with = with_worker;
        let user = |context: Value| with(json!({"securityContext": context}));
        let many = |most: usize| (0..=most).map(|at| (format!("k{at}"), json!("1"))).collect::<serde_json::Map<_, _>>();
        let cases: [(_, _, &[&str]); 22] = [
            ("a negative user", user(json!({"runAsUser": -1})), &["spec.worker.securityContext.runAsUser"]),
            ("a large group", user(json!({"runAsGroup": 1_i64 << 31})), &["spec.worker.securityContext.runAsGroup"]),
            ("33 groups", user(json!({"supplementalGroups": vec![1; 33]})), &["securityContext.supplementalGroups"]),
            ("a long level", user(json!({"seLinuxOptions": {"level": "s".repeat(254)}})), &["seLinuxOptions.level"]),
            ("an unknown field", with(json!({"nodeName": "node-1"})), &["unknown field", "spec.worker.nodeName"]),
            (
                "a right",
                user(json!({"privileged": true})),
                &["unknown field", "spec.worker.securityContext.privileged"],
            ),
            (
                "no amount",
                with(json!({"resources": {"limits": {"memory": "much"}}})),
                &["spec.worker.resources.limits"],
            ),
            (
                "no resource",
                with(json!({"resources": {"requests": {"a b": "1"}}})),
                &["spec.worker.resources.requests"],
            ),
            ("17 amounts", with(json!({"resources": {"requests": many(16)}})), &["resources.requests", "at most 16"]),
            ("no class", with(json!({"priorityClassName": "High"})), &["spec.worker.priorityClassName"]),
            (
                "the system's",
                with(json!({"priorityClassName": "system-node-critical"})),
                &["must not begin with system-"],
            ),
            (
                "33 labels of nodes",
                with(json!({"nodeSelector": many(32)})),
                &["spec.worker.nodeSelector", "at most 32"],
            ),
            ("no label of nodes", with(json!({"nodeSelector": {"a b": "c"}})), &["nodeSelector", "each key must be"]),
            ("no value of nodes", with(json!({"nodeSelector": {"a": "b!"}})), &["spec.worker.nodeSelector.a"]),
            ("33 tolerations", with(json!({"tolerations": vec![json!({}); 33]})), &["spec.worker.tolerations"]),
            ("no operator", with(json!({"tolerations": [{"operator": "In"}]})), &["tolerations[0].operator", "Exists"]),
            ("no effect", with(json!({"tolerations": [{"effect": "Never"}]})), &["tolerations[0].effect", "NoExecute"]),
            (
                "no seconds",
                with(json!({"tolerations": [{"tolerationSeconds": -1}]})),
                &["tolerations[0].tolerationSeconds"],
            ),
            ("33 labels", with(json!({"labels": many(32)})), &["spec.worker.labels", "at most 32"]),
            ("a long label", with(json!({"labels": {"a": "x".repeat(64)}})), &["spec.worker.labels.a"]),
            ("33 annotations", with(json!({"annotations": many(32)})), &["spec.worker.annotations", "at most 32"]),
            (
                "a long annotation",
                with(json!({"annotations": {"a": "x".repeat(4097)}})),
                &["spec.worker.annotations.a"],
            ),
        ];
        refused(world, &cases);
        for field in ["labels", "annotations"] {
            let at = format!("spec.worker.{field}");
            for key in ["cyberun.cloud/fileupload-uid", "app.kubernetes.io/managed-by"] {
                refused(world, &[(key, with(json!({field: {key: "x"}})), &[&at, "the operator's"])]);
            }
            for key in NO_KEYS {
                refused(world, &[(key, with(json!({field: {key: "x"}})), &[&at, "each key must be a name"])]);
            }
        }
        for key in ["job-name", "controller-uid", "batch.kubernetes.io/job-name"] {
            refused(world, &[(key, with(json!({"labels": {key: "x"}})), &["spec.worker.labels", "Pods of a Job"])]);
        }
        let all = json!({
            "securityContext": {
                "runAsUser": 1, "runAsGroup": 0, "supplementalGroups": [2], "seLinuxOptions": {"level": "s0:c1,c2"},
            },
            "nodeSelector": {"disk": "fast", "kubernetes.io/arch": "arm64"},
            "tolerations": [{"key": "batch", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}],
            "resources": {"limits": {"memory": "1Gi", "cpu": 1}, "requests": {"example.com/device": "1"}},
            "priorityClassName": "low", "labels": {"kueue.x-k8s.io/queue-name": "team-a", "empty": ""},
            "annotations": {"example.com/note": "any text: ü"},
        });
        apply(world, "accepted", &with(all))?;
        Ok(())
    });
}

#[test]
fn root_and_a_group_for_the_volume_are_refused_with_the_way_out() {
    scenario(OPERATOR, async |world| {
        let user = |context: Value| with_worker(json!({"securityContext": context}));
        let cases: [(_, _, &[&str]); 2] = [
            ("root", user(json!({"runAsUser": 0})), &["never runs as root", "only root may read with a sidecar"]),
            ("fsGroup", user(json!({"fsGroup": 1000})), &["all files of the volume", "use runAsUser, runAsGroup or"]),
        ];
        refused(world, &cases);
        Ok(())
    });
}

/// A client that is not strict would otherwise lose the field without a word, and the worker would run as another user.
#[test]
fn the_fields_that_have_moved_are_refused_with_their_new_place_whoever_writes_them() {
    scenario(OPERATOR, async |world| {
        for (field, value) in [
            ("runAsUser", json!(1000)),
            ("runAsGroup", json!(1000)),
            ("supplementalGroups", json!([4000])),
            ("seLinuxOptions", json!({"level": "s0:c1,c2"})),
        ] {
            let spec = with_worker(json!({field: value}));
            let moved = format!("{field} has moved to spec.worker.securityContext.{field}");
            refused(world, &[(field, spec.clone(), &[&moved])]);
            let file_upload = json!({
                "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload",
                "metadata": {"name": "old", "namespace": world.namespace}, "spec": spec,
            });
            let lenient = ["create", "--validate=ignore", "--filename", "-"];
            let Err(complaint) = kubectl(world.cluster, lenient, &file_upload.to_string()) else {
                unreachable!("{field} is accepted")
            };
            assert!(format!("{complaint:#}").contains(&moved), "{complaint:#}");
        }
        Ok(())
    });
}
