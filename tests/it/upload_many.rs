//! `fileupload upload` of many files: lists of files, JSON lines, how many go side by side.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{PipeReader, Read as _};
use std::time::Duration;

use cyberun_stub::{Fault, Hold, Moment, Options, Rule, Snapshot, Step, Stub};
use fileupload_operator::delivery::{Batch, Hooks, Limits, Progress, Window};
use rustix::process::Signal;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::support::files::{Files, sha256};
use crate::support::process::{Run, Running};
use crate::support::sender::{Sender, parcels};

const DEADLINE: Duration = Duration::from_secs(30);

async fn stub() -> Stub {
    Stub::start(Options::default()).await.unwrap()
}

/// A run in the folder of the files, with this list on standard input.
fn listing(stub: &Stub, files: &Files, list: &[u8]) -> Run {
    let lists = Files::new();
    let list = File::open(lists.with("list", list)).unwrap();
    Run::upload(stub).within(files.folder()).reading(list).argument("--files-from").argument("-")
}

fn lines(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// A run that writes JSON lines into a pipe, of 1,200 files: more than a pipe holds lines of.
fn writing_lines(stub: &Stub, files: &Files) -> (Running, PipeReader) {
    let list: Vec<String> = (0..1_200).map(|number| format!("f{number}")).collect();
    for name in &list {
        files.with(name, b"content");
    }
    let (reader, writer) = std::io::pipe().unwrap();
    let run = listing(stub, files, list.join("\n").as_bytes()).argument("--output").argument("jsonl");
    (run.writing(writer).start(), reader)
}

/// Waits until more files are stored than a pipe holds lines of.
async fn is_ahead_of_its_reader(stub: &Stub) {
    stub.wait_for(|seen| seen.objects.len() > 300, DEADLINE).await.unwrap();
}

/// How many PUTs are under way.
fn puts_under_way(seen: &Snapshot) -> usize {
    seen.of(Step::Put).filter(|call| call.end.is_none()).count()
}

/// Fails if more than so many files begin within two seconds.
async fn stays_at(sender: &Sender, files: usize) {
    let more = |seen: &Snapshot| seen.of(Step::Presign).count() > files;
    let begun = sender.stub.wait_for(more, Duration::from_secs(2)).await;
    assert!(begun.is_err(), "more than {files} files have begun");
}

#[tokio::test]
async fn a_list_is_uploaded_beside_the_files_of_the_command_line_whatever_they_are_called() {
    let (stub, files) = (stub().await, Files::new());
    std::fs::create_dir_all(files.folder().join("year=2024/a b")).unwrap();
    let plain = ["photo one.png", "year=2024/a b/x.txt", "year=2024/x.txt", "x=y", "y", " # \"q\" '$(a)'", "-", "-rf"];
    std::fs::create_dir(files.folder().join("line\nbreak")).unwrap();
    for name in plain.iter().chain(&["line\nbreak/x"]) {
        files.with(name, name.as_bytes());
    }
    let list = plain.join("\n") + "\n\nnamed=./photo one.png";
    let ended = listing(&stub, &files, list.as_bytes()).argument("first=y").argument("--output").argument("json");
    let json = ended.run().await.succeeded().json();
    assert_eq!(json["files"].as_object().unwrap().len(), plain.len() + 2, "{json}");
    for name in plain {
        assert_eq!(json["files"][name]["sha256"], sha256(name.as_bytes()).as_str(), "{name}");
    }
    assert_eq!(json["files"]["year=2024/x.txt"]["fileName"], "x.txt");
    assert_eq!((&json["files"]["first"]["size"], &json["files"]["named"]["size"]), (&1.into(), &13.into()));

    let run = listing(&stub, &files, b"./line\nbreak/x\0photo one.png\0").argument("--null").argument("--output=json");
    let json = run.run().await.succeeded().json();
    let names: Vec<&String> = json["files"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["line\nbreak/x", "photo one.png"]);

    let list = files.with("list", b"photo one.png\n./year=2024/x.txt\n");
    let ended = Run::upload(&stub).within(files.folder()).argument("--files-from").argument(list).run().await;
    let ended = ended.succeeded();
    assert!(stub.objects().contains_key(ended.key("photo one.png")), "{}", ended.stdout);
    assert!(stub.objects().contains_key(ended.stdout.lines().last().unwrap().rsplit('=').next().unwrap()));
}

#[tokio::test]
async fn what_is_wrong_with_a_list_is_told_with_its_line_and_makes_no_call() {
    let (stub, files) = (stub().await, Files::new());
    let (path, keys) = (files.with("a", b"a"), files.folder().join("keys"));
    for (list, arguments, told) in [
        (&b""[..], vec![], "--files-from: standard input lists no file: it is empty"),
        (b"\n\n", vec![path.to_str().unwrap()], "lists no file"),
        (b"", vec!["--null"], "lists no file"),
        (b"a\n\nb/..\n", vec![], "--files-from, line 3: b/.. names no file"),
        (b"a\0b/..\0", vec!["--null"], "--files-from, entry 2: b/.. names no file"),
        (b"a\0b\0", vec![], "--files-from, line 1: it has a NUL: give --null"),
        (b"a\nb\n./a\n", vec![], "--files-from, line 3: a and ./a are both called a"),
        (b"a\n", vec!["b/a"], "--files-from, line 1: b/a and a are both called a"),
        (b"b\nc\xff\n", vec![], "--files-from, line 2: c"),
        (b"a\nb\rc\n", vec![], "--files-from, line 2: \"b\\rc\" has a control character"),
        (b"a\nb~\n", vec!["--keys-dir", keys.to_str().unwrap()], "--files-from, line 2: \"b~\" cannot be the name"),
        (b"a\n", vec!["--files-from=no-such-list"], "cannot be used multiple times"),
    ] {
        let run = arguments.iter().fold(listing(&stub, &files, list), |run, argument| run.argument(*argument));
        let ended = run.run().await.failed(2);
        assert!(ended.stderr.contains(told), "{}: {}", list.escape_ascii(), ended.stderr);
        assert_eq!(ended.stdout, "");
    }
    for (arguments, told) in [
        (vec!["--files-from", "no-such-list"], "--files-from: cannot read no-such-list: "),
        (vec!["--files-from", "."], "--files-from: cannot read .: "),
        (vec!["--null", "a"], "--files-from"),
        (vec!["-"], "a list of files is read by --files-from -"),
        (vec!["--jobs", "0", "a"], "--jobs"),
        (vec!["--jobs", "257", "a"], "--jobs"),
    ] {
        let run = Run::upload(&stub).within(files.folder());
        let ended = arguments.iter().fold(run, |run, argument| run.argument(*argument)).run().await.failed(2);
        assert!(ended.stderr.contains(told), "{arguments:?}: {}", ended.stderr);
    }
    assert_eq!(stub.calls().len(), 0);
}

#[tokio::test]
async fn names_with_a_slash_are_in_keys_json_alone_and_nothing_leaves_the_folder() {
    let (stub, files) = (stub().await, Files::new());
    std::fs::create_dir(files.folder().join("in")).unwrap();
    let (inside, keys) = (files.with("in/a", b"a"), files.folder().join("keys"));
    files.with("b", b"b");
    let list = format!("in/a\n{}\n../{}/b\nb\n", inside.display(), files.folder().file_name().unwrap().display());
    let run = listing(&stub, &files, list.as_bytes()).argument("--keys-dir").argument(&keys);
    let ended = run.run().await.succeeded();
    let mut kept: Vec<_> = std::fs::read_dir(&keys).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    kept.sort();
    assert_eq!(kept, ["b", "keys.json"]);
    let all: Value = serde_json::from_slice(&std::fs::read(keys.join("keys.json")).unwrap()).unwrap();
    assert_eq!((all.as_object().unwrap().len(), ended.stdout.lines().count()), (4, 4));
    assert_eq!((std::fs::read(inside).unwrap(), stub.objects().len()), (b"a".to_vec(), 4));
}

#[tokio::test]
async fn json_lines_come_as_each_file_ends_with_the_fields_of_json() {
    let (stub, files, hold) = (stub().await, Files::new(), Hold::new("the last"));
    for name in ["good", "large", "held"] {
        files.with(name, name.as_bytes());
    }
    stub.arm(Rule::always(Step::Presign, Fault::status(413)).for_file("large"));
    stub.arm(Rule::once(Step::Put, Fault::hold(&hold).at(Moment::Received)).for_file("held"));
    let run = listing(&stub, &files, b"good\nlarge\nabsent\nheld\n").argument("--output").argument("jsonl");
    let mut running = run.start();
    for name in ["good", "large", "absent"] {
        running.printed(&format!("{{\"name\":\"{name}\"")).await;
    }
    assert!(stub.objects().len() == 1, "the last is still on its way");
    hold.release();
    let ended = running.ended().await.failed(1);
    let lines = lines(&ended.stdout);
    let of = |name: &str| lines.iter().find(|line| line["name"] == name).unwrap().as_object().unwrap();
    assert_eq!((lines.len(), &lines[3]["name"]), (4, &"held".into()));

    stub.clear_faults();
    stub.arm(Rule::always(Step::Presign, Fault::status(413)).for_file("large"));
    let json = listing(&stub, &files, b"good\nlarge\n").argument("--output=json").run().await.failed(1).json();
    let mut stored = of("good").clone();
    assert_eq!((stored.remove("name").unwrap(), stored.remove("file").unwrap()), ("good".into(), "good".into()));
    let fields = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<Vec<_>>();
    assert_eq!(fields(&stored), fields(json["files"]["good"].as_object().unwrap()));
    assert!(stub.objects().contains_key(stored["fileKey"].as_str().unwrap()));
    assert_eq!(of("large"), json["failures"][0].as_object().unwrap());
    assert_eq!(of("absent")["reason"], "FileNotFound");
    assert!(ended.stderr.contains("error: large: TooLarge: "), "{}", ended.stderr);
}

#[tokio::test]
async fn a_failure_of_every_file_gives_each_its_line() {
    let (stub, files) = (stub().await, Files::new());
    stub.fault_always(Step::Presign, Fault::status(401));
    files.with("a", b"a");
    let list = "a\n".to_owned() + &(0..2000).map(|number| number.to_string()).collect::<Vec<_>>().join("\n");
    let ended = listing(&stub, &files, list.as_bytes()).argument("--output=jsonl").run().await.failed(1);
    let lines = lines(&ended.stdout);
    assert_eq!((lines.len(), stub.calls().len()), (2001, 1));
    assert!(lines.iter().all(|line| line["reason"] == "CredentialsRejected"));
    assert!(lines[1]["message"].as_str().unwrap().starts_with("not sent, because a failed: "), "{}", lines[1]);
}

#[tokio::test]
async fn once_nobody_reads_the_lines_nothing_new_is_uploaded_unless_a_folder_has_the_keys() {
    let (stub, files) = (stub().await, Files::new());
    let names: Vec<String> = (0..60).map(|number| format!("f{number}")).collect();
    for name in &names {
        files.with(name, name.as_bytes());
    }
    let list = files.with("list", (names.join("\n") + "\n").as_bytes());
    stub.fault_always(Step::Put, Fault::delay(Duration::from_millis(50)));
    let run = || {
        let run = Run::upload(&stub).within(files.folder()).argument("--jobs=2").argument("--output=jsonl");
        run.argument("--files-from").argument(&list)
    };
    let shell = ["/bin/bash", "-o", "pipefail", "-c"];
    let ended = run().through(&shell, " | /usr/bin/head -n 1").run().await.failed(1);
    assert!(ended.stderr.contains("error: nobody reads the output any more"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked") && lines(&ended.stdout).len() == 1, "{}", ended.stderr);
    let stored = stub.objects().len();
    assert!((1..30).contains(&stored), "{stored}");
    let keys = files.folder().join("keys");
    let ended = run().argument("--keys-dir").argument(&keys).through(&shell, " | /usr/bin/head -n 1").run().await;
    assert_eq!((ended.succeeded().stderr.as_str(), stub.objects().len()), ("", stored + 60));
    assert!(keys.join("keys.json").exists());
}

#[tokio::test]
async fn a_reader_that_went_before_the_last_line_is_told_though_every_file_is_stored() {
    let (stub, files) = (stub().await, Files::new());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let run = Run::upload(&stub).argument("--output=jsonl").argument(files.with("a", b"a")).writing(writer);
    let ended = run.run().await.failed(1);
    assert!(ended.stderr.contains("the keys of the last files are lost; run it again"), "{}", ended.stderr);
    assert_eq!(stub.objects().len(), 1);
}

#[tokio::test]
async fn a_reader_of_lines_that_pauses_holds_back_new_files_and_then_gets_every_line() {
    let (stub, files) = (stub().await, Files::new());
    let (running, mut reader) = writing_lines(&stub, &files);
    is_ahead_of_its_reader(&stub).await;
    let all = stub.wait_for(|seen| seen.objects.len() > 1_000, Duration::from_secs(2)).await;
    assert!(all.is_err(), "new files begin though nobody reads");
    let read = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text)
    });
    running.ended().await.succeeded();
    let keys: BTreeSet<String> =
        lines(&read.await.unwrap().unwrap()).iter().map(|line| line["fileKey"].as_str().unwrap().to_owned()).collect();
    assert_eq!(keys, stub.objects().into_keys().collect());
    assert_eq!(keys.len(), 1_200);
}

#[tokio::test]
async fn a_reader_of_lines_that_pauses_does_not_keep_a_signal_from_ending_the_upload() {
    let (stub, files) = (stub().await, Files::new());
    let (running, _reader) = writing_lines(&stub, &files);
    is_ahead_of_its_reader(&stub).await;
    running.signal(Signal::TERM);
    let ended = running.ended().await.failed(1);
    assert!(ended.stderr.contains("stopped by a signal before the whole output was read"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_name_with_a_line_break_is_no_line_of_its_own_in_what_people_read() {
    let (stub, files) = (stub().await, Files::new());
    files.with("a\n::error::forged", b"content");
    stub.fault_always(Step::Presign, Fault::status(413));
    let ended =
        listing(&stub, &files, b"a\n::error::forged\0").argument("--null").argument("--output=json").run().await;
    let ended = ended.failed(1);
    assert!(ended.stderr.contains("error: a\\n::error::forged: TooLarge"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("\n::error::"), "{}", ended.stderr);
}

#[tokio::test]
async fn so_many_jobs_go_side_by_side_as_are_asked_for() {
    let (stub, files, hold) = (stub().await, Files::new(), Hold::new("all bytes"));
    stub.fault_always(Step::Put, Fault::hold(&hold).at(Moment::Received));
    let run = (0..12).fold(Run::upload(&stub).argument("--jobs").argument("3"), |run, number| {
        run.argument(files.with(&format!("f{number}"), b"content"))
    });
    let running = run.start();
    stub.wait_for(|seen| puts_under_way(seen) == 3, DEADLINE).await.unwrap();
    assert_eq!(stub.snapshot().of(Step::Presign).count(), 3, "the fourth waits");
    hold.release();
    running.ended().await.succeeded();
    assert_eq!(stub.objects().len(), 12);
}

#[tokio::test]
async fn by_default_more_and_more_go_side_by_side_while_that_pays() {
    let (stub, files) = (stub().await, Files::new());
    stub.fault_always(Step::Put, Fault::delay(Duration::from_millis(200)));
    let list = (0..400).map(|number| format!("f{number}")).collect::<Vec<_>>().join("\n");
    for name in list.lines() {
        files.with(name, b"content");
    }
    let running = listing(&stub, &files, list.as_bytes()).start();
    stub.wait_for(|seen| puts_under_way(seen) > 24, DEADLINE).await.unwrap();
    let ended = running.ended().await.succeeded();
    assert_eq!((ended.stdout.lines().count(), stub.objects().len()), (400, 400));
}

#[tokio::test]
async fn a_storage_that_asks_to_slow_down_gets_half_as_many_files_and_the_retry_waits_for_room() {
    for fault in [Fault::retry_after(429, 1), Fault::retry_after(503, 1), Fault::xml(503, "SlowDown")] {
        let sender = Sender::new().await;
        let (first, second) = (Hold::new("the first eight"), Hold::new("the next"));
        sender.stub.arm(Rule::once(Step::Put, fault).for_file("0"));
        for index in 1..16 {
            let hold = Fault::hold(if index < 8 { &first } else { &second }).at(Moment::Received);
            sender.stub.arm(Rule::always(Step::Put, hold).for_file(&index.to_string()));
        }
        let batch = Batch::new(&sender.courier, CancellationToken::new(), Window::of(8));
        let parcels = parcels(16);
        let limits = Limits { attempts: 5, longest_wait: DEADLINE };
        let each = futures::future::join_all(parcels.iter().map(async |parcel| {
            let place = batch.place(&parcel.source).await.unwrap();
            place.deliver(&sender.credential, parcel, limits, Hooks::none()).await;
        }));
        let watched = async {
            let refused = |seen: &Snapshot| seen.of(Step::Put).filter(|call| call.end.is_some()).count() == 1;
            sender.stub.wait_for(|seen| refused(seen) && seen.of(Step::Put).count() == 8, DEADLINE).await.unwrap();
            first.release();
            let halved = |seen: &Snapshot| seen.objects.len() == 7 && puts_under_way(seen) == 4;
            sender.stub.wait_for(halved, DEADLINE).await.unwrap();
            // Longer than the first waits for its retry, which needs room too.
            stays_at(&sender, 12).await;
            second.release();
        };
        tokio::join!(each, watched);
        assert_eq!(sender.stub.objects().len(), 16);
    }
}

#[tokio::test]
async fn a_storage_that_fails_once_and_then_takes_the_same_file_gets_fewer_too() {
    let sender = Sender::new().await;
    let hold = Hold::new("the others");
    sender.stub.arm(Rule::once(Step::Put, Fault::status(503)).for_file("0"));
    for index in 1..8 {
        let fault = Fault::hold(&hold).at(Moment::Received);
        sender.stub.arm(Rule::always(Step::Put, fault).for_file(&index.to_string()));
    }
    let (batch, parcels) = (sender.batch(), parcels(8));
    let each = batch.attempt_each(&sender.credential, &parcels, |_, _: Progress| {});
    let watched = async {
        sender.stub.wait_for(|seen| seen.objects.len() == 1 && puts_under_way(seen) == 3, DEADLINE).await.unwrap();
        stays_at(&sender, 4).await;
        hold.release();
    };
    tokio::join!(each, watched);
    assert_eq!(sender.stub.objects().len(), 8);
}
