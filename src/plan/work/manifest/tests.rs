use super::*;

#[test]
fn what_is_written_into_a_job_is_read_from_it_again() {
    let upload: FileUpload = serde_json::from_value(json!({
        "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload",
        "metadata": {"name": "x", "namespace": "team", "uid": "u", "generation": 3}, "spec": {"files": []},
    }))
    .unwrap();
    let file = |name: &str| Assignment {
        name: name.to_owned(),
        revision: format!("r-{name}"),
        path: format!("a $(NAME) {name}"),
        file_name: name.to_owned(),
        content_type: Some("a/b".to_owned()),
        folder: None,
    };
    for volume in [Volume::Claim("datasets".to_owned()), Volume::ConfigMap("inputs".to_owned())] {
        let launch = Launch {
            name: "x-1".to_owned(),
            volume,
            attempt: 7,
            files: vec![file("one"), file("two")],
            shards: 2,
            parallelism: 1,
            placement: Placement { node: Some("node-1".to_owned()), ..Placement::default() },
            settings_hash: "s".to_owned(),
        };
        let written = json!(job(&upload, &launch, "v", &WorkerSettings::default()).unwrap());
        let read = read_job(&serde_json::from_value(written).unwrap()).unwrap();
        assert_eq!((&read.name, &read.volume, read.attempt), (&launch.name, &launch.volume, launch.attempt));
        assert_eq!((&*read.files, read.shards), (&*launch.files, launch.shards));
        assert_eq!((read.generation, read.credentials_version.as_str()), (Some(3), "v"));
        assert_eq!((read.settings_hash, read.standing), (launch.settings_hash, Standing::Alive));
        assert_eq!(read.node, launch.placement.node);
    }
}

fn launch() -> Launch {
    Launch {
        name: "x-1".to_owned(),
        volume: Volume::Claim("datasets".to_owned()),
        attempt: 1,
        files: vec![],
        shards: 1,
        parallelism: 1,
        placement: Placement::default(),
        settings_hash: "s".to_owned(),
    }
}

#[test]
fn workers_are_pulled_as_the_operator_is_told_and_else_as_the_cluster_decides() {
    let upload: FileUpload = serde_json::from_value(json!({
        "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload", "metadata": {"name": "x"}, "spec": {"files": []},
    }))
    .unwrap();
    for policy in [Some("Always".to_owned()), None] {
        let settings = WorkerSettings {
            pull_policy: policy.clone(),
            pull_secrets: vec!["registry".to_owned()],
            ..WorkerSettings::default()
        };
        let pod = job(&upload, &launch(), "v", &settings).unwrap().spec.unwrap().template.spec.unwrap();
        assert_eq!(pod.containers[0].image_pull_policy, policy);
        assert_eq!(json!(pod.image_pull_secrets), json!([{"name": "registry"}]));
    }
}

/// jupyterhub/kubespawner#290, kube-arangodb#2119: without a group of its own a user has that of root.
#[test]
fn a_user_without_a_group_has_the_group_of_its_number_and_nobody_has_that_of_root() {
    for (worker, user, group) in [
        (json!({"runAsUser": 1000}), Some(1000), Some(1000)),
        (json!({"runAsUser": 1000, "runAsGroup": 3000}), Some(1000), Some(3000)),
        (json!({"runAsGroup": 3000}), None, Some(3000)),
        (json!({}), None, None),
    ] {
        let upload: FileUpload = serde_json::from_value(json!({
            "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload",
            "metadata": {"name": "x", "uid": "u"}, "spec": {"files": [], "worker": {"securityContext": worker}},
        }))
        .unwrap();
        let job = job(&upload, &launch(), "v", &WorkerSettings::default()).unwrap();
        let security = job.spec.unwrap().template.spec.unwrap().security_context.unwrap();
        assert_eq!((security.run_as_user, security.run_as_group), (user, group), "{worker}");
        assert_eq!((security.run_as_non_root, security.fs_group), (Some(true), None));
    }
}

#[test]
fn what_no_fileupload_can_have_is_not_read_from_a_job() {
    let file = |name: usize, path: usize| {
        json!({"name": "n".repeat(name), "revision": "r", "path": "p".repeat(path), "fileName": "f"}).to_string()
    };
    let container = json!({"name": WORKER, "args": [file(63, 4096), file(64, 1), file(1, 4097)]});
    let volume = json!({"name": VOLUME, "configMap": {"name": "inputs"}});
    let job = json!({
        "metadata": {"name": "x"},
        "spec": {"parallelism": 9, "template": {
            "metadata": {"annotations": {ANNOTATION_SETTINGS: "s".repeat(65), ANNOTATION_CREDENTIALS_VERSION: "v"}},
            "spec": {"containers": [container], "volumes": [volume]},
        }},
    });
    let read = read_job(&serde_json::from_value(job).unwrap()).unwrap();
    let names: Vec<_> = read.files.iter().map(|file| file.name.len()).collect();
    assert_eq!((names, read.parallelism), (vec![63], MAX_PARALLELISM));
    assert_eq!((read.settings_hash.as_str(), read.credentials_version.as_str()), ("", "v"));
}

#[test]
fn the_container_called_worker_is_read_wherever_it_stands() {
    let file = json!({"name": "a", "revision": "r", "path": "p", "fileName": "f"}).to_string();
    let ended = |code: i32, message: &str| json!({"terminated": {"exitCode": code, "message": message}});
    let status = |name: &str, state: serde_json::Value| json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state});
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "x-1"},
        "spec": {
            "containers": [
                {"name": "istio-proxy", "image": "proxy", "args": ["proxy", "sidecar", "--shards", "9"]},
                {"name": WORKER, "image": "own", "args": [WORKER, SHARDS, "2", file]},
            ],
            "volumes": [{"name": VOLUME, "configMap": {"name": "inputs"}}],
        },
        "status": {"phase": "Running", "containerStatuses": [
            status("istio-proxy", json!({"running": {}})), status(WORKER, ended(3, "said")),
        ]},
    }))
    .unwrap();
    let job = read_pod("x", &pod).unwrap();
    assert_eq!((job.image.as_str(), job.shards, job.files.len()), ("own", 2, 1));
    let facts = read::pod(&pod, false);
    let terminated = facts.terminated().unwrap();
    assert_eq!((terminated.exit_code, terminated.message.as_str(), facts.is_over()), (3, "said", true));
}
