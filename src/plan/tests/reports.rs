//! What is made of the reports of workers, and of a worker that leaves none.

use super::workers::{ended, job_of, with_job};
use super::*;

#[test]
fn a_key_of_a_worker_that_made_way_after_all_is_not_lost() {
    let mut story = with_job(|job| job.pods = vec![PodFacts::default()]);
    story.step();
    // It was given up, which the status says by now, and had uploaded nevertheless.
    let Some(WorkFacts::Job(job)) = story.facts.work.last_mut() else { unreachable!() };
    let attempt = job.attempt;
    let mut report = Vec::new();
    let files: Vec<Assignment> = job.files.to_vec();
    let mut writer = crate::report::Writer::new(&mut report, files, 0..1);
    writer.reserve(0, "k", "a/b", 1).unwrap();
    let upload = uploaded();
    writer.append(&crate::report::Entry::Uploaded { file: 0, upload }).unwrap();
    drop(writer);
    job.standing = Standing::Gone;
    job.pods[0].presence = Presence::Gone;
    job.pods[0].container = ended(143, &String::from_utf8(report).unwrap());
    let entry = &mut story.upload.status.as_mut().unwrap().files[0];
    (entry.attempt, entry.reason) = (attempt, Some("ClaimInUse".into()));
    story.upload.status.as_mut().unwrap().attempts = attempt;
    story.step();
    assert_eq!(story.keys(), [Some("k")]);
}

#[test]
fn a_report_is_read_before_its_job_goes_though_a_send_has_a_higher_number_by_now() {
    let pod = PodFacts { container: ended(1, ""), ..PodFacts::default() };
    let mut story = with_job(|job| job.pods = vec![pod]);
    // The write that named the Job failed, and Sends of other files have taken numbers since.
    let status = story.upload.status.as_mut().unwrap();
    (status.attempts, status.jobs) = (5, Vec::new());
    let upload = story.upload.clone();
    let case = Case::new(&upload, story.now, Deployment::default(), Senders::Operator);
    assert_eq!(plan(&case, &story.facts).acts.remove, []);
    story.step();
    assert_eq!(story.reasons(), [Some("ReportMissing")]);
    let upload = story.upload.clone();
    let case = Case::new(&upload, story.now, Deployment::default(), Senders::Operator);
    assert_eq!(plan(&case, &story.facts).acts.remove.len(), 1, "once the status has it");
}

#[test]
fn a_container_that_somebody_put_beside_the_worker_keeps_no_file() {
    let pod = PodFacts { container: ended(0, "fileupload-report/1\n"), ..PodFacts::default() };
    let mut story = with_job(|job| job.pods = vec![pod]);
    story.step();
    assert_eq!(story.reasons(), [Some("WorkerFailed")], "the worker is over, though its Pod runs");
}

#[test]
fn how_a_worker_ended_is_told_with_what_is_known_of_it() {
    let on_start = "failed to create containerd task: exec: \"/fileupload\": exec format error";
    for (reason, code, message, expected, words) in [
        ("StartError", 128, on_start, "WorkerFailed", "not for the architecture of its node"),
        ("Error", 255, "exec /fileupload: exec format error\n", "WorkerFailed", "not for the architecture of its node"),
        ("Error", 1, "exec /fileupload: exec format error", "WorkerFailed", "not for the architecture of its node"),
        ("Error", 255, "", "WorkerFailed", "may not be for the architecture of its node"),
        ("Error", 255, "boom", "WorkerFailed", "exit code 255 before it had sent every file; its log ends: boom"),
        (
            "Error",
            3,
            "one\ntwo 65532",
            "WorkerFailed",
            "exit code 3 before it had sent every file; its log ends: one two 65532",
        ),
        ("Error", 1, "{\"message\":\"no\",\"error\":\"why\"}\n", "ReportMissing", "image; its log ends: no: why"),
        ("Completed", 0, "", "ReportMissing", "--worker-image names this operator's own image"),
        ("Error", 137, "boom", "WorkerFailed", "was killed (exit code 137)"),
        ("Error", 3, "fileupload-report/1\n", "WorkerFailed", "exit code 3 before it had sent every file"),
    ] {
        let terminated = Terminated { reason: reason.into(), exit_code: code, message: message.into() };
        let pod = PodFacts { container: Container::Ended(terminated), has_ended: true, ..PodFacts::default() };
        let mut story = with_job(|job| (job.pods, job.standing) = (vec![pod], Standing::Ended(Said::default())));
        story.step();
        let said = story.status().files[0].message.clone().unwrap();
        assert_eq!(story.reasons(), [Some(expected)], "{message}");
        assert!(said.contains(words), "{message}: {said}");
    }
}

#[test]
fn a_report_that_was_cut_sends_what_it_does_not_tell_of_to_another_worker_at_once() {
    for told in ["-0 FileNotFound - :no such file\n", &format!("+{}0 toy940 7 0.0 a/b key\n", "A".repeat(43))] {
        let mut story = Story::of(json!({}), &[on_claim("a"), on_claim("b")]);
        let launch = story.step().launched.remove(0);
        let mut job = job_of(&story, launch);
        let container = ended(1, &format!("fileupload-report/2\n{told}-1 FileNotFou"));
        job.pods = vec![PodFacts { container, has_ended: true, ..PodFacts::default() }];
        job.standing = Standing::Ended(Said::default());
        story.facts.work.push(WorkFacts::Job(job));
        story.step();
        assert_eq!(story.reasons()[1], Some("ReportFull"), "{told}");
        story.facts.work.clear();
        let next = story.step().launched.remove(0);
        assert_eq!(next.files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["b"], "{told}");
    }
}

#[test]
fn a_report_of_before_is_not_the_answer_to_a_spec_that_came_back() {
    let report = format!("fileupload-report/2\n+{}0 toy940 7 0.0 a/b key\n", "A".repeat(43));
    // Whether or not there is another attempt meanwhile.
    for suspended in [true, false] {
        let pod = PodFacts { container: ended(0, &report), has_ended: true, ..PodFacts::default() };
        let mut story = with_job(|job| (job.pods, job.standing) = (vec![pod], Standing::Ended(Said::default())));
        story.step();
        assert_eq!(story.states(), [FileState::Uploaded]);
        // The Job was deleted, and its Pod left.
        let Some(WorkFacts::Job(job)) = story.facts.work.last_mut() else { unreachable!() };
        job.standing = Standing::Gone;
        story.upload.spec.suspend = Some(suspended);
        for content_type in [Some("x/y".to_owned()), None] {
            story.upload.spec.files[0].content_type = content_type;
            story.upload.metadata.generation = story.upload.metadata.generation.map(|generation| generation + 1);
            for _ in 0..2 {
                assert_eq!(story.step().launched.len(), usize::from(!suspended));
                assert_eq!(story.states(), [FileState::Pending], "{:#?}", story.status().files);
            }
        }
    }
}

#[test]
fn of_what_a_report_says_no_more_is_written_than_the_schema_takes() {
    let stored = |seconds: &str| format!("+{}0 {seconds} 7 0.0 a/b key", "A".repeat(43));
    for line in [format!("-0 FileNotFound - :{}", "é".repeat(2100)), stored("zzzzzz"), stored("-zzzzzz")] {
        let pod = PodFacts { container: ended(0, &format!("fileupload-report/2\n{line}\n")), ..PodFacts::default() };
        let mut story = with_job(|job| job.pods = vec![pod]);
        story.step();
        let faults = crate::resource::arbitrary::faults_of_status(&serde_json::to_value(story.status()).unwrap());
        assert_eq!((faults, story.status().files[0].attempt), (vec![], 1), "{line}");
    }
}
