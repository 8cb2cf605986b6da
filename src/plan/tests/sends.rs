//! Sends of ConfigMap files: one status for each, retries, and what is remembered.

use super::*;

#[test]
fn a_new_resource_is_written_once_with_its_key() {
    let mut story = Story::of(json!({"output": {"configMap": {"name": "keys"}}}), &[of_config_map("a")]);
    let first = story.step();
    assert_eq!((first.sent, first.written), (vec!["a".to_owned()], None), "that work begins is not worth a write");
    let now = story.now;
    story.ends(vec![stored("k", now)]);
    let second = story.step();
    assert!(matches!(second.output, OutputAct::Create(_)));
    assert_eq!((story.keys(), story.status().attempts), (vec![Some("k")], 1));
    assert_eq!((story.step().written, story.facts.work.len()), (None, 0), "nothing is left to do or to remember");
}

#[test]
fn a_send_shows_once_it_has_had_its_place_for_a_second() {
    let mut story = Story::of(json!({}), &[of_config_map("a")]);
    story.step();
    let now = story.now;
    story.send().stage = SendStage::Running(now);
    let step = story.step();
    assert_eq!((step.written, step.look), (None, Duration::from_secs(1)));
    let step = story.later(SignedDuration::from_secs(1)).step();
    assert_eq!(step.written.unwrap().phase, Some(Phase::Uploading));
    assert_eq!(story.states(), [FileState::Uploading]);
}

#[test]
fn what_a_send_said_is_kept_until_the_status_has_it_and_not_sent_again() {
    let mut story = Story::of(json!({}), &[of_config_map("a")]);
    story.step();
    let now = story.now;
    story.ends(vec![stored("k", now)]);
    let before = story.upload.clone();
    story.step();
    story.upload = before; // the write was refused
    story.later(hours(1.0));
    let step = story.step();
    assert_eq!((step.sent.len(), story.keys()), (0, vec![Some("k")]), "the key of the first Send is written late");
}

#[test]
fn a_failure_of_the_credential_is_every_open_files_and_of_a_file_its_own() {
    let files = [of_config_map("a"), of_config_map("b"), of_config_map("c")];
    let mut story = Story::of(json!({}), &files);
    story.step();
    let now = story.now;
    story.ends(vec![stored("k", now), failed(Reason::CredentialsRejected)]);
    let step = story.step();
    assert_eq!(story.reasons(), [None, Some("CredentialsRejected"), Some("CredentialsRejected")]);
    assert_eq!((story.status().phase, step.sent.len()), (Some(Phase::Failed), 0));

    let mut story = Story::of(json!({}), &files);
    story.step();
    story.ends(vec![stored("k", now), failed(Reason::TooLarge), stored("l", now)]);
    story.step();
    assert_eq!(story.reasons(), [None, Some("TooLarge"), None]);
    assert!(story.status().conditions.iter().any(|condition| condition.type_ == "Stalled"));
}

#[test]
fn another_content_of_the_secret_wakes_what_the_credential_stalled_and_the_same_does_not() {
    let mut story = Story::of(json!({}), &[of_config_map("a")]);
    story.step();
    story.send().credentials_version = Some("old".into());
    story.ends(vec![failed(Reason::CredentialsRejected)]);
    story.step();
    story.facts.secret = SecretFacts::Usable { version: "old".into() };
    assert_eq!(story.step().sent.len(), 0);
    story.facts.secret = SecretFacts::Usable { version: "new".into() };
    assert_eq!(story.step().sent, ["a"]);
}

#[test]
fn a_retry_waits_as_long_again_as_the_trouble_has_lasted_and_is_forgotten_on_success() {
    let mut story = Story::of(json!({}), &[of_config_map("a")]);
    story.step();
    let mut waits = Vec::new();
    for _ in 0..9 {
        story.ends(vec![failed(Reason::StorageUnavailable)]);
        let step = story.step();
        assert_eq!(step.sent.len(), 0, "not before its time");
        let next = story.status().next_attempt_at.clone().unwrap().0;
        let wait = next.duration_since(story.now);
        assert!(step.look <= Duration::try_from(wait).unwrap());
        waits.push(wait.as_secs());
        story.later(wait);
        assert_eq!(story.step().sent, ["a"]);
    }
    assert!(
        (2..=3).contains(&waits[0]) && waits.windows(2).all(|pair| pair[1] >= pair[0] && pair[1] <= 3 * pair[0]),
        "{waits:?}"
    );
    assert!(waits[8] >= 60, "{waits:?}");
    assert_eq!(story.status().files[0].since.as_ref().unwrap().0, START.parse().unwrap());
    story.uploads(&["k"]);
    assert_eq!((story.status().next_attempt_at.clone(), story.status().files[0].since.clone()), (None, None));
}

#[test]
fn who_asks_to_wait_is_given_the_time() {
    let mut story = Story::of(json!({}), &[of_config_map("a")]);
    story.step();
    let asked =
        Trouble { retry_after: Some(Duration::from_secs(40)), ..Trouble::new(Reason::RateLimited, "slow down") };
    story.ends(vec![SendResult::Failed { trouble: asked, source_version: None, content: None }]);
    story.step();
    assert_eq!(story.status().next_attempt_at.clone().unwrap().0, story.now + SignedDuration::from_secs(41));
}

#[test]
fn a_send_holds_eight_files_of_one_config_map_those_that_waited_longest_first() {
    let files: Vec<_> = (0..10).map(|at| of_config_map(&format!("f{at}"))).collect();
    let mut story = Story::of(json!({}), &files);
    assert_eq!(story.step().sent.len(), 8);
    let now = story.now;
    story.ends((0..8).map(|at| if at == 0 { failed(Reason::ReportFull) } else { stored("k", now) }).collect());
    assert_eq!(story.step().sent, ["f8", "f9", "f0"]);
}

#[test]
fn available_needs_the_output_too() {
    let mut story = Story::of(json!({}), &[of_config_map("a")]);
    story.step();
    story.written.trouble = Some(Trouble::new(Reason::OutputConflict, "in the way"));
    story.uploads(&["k"]);
    let said = story.status().conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str()));
    let expected = ["Ready", "Available", "Stalled"]
        .map(|kind| (kind, if kind == "Stalled" { "True" } else { "False" }, "OutputConflict"));
    assert_eq!(said.collect::<Vec<_>>(), expected);
}

#[test]
fn content_that_was_refused_is_not_sent_again_when_another_key_of_its_config_map_changes() {
    let mut story = Story::of(json!({}), &[of_config_map("a")]);
    story.change_config_map("1");
    story.step();
    story.ends(vec![failed(Reason::TooLarge)]);
    story.step();
    story.change_config_map("2");
    let look = story.step();
    assert_eq!((look.sent, look.unless), (vec!["a".to_owned()], vec![Some("sum".to_owned())]));
    story.ends(vec![SendResult::Unchanged { source_version: "2".into() }]);
    assert_eq!((story.step().sent.len(), story.reasons()), (0, vec![Some("TooLarge")]));
    assert_eq!((story.step().sent.len(), story.reasons()), (0, vec![Some("TooLarge")]));
}

#[test]
fn what_the_watch_tells_late_does_not_send_a_file_again() {
    let mut story = Story::of(json!({}), &[of_config_map("a")]);
    story.change_config_map("11");
    story.step();
    let missing = Trouble::new(Reason::ConfigMapKeyNotFound, "no such key");
    story.ends(vec![SendResult::Failed { trouble: missing, source_version: Some("12".into()), content: None }]);
    assert_eq!(story.step().sent.len(), 0, "11 is older than what was read");
    story.change_config_map("13");
    assert_eq!(story.step().sent, ["a"]);
}

#[test]
fn what_cyberun_asks_all_files_to_wait_is_not_cut_short_by_a_later_failure() {
    let mut story = Story::of(json!({}), &[of_config_map("a"), on_claim("b")]);
    let launch = story.step().launched.remove(0);
    let (name, volume, attempt, files) = (launch.name, launch.volume, launch.attempt, launch.files);
    let stage = LaunchStage::Creating;
    let ids = files.iter().map(FileId::of).collect();
    let launched = LaunchFacts { name, volume, attempt, files: ids, stage, credentials_version: None };
    story.facts.work.push(WorkFacts::Launch(launched));
    let asked =
        Trouble { retry_after: Some(Duration::from_mins(10)), ..Trouble::new(Reason::RateLimited, "slow down") };
    story.ends(vec![SendResult::Failed { trouble: asked, source_version: None, content: None }]);
    story.step();
    let moment = story.status().next_attempt_at.clone();
    story.later(SignedDuration::from_secs(10));
    for work in &mut story.facts.work {
        if let WorkFacts::Launch(launch) = work {
            launch.stage = LaunchStage::Refused(Trouble::new(Reason::QuotaExceeded, "no room"));
        }
    }
    story.step();
    assert_eq!(story.reasons(), [Some("RateLimited"), Some("QuotaExceeded")]);
    assert_eq!(story.status().next_attempt_at, moment);
}

/// A new resource with a file whose Send waits for its place, and a folder.
fn queued_beside_a_folder(part: Kept<Option<Progress>>) -> Story {
    let folders = json!([{"name": "frames", "source": {"persistentVolumeClaim": {"claimName": "c", "path": "f"}}}]);
    let fields = json!({"folders": folders, "output": {"configMap": {"name": "keys"}}});
    let mut story = Story::of(fields, &[of_config_map("a")]);
    story.facts.folders = [("frames".to_owned(), FolderFacts { part, keys: Kept::Absent })].into();
    story
}

#[test]
fn a_send_that_waits_for_its_place_hides_nothing_that_is_heard_of_a_folder() {
    let mut story = queued_beside_a_folder(Kept::Absent);
    let step = story.step();
    assert_eq!((step.written, step.sent.len()), (None, 1), "that work begins is not worth a write");
    let (launch, before) = (step.launched[0].clone(), story.upload.clone());
    let mut job = super::workers::job_of(&story, launch);
    story.facts.work.push(WorkFacts::Job(job.clone()));
    story.step();
    assert_eq!((story.status().jobs.len(), story.status().folders[0].state), (1, FileState::Uploading));

    // A Job that was over before anything was written, and says nothing.
    (job.standing, job.deleting) = (Standing::Gone, true);
    (story.upload, story.facts.work) = (before, vec![story.facts.work[0].clone(), WorkFacts::Job(job)]);
    assert!(story.step().written.is_some(), "so that its result can be forgotten");

    let mut story = queued_beside_a_folder(Kept::Absent);
    story.facts.claims.get_mut("c").unwrap().phase.clear();
    story.step();
    assert_eq!(story.status().folders[0].reason.as_deref(), Some("ClaimNotFound"));

    let mut story = queued_beside_a_folder(Kept::Foreign);
    story.step();
    assert_eq!(story.status().conditions[0].reason, "OutputConflict");
}
