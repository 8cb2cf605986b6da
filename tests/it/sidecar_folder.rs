//! `fileupload sidecar --recursive DIR --when FILE`: when a folder is taken, and when its keys are there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cyberun_stub::{Fault, Hold, Moment, Options, Rule, Step};
use fileupload_operator::delivery::{Bounds, Globs, search};
use fileupload_operator::reason::Reason;
use rustix::process::Signal;
use serde_json::{Map, Value};

use crate::support::beside::{Beside, DEADLINE, listed};
use crate::support::process::Run;
use crate::support::thread;

/// A folder `frames` with these files, each of which holds its path, and beside it a marker that is not there yet.
async fn frames(options: Options, paths: &[&str]) -> Beside {
    let beside = Beside::on(options, &[]).await;
    for path in paths {
        add(&beside, path);
    }
    beside
}

async fn marked(paths: &[&str]) -> Beside {
    let beside = frames(Options::default(), paths).await;
    mark(&beside);
    beside
}

fn add(beside: &Beside, path: &str) -> PathBuf {
    let path = format!("frames/{path}");
    fs::create_dir_all(beside.files.folder().join(&path).parent().unwrap()).unwrap();
    beside.files.with(&path, path.as_bytes())
}

fn marker(beside: &Beside) -> PathBuf {
    beside.files.folder().join("done")
}

fn mark(beside: &Beside) {
    fs::write(marker(beside), "").unwrap();
}

fn recursive(beside: &Beside) -> Run {
    let folder = beside.files.folder().join("frames");
    beside.run().argument("--recursive").argument(folder).argument("--when").argument(marker(beside))
}

/// Keys of the stub's short life, of which a quarter must be left.
fn short(run: Run, policy: &str) -> Run {
    let run = run.argument("--retention").argument("12").argument("--minimum-life").argument("3s");
    run.argument("--refresh-policy").argument(policy)
}

fn short_lived() -> Options {
    Options { retention: Some(Duration::from_secs(12)), ..Options::default() }
}

/// The keys of the folder, if they are shown: then they are whole.
fn keys(beside: &Beside) -> Option<Map<String, Value>> {
    let text = fs::read(beside.keys.join("frames.json")).ok()?;
    Some(serde_json::from_slice(&text).unwrap_or_else(|error| panic!("frames.json is not whole: {error}")))
}

/// Asserts that these files have keys, and that each is that of what the file holds.
fn complete(beside: &Beside, paths: &[&str]) {
    let (keys, objects) = (keys(beside).unwrap(), beside.stub.objects());
    assert_eq!(keys.keys().collect::<Vec<_>>(), paths);
    for (path, key) in keys {
        let content = fs::read(beside.files.folder().join("frames").join(path)).unwrap();
        let object = &objects[key["fileKey"].as_str().unwrap()];
        assert_eq!(object.bytes.as_deref(), Some(content.as_slice()));
        assert_eq!((key["sha256"].as_str(), key["size"].as_u64()), (Some(object.sha256.as_str()), Some(object.size)));
    }
}

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
    let hold = Hold::new("the last");
    beside.stub.arm(Rule::once(Step::Put, Fault::hold(&hold).at(Moment::Received)).for_file("c"));
    let running = recursive(&beside).start();
    hold.reached(DEADLINE).await.unwrap();
    beside.until("the other two", async || beside.stub.objects().len() == 2).await;
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
async fn a_restart_uploads_only_what_is_missing_or_changed() {
    let beside = marked(&["a", "b", "c"]).await;
    let hold = Hold::new("the last");
    beside.stub.arm(Rule::once(Step::Put, Fault::hold(&hold).at(Moment::Received)).for_file("c"));
    let running = recursive(&beside).start();
    hold.reached(DEADLINE).await.unwrap();
    beside.until("the other two", async || beside.stub.objects().len() == 2).await;
    // What is stored is written down at once, but not before the answer is there.
    let record = beside.keys.join(".frames.json.record~");
    let lines = async || fs::read_to_string(&record).unwrap_or_default().matches("\"path\"").count() == 2;
    beside.until("two lines", lines).await;
    running.signal(Signal::KILL);
    running.ended().await;
    let running = beside.ready(recursive(&beside)).await;
    assert_eq!(beside.counted(), (4, 4), "only the one that was under way");
    complete(&beside, &["a", "b", "c"]);
    beside.terminated(running).await;

    let before = keys(&beside);
    fs::write(beside.keys.join("frames.json"), "changed by somebody").unwrap();
    let running = beside.ready(recursive(&beside)).await;
    assert_eq!((beside.counted(), keys(&beside)), ((4, 4), before));
    beside.terminated(running).await;

    // Neither its size nor its time tells that it is another one.
    let (path, old) = (beside.files.folder().join("frames/a"), "frames/a".len());
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "x".repeat(old)).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    fs::remove_file(beside.files.folder().join("frames/b")).unwrap();
    let running = beside.ready(recursive(&beside)).await;
    assert_eq!(beside.counted(), (5, 5));
    complete(&beside, &["a", "c"]);
    beside.terminated(running).await;

    let other = beside.stub.credential(cyberun_stub::Kind::Device);
    let running = beside.ready(recursive(&beside).credential(&other)).await;
    assert_eq!(beside.counted(), (7, 7), "keys of another team are not taken over");
    beside.terminated(running).await;
}

#[tokio::test]
async fn without_its_marker_a_folder_has_no_keys_after_a_restart_and_one_no_longer_asked_for_leaves() {
    let beside = marked(&["a"]).await;
    let running = beside.ready(recursive(&beside)).await;
    beside.terminated(running).await;
    fs::remove_file(marker(&beside)).unwrap();
    let mut running = recursive(&beside).start();
    running.said("waiting for the marker").await;
    assert_eq!((listed(&beside.keys), beside.get("/readyz").await, beside.counted()), (vec![], None, (1, 1)));
    mark(&beside);
    beside.until("the probe to pass", async || beside.get("/readyz").await == Some(200)).await;
    complete(&beside, &["a"]);
    beside.terminated(running).await;
    let prompt = beside.files.with("prompt", b"a prompt");
    let running = beside.ready(beside.run().argument(prompt)).await;
    assert_eq!(listed(&beside.keys), ["keys.json", "prompt"]);
    assert!(!beside.keys.join(".frames.json.record~").exists());
    beside.terminated(running).await;
}

#[tokio::test]
async fn at_sigterm_what_is_being_sent_is_finished_and_nothing_begun() {
    let beside = marked(&["0", "1", "2", "3", "4", "5"]).await;
    let hold = Hold::new("all");
    beside.stub.fault_always(Step::Put, Fault::hold(&hold).at(Moment::Received));
    let mut running = recursive(&beside).start();
    let received = |seen: &cyberun_stub::Snapshot| seen.of(Step::Put).filter(|call| call.body_received > 0).count();
    beside.stub.wait_for(|seen| received(seen) == 4, DEADLINE).await.unwrap();
    running.signal(Signal::TERM);
    running.said("stopping").await;
    hold.release();
    beside.ended(running, 0).await;
    assert_eq!((beside.counted(), beside.stub.objects().len(), listed(&beside.keys)), ((4, 4), 4, vec![]));
    let running = beside.ready(recursive(&beside)).await;
    assert_eq!(beside.counted(), (6, 6), "what was sent is not lost");
    beside.terminated(running).await;
}

#[tokio::test]
async fn at_sigterm_a_wait_for_a_marker_ends_at_once() {
    let beside = frames(Options::default(), &["a"]).await;
    let mut running = recursive(&beside).start();
    running.said("waiting for the marker").await;
    let begun = std::time::Instant::now();
    beside.terminated(running).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(beside.counted(), (0, 0));
}

#[tokio::test]
async fn the_keys_of_a_folder_are_renewed_together_and_the_old_ones_stay_until_then() {
    let beside = frames(short_lived(), &["a", "b"]).await;
    mark(&beside);
    let run = short(recursive(&beside), "BeforeExpiry").environment("RUST_LOG", "info");
    let mut running = beside.ready(run).await;
    let first = keys(&beside).unwrap();
    add(&beside, "c");
    let hold = Hold::new("the last of the renewal");
    beside.stub.arm(Rule::once(Step::Put, Fault::hold(&hold).at(Moment::Received)).for_file("c"));
    hold.reached(DEADLINE).await.unwrap();
    beside.until("the other two", async || beside.stub.objects().len() >= 4).await;
    assert_eq!((keys(&beside).as_ref(), beside.get("/readyz").await), (Some(&first), Some(200)), "the old ones stay");
    hold.release();
    beside.until("new keys", async || keys(&beside).is_some_and(|keys| keys.len() == 3)).await;
    complete(&beside, &["a", "b", "c"]);
    let second = keys(&beside).unwrap();
    assert!(["a", "b"].iter().all(|path| first[*path]["fileKey"] != second[*path]["fileKey"]));
    assert_eq!(beside.get("/readyz").await, Some(200));

    // A renewal that fails takes no live key away, and is told once; a dead one leaves.
    beside.stub.fault_always(Step::Presign, Fault::status(503));
    running.said("ApiUnavailable").await;
    assert_eq!(keys(&beside), Some(second.clone()));
    beside.until("the keys to die", async || keys(&beside).is_none()).await;
    let objects = beside.stub.objects();
    assert!(second.values().all(|key| objects.contains_key(key["fileKey"].as_str().unwrap())), "not before their time");
    assert_eq!(beside.get("/readyz").await, Some(503));
    beside.stub.clear_faults();
    beside.until("new keys", async || beside.get("/readyz").await == Some(200)).await;
    complete(&beside, &["a", "b", "c"]);
    let ended = beside.terminated(running).await;
    let told = ended.stderr.matches("failed; trying again").count();
    assert_eq!(told, 1, "{}", ended.stderr);
}

#[tokio::test]
async fn keys_of_a_folder_that_nobody_renews_are_removed_also_after_a_restart() {
    let beside = frames(short_lived(), &["a", "b"]).await;
    mark(&beside);
    let mut running = beside.ready(short(recursive(&beside), "Never")).await;
    beside.until("the keys to die", async || keys(&beside).is_none()).await;
    assert_eq!(beside.stub.objects().len(), 2, "some life was left");
    running.said("the key's life is over").await;
    assert_eq!(beside.get("/readyz").await, Some(503));
    beside.terminated(running).await;
    let running = beside.ready(short(recursive(&beside), "Never")).await;
    assert_eq!(beside.counted(), (4, 4), "a dead key is none to a restart");
    running.signal(Signal::KILL);
    running.ended().await;
    beside.until("the files to be deleted", async || beside.stub.objects().is_empty()).await;
    fs::remove_file(marker(&beside)).unwrap();
    let mut running = short(recursive(&beside), "Never").start();
    running.said("waiting for the marker").await;
    assert_eq!(keys(&beside), None);
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
