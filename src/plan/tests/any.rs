//! What holds whatever a resource, its status or a Job of ours looks like: anybody may have written them.

use proptest::prelude::*;

use super::*;
use crate::resource::arbitrary;

/// Results for the files of a Send, of which some were stored.
fn results() -> impl Strategy<Value = Vec<SendResult>> {
    let result = |stored: bool| {
        if stored { super::stored("key", START.parse().unwrap()) } else { super::failed(Reason::StorageUnavailable) }
    };
    prop::collection::vec(any::<bool>().prop_map(result), 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_status_panics_and_what_follows_from_it_can_be_written(upload in arbitrary::uploads(), results in results(), senders in any::<bool>()) {
        let Ok(upload) = serde_json::from_value::<FileUpload>(upload) else { return Ok(()) };
        let mut story = Story { upload, ..Story::of(json!({}), &[of_config_map("a")]) };
        // As many steps as lead from a status that makes no sense to one that does.
        for _ in 0..4 {
            let before = story.upload.clone();
            let step = story.step();
            prop_assert!(step.look <= Duration::from_mins(5));
            if let Some(status) = step.written {
                prop_assert!(serde_json::to_string(&status).is_ok());
                prop_assert!(status.files.len() <= before.spec.files.len());
            }
            if story.facts.work.iter().any(|work| matches!(work, WorkFacts::Send(send) if send.stage != SendStage::Ended)) {
                story.ends(results.clone());
            }
        }
        let senders = if senders { Senders::Operator } else { Senders::Workers };
        let case = Case::new(&story.upload, story.now, Deployment::default(), senders);
        let _ = plan(&case, &Facts::default());
    }

    #[test]
    fn no_job_and_no_pod_of_ours_panics(upload in arbitrary::uploads(), job in job(), pod in pod()) {
        let Ok(upload) = serde_json::from_value::<FileUpload>(upload) else { return Ok(()) };
        let Some(mut facts) = manifest::read_job(&job) else { return Ok(()) };
        let story = Story { upload, ..Story::of(json!({}), &[of_config_map("a")]) };
        facts.pods = vec![read::pod(&pod, false), read::pod(&pod, true)];
        let case = Case::new(&story.upload, story.now, Deployment::default(), Senders::Operator);
        for confirmed in [false, true] {
            let work = vec![WorkFacts::Job(JobFacts { confirmed, ..facts.clone() })];
            let facts = Facts { work, ..story.facts.clone() };
            let plan = plan(&case, &facts);
            let ending = settle(&plan, Done::default()).finish(&Written::default());
            prop_assert!(serde_json::to_string(&ending.status).is_ok());
        }
    }
}

/// A word that a Job of ours may hold, or any.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "worker",
            "u",
            "x",
            "source",
            "--shards=99999999999",
            "--mount=/source",
            "-1",
            "4",
            "a=b"
        ])
        .prop_map(str::to_owned),
        "\\PC{0,12}",
    ]
}

fn labels() -> impl Strategy<Value = Value> {
    let keys = prop::sample::select(vec![
        crate::resource::LABEL_UID,
        crate::resource::LABEL_MANAGED_BY,
        crate::resource::LABEL_FILE_UPLOAD,
        crate::resource::ANNOTATION_ATTEMPT,
        crate::resource::ANNOTATION_GENERATION,
        read::LABEL_JOB,
        "batch.kubernetes.io/job-completion-index",
    ]);
    let value = prop_oneof![word(), any::<i64>().prop_map(|number| number.to_string())];
    prop::collection::hash_map(keys.prop_map(str::to_owned), value, 0..7).prop_map(|map| json!(map))
}

fn metadata() -> impl Strategy<Value = Value> {
    (labels(), labels(), word()).prop_map(|(labels, annotations, uid)| {
        json!({"name": "j", "namespace": "team", "uid": uid, "labels": labels, "annotations": annotations,
               "creationTimestamp": START})
    })
}

fn pod_spec() -> impl Strategy<Value = Value> {
    let container = (word(), prop::collection::vec(word(), 0..6))
        .prop_map(|(name, args)| json!({"name": name, "image": "i", "args": args}));
    let volume = prop::sample::select(vec![
        json!({"name": "source", "persistentVolumeClaim": {"claimName": "c"}}),
        json!({"name": "source", "configMap": {"name": "m"}}),
        json!({"name": "source"}),
    ]);
    (prop::collection::vec(container, 0..3), prop::collection::vec(volume, 0..3))
        .prop_map(|(containers, volumes)| json!({"containers": containers, "volumes": volumes}))
}

fn job() -> impl Strategy<Value = objects::Job> {
    let number = || prop_oneof![Just(json!(null)), any::<i32>().prop_map(|number| json!(number))];
    (metadata(), pod_spec(), number(), number(), number(), any::<bool>()).prop_map(
        |(metadata, pod, parallelism, completions, failed, suspend)| {
            let spec = json!({"template": {"metadata": metadata, "spec": pod}, "parallelism": parallelism,
                              "completions": completions, "suspend": suspend});
            let status = json!({"failed": failed, "conditions": [{"type": "Failed", "status": "True"}]});
            serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap()
        },
    )
}

fn pod() -> impl Strategy<Value = objects::Pod> {
    let ended = (any::<i32>(), "(fileupload-report/1\n)?\\PC{0,200}\n?")
        .prop_map(|(code, message)| json!({"terminated": {"exitCode": code, "message": message, "finishedAt": START}}));
    let state = prop_oneof![ended, Just(json!({"running": {}})), Just(json!({"waiting": {"reason": "StartError"}}))];
    let status = (word(), state).prop_map(|(name, state)| {
        json!({"name": name, "state": state, "image": "i", "imageID": "", "ready": false, "restartCount": 0})
    });
    let phase = prop::sample::select(vec!["Pending", "Running", "Succeeded", "Failed", "Unknown", ""]);
    (metadata(), pod_spec(), prop::collection::vec(status, 0..4), phase).prop_map(
        |(metadata, spec, containers, phase)| {
            serde_json::from_value(json!({
                "metadata": metadata, "spec": spec, "status": {"phase": phase, "containerStatuses": containers},
            }))
            .unwrap()
        },
    )
}
