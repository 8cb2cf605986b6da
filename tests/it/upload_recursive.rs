//! `upload --recursive`: which files of a folder go, and where their keys are.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use cyberun_stub::{Fault, Hold, Options, Rule, Step, Stub};
use serde_json::Value;

use crate::support::files::{Files, sha256};
use crate::support::process::Run;

const DEADLINE: Duration = Duration::from_secs(30);

async fn stub() -> Stub {
    Stub::start(Options::default()).await.unwrap()
}

/// A folder `frames` with these files, each of which holds its path.
fn frames(paths: &[&str]) -> Files {
    let files = Files::new();
    for path in paths {
        let path = format!("frames/{path}");
        fs::create_dir_all(files.folder().join(&path).parent().unwrap()).unwrap();
        files.with(&path, path.as_bytes());
    }
    files
}

fn recursive(stub: &Stub, files: &Files, further: &[&str]) -> Run {
    let run = Run::upload(stub).within(files.folder()).argument("--recursive").argument("frames");
    further.iter().fold(run, |run, argument| run.argument(*argument))
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[tokio::test]
async fn the_files_that_match_are_uploaded_and_their_keys_are_in_one_file() {
    let stub = stub().await;
    let files = frames(&["a.png", "b/c d.png", "b/e.jpg", "b/thumbs/f.png", ".hidden.png", "lost+found/g.png"]);
    files.with("outside.png", b"outside");
    symlink("../outside.png", files.folder().join("frames/leaves.png")).unwrap();
    let further = ["--include", "**/*.png", "--exclude", "**/thumbs/**", "--keys-dir", "keys", "--output", "json"];
    let ended = recursive(&stub, &files, &further).run().await.succeeded();
    let (printed, kept) = (ended.json(), read(&files.folder().join("keys/frames.json")));
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!((names(&printed["files"]), names(&kept)), (vec!["a.png".into(), "b/c d.png".into()], names(&kept)));
    assert_eq!(names(&kept), ["a.png", "b/c d.png"]);
    for (path, key) in kept.as_object().unwrap() {
        assert_eq!(names(key), ["expiresAt", "fileKey", "modifiedAt", "sha256", "size"]);
        let object = &stub.objects()[key["fileKey"].as_str().unwrap()];
        assert_eq!(object.sha256, sha256(format!("frames/{path}").as_bytes()));
        assert_eq!(
            (&object.sha256, object.size),
            (&key["sha256"].as_str().unwrap().to_owned(), key["size"].as_u64().unwrap())
        );
        let modified = fs::metadata(files.folder().join("frames").join(path)).unwrap().modified().unwrap();
        let told: jiff::Timestamp = key["modifiedAt"].as_str().unwrap().parse().unwrap();
        assert_eq!(told.as_second(), jiff::Timestamp::try_from(modified).unwrap().as_second());
    }
    assert_eq!(fs::read_dir(files.folder().join("keys")).unwrap().count(), 1, "no other file is there");
}

#[tokio::test]
async fn a_link_out_of_the_folder_that_takes_the_place_of_a_file_is_not_followed() {
    let stub = stub().await;
    // More than are opened before their turn.
    let names: Vec<String> = (10..40).map(|number| number.to_string()).collect();
    let files = frames(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let secret = files.with("secret", b"of somebody else");
    let ticket = Hold::new("the first ticket");
    stub.arm(Rule::once(Step::Presign, Fault::hold(&ticket)));
    let running = recursive(&stub, &files, &[]).start();
    ticket.reached(DEADLINE).await.unwrap();
    let swapped = files.folder().join("frames/39");
    fs::remove_file(&swapped).unwrap();
    symlink(secret, swapped).unwrap();
    ticket.release();
    let ended = running.ended().await.failed(1);
    assert!(ended.stderr.contains("error: 39: PathEscapes"), "{}", ended.stderr);
    assert_eq!(stub.objects().len(), 29);
    assert!(stub.objects().values().all(|object| object.sha256 != sha256(b"of somebody else")));
}

#[tokio::test]
async fn what_an_excluded_folder_holds_is_not_looked_at() {
    let (stub, files) = (stub().await, frames(&["a.png"]));
    let deep = (0..70).fold("frames/cache".to_owned(), |path, _| path + "/d");
    fs::create_dir_all(files.folder().join(deep)).unwrap();
    let ended = recursive(&stub, &files, &[]).run().await.failed(2);
    assert!(ended.stderr.contains("64 deep"), "{}", ended.stderr);
    recursive(&stub, &files, &["--exclude", "cache/**"]).run().await.succeeded();
}

#[tokio::test]
async fn the_file_of_the_keys_is_there_only_while_every_file_has_one_and_holds_no_other_key() {
    let (stub, files) = (stub().await, frames(&["a.png", "b.png"]));
    files.with("notes.txt", b"notes");
    let further = ["--keys-dir", "keys", "notes.txt"];
    recursive(&stub, &files, &further).run().await.succeeded();
    let keys = files.folder().join("keys");
    assert_eq!(read(&keys.join("frames.json")).as_object().unwrap().len(), 2);
    assert_eq!(read(&keys.join("keys.json")).as_object().unwrap().keys().collect::<Vec<_>>(), ["notes.txt"]);
    stub.arm(Rule::always(Step::Put, Fault::status(413)).for_file("b.png"));
    let ended = recursive(&stub, &files, &further).run().await.failed(1);
    assert!(ended.stderr.contains("error: b.png: TooLarge"), "{}", ended.stderr);
    assert!(ended.stdout.contains("a.png="), "the other key is printed: {}", ended.stdout);
    assert!(!keys.join("frames.json").exists() && keys.join("notes.txt").exists());
}

#[tokio::test]
async fn what_is_wrong_with_a_folder_is_told_and_makes_no_call() {
    let (stub, files) = (stub().await, frames(&["a.png"]));
    fs::create_dir(files.folder().join("empty")).unwrap();
    fs::rename(frames(&["b.png"]).folder().join("frames"), files.folder().join("keys")).unwrap();
    let cases: [(&[&str], &str); 7] = [
        (&["--recursive", "absent"], "--recursive: absent: no such file"),
        (&["--recursive", "frames/a.png"], "--recursive: frames/a.png: is a file, not a folder"),
        (&["--recursive", "empty"], "--recursive: empty: no file matches"),
        (&["--recursive", "frames", "--include", "*.jpg"], "no file matches"),
        (&["--recursive", "frames", "--include", "a["], "the pattern \"a[\" cannot be used"),
        (&["--include", "*.png", "frames/a.png"], "--recursive"),
        (&["--recursive", "keys", "--keys-dir", "out"], "the keys of the folder would be in keys.json"),
    ];
    for (arguments, words) in cases {
        let run =
            arguments.iter().fold(Run::upload(&stub).within(files.folder()), |run, argument| run.argument(*argument));
        let ended = run.run().await.failed(2);
        assert!(ended.stderr.contains(words), "{arguments:?}: {}", ended.stderr);
    }
    assert_eq!(stub.calls().len(), 0);
}
