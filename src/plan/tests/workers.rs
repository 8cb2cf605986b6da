//! Jobs of workers: what is launched, and what is made of what becomes of them.

use super::*;

/// A story whose only file is on a claim, and whose worker's Job is as this says.
pub(super) fn with_job(change: impl FnOnce(&mut JobFacts)) -> Story {
    let mut story = Story::of(json!({}), &[on_claim("a")]);
    let launch = story.step().launched.remove(0);
    let mut job = job_of(&story, launch);
    change(&mut job);
    story.facts.work.push(WorkFacts::Job(job));
    story
}

/// The Job that was created for a Launch.
pub(super) fn job_of(story: &Story, launch: Launch) -> JobFacts {
    JobFacts {
        name: launch.name,
        volume: launch.volume,
        attempt: launch.attempt,
        generation: Some(1),
        created: Some(story.now),
        files: launch.files.into(),
        shards: 1,
        confirmed: true,
        ..JobFacts::default()
    }
}

pub(super) fn ended(code: i32, message: &str) -> Container {
    Container::Ended(Terminated { reason: String::new(), exit_code: code, message: message.to_owned() })
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
fn a_worker_that_still_runs_does_not_speak_for_the_credential() {
    let mut story = Story::of(json!({}), &[of_config_map("a"), on_claim("b")]);
    let launch = story.step().launched.remove(0);
    let (name, volume, attempt, files) = (launch.name, launch.volume, launch.attempt, launch.files);
    let (shards, credentials_version) = (1, "old".to_owned());
    let job =
        JobFacts { name, volume, attempt, credentials_version, files: files.into(), shards, ..JobFacts::default() };
    story.facts.work.push(WorkFacts::Job(job));
    story.send().credentials_version = Some("new".into());
    story.ends(vec![failed(Reason::CredentialsRejected)]);
    story.step();
    story.facts.secret = SecretFacts::Usable { version: "new".into() };
    assert_eq!((story.step().sent.len(), story.status().credentials_version.as_deref()), (0, Some("new")));
}

#[test]
fn a_forged_attempt_is_not_believed() {
    let mut story = with_job(|job| job.attempt = i64::MAX);
    story.step();
    assert!(story.status().attempts <= 2, "{:?}", story.status());
}

#[test]
fn a_job_of_ours_is_known_though_the_status_was_cleared_by_hand() {
    for is_ours in [true, false] {
        let mut story = with_job(|_| ());
        story.step();
        story.upload.status.as_mut().unwrap().attempts = 500;
        story.facts.work.clear();
        let launch = story.step().launched.remove(0);
        story.upload.status = None;
        let mut job = job_of(&story, launch);
        if !is_ours {
            job.attempt += 1; // its name does not follow from it
        }
        story.facts.work.push(WorkFacts::Job(job));
        assert_eq!(story.step().launched.is_empty(), is_ours);
        assert_eq!(story.status().attempts, if is_ours { 501 } else { 1 });
    }
}

#[test]
fn no_more_jobs_are_in_the_status_than_its_schema_takes_and_the_latest_are() {
    let mut story = Story::of(json!({}), &(0..100).map(|at| on_claim(&format!("f{at}"))).collect::<Vec<_>>());
    let claim = story.facts.claims.remove("c").unwrap();
    for generation in 1..=2 {
        for (at, file) in story.upload.spec.files.iter_mut().enumerate() {
            let name = format!("c{generation}-{at}");
            story.facts.claims.insert(name.clone(), claim.clone());
            file.source.persistent_volume_claim.as_mut().unwrap().claim_name = name;
        }
        story.upload.metadata.generation = Some(generation);
        for work in &mut story.facts.work {
            let WorkFacts::Job(job) = work else { unreachable!() };
            (job.deleting, job.pods) = (true, vec![PodFacts { presence: Presence::Deleting, ..PodFacts::default() }]);
        }
        let jobs: Vec<_> = story.step().launched.into_iter().map(|launch| job_of(&story, launch)).collect();
        assert_eq!(jobs.len(), 100);
        let begun: Vec<_> = jobs.iter().map(|job| job.name.clone()).collect();
        story.facts.work.extend(jobs.into_iter().map(WorkFacts::Job));
        // Somebody writes another with our labels.
        let forged = JobFacts { name: "forged".into(), shards: 1, attempt: 1, ..JobFacts::default() };
        story.facts.work.push(WorkFacts::Job(forged));
        story.step();
        let known: Vec<_> = story.status().jobs.iter().map(|job| job.name.clone()).collect();
        assert_eq!(known.len(), 100);
        assert!(begun.iter().all(|name| known.contains(name)));
        story.facts.work.pop();
    }
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
fn a_slow_attach_is_waited_for_by_the_same_job() {
    let event = Said { reason: "FailedAttachVolume".into(), message: "Multi-Attach error for volume \"pv-1\"".into() };
    let pod = PodFacts { node: Some("n2".into()), events: vec![event], ..PodFacts::default() };
    let mut story = with_job(|job| job.pods = vec![pod]);
    story.facts.claims.get_mut("c").unwrap().access_modes = vec!["ReadWriteOnce".into()];
    for _ in 0..15 {
        story.later(SignedDuration::from_secs(10));
        let upload = story.upload.clone();
        let case = Case::new(&upload, story.now, Deployment::default(), Senders::Operator);
        assert_eq!(plan(&case, &story.facts).acts.remove, []);
        assert_eq!((story.step().launched, story.reasons()), (vec![], vec![Some("ClaimInUse")]));
    }
    let Some(WorkFacts::Job(job)) = story.facts.work.last_mut() else { unreachable!() };
    job.pods[0].container = Container::Running { ready: true };
    assert_eq!((story.step().launched, story.reasons()), (vec![], vec![None]));
    assert_eq!((story.states(), story.status().attempts), (vec![FileState::Uploading], 1));
}

#[test]
fn what_a_suspended_job_left_is_taken_up_once_by_another() {
    let running = || PodFacts { container: Container::Running { ready: true }, ..PodFacts::default() };
    let mut story = with_job(|job| job.pods = vec![running()]);
    story.step();
    let Some(WorkFacts::Job(job)) = story.facts.work.last_mut() else { unreachable!() };
    (job.suspended, job.pods[0].presence) = (true, Presence::Deleting);
    assert_eq!(story.step().removed, 1, "before its next Pod could begin again");
    let Some(WorkFacts::Job(job)) = story.facts.work.last_mut() else { unreachable!() };
    job.deleting = true;
    assert_eq!((story.step().removed, story.states()), (0, vec![FileState::Uploading]), "its Pod still ends");
    let Some(WorkFacts::Job(job)) = story.facts.work.last_mut() else { unreachable!() };
    (job.pods[0].presence, job.pods[0].container) = (Presence::Gone, ended(143, "fileupload-report/1\n"));
    assert_eq!((story.step().launched, story.reasons()), (vec![], vec![None]), "the status has it first");
    assert_eq!(story.states(), [FileState::Pending]);
    let next = story.step().launched.remove(0);
    assert_eq!((next.attempt, next.files.len()), (2, 1));
    // The old Job is still there while the new one begins.
    let (name, volume, attempt, files) = (next.name, next.volume, next.attempt, next.files);
    let pods = vec![running()];
    let job = JobFacts { name, volume, attempt, files: files.into(), pods, shards: 1, ..JobFacts::default() };
    story.facts.work.insert(0, WorkFacts::Job(job));
    for _ in 0..2 {
        assert_eq!((story.step().launched, story.states()), (vec![], vec![FileState::Uploading]));
    }
    assert_eq!(story.status().jobs.len(), 1);
    // What is left of the old one looks like a failure in the end.
    let Some(WorkFacts::Job(old)) = story.facts.work.last_mut() else { unreachable!() };
    (old.suspended, old.standing) = (false, Standing::Gone);
    let told = (story.step().launched, story.states(), story.reasons());
    assert_eq!(told, (vec![], vec![FileState::Uploading], vec![None]));
}

#[test]
fn a_worker_whose_job_a_queue_has_just_admitted_goes_on() {
    let created = START.parse().unwrap();
    let running = Container::Running { ready: true };
    let pod = PodFacts { created: Some(created), container: running, ..PodFacts::default() };
    let mut story = with_job(|job| {
        // The controller of Jobs creates the Pod first, and then writes down that it has resumed the Job.
        job.suspension_changed = Some(created + SignedDuration::from_secs(1));
        job.pods = vec![pod];
    });
    assert_eq!((story.step().removed, story.states()), (0, vec![FileState::Uploading]));
    let Some(WorkFacts::Job(job)) = story.facts.work.last_mut() else { unreachable!() };
    job.pods[0].presence = Presence::Deleting;
    assert_eq!(story.step().removed, 1, "a suspension deletes its Pod");
}

#[test]
fn what_a_job_left_unanswered_is_heard_once_while_the_job_lingers() {
    let mut story = with_job(|job| {
        job.pods = vec![PodFacts { container: Container::Running { ready: true }, ..PodFacts::default() }];
    });
    story.step();
    let Some(WorkFacts::Job(job)) = story.facts.work.last_mut() else { unreachable!() };
    (job.suspended, job.deleting) = (true, true);
    (job.pods[0].presence, job.pods[0].container) = (Presence::Gone, ended(143, "fileupload-report/1\n"));
    story.step();
    assert_eq!((story.states(), story.reasons()), (vec![FileState::Pending], vec![None]));
    let claim = story.facts.claims.get_mut("c").unwrap();
    (claim.access_modes, claim.users) = (vec!["ReadWriteOncePod".into()], vec![ClaimUser::default()]);
    story.step();
    assert_eq!(story.reasons(), [Some("ClaimInUse")]);
    for _ in 0..2 {
        assert_eq!(story.step().written, None);
    }
}

/// What the operator remembers of a Launch that came to nothing for this reason.
fn refused(launch: &Launch, reason: Reason) -> WorkFacts {
    WorkFacts::Launch(LaunchFacts {
        name: launch.name.clone(),
        volume: launch.volume.clone(),
        attempt: launch.attempt,
        files: launch.files.iter().map(FileId::of).collect(),
        stage: LaunchStage::Refused(Trouble::new(reason, "so it was")),
        credentials_version: None,
    })
}

#[test]
fn a_request_whose_job_cannot_be_created_is_tried_with_backoff_and_not_in_a_loop() {
    for reason in [Reason::WorkerPending, Reason::ClaimInUse] {
        let mut story = Story::of(json!({}), &[on_claim("a")]);
        story.step();
        story.request("now");
        story.step();
        let mut launch = story.step().launched.remove(0);
        let first = story.upload.clone();
        for _ in 0..3 {
            // Also where the API server is away, so that no status can be written.
            story.upload = first.clone();
            story.facts.work.push(refused(&launch, reason));
            assert_eq!(story.step().launched, [], "{reason}");
        }
        let next = story.status().next_attempt_at.clone().unwrap().0;
        story.facts.work.truncate(1);
        assert!(next > story.now, "{reason}");
        assert_eq!(story.step().launched, [], "{reason}");
        let requested = story.status().requested_attempt;
        story.now = next;
        launch = story.step().launched.remove(0);
        assert!(requested.is_some_and(|requested| requested < launch.attempt), "it is not answered: {reason}");
        assert_eq!(story.status().last_handled_requested_at, None, "{reason}");
    }
}

#[test]
fn another_request_ends_the_wait_of_the_one_before() {
    let mut story = Story::of(json!({}), &[on_claim("a")]);
    story.step();
    story.request("now");
    story.step();
    let launch = story.step().launched.remove(0);
    story.facts.work = vec![refused(&launch, Reason::WorkerPending)];
    assert_eq!(story.step().launched, []);
    story.request("again");
    story.step();
    assert_eq!(story.step().launched.len(), 1);
}
