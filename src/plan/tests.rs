//! The planner over several steps, as the operator takes them: each status is what the next plan starts from.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::*;
use crate::outcome::{Trouble, Upload};
use crate::reason::Reason;
use crate::report::Assignment;
use crate::resource::{ANNOTATION_REQUESTED_AT, FileState, FileUpload, FileUploadStatus, Phase};

const START: &str = "2026-11-23T10:00:00Z";

/// A resource over time, with what the operator remembers of its work.
struct Story {
    upload: FileUpload,
    now: Timestamp,
    facts: Facts,
    written: Written,
}

fn hours(hours: f64) -> SignedDuration {
    SignedDuration::from_secs_f64(hours * 3600.0)
}

fn of_config_map(name: &str) -> Value {
    json!({"name": name, "source": {"configMapKeyRef": {"name": "m", "key": name}}})
}

fn on_claim(name: &str) -> Value {
    json!({"name": name, "source": {"persistentVolumeClaim": {"claimName": "c", "path": name}}})
}

fn stored(key: &str, at: Timestamp) -> SendResult {
    let (file_key, content_type, sha256) = (key.to_owned(), "a/b".to_owned(), "sum".to_owned());
    let upload = Upload { file_key, content_type, size: 1, sha256, at };
    SendResult::Stored { upload, source_version: "1".to_owned() }
}

fn failed(reason: Reason) -> SendResult {
    let content = Some(Content { size: 1, sha256: "sum".to_owned() });
    SendResult::Failed { trouble: Trouble::new(reason, "so it was"), source_version: Some("1".into()), content }
}

impl Story {
    fn of(fields: Value, files: &[Value]) -> Self {
        let mut spec = fields;
        spec["files"] = files.into();
        let upload = serde_json::from_value(json!({
            "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload",
            "metadata": {"name": "a.rather.long.name.that.no.pod.could.have.as.it.stands.here", "uid": "u", "generation": 1},
            "spec": spec,
        }));
        let claim =
            ClaimFacts { phase: "Bound".into(), access_modes: vec!["ReadWriteMany".into()], ..ClaimFacts::default() };
        let there = ConfigMapFacts::There { version: "1".into(), contents: None };
        let facts = Facts {
            claims: [("c".to_owned(), claim)].into(),
            config_maps: [("m".to_owned(), there)].into(),
            ..Facts::default()
        };
        Self { upload: upload.unwrap(), now: START.parse().unwrap(), facts, written: Written::default() }
    }

    fn later(&mut self, span: SignedDuration) -> &mut Self {
        self.now += span;
        self
    }

    /// Plans, remembers what is begun, forgets what the status has, and writes the status.
    fn step(&mut self) -> Step {
        let (upload, facts) = (self.upload.clone(), self.facts.clone());
        let case = Case::new(&upload, self.now, Deployment::default(), Senders::Operator);
        let plan = plan(&case, &facts);
        let settled = settle(&plan, Done::default());
        let output = settled.output.clone();
        let ending = settled.finish(&self.written);
        for attempt in &plan.acts.forget {
            self.facts.work.retain(|work| !matches!(work, WorkFacts::Send(send) if send.attempt == *attempt));
        }
        if let Some(send) = &plan.acts.send {
            self.facts.work.push(WorkFacts::Send(SendFacts {
                attempt: send.attempt,
                stage: SendStage::Waiting(self.now),
                files: send.files.iter().map(|item| item.id.clone()).collect(),
                results: BTreeMap::new(),
                trouble: None,
                credentials_version: None,
            }));
        }
        let sent = plan.acts.send.iter().flat_map(|send| &send.files).map(|item| item.id.name.clone()).collect();
        let unless = plan.acts.send.iter().flat_map(|send| &send.files).map(|item| item.unless.clone()).collect();
        let keys = |status: Option<&FileUploadStatus>| -> Vec<String> {
            status.into_iter().flat_map(|status| &status.files).filter_map(|file| file.file_key.clone()).collect()
        };
        let after = keys(ending.status.as_ref().or(case.status));
        let step = Step {
            withdraws: keys(case.status).iter().any(|key| !after.contains(key)),
            written: ending.status.clone(),
            look: ending.look,
            launched: plan.acts.launch.clone(),
            sent,
            unless,
            output,
        };
        if let Some(status) = ending.status {
            self.upload.status = Some(status);
        }
        step
    }

    fn send(&mut self) -> &mut SendFacts {
        let sends = self.facts.work.iter_mut().filter_map(|work| match work {
            WorkFacts::Send(send) => Some(send),
            _ => None,
        });
        sends.last().unwrap()
    }

    /// The latest Send ends with these results, in the order of its files.
    fn ends(&mut self, results: Vec<SendResult>) -> &mut Self {
        let send = self.send();
        send.stage = SendStage::Ended;
        send.results = results.into_iter().enumerate().collect();
        self
    }

    fn uploads(&mut self, keys: &[&str]) -> &mut Self {
        let now = self.now;
        self.ends(keys.iter().map(|key| stored(key, now)).collect());
        self.step();
        self
    }

    fn status(&self) -> &FileUploadStatus {
        self.upload.status.as_ref().unwrap()
    }

    fn keys(&self) -> Vec<Option<&str>> {
        self.status().files.iter().map(|file| file.file_key.as_deref()).collect()
    }

    fn reasons(&self) -> Vec<Option<&str>> {
        self.status().files.iter().map(|file| file.reason.as_deref()).collect()
    }

    fn states(&self) -> Vec<FileState> {
        self.status().files.iter().map(|file| file.state).collect()
    }

    fn change_config_map(&mut self, version: &str) {
        let there = ConfigMapFacts::There { version: version.into(), contents: None };
        self.facts.config_maps.insert("m".to_owned(), there);
    }
}

struct Step {
    written: Option<FileUploadStatus>,
    look: Duration,
    sent: Vec<String>,
    unless: Vec<Option<String>>,
    launched: Vec<Launch>,
    withdraws: bool,
    output: OutputAct,
}

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
fn a_hundred_files_are_four_shares_and_run_as_far_as_the_claim_allows() {
    for (modes, parallelism) in [(["ReadWriteMany"], 4), (["ReadOnlyMany"], 4), (["ReadWriteOnce"], 1)] {
        let files: Vec<_> = (0..100).map(|at| on_claim(&format!("f{at}"))).collect();
        let mut story = Story::of(json!({}), &files);
        story.facts.claims.get_mut("c").unwrap().access_modes = modes.map(str::to_owned).into();
        let launched = story.step().launched;
        assert_eq!((launched.len(), launched[0].shards, launched[0].files.len()), (1, 4, 100), "{modes:?}");
        assert_eq!(launched[0].parallelism, parallelism, "{modes:?}");
        assert!(launched[0].name.len() <= 52 && !launched[0].name.contains('.'), "{}", launched[0].name);
    }
}

/// A story whose only file is on a claim, and whose worker's Job is as this says.
fn with_job(change: impl FnOnce(&mut JobFacts)) -> Story {
    let mut story = Story::of(json!({}), &[on_claim("a")]);
    let launch = story.step().launched.remove(0);
    let mut job = JobFacts {
        name: launch.name,
        volume: launch.volume,
        attempt: launch.attempt,
        generation: Some(1),
        created: Some(story.now),
        files: launch.files,
        shards: 1,
        confirmed: true,
        ..JobFacts::default()
    };
    change(&mut job);
    story.facts.work.push(WorkFacts::Job(job));
    story
}

fn ended(code: i32, message: &str) -> Container {
    Container::Ended(Terminated { reason: String::new(), exit_code: code, message: message.to_owned() })
}

#[test]
fn a_job_that_the_api_server_refuses_is_said_of_its_files_and_tried_later_under_another_name() {
    let mut story = Story::of(json!({}), &[on_claim("a")]);
    let launch = story.step().launched.remove(0);
    let id = FileId::of(&launch.files[0]);
    let stage = LaunchStage::Refused(Trouble::new(Reason::QuotaExceeded, "no room"));
    let (name, attempt, volume) = (launch.name.clone(), launch.attempt, launch.volume);
    let refused = LaunchFacts { name, volume, attempt, files: vec![id], stage, credentials_version: None };
    story.facts.work.push(WorkFacts::Launch(refused));
    assert_eq!(story.step().launched, []);
    assert_eq!((story.reasons(), story.status().jobs.len()), (vec![Some("QuotaExceeded")], 0));
    let next = story.status().next_attempt_at.clone().unwrap().0;
    story.now = next;
    let again = story.step().launched.remove(0);
    assert!(again.attempt == 2 && again.name != launch.name);
}

#[test]
fn a_worker_that_has_started_is_never_called_off_for_another_pod() {
    let rival = || ClaimUser { node: Some("n2".into()), created: Some(START.parse().unwrap()), ..ClaimUser::default() };
    for (container, is_removed) in [(Container::Running { ready: true }, false), (Container::Waiting(None), true)] {
        let pod = PodFacts { node: Some("n1".into()), container, ..PodFacts::default() };
        let mut story = with_job(|job| job.pods = vec![pod]);
        let claim = story.facts.claims.get_mut("c").unwrap();
        claim.access_modes = vec!["ReadWriteOnce".into()];
        claim.users = vec![rival()];
        for (age, is_old) in [(59, false), (61, true)] {
            let upload = story.upload.clone();
            let now = story.now + SignedDuration::from_secs(age);
            let case = Case::new(&upload, now, Deployment::default(), Senders::Operator);
            let plan = plan(&case, &story.facts);
            assert_eq!(!plan.acts.remove.is_empty(), is_removed && is_old, "{age}");
            assert_eq!(plan.next_attempt_at.is_some(), is_removed && is_old, "the next one waits a while");
        }
    }
}

#[test]
fn a_key_of_a_worker_that_made_way_after_all_is_not_lost() {
    let mut story = with_job(|job| job.pods = vec![PodFacts::default()]);
    story.step();
    // It was given up, which the status says by now, and had uploaded nevertheless.
    let Some(WorkFacts::Job(job)) = story.facts.work.last_mut() else { unreachable!() };
    let attempt = job.attempt;
    let mut report = Vec::new();
    let files: Vec<Assignment> = job.files.clone();
    let mut writer = crate::report::Writer::begin(&mut report, files, 0..1).unwrap();
    writer.reserve(0, "k", "a/b", 1).unwrap();
    let upload = Upload {
        file_key: "k".into(),
        content_type: "a/b".into(),
        size: 1,
        sha256: "0".repeat(64),
        at: START.parse().unwrap(),
    };
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
fn a_container_that_somebody_put_beside_the_worker_keeps_no_file() {
    let pod = PodFacts { container: ended(0, "fileupload-report/1\n"), ..PodFacts::default() };
    let mut story = with_job(|job| job.pods = vec![pod]);
    story.step();
    assert_eq!(story.reasons(), [Some("WorkerFailed")], "the worker is over, though its Pod runs");
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
fn a_worker_that_still_runs_does_not_speak_for_the_credential() {
    let mut story = Story::of(json!({}), &[of_config_map("a"), on_claim("b")]);
    let launch = story.step().launched.remove(0);
    let (name, volume, attempt, files) = (launch.name, launch.volume, launch.attempt, launch.files);
    let (shards, credentials_version) = (1, "old".to_owned());
    let job = JobFacts { name, volume, attempt, credentials_version, files, shards, ..JobFacts::default() };
    story.facts.work.push(WorkFacts::Job(job));
    story.send().credentials_version = Some("new".into());
    story.ends(vec![failed(Reason::CredentialsRejected)]);
    story.step();
    story.facts.secret = SecretFacts::Usable { version: "new".into() };
    assert_eq!((story.step().sent.len(), story.status().credentials_version.as_deref()), (0, Some("new")));
}

#[test]
fn a_request_is_not_answered_by_work_that_was_called_off() {
    let mut story = Story::of(json!({}), &[on_claim("a")]);
    story.step();
    let upload = Upload {
        file_key: "k".into(),
        content_type: "a/b".into(),
        size: 1,
        sha256: "0".repeat(64),
        at: START.parse().unwrap(),
    };
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
        files: launch.files,
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
fn to_wait_for_a_turn_neither_ends_nor_begins_a_run_of_trouble() {
    let pending = || PodFacts { unschedulable: Some(Said::default()), ..PodFacts::default() };
    let mut story = with_job(|job| job.pods = vec![pending()]);
    story.step();
    assert_eq!((story.reasons(), story.status().files[0].since.clone()), (vec![Some("WorkerPending")], None));
    let entry = &mut story.upload.status.as_mut().unwrap().files[0];
    (entry.reason, entry.since) = (Some("FileNotFound".into()), Some(Time(START.parse().unwrap())));
    story.later(hours(1.0)).step();
    let since = story.status().files[0].since.as_ref().unwrap().0;
    assert_eq!((story.reasons(), since), (vec![Some("WorkerPending")], START.parse().unwrap()));
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
fn a_forged_attempt_is_not_believed() {
    let mut story = with_job(|job| job.attempt = i64::MAX);
    story.step();
    assert!(story.status().attempts <= 2, "{:?}", story.status());
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
