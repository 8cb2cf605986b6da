//! A folder over several steps: reports are absorbed, then heard, and a new worker goes until one finds nothing left.

use super::*;
use crate::report::folder::{Entry as Line, Part, Report};

/// A folder over time, with its ConfigMaps as the operator would write them.
struct Tale {
    story: Story,
    part: Option<Part>,
    /// The digest of the keys from which the complete ones were made.
    keys: Option<String>,
    /// The one Job.
    job: Option<JobFacts>,
    /// The folders whose ConfigMaps of a former name the cluster keeps.
    former: Vec<String>,
}

/// What one step did.
#[derive(Default)]
struct Turn {
    launched: Vec<Launch>,
    absorbed: usize,
    removed: usize,
    keys: Vec<KeysWhat>,
}

impl Tale {
    fn of(fields: Value) -> Self {
        let mut fields = fields;
        fields["folders"] =
            json!([{"name": "frames", "source": {"persistentVolumeClaim": {"claimName": "c", "path": "f"}}}]);
        fields["output"] = json!({"configMap": {"name": "keys"}});
        Self { story: Story::of(fields, &[]), part: None, keys: None, job: None, former: Vec::new() }
    }

    fn facts(&self) -> Facts {
        let progress = self.part.as_ref().map(|part| kept::of_part(digest(part), part));
        let folder = FolderFacts {
            part: progress.map_or(Kept::Absent, |progress| Kept::Ours(Some(progress))),
            keys: self.keys.clone().map_or(Kept::Absent, |of| Kept::Ours(Some(of))),
        };
        let work = self.job.iter().cloned().map(WorkFacts::Job).collect();
        Facts { folders: [("frames".to_owned(), folder)].into(), work, ..self.story.facts.clone() }
    }

    /// Plans and does what the plan says, as the operator does.
    fn turn(&mut self) -> Turn {
        let (upload, facts) = (self.story.upload.clone(), self.facts());
        let case = Case::new(&upload, self.story.now, Deployment::default(), Senders::Operator);
        let plan = plan(&case, &facts);
        for absorb in &plan.acts.absorb {
            let is_new = absorb.given.is_empty() || self.part.is_none();
            let current = self.part.take().filter(|_| !is_new);
            let is_current = current.as_ref().map_or(absorb.given.is_empty(), |part| digest(part) == absorb.given);
            let mut part = current.unwrap_or_else(|| Part::new(&absorb.revision, absorb.attempt));
            part.absorb(absorb.attempt, &absorb.reports, &absorb.given, is_current);
            self.part = Some(part);
        }
        let settled = settle(&plan, Done { former_folders: self.former.clone(), ..Done::default() });
        let keys: Vec<_> = settled.keys.iter().map(|act| act.what.clone()).collect();
        for what in &keys {
            match what {
                KeysWhat::Write(of) => self.keys = Some(of.clone()),
                KeysWhat::Withdraw => self.keys = None,
                KeysWhat::Held(_) | KeysWhat::Discard(..) => {}
            }
        }
        let ending = settled.finish(&Written::default());
        if !plan.acts.remove.is_empty() {
            self.job = None;
        }
        if let Some(launch) = plan.acts.launch.first().cloned() {
            let shards = launch.shards;
            let job = JobFacts {
                name: launch.name,
                volume: launch.volume,
                attempt: launch.attempt,
                generation: Some(1),
                created: Some(self.story.now),
                files: launch.files.into(),
                shards,
                confirmed: true,
                ..JobFacts::default()
            };
            self.job = Some(job);
        }
        if let Some(status) = ending.status {
            self.story.upload.status = Some(status);
        }
        Turn {
            launched: plan.acts.launch.clone(),
            absorbed: plan.acts.absorb.len(),
            removed: plan.acts.remove.len(),
            keys,
        }
    }

    /// The Job ends, with these reports of its Pods.
    fn reports(&mut self, messages: &[(i32, &str)]) -> &mut Self {
        let job = self.job.as_mut().unwrap();
        job.standing = Standing::Ended(Said::default());
        let pod = |(index, (code, message)): (usize, &(i32, &str))| {
            let ended = Terminated { reason: String::new(), exit_code: *code, message: (*message).to_owned() };
            PodFacts { index, has_ended: true, container: Container::Ended(ended), ..PodFacts::default() }
        };
        job.pods = messages.iter().enumerate().map(pod).collect();
        self
    }

    fn folder(&self) -> &crate::resource::FolderStatus {
        &self.story.status().folders[0]
    }

    /// Two files are uploaded by one worker, and a second finds nothing left.
    fn uploaded(fields: Value) -> Self {
        let mut tale = Self::of(fields);
        tale.turn();
        let now = tale.story.now;
        let report = written(&[("a", "k/a"), ("b", "k/b")], now);
        tale.reports(&[(0, &report)]);
        for _ in 0..3 {
            tale.turn();
        }
        let done = format!("fileupload-folder/1\nfound 2\ndone {}\n", digest(tale.part.as_ref().unwrap()));
        tale.reports(&[(0, &done)]);
        for _ in 0..3 {
            tale.turn();
        }
        tale
    }
}

fn digest(part: &Part) -> String {
    Part::digest(&serde_json::to_string(part).unwrap())
}

/// The report of a worker that has uploaded these.
fn written(files: &[(&str, &str)], at: Timestamp) -> String {
    let mut text = Vec::new();
    let mut writer = crate::report::folder::Writer::new(&mut text);
    writer.found(files.len()).unwrap();
    for (number, (path, key)) in files.iter().enumerate() {
        let (file_key, sha256) = ((*key).to_owned(), "0".repeat(64));
        let upload = Upload { file_key, content_type: String::new(), size: 5, sha256, at };
        writer.reserve(number, path, key, 5).unwrap();
        writer.stored(number, path, at, &upload).unwrap();
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn a_report_is_absorbed_then_heard_then_another_worker_goes() {
    let mut tale = Tale::of(json!({}));
    let first = tale.turn().launched.remove(0);
    let folder = first.files[0].folder.as_deref().unwrap();
    assert_eq!((first.shards, folder.part.as_str(), folder.min_files, folder.max_files), (1, "", 1, 2000));
    let now = tale.story.now;
    let mut report = written(&[("a", "k/a"), ("b", "k/b")], now);
    report += "cut AAEAAg\nfull\n";
    tale.reports(&[(0, &report)]);
    let turn = tale.turn();
    assert_eq!((turn.absorbed, turn.removed, turn.launched.len()), (1, 0, 0), "first the keys");
    assert_eq!(tale.part.as_ref().unwrap().files.len(), 2);
    let turn = tale.turn();
    assert_eq!((turn.absorbed, turn.removed, turn.launched.len()), (0, 0, 0), "then the status");
    assert_eq!((tale.folder().files, tale.folder().uploaded), (2, 2));
    let turn = tale.turn();
    assert_eq!((turn.absorbed, turn.removed, turn.launched.len()), (0, 1, 1), "then the Job goes, and another comes");
    let second = &turn.launched[0];
    assert_eq!((second.shards, second.attempt), (3, 2));
    assert_eq!(second.files[0].folder.as_deref().unwrap().part, digest(tale.part.as_ref().unwrap()));
}

#[test]
fn keys_are_written_once_a_worker_finds_nothing_left() {
    let tale = Tale::uploaded(json!({}));
    assert_eq!(tale.keys, Some(digest(tale.part.as_ref().unwrap())));
    let status = tale.story.status();
    assert_eq!((status.phase, status.summary.as_deref()), (Some(Phase::Ready), Some("2/2")));
    assert_eq!((tale.folder().state, tale.folder().attempt), (FileState::Uploaded, 2));
    let mut tale = tale;
    let rests = tale.turn();
    assert!(rests.launched.is_empty() && rests.keys.is_empty() && tale.job.is_none());
}

#[test]
fn a_worker_that_found_nothing_left_of_other_keys_is_not_believed() {
    let mut tale = Tale::of(json!({}));
    tale.turn();
    let now = tale.story.now;
    tale.reports(&[(0, &written(&[("a", "k/a")], now))]);
    for _ in 0..3 {
        tale.turn();
    }
    tale.reports(&[(0, "fileupload-folder/1\nfound 1\ndone 0123456789abcdef\n")]);
    for _ in 0..3 {
        tale.turn();
    }
    assert_eq!(tale.keys, None);
    assert!(tale.job.is_some(), "another one looks");
}

#[test]
fn a_share_whose_worker_was_killed_is_tried_again_and_the_others_are_kept() {
    let mut tale = Tale::of(json!({}));
    tale.turn();
    let now = tale.story.now;
    let first = written(&[("a", "k/a")], now) + "cut gAA\n";
    tale.reports(&[(0, &first)]);
    for _ in 0..3 {
        tale.turn();
    }
    let share = written(&[("b", "k/b")], now);
    tale.reports(&[(0, &share), (137, "")]);
    tale.turn();
    tale.turn();
    assert_eq!(tale.part.as_ref().unwrap().files.len(), 2);
    assert_eq!(tale.folder().reason.as_deref(), Some("WorkerFailed"));
    assert!(tale.story.status().next_attempt_at.is_some());
    tale.story.later(SignedDuration::from_secs(10));
    assert_eq!(tale.turn().launched.len(), 1);
}

#[test]
fn a_file_that_cannot_be_sent_is_the_folders_trouble_once_the_others_are_there() {
    let mut tale = Tale::of(json!({}));
    tale.turn();
    let now = tale.story.now;
    let report = written(&[("a", "k/a")], now) + "-PermissionDenied - 00b :b\\x3a no\n";
    tale.reports(&[(1, &report)]);
    for _ in 0..3 {
        tale.turn();
    }
    assert_eq!(tale.folder().reason, None, "there was progress");
    tale.reports(&[(1, "fileupload-folder/1\nfound 2\n-PermissionDenied - 00b :b\\x3a no\n")]);
    for _ in 0..4 {
        tale.turn();
    }
    assert_eq!((tale.folder().reason.as_deref(), tale.folder().uploaded), (Some("PermissionDenied"), 1));
    assert_eq!((tale.folder().failures.len(), tale.folder().state), (1, FileState::Failed));
    assert!(tale.job.is_none() && tale.keys.is_none());
}

#[test]
fn a_folder_expires_as_a_whole() {
    let mut tale = Tale::uploaded(json!({}));
    tale.story.later(hours(23.0));
    let turn = tale.turn();
    assert_eq!((turn.keys, turn.launched.len()), (vec![KeysWhat::Withdraw], 0));
    assert_eq!((tale.folder().state, tale.folder().available_until.clone()), (FileState::Expired, None));
    assert_eq!(tale.story.status().phase, Some(Phase::Expired));
}

#[test]
fn a_request_and_a_renewal_send_all_again_while_the_keys_stay() {
    for fields in [json!({}), json!({"refreshPolicy": "BeforeExpiry"})] {
        let renews = fields["refreshPolicy"].is_string();
        let mut tale = Tale::uploaded(fields);
        let old = tale.keys.clone();
        if renews {
            tale.story.later(hours(20.0));
        } else {
            tale.story.request("now");
            tale.turn();
        }
        let turn = tale.turn();
        assert_eq!(turn.launched[0].files[0].folder.as_deref().unwrap().part, "", "all are sent");
        let now = tale.story.now;
        tale.reports(&[(0, &written(&[("a", "n/a"), ("b", "n/b")], now))]);
        for _ in 0..3 {
            tale.turn();
            assert_eq!((tale.keys.clone(), tale.folder().state), (old.clone(), FileState::Uploaded));
        }
        let done = format!("fileupload-folder/1\nfound 2\ndone {}\n", digest(tale.part.as_ref().unwrap()));
        tale.reports(&[(0, &done)]);
        for _ in 0..3 {
            tale.turn();
        }
        assert!(tale.keys != old && tale.keys == Some(digest(tale.part.as_ref().unwrap())));
        assert!(tale.job.is_none(), "it rests");
        assert!(tale.part.unwrap().files.values().all(|held| held.file_key.starts_with("n/")));
    }
}

#[test]
fn config_maps_of_somebody_else_hold_a_folder_back() {
    let tale = Tale::of(json!({}));
    for facts in [
        FolderFacts { part: Kept::Foreign, keys: Kept::Absent },
        FolderFacts { part: Kept::Absent, keys: Kept::Foreign },
    ] {
        let facts = Facts { folders: [("frames".to_owned(), facts)].into(), ..tale.facts() };
        let case = Case::new(&tale.story.upload, tale.story.now, Deployment::default(), Senders::Operator);
        let plan = plan(&case, &facts);
        assert!(plan.acts.launch.is_empty());
        let status = settle(&plan, Done::default()).status(&Written::default());
        assert_eq!(status.conditions[0].reason, "OutputConflict");
        assert_eq!(status.phase, Some(Phase::Failed));
    }
}

#[test]
fn a_report_of_a_stranger_makes_nothing_that_cannot_be_written() {
    let line = |at: usize| Line::Gone { path: format!("{at}{}", "p".repeat(1000)) };
    let mut part = Part::new("r", 1);
    part.absorb(
        1,
        &[Report { entries: (0..500).map(line).collect(), found: Some(usize::MAX), ..Report::default() }],
        "",
        true,
    );
    assert_eq!((part.files.len(), part.meta.found), (0, usize::MAX));
}

#[test]
fn what_a_former_resource_of_that_name_has_left_is_deleted_before_a_worker_begins() {
    let tale = Tale::of(json!({}));
    let case = Case::new(&tale.story.upload, tale.story.now, Deployment::default(), Senders::Operator);
    for (keys, part, left) in
        [(Kept::Orphaned, Kept::Orphaned, "keys-frames"), (Kept::Absent, Kept::Orphaned, "keys-frames-part")]
    {
        let folders = [("frames".to_owned(), FolderFacts { part, keys })].into();
        let plan = plan(&case, &Facts { folders, ..tale.facts() });
        assert_eq!(plan.acts.launch.len(), 0);
        let acts = settle(&plan, Done::default()).keys;
        let [KeysAct { what: KeysWhat::Discard(map, _), .. }] = &acts[..] else { panic!("{acts:?}") };
        assert_eq!(map, left);
    }
}

#[test]
fn a_job_that_lingers_once_its_report_is_in_the_status_changes_nothing() {
    let mut tale = Tale::of(json!({}));
    tale.turn();
    let now = tale.story.now;
    tale.reports(&[(0, &written(&[("a", "k/a")], now))]);
    tale.turn();
    tale.turn();
    let lingers = tale.job.clone().map(|job| JobFacts { deleting: true, ..job });
    let claim = tale.story.facts.claims.get_mut("c").unwrap();
    (claim.access_modes, claim.users) = (vec!["ReadWriteOncePod".into()], vec![ClaimUser::default()]);
    assert_eq!(tale.turn().removed, 1);
    assert_eq!(tale.folder().reason.as_deref(), Some("ClaimInUse"));
    let status = tale.story.upload.status.clone();
    for _ in 0..2 {
        tale.job.clone_from(&lingers);
        tale.turn();
        assert_eq!(tale.story.upload.status, status);
    }
}

#[test]
fn a_folder_has_no_keys_under_a_new_name_while_its_former_config_maps_remain() {
    let mut tale = Tale::of(json!({}));
    tale.turn();
    tale.turn();
    tale.story.upload.spec.output = serde_json::from_value(json!({"configMap": {"name": "others"}})).unwrap();
    tale.former = vec!["frames".to_owned()];
    let now = tale.story.now;
    tale.reports(&[(0, &written(&[("a", "k/a")], now))]);
    for _ in 0..2 {
        assert_eq!((tale.turn().absorbed, tale.folder().output.as_deref()), (0, Some("keys")));
    }
    tale.former.clear();
    assert_eq!((tale.turn().absorbed, tale.folder().output.as_deref()), (0, Some("others")));
    assert_eq!(tale.turn().absorbed, 1);
}
