//! `fileupload sidecar --recursive DIR --when FILE`: when a folder is taken, and when its keys are there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use cyberun_stub::{Fault, Options, Rule, Step};
use fileupload_operator::delivery::{Bounds, Globs, search};
use fileupload_operator::reason::Reason;
use serde_json::{Map, Value};

use crate::support::beside::{Beside, listed};
use crate::support::frames::{add, complete, frames, keys, last_held, marked, recursive};
use crate::support::process::Run;
use crate::support::thread;

#[tokio::test]
async fn a_folder_is_taken_once_its_marker_is_there_as_upload_would_take_it() {
    let mut beside = frames(Options::default(), &["a.png", "b.jpg", ".hidden.png"]).await;
    let prompt = beside.files.with("prompt.txt", b"a prompt");
    let folder = beside.files.folder().join("frames");
    let run =
        beside.run().argument("--recursive").argument(&folder).argument("--when").argument(folder.join("done.png"));
    let run = run.argument("--include").argument("**/*.png").argument("--exclude").argument("**/thumbs/**");
    let mut running = run.argument(format!("prompt={}", prompt.display())).start();
    running.said("waiting for the marker").await;
    beside.until("the other key", async || beside.key("prompt").is_some()).await;
    assert_eq!((beside.get("/readyz").await, beside.counted()), (None, (1, 1)));
    for path in ["b/c d.png", "b/thumbs/e.png"] {
        add(&beside, path);
    }
    add(&beside, "done.png");
    beside.until("the probe to pass", async || beside.get("/readyz").await == Some(200)).await;
    complete(&beside, &["a.png", "b/c d.png"]);
    assert_eq!(
        (listed(&beside.keys), beside.counted().0),
        (["frames.json", "keys.json", "prompt"].map(Into::into).into(), 3)
    );
    beside.input("prompt", prompt);
    beside.complete();
    beside.terminated(running).await;

    let upload = Run::upload(&beside.stub).within(beside.files.folder()).argument("--recursive").argument("frames");
    let further = ["--include", "**/[abc]*.png", "--exclude", "b/t*/**", "--keys-dir", "other"];
    further.iter().fold(upload, |run, argument| run.argument(*argument)).run().await.succeeded();
    let text = fs::read_to_string(beside.files.folder().join("other/frames.json")).unwrap();
    let other: Map<String, Value> = serde_json::from_str(&text).unwrap();
    let alike = |keys: Map<String, Value>| {
        keys.into_iter()
            .map(|(path, mut key)| {
                key["fileKey"] = "".into();
                key["expiresAt"] = "".into();
                (path, key)
            })
            .collect::<Map<_, _>>()
    };
    assert_eq!(alike(keys(&beside).unwrap()), alike(other));
}

#[tokio::test]
async fn the_keys_of_a_folder_are_there_once_every_file_has_one() {
    let beside = marked(&["a", "b", "c"]).await;
    let (running, hold) = last_held(&beside, "c").await;
    assert_eq!((listed(&beside.keys), beside.get("/readyz").await), (vec![], None));
    hold.release();
    beside.until("the probe to pass", async || beside.get("/readyz").await == Some(200)).await;
    complete(&beside, &["a", "b", "c"]);
    assert_eq!(
        (listed(&beside.keys), beside.counted()),
        (vec!["frames.json".to_owned()], (3, 3)),
        "no list of no files"
    );
    beside.terminated(running).await;
}

#[tokio::test]
async fn what_only_a_person_can_mend_ends_it_with_one_line() {
    let folder = |beside: &Beside| beside.files.folder().join("frames");
    let empty = marked(&[".hidden"]).await;
    let crowded = marked(&["0"]).await;
    (1..=2000).for_each(|number| fs::write(folder(&crowded).join(number.to_string()), "").unwrap());
    let file = marked(&[]).await;
    file.files.with("frames", b"a file");
    let refused = marked(&["a", "b"]).await;
    refused.stub.arm(Rule::always(Step::Put, Fault::status(413)).for_file("b"));
    for (beside, words) in [
        (empty, "frames.json: FileNotFound: .*: no file matches: hidden ones have to be named by --include"),
        (crowded, "frames.json: TooManyFiles: .*: more than 2000 files match"),
        (file, "frames.json: NotAFile: .*: is a file, not a folder"),
        (refused, "frames.json: b: TooLarge: "),
    ] {
        let ended = beside.ended(recursive(&beside).environment("RUST_LOG", "warn").start(), 1).await;
        let (before, after) = words.split_once(".*").unwrap_or((words, ""));
        let (first, is_one) = (ended.stderr.trim_end(), ended.stderr.lines().count() == 1);
        assert!(is_one && first.starts_with(&format!("error: {before}")) && first.contains(after), "{}", ended.stderr);
        assert_eq!(listed(&beside.keys), [""; 0], "{words}");
    }
}

#[tokio::test]
async fn as_many_files_as_allowed_are_uploaded_beside_their_marker() {
    let beside = frames(Options::default(), &["done"]).await;
    let old = SystemTime::now() - Duration::from_mins(2);
    for number in 0..2000 {
        let file = fs::File::create(beside.files.folder().join(format!("frames/{number}"))).unwrap();
        file.set_modified(old).unwrap();
    }
    let folder = beside.files.folder().join("frames");
    let run = beside.run().argument("--recursive").argument(&folder).argument("--when").argument(folder.join("done"));
    let running = beside.ready(run).await;
    assert_eq!((keys(&beside).unwrap().len(), beside.counted()), (2000, (2000, 2000)));
    beside.terminated(running).await;
}

#[tokio::test]
async fn an_api_that_is_away_is_waited_for_and_costs_one_file_its_tries() {
    let beside = marked(&["0", "1", "2", "3", "4", "5"]).await;
    beside.stub.fault_always(Step::Presign, Fault::status(503));
    let mut running = recursive(&beside).environment("RUST_LOG", "info").start();
    running.said("ApiUnavailable").await;
    assert!(beside.counted().0 <= 2, "the first goes alone: {:?}", beside.counted());
    beside.stub.clear_faults();
    beside.until("the probe to pass", async || beside.get("/readyz").await == Some(200)).await;
    complete(&beside, &["0", "1", "2", "3", "4", "5"]);
    let ended = beside.terminated(running).await;
    assert_eq!(ended.stderr.matches("ApiUnavailable").count(), 1, "{}", ended.stderr);
}

#[tokio::test]
async fn a_folder_that_waits_or_fails_keeps_no_other_waiting() {
    let beside = marked(&["a"]).await;
    let at = |path: &str| beside.files.folder().join(path);
    for folder in ["late", "failing"] {
        fs::create_dir(at(folder)).unwrap();
        beside.files.with(&format!("{folder}/{folder}"), folder.as_bytes());
    }
    beside.stub.arm(Rule::always(Step::Presign, Fault::retry_after(503, 3000)).for_file("failing"));
    let run =
        ["failing", "late"].iter().fold(beside.run(), |run, folder| run.argument("--recursive").argument(at(folder)));
    let run = run.argument("--recursive").argument(at("frames"));
    let run = ["done", "late.done", "done"].iter().fold(run, |run, marker| run.argument("--when").argument(at(marker)));
    let mut running = run.start();
    running.said("failed; trying again").await;
    beside.until("the keys of one folder", async || listed(&beside.keys) == ["frames.json"]).await;
    fs::write(at("late.done"), "").unwrap();
    beside.until("the keys of two folders", async || listed(&beside.keys) == ["frames.json", "late.json"]).await;
    assert_eq!(beside.get("/readyz").await, None);
    beside.terminated(running).await;
}

#[tokio::test]
async fn files_may_be_arguments_and_options_together() {
    let mut beside = Beside::with(&["a"]).await;
    let (b, c) = (beside.files.with("b", b"b"), beside.files.with("c.txt", b"c"));
    let running = beside.ready(beside.run().argument(&b).argument(format!("c={}", c.display()))).await;
    beside.input("b", b);
    beside.input("c", c);
    beside.complete();
    beside.terminated(running).await;
}

#[tokio::test]
async fn wrong_usage_ends_with_2_and_makes_no_call() {
    let beside = marked(&["a"]).await;
    let at = |path: &str| beside.files.folder().join(path);
    let twice = |other: &str| recursive(&beside).argument("--recursive").argument(at(other));
    let into = |keys: &Path| {
        let run = Run::of("sidecar").token("sk-0123456789").argument("--keys-dir").argument(keys);
        run.argument("--recursive").argument(at("frames")).argument("--when").argument(at("done"))
    };
    let nine = (0..8).fold(recursive(&beside), |run, number| {
        run.argument("--recursive").argument(at(&number.to_string())).argument("--when").argument(at("done"))
    });
    for (run, named) in [
        (twice("other"), "--recursive is given 2 times and --when 1 times"),
        (nine, "at most 8 folders"),
        (twice("other/frames").argument("--when").argument(at("done")), "two folders would be in frames.json"),
        (
            recursive(&beside).argument(format!("frames.json={}", at("x").display())),
            "would be in frames.json of --keys-dir",
        ),
        (recursive(&beside).argument("--include").argument("a["), "the pattern \"a[\" cannot be used"),
        (beside.run().argument("--recursive").argument(at("frames")), "--when"),
        (beside.run().argument("--when").argument(at("done")), "--recursive"),
        (beside.run().argument("--include").argument("*").argument("x"), "--recursive"),
        (into(&at("frames")), "--keys-dir is in the folder"),
        (into(&at("frames/keys/new")), "--keys-dir is in the folder"),
    ] {
        let ended = run.run().await.failed(2);
        assert!(ended.stderr.contains(named), "{named}: {}", ended.stderr);
    }
    assert_eq!((beside.stub.calls().len(), beside.keys.exists()), (0, false));
}

#[test]
fn a_folder_that_is_closed_to_us_says_whose_it_is() {
    let root = tempfile::tempdir().unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let (folder, inner) = (root.path().join("frames"), root.path().join("frames/inner"));
    fs::create_dir_all(&inner).unwrap();
    mode(root.path(), 0o755);
    let refused = |path: &Path| {
        let globs = Globs::new(&[], &[]).unwrap();
        let search = || search(path, &globs, Bounds { files: 9, path: 99 }, None);
        thread::unprivileged(search).unwrap_err()
    };
    mode(&folder, 0o700);
    for (path, what) in [(&folder, "it"), (&inner, "its folder ")] {
        let trouble = refused(path);
        assert_eq!(trouble.reason, Reason::PermissionDenied, "{trouble}");
        let expected = format!("{}: permission denied: {what}", path.display());
        let said = trouble.message();
        assert!(said.starts_with(&expected) && !said.contains("spec.worker"), "{said}");
    }
    mode(&folder, 0o755);
    mode(&inner, 0o700);
    let said = refused(&folder).message();
    assert!(said.starts_with(&format!("{}: permission denied: it ", inner.display())), "{said}");
}
