//! `fileupload worker` on a folder, as a process: what it sends, what it reports, and what another one then does.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use cyberun_stub::{Fault, Rule, Step};
use fileupload_operator::report::folder::{self, Entry, Folder, Part, Report};
use rustix::fs::{CWD, FileType, Mode, OFlags};

use crate::support::files::{Files, bytes};
use crate::support::work::{DEADLINE, Work};

/// A folder `frames` with so many files.
async fn frames(number: usize) -> Work {
    let mut work = Work::with(&[]).await;
    std::fs::create_dir(work.volume.folder().join("frames")).unwrap();
    for frame in 0..number {
        work.volume.with(&format!("frames/frame_{frame:04}.png"), &bytes(1000 + frame));
    }
    work.assign("frames");
    give(&mut work, Folder { max_files: 400, min_files: 1, ..Folder::default() });
    work
}

fn give(work: &mut Work, folder: Folder) {
    work.assignments[0].folder = Some(Box::new(folder));
}

/// Runs a worker on a share, given these keys; what it reports.
async fn report(work: &Work, part: &Part, share: usize, code: i32) -> Report {
    let parts = Files::new();
    parts.with("part.json", serde_json::to_string(part).unwrap().as_bytes());
    report_meanwhile(work, &parts, share, code, async || ()).await
}

/// The same with the keys that are mounted there, while this goes on.
async fn report_meanwhile(
    work: &Work,
    parts: &Files,
    share: usize,
    code: i32,
    meanwhile: impl AsyncFnOnce(),
) -> Report {
    let reports = Files::new();
    let path = reports.folder().join("report");
    let shares = work.assignments[0].folder.as_ref().unwrap().cuts.len() + 1;
    let run = work.run_reporting_to(&path).argument("--part").argument(parts.folder());
    let run = run.argument("--shards").argument(shares.to_string());
    let running = run.environment("JOB_COMPLETION_INDEX", share.to_string()).start();
    meanwhile().await;
    let ended = running.ended().await.failed(code);
    assert_eq!(ended.stdout, "");
    let report = folder::read(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(!report.garbled);
    report
}

fn with_part(work: &mut Work, part: &Part, cuts: Vec<u16>) {
    let given = work.assignments[0].folder.as_deref().unwrap().clone();
    let digest = Part::digest(&serde_json::to_string(part).unwrap());
    give(work, Folder { part: digest, cuts, ..given });
}

#[tokio::test]
async fn a_folder_is_sent_by_one_worker_then_by_shares_until_nothing_is_left() {
    let mut work = frames(100).await;
    let first = report(&work, &Part::default(), 0, 0).await;
    assert!(first.found == Some(100) && first.done.is_none() && first.full, "{first:?}");
    assert!(first.entries.len() >= 24 && !first.cuts.is_empty(), "{first:?}");
    let mut part = Part::new("r1", 1);
    part.absorb(1, std::slice::from_ref(&first), "", true);
    let cuts = first.cuts.clone();
    with_part(&mut work, &part, cuts.clone());
    let mut reports = Vec::new();
    for share in 0..=cuts.len() {
        reports.push(report(&work, &part, share, 0).await);
    }
    part.absorb(2, &reports, "", true);
    assert_eq!((part.files.len(), work.stub.objects().len()), (100, 100), "nothing is sent twice");
    let stored: BTreeMap<_, _> = work.stub.objects().into_iter().collect();
    assert!(part.files.values().all(|held| stored.contains_key(&held.file_key)));
    with_part(&mut work, &part, Vec::new());
    let last = report(&work, &part, 0, 0).await;
    assert_eq!(last.done, Some(Part::digest(&serde_json::to_string(&part).unwrap())));
    assert!(last.entries.is_empty() && work.stub.objects().len() == 100);
    // What changes, comes and goes is seen.
    work.volume.with("frames/frame_0000.png", b"other");
    work.volume.with("frames/new.png", b"new");
    std::fs::remove_file(work.volume.folder().join("frames/frame_0001.png")).unwrap();
    let change = report(&work, &part, 0, 0).await;
    part.absorb(3, &[change], "", true);
    assert_eq!((part.files.len(), work.stub.objects().len()), (100, 102));
    assert!(part.files.contains_key("new.png") && !part.files.contains_key("frame_0001.png"));
    assert_eq!(part.files["frame_0000.png"].size, 5);
}

#[tokio::test]
async fn keys_so_far_that_are_mounted_late_are_waited_for() {
    let mut work = frames(6).await;
    let mut part = Part::new("r1", 1);
    part.absorb(1, &[report(&work, &Part::default(), 0, 0).await], "", true);
    let (parts, text) = (Files::new(), serde_json::to_string(&part).unwrap());
    with_part(&mut work, &part, Vec::new());
    let (pipe, new) = (parts.folder().join("part.json"), parts.with("new", text.as_bytes()));
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    // The worker reads what was mounted before; only then the kubelet writes what is meant.
    let meanwhile = async || {
        let write = || OpenOptions::new().write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(&pipe);
        let is_read = async {
            loop {
                if let Ok(before) = write() {
                    return before;
                }
                // Nothing tells of a reader that comes; the timeout below ends this.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let mut before = tokio::time::timeout(DEADLINE, is_read).await.expect("the worker reads the keys so far");
        std::fs::rename(new, &pipe).unwrap();
        before.write_all(b"{}").unwrap();
    };
    let last = report_meanwhile(&work, &parts, 0, 0, meanwhile).await;
    assert_eq!((last.done, work.stub.objects().len()), (Some(Part::digest(&text)), 6), "nothing is sent twice");
}

#[tokio::test]
async fn one_file_that_cannot_be_sent_leaves_the_others_their_keys() {
    let work = frames(5).await;
    work.stub.arm(Rule::always(Step::Put, Fault::status(413)).for_file("frame_0003.png"));
    let report = report(&work, &Part::default(), 0, 1).await;
    let stored = report.entries.iter().filter(|entry| matches!(entry, Entry::Stored { .. })).count();
    let failed = report.entries.iter().filter_map(|entry| match entry {
        Entry::Failed { path, trouble } => Some((path.as_deref(), trouble.reason.as_str())),
        _ => None,
    });
    let failed: Vec<_> = failed.collect();
    assert_eq!((stored, failed), (4, vec![(Some("frame_0003.png"), "TooLarge")]));
    assert!(report.done.is_none() && !report.full && report.cuts.is_empty());
}

#[tokio::test]
async fn many_files_that_cannot_be_sent_leave_room_to_the_others() {
    let work = frames(8).await;
    for number in 0..200 {
        let path = work.volume.folder().join(format!("frames/larger_than_a_put_may_be_{number:02}.exr"));
        std::fs::File::create(path).unwrap().set_len(6 << 30).unwrap();
    }
    let report = report(&work, &Part::default(), 0, 1).await;
    let stored = report.entries.iter().filter(|entry| matches!(entry, Entry::Stored { .. })).count();
    let named = report.entries.len() - stored;
    assert_eq!((stored, report.full), (8, false), "{report:?}");
    assert!((5..200).contains(&named), "{named} failures are named");
}

#[tokio::test]
async fn what_a_folder_may_not_be_is_told_before_any_call() {
    for (folder, files, reason, words) in [
        (Folder { max_files: 3, ..Folder::default() }, 4, "TooManyFiles", "4 files match, and maxFiles is 3"),
        (
            Folder { max_files: 9, min_files: 5, ..Folder::default() },
            4,
            "FileNotFound",
            "4 files match, and minFiles is 5",
        ),
        (
            Folder { max_files: 9, include: vec!["[".into()], ..Folder::default() },
            4,
            "RequestRejected",
            "the pattern \"[\"",
        ),
    ] {
        let mut work = frames(files).await;
        give(&mut work, folder);
        let report = report(&work, &Part::default(), 0, 1).await;
        let [Entry::Failed { path: None, trouble }] = &*report.entries else { panic!("{report:?}") };
        assert_eq!(trouble.reason.as_str(), reason);
        assert!(trouble.message().contains(words), "{trouble}");
        assert_eq!(work.stub.calls().len(), 0);
    }
}

#[tokio::test]
async fn a_refused_credential_is_said_once_for_the_whole_folder() {
    let work = frames(6).await;
    work.stub.arm(Rule::always(Step::Presign, Fault::status(401)));
    let report = report(&work, &Part::default(), 0, 1).await;
    let [Entry::Failed { path: None, trouble }] = &*report.entries else { panic!("{report:?}") };
    assert_eq!(trouble.reason.as_str(), "CredentialsRejected");
    assert_eq!(work.counted(), (1, 0));
}
