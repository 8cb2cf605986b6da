//! What holds whatever a resource, its status or a Job of ours looks like: anybody may have written them.

use proptest::prelude::*;

use super::*;
use crate::resource::{File, arbitrary};

/// Results for the files of a Send, of which some were stored.
fn results() -> impl Strategy<Value = Vec<SendResult>> {
    let result = |stored: bool| {
        if stored { super::stored("key", START.parse().unwrap()) } else { super::failed(Reason::StorageUnavailable) }
    };
    prop::collection::vec(any::<bool>().prop_map(result), 0..5)
}

/// What a status or a Job may say of a file of the spec: of its revision by now, of an older one, or nothing.
fn revisions() -> impl Strategy<Value = Vec<Option<bool>>> {
    prop::collection::vec(prop::option::weighted(0.9, prop::bool::weighted(0.9)), 4)
}

/// The files of the spec with those revisions.
fn files_of(upload: &FileUpload, revisions: &[Option<bool>]) -> Vec<(FileId, File)> {
    let file = |(file, revision): (&File, &Option<bool>)| {
        let is_present = (*revision)?;
        let present =
            revision::revision(file, revision::Receiver { secret: upload.spec.secret_name(), deployment: "" });
        let revision = if is_present { present } else { "older".to_owned() };
        Some((FileId { name: file.name.clone(), revision }, file.clone()))
    };
    upload.spec.files.iter().zip(revisions).filter_map(file).collect()
}

/// Has the status be about files of the spec.
fn match_status(upload: &mut FileUpload, revisions: &[Option<bool>]) {
    let files = files_of(upload, revisions);
    let known = upload.status.iter_mut().flat_map(|status| &mut status.files);
    for (known, (id, _)) in known.zip(files) {
        (known.name, known.revision) = (id.name, id.revision);
    }
}

/// The API server would take this status.
fn may_be_written(status: Option<&FileUploadStatus>) -> Result<(), TestCaseError> {
    let Some(status) = status else { return Ok(()) };
    let faults = arbitrary::faults_of_status(&serde_json::to_value(status).unwrap());
    prop_assert!(faults.is_empty(), "{faults:?}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_status_panics_and_what_follows_from_it_can_be_written(upload in arbitrary::uploads(), revisions in revisions(), results in results(), senders in any::<bool>()) {
        let Ok(mut upload) = serde_json::from_value::<FileUpload>(upload) else { return Ok(()) };
        match_status(&mut upload, &revisions);
        let mut story = Story { upload, ..Story::of(json!({}), &[of_config_map("a")]) };
        // As many steps as lead from a status that makes no sense to one that does.
        for _ in 0..4 {
            let before = story.upload.clone();
            let step = story.step();
            prop_assert!(step.look <= Duration::from_mins(5));
            may_be_written(step.written.as_ref())?;
            if let Some(status) = step.written {
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
    fn no_job_and_no_pod_of_ours_panics_and_what_follows_can_be_written(
        upload in arbitrary::uploads(), revisions in revisions(), job in job(), pod in pod(),
        is_ours in prop::bool::weighted(0.8),
    ) {
        let Ok(mut upload) = serde_json::from_value::<FileUpload>(upload) else { return Ok(()) };
        let Some(mut facts) = manifest::read_job(&job) else { return Ok(()) };
        match_status(&mut upload, &revisions);
        if is_ours {
            let assignment = |(FileId { name, revision }, file): (FileId, File)| Assignment {
                name,
                revision,
                path: Volume::path(&file).to_owned(),
                file_name: file.effective_name().to_owned(),
                content_type: file.content_type,
                folder: None,
            };
            facts.files = files_of(&upload, &revisions).into_iter().map(assignment).collect();
            facts.attempt = upload.status.as_ref().map_or(1, |status| status.attempts.saturating_add(1));
        }
        let story = Story { upload, ..Story::of(json!({}), &[of_config_map("a")]) };
        facts.pods = vec![read::pod(&pod, false), read::pod(&pod, true)];
        let case = Case::new(&story.upload, story.now, Deployment::default(), Senders::Operator);
        for confirmed in [false, true] {
            let work = vec![WorkFacts::Job(JobFacts { confirmed, ..facts.clone() })];
            let facts = Facts { work, ..story.facts.clone() };
            let plan = plan(&case, &facts);
            let ending = settle(&plan, Done::default()).finish(&Written::default());
            may_be_written(ending.status.as_ref())?;
        }
    }
}

/// A report, as a worker or somebody else may have written it; of files that a Job may have.
fn report() -> impl Strategy<Value = String> {
    let times = prop::sample::select(vec!["0", "1", "t2tqxs", "zzzzzzz", "-zzzzzz", "-1"]);
    let texts = || prop_oneof![4 => "[a-z/.]{0,12}", 1 => "[a-z]{200,3000}"];
    let file = || prop_oneof![4 => Just(0), 1 => 0..5_usize];
    let uploaded = (file(), times, "[a-z]{0,8}", texts())
        .prop_map(|(file, time, kind, key)| format!("+{}{file} {time} 7 0.0 {kind} {key}\n", "A".repeat(43)));
    let reasons = prop::sample::select(Reason::ALL);
    let failed = (file(), reasons, texts()).prop_map(|(file, reason, text)| format!("-{file} {reason} - :{text}\n"));
    let shared = prop::sample::select(vec!["-* CredentialsRejected 9999999 :no\n", "full\n", "limited\n", "-* x"]);
    let line = prop_oneof![4 => uploaded, 4 => failed, 1 => shared.prop_map(str::to_owned)];
    prop::collection::vec(line, 0..5).prop_map(|lines| format!("fileupload-report/2\n{}", lines.concat()))
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
        "[a-z]{300}",
    ]
}

fn container_name() -> impl Strategy<Value = String> {
    prop_oneof![3 => Just("worker".to_owned()), 1 => word()]
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
        json!({"name": format!("j{uid}"), "namespace": "team", "uid": uid, "labels": labels, "annotations": annotations,
               "creationTimestamp": START})
    })
}

fn pod_spec() -> impl Strategy<Value = Value> {
    let container = (container_name(), prop::collection::vec(word(), 0..6))
        .prop_map(|(name, args)| json!({"name": name, "image": "i", "args": args}));
    let volume = prop_oneof![
        4 => Just(json!({"name": "source", "persistentVolumeClaim": {"claimName": "c"}})),
        1 => Just(json!({"name": "source", "persistentVolumeClaim": {"claimName": "c".repeat(300)}})),
        2 => Just(json!({"name": "source", "configMap": {"name": "m"}})),
        1 => Just(json!({"name": "source"})),
    ];
    (prop::collection::vec(container, 1..3), prop::collection::vec(volume, 1..3))
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
    let message = prop_oneof![4 => report(), 1 => "(fileupload-report/1\n)?\\PC{0,200}\n?"];
    let ended = (prop_oneof![Just(0), any::<i32>()], message)
        .prop_map(|(code, message)| json!({"terminated": {"exitCode": code, "message": message, "finishedAt": START}}));
    let (running, waiting) = (json!({"running": {}}), json!({"waiting": {"reason": "StartError"}}));
    let state = prop_oneof![4 => ended, 1 => Just(running), 1 => Just(waiting)];
    let status = (container_name(), state).prop_map(|(name, state)| {
        json!({"name": name, "state": state, "image": "i", "imageID": "", "ready": false, "restartCount": 0})
    });
    let phase = prop::sample::select(vec!["Pending", "Running", "Succeeded", "Failed", "Unknown", ""]);
    (metadata(), pod_spec(), prop::collection::vec(status, 1..4), phase).prop_map(
        |(metadata, spec, containers, phase)| {
            serde_json::from_value(json!({
                "metadata": metadata, "spec": spec, "status": {"phase": phase, "containerStatuses": containers},
            }))
            .unwrap()
        },
    )
}
