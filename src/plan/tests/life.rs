//! Keys over time: a changed spec, requests, changed content, renewal, withdrawal.

use super::*;

#[test]
fn a_changed_spec_withdraws_at_once_and_sends_in_the_same_step() {
    let mut story = Story::of(json!({}), &[of_config_map("a"), of_config_map("b")]);
    story.step();
    story.uploads(&["k", "l"]);
    story.upload.spec.files[1].file_name = Some("other.txt".into());
    story.upload.metadata.generation = Some(2);
    let step = story.step();
    assert!(step.withdraws);
    assert_eq!((story.keys(), step.sent), (vec![Some("k"), None], vec!["b".to_owned()]));
}

#[test]
fn a_result_of_another_revision_is_dropped() {
    let mut story = Story::of(json!({}), &[of_config_map("a"), of_config_map("b")]);
    story.step();
    let now = story.now;
    story.upload.spec.files[1].file_name = Some("other.txt".into());
    story.upload.metadata.generation = Some(2);
    story.ends(vec![stored("k", now), stored("unwanted", now)]);
    let step = story.step();
    assert_eq!((story.keys(), step.sent), (vec![Some("k"), None], vec!["b".to_owned()]));
}

#[test]
fn a_request_keeps_each_old_key_until_the_new_one_is_there() {
    let mut story = Story::of(json!({}), &[of_config_map("a")]);
    story.step();
    story.uploads(&["old"]);
    let annotation = |value: &str| Some([("cyberun.cloud/requested-at".to_owned(), value.to_owned())].into());
    story.upload.metadata.annotations = annotation("now");
    assert_eq!(story.step().sent.len(), 0, "it is noted first, so that it is not taken up twice");
    assert_eq!((story.status().requested_attempt, story.keys()), (Some(1), vec![Some("old")]));
    assert_eq!((story.step().sent, story.keys()), (vec!["a".to_owned()], vec![Some("old")]));
    // A second request while the first is under way is another.
    story.upload.metadata.annotations = annotation("again");
    story.step();
    assert_eq!((story.status().requested_attempt, story.status().requested_at.as_deref()), (Some(2), Some("again")));
    let now = story.now;
    story.ends(vec![stored("new", now)]);
    assert_eq!(story.step().sent, ["a"], "the first answer came before the second request");
    assert_eq!(story.keys(), [Some("new")]);
    story.uploads(&["newest"]);
    let status = story.status();
    assert_eq!((status.last_handled_requested_at.as_deref(), status.requested_attempt), (Some("again"), None));
    assert_eq!(story.keys(), [Some("newest")]);
    assert_eq!(story.step().sent.len(), 0);
}

#[test]
fn a_request_that_a_resource_is_created_with_is_answered_by_its_first_upload() {
    let mut story = Story::of(json!({}), &[of_config_map("a")]);
    story.upload.metadata.annotations = Some([("cyberun.cloud/requested-at".to_owned(), "x".to_owned())].into());
    story.step();
    story.uploads(&["k"]);
    assert_eq!(story.status().last_handled_requested_at.as_deref(), Some("x"));
    assert_eq!(story.step().sent.len(), 0);
}

#[test]
fn a_request_that_fails_keeps_the_old_key_and_is_handled() {
    let mut story = Story::of(json!({}), &[of_config_map("a")]);
    story.step();
    story.uploads(&["old"]);
    story.upload.metadata.annotations = Some([("cyberun.cloud/requested-at".to_owned(), "x".to_owned())].into());
    story.step();
    story.step();
    story.ends(vec![failed(Reason::TooLarge)]);
    story.step();
    let status = story.status();
    assert_eq!((story.keys(), story.reasons()), (vec![Some("old")], vec![Some("TooLarge")]));
    assert_eq!((status.last_handled_requested_at.as_deref(), status.phase), (Some("x"), Some(Phase::Ready)));
    assert!(refresh_failure(status).unwrap().contains("so it was"));
}

#[test]
fn a_changed_config_map_is_looked_at_and_the_key_stays_until_another_is_there() {
    let mut story = Story::of(json!({"updatePolicy": "OnChange"}), &[of_config_map("a")]);
    story.step();
    story.uploads(&["old"]);
    story.change_config_map("2");
    let step = story.step();
    assert_eq!((step.sent.len(), step.look), (0, Duration::from_secs(10)), "not more often than every 10 s");
    let step = story.later(SignedDuration::from_secs(10)).step();
    assert_eq!((step.sent, step.unless), (vec!["a".to_owned()], vec![Some("sum".to_owned())]));
    story.ends(vec![SendResult::Unchanged { source_version: "2".into() }]);
    story.step();
    assert_eq!((story.keys(), story.status().files[0].source_version.as_deref()), (vec![Some("old")], Some("2")));
    story.change_config_map("3");
    story.later(SignedDuration::from_secs(10)).step();
    story.uploads(&["new"]);
    assert_eq!(story.keys(), [Some("new")]);
}

#[test]
fn changed_content_whose_upload_fails_withdraws_the_old_key() {
    let mut story = Story::of(json!({"updatePolicy": "OnChange"}), &[of_config_map("a")]);
    story.step();
    story.uploads(&["old"]);
    story.change_config_map("2");
    story.later(SignedDuration::from_secs(10)).step();
    let content = Some(Content { size: 1, sha256: "other".into() });
    let trouble = Trouble::new(Reason::TooLarge, "so it was");
    story.ends(vec![SendResult::Failed { trouble, source_version: Some("2".into()), content }]);
    assert!(story.step().withdraws);
    assert_eq!((story.keys(), story.states()), (vec![None], vec![FileState::Failed]));
    assert_eq!(story.later(hours(1.0)).step().sent.len(), 0, "the same content is not tried again");
    story.change_config_map("3");
    assert_eq!(story.step().unless, [Some("other".to_owned())]);
}

#[test]
fn keys_of_about_the_same_age_are_renewed_together_and_younger_ones_are_not() {
    let files = [of_config_map("old"), of_config_map("near"), of_config_map("young")];
    let mut story = Story::of(json!({"refreshPolicy": "BeforeExpiry"}), &files);
    story.step();
    let start = story.now;
    story.later(hours(9.0));
    story.ends(vec![stored("k", start), stored("l", start + hours(1.0)), stored("m", start + hours(9.0))]);
    story.step();
    assert_eq!(story.later(hours(6.0)).step().sent, Vec::<String>::new());
    let step = story.later(hours(2.3)).step();
    assert_eq!((step.sent, story.keys().len()), (vec!["old".to_owned(), "near".to_owned()], 3));
    assert!(story.keys().iter().all(Option::is_some), "the old keys stay");
}

#[test]
fn with_never_a_key_is_withdrawn_at_its_moment_and_the_resource_rests() {
    let mut story = Story::of(json!({}), &[of_config_map("a")]);
    story.step();
    story.uploads(&["k"]);
    story.later(hours(23.0) - SignedDuration::from_secs(60));
    assert_eq!(story.step().look, Duration::from_mins(1));
    assert!(story.later(SignedDuration::from_secs(60)).step().withdraws);
    assert_eq!((story.keys(), story.states()), (vec![None], vec![FileState::Expired]));
    assert_eq!((story.status().phase, story.step().sent.len()), (Some(Phase::Expired), 0));
}

#[test]
fn a_key_that_cannot_be_renewed_in_time_is_withdrawn_and_tried_on() {
    let mut story = Story::of(json!({"refreshPolicy": "BeforeExpiry"}), &[of_config_map("a")]);
    story.step();
    story.uploads(&["k"]);
    assert_eq!(story.later(hours(18.0)).step().sent, ["a"]);
    story.ends(vec![failed(Reason::StorageUnavailable)]);
    story.step();
    assert_eq!(story.keys(), [Some("k")]);
    assert!(story.later(hours(5.0)).step().withdraws);
    assert_eq!((story.keys(), story.reasons()), (vec![None], vec![Some("StorageUnavailable")]));
    story.step();
    story.uploads(&["new"]);
    assert_eq!(story.keys(), [Some("new")]);
}

#[test]
fn what_has_expired_is_not_sent_again_because_another_file_failed() {
    let mut story = Story::of(json!({}), &[of_config_map("a"), of_config_map("b")]);
    story.step();
    let start = story.now;
    story.later(hours(20.0));
    story.ends(vec![stored("k", start), stored("l", start + hours(20.0))]);
    story.step();
    story.later(hours(3.0)).step();
    story.upload.spec.files.push(story.upload.spec.files[0].clone());
    story.upload.spec.files[2].name = "c".into();
    story.upload.metadata.generation = Some(2);
    assert_eq!(story.step().sent, ["c"]);
    story.ends(vec![failed(Reason::ApiUnavailable)]);
    story.step();
    assert_eq!(story.states(), [FileState::Expired, FileState::Uploaded, FileState::Pending]);
}

#[test]
fn a_clock_that_steps_back_loses_no_key_and_one_that_is_ahead_makes_none_live_longer() {
    let mut story = Story::of(json!({"updatePolicy": "OnChange"}), &[of_config_map("a")]);
    story.step();
    let ahead = story.now + hours(5.0);
    story.ends(vec![stored("k", ahead)]);
    story.step();
    assert_eq!(story.status().files[0].uploaded_at.as_ref().unwrap().0, story.now, "clamped to our clock");
    story.change_config_map("2");
    story.later(hours(1.0)).step();
    story.later(-hours(2.0));
    let now = story.now;
    story.ends(vec![stored("new", now)]);
    story.step();
    assert_eq!(story.keys(), [Some("new")], "the later attempt counts, whatever the clocks say");
}

#[test]
fn the_latest_moment_to_look_is_five_minutes_away() {
    let mut story = Story::of(json!({}), &[of_config_map("a")]);
    story.step();
    story.uploads(&["k"]);
    let look = story.step().look;
    assert!(look <= Duration::from_mins(5) && look >= Duration::from_mins(4), "{look:?}");
}

#[test]
fn a_request_is_not_answered_by_work_that_was_called_off() {
    let mut story = Story::of(json!({}), &[on_claim("a")]);
    story.step();
    let upload = uploaded();
    let (mut entry, attempts) = (story.status().files[0].clone(), story.status().attempts);
    (entry.file_key, entry.uploaded_at, entry.attempt) = (Some("k".into()), Some(Time(upload.at)), attempts);
    story.upload.status.as_mut().unwrap().files = vec![entry];
    story.upload.metadata.annotations = Some([(ANNOTATION_REQUESTED_AT.to_owned(), "now".to_owned())].into());
    story.step();
    let launch = story.step().launched.remove(0);
    let job = JobFacts {
        name: launch.name,
        volume: launch.volume,
        attempt: launch.attempt,
        files: launch.files.into(),
        shards: 1,
        standing: Standing::Gone,
        confirmed: true,
        ..JobFacts::default()
    };
    story.facts.work.push(WorkFacts::Job(job));
    story.step();
    story.facts.work.clear();
    let again = story.step();
    assert_eq!((again.launched.len(), story.status().last_handled_requested_at.as_deref()), (1, None));
}

#[test]
fn a_clock_that_was_ahead_keeps_no_file_from_being_tried() {
    let mut story = Story::of(json!({}), &[of_config_map("a")]);
    story.step();
    story.later(hours(24.0)).ends(vec![failed(Reason::ApiUnavailable)]);
    story.step();
    assert!(story.status().next_attempt_at.is_some());
    story.later(-hours(24.0));
    assert_eq!(story.step().sent, ["a"]);
    let since = story.status().files[0].since.clone();
    assert_eq!(since, Some(Time(story.now)), "the trouble began no later than now");
    story.later(hours(0.1)).step();
    assert_eq!(story.status().files[0].since, since, "it is corrected once");
}

#[test]
fn what_was_asked_to_wait_for_an_hour_does() {
    let mut story = Story::of(json!({}), &[of_config_map("a")]);
    story.step();
    let trouble =
        Trouble { retry_after: Some(Duration::from_hours(1)), ..Trouble::new(Reason::RateLimited, "so it was") };
    story.ends(vec![SendResult::Failed { trouble, source_version: None, content: None }]);
    story.step();
    // A clock that is set right steps by seconds.
    story.later(SignedDuration::from_secs(-30));
    assert_eq!(story.step().sent.len(), 0);
    assert_eq!(story.later(hours(0.99)).step().sent.len(), 0);
    assert_eq!(story.later(hours(0.02)).step().sent, ["a"]);
}

#[test]
fn a_key_that_was_written_while_the_clock_was_ahead_lives_no_longer_for_it() {
    let mut story = Story::of(json!({}), &[of_config_map("a")]);
    story.later(hours(24.0)).step();
    story.uploads(&["k"]);
    story.later(-hours(24.0)).step();
    assert_eq!((story.keys(), story.status().files[0].uploaded_at.clone()), (vec![Some("k")], Some(Time(story.now))));
    assert_eq!(story.step().written, None, "it is corrected once");
    assert!(story.later(hours(23.0)).step().withdraws);
}

#[test]
fn a_changed_config_map_is_looked_at_though_the_clock_was_ahead_when_it_was_last_read() {
    let mut story = Story::of(json!({"updatePolicy": "OnChange"}), &[of_config_map("a")]);
    story.step();
    story.uploads(&["k"]);
    story.later(hours(1.0));
    story.facts.last_read = Some(story.now + hours(24.0));
    story.change_config_map("2");
    assert_eq!(story.step().sent, ["a"]);
}

#[test]
fn a_send_that_began_while_the_clock_was_ahead_is_shown() {
    let mut story = Story::of(json!({}), &[of_config_map("a")]);
    story.step();
    let ahead = story.now + hours(24.0);
    for (stage, expected) in [(SendStage::Waiting(ahead), Some("Queued")), (SendStage::Running(ahead), None)] {
        story.send().stage = stage;
        let step = story.step();
        assert_eq!(step.written.unwrap().files[0].reason.as_deref(), expected, "{stage:?}");
    }
    assert_eq!(story.states(), [FileState::Uploading]);
}

#[test]
fn a_resource_that_finished_while_the_clock_was_ahead_is_deleted_in_time() {
    let mut story = Story::of(json!({"ttlSecondsAfterFinished": 600}), &[of_config_map("a")]);
    story.later(hours(24.0)).step();
    story.uploads(&["k"]);
    story.later(-hours(24.0)).step();
    story.later(SignedDuration::from_secs(599)).step();
    assert!(!is_finished(&story));
    assert!(is_finished(story.later(SignedDuration::from_secs(1))));
}

/// Whether it is to be deleted now.
fn is_finished(story: &Story) -> bool {
    let deployment = Deployment { refused: story.refused.as_ref(), ..Deployment::default() };
    let case = Case::new(&story.upload, story.now, deployment, Senders::Operator);
    plan(&case, &story.facts).stand == Stand::Finished
}

#[test]
fn what_the_operators_deployments_stalled_has_not_finished() {
    let mut story = Story::of(json!({"ttlSecondsAfterFinished": 60}), &[of_config_map("a")]);
    let unknown = || Some(Trouble::new(Reason::DeploymentUnknown, "the operator has no default deployment"));
    for refused in [unknown(), None] {
        story.refused = unknown();
        story.step();
        story.later(hours(1.0)).refused = refused;
        assert_eq!((is_finished(&story), story.status().phase), (false, Some(Phase::Failed)));
    }
    assert_eq!(story.step().sent, ["a"], "it goes on");
}

#[test]
fn a_key_that_ends_while_a_request_for_another_is_open_says_that_this_is_uploading() {
    for is_new in [false, true] {
        let mut story = Story::of(json!({}), &[of_config_map("a")]);
        story.step();
        story.uploads(&["old"]);
        if is_new {
            story.later(hours(23.0)).request("now");
        } else {
            story.later(hours(22.9)).request("now");
            story.step();
            assert_eq!(story.step().sent, ["a"]);
            story.later(hours(0.1));
            let begun = story.now;
            story.send().stage = SendStage::Running(begun);
        }
        assert!(story.step().withdraws);
        assert_eq!((story.states(), story.keys()), (vec![FileState::Uploading], vec![None]), "{is_new}");
        assert_eq!(story.status().phase, Some(Phase::Uploading), "{is_new}");
        story.step();
        assert_eq!(story.states(), [FileState::Uploading], "{is_new}");
        story.uploads(&["new"]);
        assert_eq!(story.keys(), [Some("new")], "{is_new}");
    }
}

#[test]
fn a_key_that_ends_while_a_request_cannot_be_met_says_why() {
    let mut story = Story::of(json!({"suspend": false}), &[of_config_map("a")]);
    story.step();
    story.uploads(&["old"]);
    story.later(hours(22.9)).request("now");
    story.upload.spec.suspend = Some(true);
    story.step();
    story.later(hours(0.1)).step();
    assert_eq!((story.states(), story.status().phase), (vec![FileState::Expired], Some(Phase::Suspended)));
}

#[test]
fn under_a_deployment_that_may_not_be_used_keys_stay_until_their_time_and_nothing_is_sent() {
    let mut story = Story::of(json!({"refreshPolicy": "BeforeExpiry"}), &[of_config_map("a")]);
    story.deployment = "lab";
    story.step();
    story.uploads(&["k"]);
    assert_eq!(story.status().deployment.as_deref(), Some("lab"));
    let condition = |story: &Story, kind: &str| {
        let condition = story.status().conditions.iter().find(|condition| condition.type_ == kind).unwrap();
        (condition.status.clone(), condition.reason.clone())
    };
    story.refused = Some(Trouble::new(Reason::DeploymentUnknown, "the operator knows no deployment lab"));
    assert!(story.later(hours(20.0)).step().sent.is_empty(), "although its renewal is due");
    assert_eq!(story.keys(), [Some("k")]);
    for kind in ["Ready", "Stalled"] {
        assert_eq!(condition(&story, kind).1, "DeploymentUnknown");
    }
    assert_eq!(condition(&story, "Available").0, "True");
    let step = story.later(hours(3.0)).step();
    assert!(step.withdraws && step.sent.is_empty());
    story.refused = None;
    assert_eq!(story.step().sent, ["a"], "it goes on");
    story.uploads(&["l"]);
    story.deployment = "main";
    let step = story.step();
    assert_eq!((step.withdraws, step.sent), (true, vec!["a".to_owned()]), "another deployment is another upload");
}
