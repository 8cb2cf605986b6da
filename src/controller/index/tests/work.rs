//! Of Jobs and their Pods.

use super::*;

/// A Job of this attempt with a hundred files, whose paths have so many characters.
fn job(name: &str, attempt: i64, path: usize) -> Job {
    from_value(json!({
        "metadata": {"name": name, "namespace": "team", "uid": name, "labels": {
            crate::resource::LABEL_MANAGED_BY: crate::resource::FIELD_MANAGER, crate::resource::LABEL_UID: "u",
        }},
        "spec": {"template": {
            "metadata": {"annotations": {crate::resource::ANNOTATION_ATTEMPT: attempt.to_string()}},
            "spec": worker(path),
        }},
    }))
    .unwrap()
}

fn worker(path: usize) -> Value {
    let file = |number: usize| {
        json!({"name": format!("f{number}"), "revision": "r", "path": "p".repeat(path), "fileName": "f"}).to_string()
    };
    json!({
        "containers": [{"name": "worker", "args": (0..100).map(file).collect::<Vec<_>>()}],
        "volumes": [{"name": "source", "configMap": {"name": "inputs"}}],
    })
}

fn jobs(index: &Index) -> Vec<String> {
    index.jobs("u").into_iter().map(|job| job.name).collect()
}

#[test]
fn a_late_answer_does_not_bring_a_job_back() {
    let index = index();
    index.apply_upload(of_config_map("1"), Told::List(list(1)));
    let job = job("x-1", 1, 1);
    index.apply_job(&job, Told::Answer);
    assert_eq!(index.jobs("u").len(), 1);
    index.delete_job(&job);
    index.apply_job(&job, Told::Answer);
    assert_eq!(index.jobs("u").len(), 0);
}

#[test]
fn a_job_that_is_resumed_only_after_its_deletion_began_stays_suspended() {
    for is_deleted in [false, true] {
        let index = index();
        index.apply_upload(of_config_map("1"), Told::List(list(1)));
        let mut job = job("x-1", 1, 1);
        job.spec.as_mut().unwrap().suspend = Some(true);
        index.apply_job(&job, Told::Watch(1));
        job.metadata.deletion_timestamp = is_deleted.then(|| from_value(json!("2026-11-18T12:00:00Z")).unwrap());
        index.apply_job(&job, Told::Watch(1));
        job.spec.as_mut().unwrap().suspend = Some(false);
        index.apply_job(&job, Told::Watch(1));
        assert_eq!(index.jobs("u")[0].suspended, is_deleted);
    }
}

#[test]
fn of_jobs_that_nobody_vouches_for_only_so_much_is_kept_and_ours_are_kept_beside_them() {
    let index = index();
    let status =
        from_value(json!({"observedGeneration": 1, "attempts": 7, "jobs": [{"name": "named", "claimName": "c"}]}));
    index.apply_upload(FileUpload { status: Some(status.unwrap()), ..of_config_map("1") }, Told::Watch(1));
    for number in 0..100 {
        index.apply_job(&job(&format!("large-{number}"), 1, 4096), Told::Watch(1));
    }
    for number in 0..1000 {
        index.apply_job(&job(&format!("small-{number}"), 1, 1), Told::Watch(1));
    }
    let kept = index.jobs("u");
    let bytes: usize = kept.iter().flat_map(|job| job.files.iter()).map(|file| file.path.len()).sum();
    assert!(!kept.is_empty() && kept.len() <= 100 && bytes <= 256 << 10, "{} Jobs, {bytes} bytes", kept.len());
    // As large as they can be, and all of them ours.
    index.apply_job(&job("named", 1, 4096), Told::Watch(1));
    for number in 0..10 {
        index.apply_job(&job(&format!("own-{number}"), 107, 4096), Told::Answer);
        index.apply_job(&job(&format!("own-{number}"), 107, 4096), Told::Watch(1));
    }
    let names = jobs(&index);
    assert_eq!(names.iter().filter(|name| name.starts_with("own-")).count(), 10);
    assert!(names.contains(&"named".to_owned()));
}

/// A Pod of the Job.
fn pod_of(job: &str, name: &str, path: usize) -> Pod {
    from_value(json!({
        "metadata": {"name": name, "namespace": "team", "uid": name, "labels": {
            crate::resource::LABEL_MANAGED_BY: crate::resource::FIELD_MANAGER, crate::resource::LABEL_UID: "u",
            read::LABEL_JOB: job,
        }},
        "spec": worker(path),
    }))
    .unwrap()
}

#[test]
fn a_pod_of_our_job_is_kept_beside_any_number_of_others() {
    let index = index();
    index.apply_upload(of_config_map("1"), Told::Watch(1));
    for number in 0..500 {
        index.apply_pod(&pod_of("forged", &format!("p{number:03}"), 1), Told::Watch(1));
    }
    let pods = |index: &Index| index.jobs("u").iter().map(|job| job.pods.len()).sum::<usize>();
    assert_eq!(pods(&index), 400);
    index.apply_job(&job("x-1", 1, 1), Told::Answer);
    index.apply_pod(&pod_of("x-1", "ours", 1), Told::Watch(1));
    assert_eq!((index.job("u", "x-1").unwrap().pods.len(), pods(&index)), (1, 400));
    // Of a Job that is not kept, nothing is.
    index.apply_pod(&pod_of("huge", "huge", 4096), Told::Watch(1));
    assert!(index.job("u", "huge").is_none());
}

#[test]
fn the_end_of_a_pod_whose_report_the_status_has_brings_no_job_back() {
    let index = index();
    index.apply_upload(of_config_map("1"), Told::Watch(1));
    index.apply_job(&job("x-1", 1, 1), Told::Watch(1));
    let mut pod = pod_of("x-1", "w", 1);
    let owner = json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "x-1", "uid": "x-1"}]);
    pod.metadata.owner_references = from_value(owner).unwrap();
    pod.metadata.annotations = Some([(crate::resource::ANNOTATION_ATTEMPT.to_owned(), "1".to_owned())].into());
    index.apply_pod(&pod, Told::Watch(1));
    index.forget_attempt("u", 1);
    index.delete_job(&job("x-1", 1, 1));
    assert_eq!(index.delete_pod(&pod).wakes, [key()]);
    index.forget_attempt("u", 1);
    assert!(jobs(&index).is_empty());
    assert!(index.apply_pod(&pod, Told::Watch(1)).wakes.is_empty() && jobs(&index).is_empty());
    let mut other = pod_of("x-2", "v", 1);
    other.metadata.owner_references =
        from_value(json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "x-2", "uid": "x-2"}])).unwrap();
    assert_eq!(index.apply_pod(&other, Told::Watch(1)).wakes, [key()], "that of another is news");
}

#[test]
fn what_cannot_be_understood_any_more_is_forgotten() {
    let index = index();
    index.apply_upload(of_config_map("1"), Told::Watch(1));
    index.apply_claim(&claim("c0", "ReadWriteOnce"), Told::Watch(1));
    index.apply_job(&job("x-1", 1, 1), Told::Watch(1));
    index.apply_pod(&pod_of("x-1", "w", 1), Told::Watch(1));
    index.apply_pod(&pod(1), Told::Watch(1));
    assert_eq!(index.claim(&key(), "c0").users.len(), 1);
    for place in ["team", "other"].into_iter().rev() {
        index.lose_job(&Key::new(place, "x-1"));
        index.lose_pod(&Key::new(place, "w"));
        index.lose_pod(&Key::new(place, "p"));
        let job = index.job("u", "x-1").unwrap();
        let is_here = place == "team";
        assert_eq!(job.standing == crate::plan::Standing::Gone, is_here);
        assert_eq!(job.pods[0].presence == crate::plan::Presence::Gone, is_here);
        assert_eq!(index.claim(&key(), "c0").users.is_empty(), is_here);
    }
}

#[test]
fn a_list_that_began_before_a_write_does_not_drop_what_was_written() {
    let (index, upload) = (index(), of_config_map("1"));
    index.apply_upload(upload.clone(), Told::Watch(1));
    let before = list(1);
    index.begin_config_maps(None);
    index.apply_job(&job("x-1", 1, 1), Told::Answer);
    index.wrote_output(&upload, &output("10"));
    index.looked_up(&Key::new("team", "inputs"), &ConfigMapFacts::Unknown, Some("11"));
    index.sweep_jobs(None, before);
    index.sweep_config_maps(None, before);
    let outputs = |index: &Index| index.output(&upload, "out").0;
    assert_eq!(jobs(&index), ["x-1"]);
    assert!(
        matches!(outputs(&index), OutputFacts::Ours { .. }) && matches!(source(&index), ConfigMapFacts::There { .. })
    );
    let after = list(2);
    index.sweep_jobs(None, after);
    index.begin_config_maps(None);
    index.sweep_config_maps(None, after);
    assert!(jobs(&index).is_empty());
    assert_eq!((outputs(&index), source(&index)), (OutputFacts::Absent, ConfigMapFacts::Missing));
}
