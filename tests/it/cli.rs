//! `fileupload upload` as a process: what it prints where, and how it ends.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use cyberun_stub::{Fault, Hold, Options, Rule, Step, Stub};
use rustix::process::Signal;

use crate::support::files::{Files, bytes, sha256};
use crate::support::process::Run;
use crate::support::proxy::{Manners, Proxy};
use crate::support::work::Work;

async fn stub() -> Stub {
    Stub::start(Options::default()).await.unwrap()
}

#[tokio::test]
async fn each_key_is_printed_with_its_name_and_nothing_else() {
    let (stub, files) = (stub().await, Files::new());
    let ended = Run::upload(&stub)
        .argument(files.with("photo.png", b"a photo"))
        .file("second", &files.with("text.txt", &bytes(200_000)))
        .file("empty", &files.with("empty.bin", b""))
        .run()
        .await
        .succeeded();
    let objects = stub.objects();
    assert_eq!((ended.stdout.lines().count(), objects.len()), (3, 3), "{}", ended.stdout);
    for (name, file_name) in [("photo.png", "photo.png"), ("second", "text.txt"), ("empty", "empty.bin")] {
        assert_eq!(objects[ended.key(name)].file_name, file_name);
    }
    assert_eq!(ended.stderr, "", "nothing for people in a pipe, progress least of all");
}

#[tokio::test]
async fn json_output_is_one_object_with_all_that_is_known() {
    let (stub, files) = (stub().await, Files::new());
    let content = bytes(200_000);
    let run = Run::upload(&stub).argument("--output").argument("json").argument("--retention").argument("1d12h");
    let ended = run.file("photo", &files.with("a.png", &content)).run().await.succeeded();
    let (key, object) = stub.objects().pop_first().unwrap();
    let json = ended.json();
    let photo = &json["files"]["photo"];
    assert_eq!(photo["fileKey"], key.as_str());
    assert_eq!((&photo["fileName"], &photo["contentType"]), (&"a.png".into(), &"image/png".into()));
    assert_eq!((&photo["size"], &photo["sha256"]), (&200_000.into(), &sha256(&content).into()));
    assert_eq!(object.sha256, sha256(&content));
    let time = |field: &str| photo[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(time("expiresAt").as_second() - time("uploadedAt").as_second(), 36 * 3600);
    assert_eq!(json["failures"], serde_json::json!([]));
}

#[tokio::test]
async fn failures_come_last_and_the_other_keys_are_still_printed() {
    let (stub, files) = (stub().await, Files::new());
    stub.arm(Rule::always(Step::Presign, Fault::status(413)).for_file("large.bin"));
    let upload = |output: &str| {
        let run = Run::upload(&stub).argument("--output").argument(output);
        let run = run.file("absent", &files.folder().join("absent.png")).file("good", &files.with("good.png", b"good"));
        run.file("large", &files.with("large.bin", b"large"))
    };
    let ended = upload("text").run().await.failed(1);
    assert!(stub.objects().contains_key(ended.key("good")) && ended.stdout.lines().count() == 1);
    let last: Vec<&str> = ended.stderr.lines().rev().take(2).collect();
    assert!(last[1].starts_with("error: absent: FileNotFound: ") && last[1].contains("absent.png"), "{}", ended.stderr);
    assert!(last[0].starts_with("error: large: TooLarge: "), "{}", ended.stderr);

    let json = upload("json").run().await.failed(1).json();
    let reasons: Vec<_> = json["failures"].as_array().unwrap().iter().map(|failed| &failed["reason"]).collect();
    assert_eq!(reasons, ["FileNotFound", "TooLarge"]);
    assert!(json["files"]["good"].is_object() && json["files"]["large"].is_null());
}

#[tokio::test]
async fn usage_errors_end_with_2_name_the_argument_and_make_no_call() {
    let (stub, files) = (stub().await, Files::new());
    let (path, folder) = (files.with("a.png", b"a"), files.folder().display());
    let path = path.to_str().unwrap();
    for (arguments, named) in [
        (vec![], "FILE"),
        (vec!["--no-such-flag", path], "--no-such-flag"),
        (vec!["--output", "xml", path], "--output"),
        (vec!["--retention", "0", path], "--retention"),
        (vec![path, path], "a.png"),
        (vec![&format!("n={path}"), &format!("n={folder}/b.png")], "b.png"),
        (vec!["--keys-dir", &format!("{folder}/keys"), "keys.json"], "\"keys.json\" cannot be the name"),
        (vec!["--keys-dir", &format!("{folder}/keys"), "draft~"], "\"draft~\" cannot be the name"),
        (vec!["two\nlines"], "control character"),
        (vec!["--api-url", "not a url", path], "--api-url, or CYBERUN_API_URL: the API URL must be"),
        (vec!["--api-url", "", path], "--api-url"),
        (vec!["--api-url", "https://user:password@host/", path], "--api-url"),
        (vec!["-"], "standard input (-) cannot be uploaded"),
        (vec!["photo=-"], "standard input (-) cannot be uploaded"),
        (vec!["--odd.txt"], "-- --odd.txt"),
    ] {
        let ended = arguments.iter().fold(Run::upload(&stub), |run, argument| run.argument(*argument)).run().await;
        let ended = ended.failed(2);
        assert!(ended.stderr.contains(named), "{arguments:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
    assert_eq!(stub.calls().len(), 0);
}

#[test]
fn render_refuses_the_urls_that_the_operator_refuses() {
    let plan = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/plan/volume-just-applied.yaml");
    let render = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_fileupload"));
        let ended = command.args(["render", "-f", plan]).args(arguments).output().unwrap();
        (ended.status.code(), String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap())
    };
    for url in ["not a url", "ftp://a.example/api/v1", "https://me:pw@a.example/", "http://a.example/api/v1"] {
        let (code, printed, said) = render(&["--api-url", url]);
        assert!(said.starts_with("error: --api-url, or CYBERUN_API_URL: the API URL must be "), "{url}: {said}");
        assert_eq!((code, printed.as_str()), (Some(2), ""), "{url}");
    }
    let (code, printed, said) = render(&["--api-url", "http://a.example/api/v1", "--allow-http"]);
    assert!(code == Some(0) && printed.contains("- http://a.example/api/v1"), "{said}");
}

#[tokio::test]
async fn plain_http_needs_leave() {
    let files = Files::new();
    let run = Run::bare().token("sk-0123456789").argument("--api-url").argument("http://127.0.0.1:9/api/v1");
    let ended = run.argument(files.with("a.png", b"a")).run().await.failed(2);
    assert!(ended.stderr.contains("--allow-http"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_rate_limit_is_waited_for_and_told() {
    let (stub, files) = (stub().await, Files::new());
    stub.fault(Step::Presign, Fault::retry_after(429, 3));
    let begun = Instant::now();
    let ended = Run::upload(&stub).file("photo", &files.with("a.png", b"a")).run().await.succeeded();
    assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(stub.objects().contains_key(ended.key("photo")));
    assert!(ended.stderr.contains("photo: ") && ended.stderr.contains("trying again in 3 s"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() {
    let (stub, files) = (stub().await, Files::new());
    let run = Run::upload(&stub).argument(files.with("a.png", b"a"));
    run.through(&["/bin/bash", "-o", "pipefail", "-c"], " | /bin/true").run().await.succeeded();
    assert_eq!(stub.objects().len(), 1);
}

#[test]
fn keys_that_could_not_be_renewed_in_time_are_refused_with_both_flags_named() {
    let render = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_fileupload"));
        let ended = command.args(["render", "-f", "no-such-file"]).args(arguments).output().unwrap();
        (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    for arguments in [["--retention=2h", "--minimum-life=1h"], ["--retention=90s", "--minimum-life=2m"]] {
        let (code, said) = render(&arguments);
        assert!(
            code == Some(2) && said.contains("--minimum-life") && said.contains("--retention"),
            "{arguments:?}: {said}"
        );
    }
    let (code, said) = render(&["--retention=1h"]);
    assert!(code == Some(2) && said.contains("--minimum-life (3600 s)"), "the default is too long for it: {said}");
    let (code, said) = render(&["--retention=soon"]);
    assert!(code == Some(2) && said.contains("24h"), "{said}");
    let (_, said) = render(&["--retention=2h", "--minimum-life=3599"]);
    assert!(said.contains("no-such-file"), "these are taken: {said}");
}

#[test]
fn a_fault_in_the_defaults_of_workers_ends_the_start_with_file_field_cause_and_fix() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("defaults.yaml");
    let render = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_fileupload"));
        command.args(["render", "-f", "no-such-file", "--worker-defaults"]).arg(&file);
        let ended = command.output().unwrap();
        (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    for (text, words) in [
        ("labels: {app.kubernetes.io/managed-by: me}", ["labels[app.kubernetes.io/managed-by]", "leave it out"]),
        ("labels: {te am: data}", ["labels[te am]", "write a name"]),
        ("securityContext: {runAsUser: 0}", ["securityContext.runAsUser", "sidecar"]),
        ("runAsUser: 5", ["runAsUser", "spec.worker.securityContext.runAsUser"]),
        ("image: other", ["image", "no such field"]),
        ("nodeSelector: fast", ["nodeSelector", "write it as in spec.worker"]),
    ] {
        let (code, said) = render(text);
        let names = words.iter().chain(&["--worker-defaults", "defaults.yaml"]).all(|word| said.contains(word));
        assert!(code == Some(2) && names, "{text}: {said}");
    }
    let (code, said) = render(&"# \n".repeat(32 * 1024));
    assert!(code == Some(2) && said.contains("64 KiB"), "{said}");
    let (_, said) = render("labels: {team: data, kueue.x-k8s.io/queue-name: team-a}");
    assert!(said.contains("no-such-file"), "these are taken: {said}");
    std::fs::remove_file(&file).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_fileupload"));
    let ended = command.args(["render", "-f", "no-such-file", "--worker-defaults"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.code() == Some(2) && said.contains("defaults.yaml: cannot be read"), "{said}");
}

#[tokio::test]
async fn a_refused_credential_costs_one_call_and_fails_every_file() {
    let (stub, files) = (stub().await, Files::new());
    stub.fault_always(Step::Presign, Fault::status(401));
    let names = ["a", "b", "c", "d", "e"];
    let run = names.iter().fold(Run::upload(&stub), |run, name| run.file(name, &files.with(name, b"content")));
    let json = run.argument("--output").argument("json").run().await.failed(1).json();
    let failures = json["failures"].as_array().unwrap();
    let failed: Vec<_> = failures.iter().map(|failed| failed["name"].as_str().unwrap()).collect();
    assert_eq!((failed.as_slice(), stub.snapshot().of(Step::Presign).count()), (&names[..], 1));
    assert!(failures.iter().all(|failed| failed["reason"] == "CredentialsRejected"), "{json}");
    assert!(failures[4]["message"].as_str().unwrap().starts_with("not sent, because a failed: "), "{json}");
}

#[tokio::test]
async fn the_first_file_goes_alone_until_it_has_its_ticket() {
    let (stub, files, ticket) = (stub().await, Files::new(), Hold::new("the first ticket"));
    stub.arm(Rule::once(Step::Presign, Fault::hold(&ticket)).for_file("a"));
    let run =
        ["a", "b", "c"].iter().fold(Run::upload(&stub), |run, name| run.file(name, &files.with(name, b"content")));
    let running = run.start();
    ticket.reached(Duration::from_secs(20)).await.unwrap();
    assert_eq!(stub.snapshot().of(Step::Presign).count(), 1);
    ticket.release();
    let ended = running.ended().await.succeeded();
    assert_eq!((ended.stdout.lines().count(), stub.objects().len()), (3, 3));
}

#[tokio::test]
async fn at_a_signal_the_keys_had_so_far_are_printed() {
    for signal in [Signal::TERM, Signal::INT] {
        let (stub, files) = (stub().await, Files::new());
        // Eight have places at first.
        let names: Vec<_> = (1..8).map(|number| format!("held-{number}")).chain(["last".into()]).collect();
        let hold = Hold::new("the others");
        for name in &names {
            stub.arm(Rule::always(Step::Presign, Fault::hold(&hold)).for_file(name));
        }
        let run = Run::upload(&stub).file("good", &files.with("good", b"good"));
        let running = names.iter().fold(run, |run, name| run.file(name, &files.with(name, b"held"))).start();
        // The last begins once another is done.
        stub.wait_for(|seen| seen.of(Step::Presign).count() == 9, Duration::from_secs(20)).await.unwrap();
        running.signal(signal);
        let ended = running.ended().await.failed(1);
        assert!(stub.objects().contains_key(ended.key("good")), "{}", ended.stdout);
        assert!(ended.stderr.contains("error: stopped by a signal"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn a_variable_that_is_blank_counts_as_not_set() {
    for blank in ["", " "] {
        let (files, mut proxy) = (Files::new(), Proxy::http(Manners::default()).await);
        let path = files.with("a.png", b"a");
        let keys = files.folder().join("keys");
        let sidecar = Run::of("sidecar").argument("--keys-dir").argument(&keys).argument("--listen=127.0.0.1:0");
        for run in [Run::bare().argument(&path), sidecar.argument("--input").argument(&path)] {
            let before = proxy.asked().len();
            let run = run.token("sk-0123456789").environment("CYBERUN_API_URL", blank);
            let run = run.environment("CYBERUN_TEAM_ID", blank);
            let running = run.environment("HTTPS_PROXY", format!("127.0.0.1:{}", proxy.port)).start();
            proxy.until_asked_again("core.cyberun.cloud:443", before).await;
            drop(running);
            let run = Run::bare().argument(&path).environment("CYBERUN_API_KEY", blank);
            assert!(run.run().await.failed(2).stderr.contains("CYBERUN_API_KEY is not set"));
        }
        let render = Run::of("render").argument("--at=2026-11-23T10:05:00Z").argument("-f");
        let render = render.argument("tests/plan/volume-just-applied.yaml").environment("CYBERUN_API_URL", blank);
        let ended = render.environment("RUST_LOG", blank).run().await.succeeded();
        assert!(ended.stdout.contains("- https://core.cyberun.cloud/api/v1\n"), "{}", ended.stdout);
        let ended = Run::of("controller").environment("CYBERUN_API_URL", blank).run().await.failed(2);
        assert!(ended.stderr.contains("not provided") && ended.stderr.contains("--api-url"), "{}", ended.stderr);
        let work = Work::with(&["a.png"]).await;
        work.run().environment("JOB_COMPLETION_INDEX", blank).run().await.succeeded();
    }
}

#[tokio::test]
async fn a_wrong_url_is_told_by_its_flag_and_variable_in_every_command() {
    let (files, work) = (Files::new(), Work::with(&["a.png"]).await);
    let path = files.with("a.png", b"a");
    let sidecar =
        Run::of("sidecar").token("sk-0123456789").argument("--keys-dir").argument(files.folder().join("keys"));
    for run in [
        Run::bare().token("sk-0123456789").argument(&path),
        sidecar.argument("--input").argument(&path),
        Run::of("controller"),
        Run::of("worker").argument(serde_json::to_string(&work.assignments[0]).unwrap()),
    ] {
        let ended = run.argument("--api-url=core.cyberun.cloud").run().await.failed(2);
        assert!(ended.stderr.contains("--api-url"), "{}", ended.stderr);
    }
}

/// The keys' names.
fn names(stdout: &str) -> Vec<&str> {
    stdout.lines().map(|line| line.split('=').next().unwrap()).collect()
}

#[tokio::test]
async fn a_path_with_an_equals_sign_is_the_file_that_exists() {
    let (stub, files) = (stub().await, Files::new());
    std::fs::create_dir_all(files.folder().join("year=2024/month=01")).unwrap();
    files.with("year=2024/month=01/part-0.parquet", b"a part");
    files.with("v=1.txt", b"one");
    let upload = |argument: &str| Run::upload(&stub).within(files.folder()).argument(argument);
    let ended = upload("year=2024/month=01/part-0.parquet").run().await.succeeded();
    assert_eq!(names(&ended.stdout), ["part-0.parquet"]);
    let ended = upload("n=year=2024/month=01/part-0.parquet").run().await.succeeded();
    assert_eq!(names(&ended.stdout), ["n"]);
    let ended = upload("v=1.txt").run().await.succeeded();
    assert!(ended.stdout.starts_with("v=1.txt=inputs/"), "{}", ended.stdout);

    files.with("1.txt", b"another");
    let ended = upload("v=1.txt").argument("1.txt").run().await.failed(2);
    for way in ["both files exist", "NAME=./v=1.txt", "v=./1.txt"] {
        assert!(ended.stderr.contains(way), "{way}: {}", ended.stderr);
    }
    for (argument, content) in [("NAME=./v=1.txt", &b"one"[..]), ("v=./1.txt", b"another")] {
        let ended = upload(argument).run().await.succeeded();
        let name = names(&ended.stdout)[0];
        assert_eq!(stub.objects()[ended.key(name)].sha256, sha256(content), "{argument}");
    }

    let ended = upload("year=2023/month=01/part-0.parquet").run().await.failed(1);
    assert!(ended.stderr.contains("write NAME=./year=2023/month=01/part-0.parquet"), "{}", ended.stderr);
    let ended = upload("photo=none.png").run().await.failed(1);
    assert!(!ended.stderr.contains("write NAME="), "{}", ended.stderr);

    let sidecar = Run::of("sidecar").token("sk-0123456789").within(files.folder()).argument("--keys-dir=keys");
    let ended = sidecar.argument("--input").argument("v=1.txt").run().await.failed(2);
    assert!(ended.stderr.contains("both files exist"), "{}", ended.stderr);
    let sidecar = Run::of("sidecar").token("sk-0123456789").within(files.folder()).argument("--keys-dir=keys");
    let sidecar = sidecar.argument("--listen=127.0.0.1:0").argument("--input=year=2023/part-0.parquet");
    sidecar.start().said("write NAME=./year=2023/part-0.parquet").await;
}

#[tokio::test]
async fn any_path_is_uploaded_and_any_file_name_of_text() {
    let (stub, files) = (stub().await, Files::new());
    let folder = files.folder().join(OsStr::from_bytes(b"not-\xff-text"));
    std::fs::create_dir(&folder).unwrap();
    let inside = folder.join("a.png");
    std::fs::rename(files.with("a.png", b"a"), &inside).unwrap();
    for (name, file) in
        [("n1", "photo one.png"), ("n2", "ä-日本-e\u{301}.png"), ("n3", "--"), ("n4", "-rf"), ("n5", " ")]
    {
        let path = files.with(file, b"content");
        for argument in [format!("{name}={}", path.display()), format!("{name}={file}")] {
            let run = Run::upload(&stub).within(files.folder()).argument("--").argument(argument);
            let ended = run.run().await.succeeded();
            assert_eq!(stub.objects()[ended.key(name)].file_name, file);
        }
    }
    let ended = Run::upload(&stub).argument(&inside).run().await.succeeded();
    assert_eq!(names(&ended.stdout), ["a.png"]);
    let mut named = OsString::from("n=");
    named.push(folder.join(OsStr::from_bytes(b"b-\xff.png")));
    let ended = Run::upload(&stub).within(files.folder()).argument("photo one.png").run().await.succeeded();
    assert!(ended.stdout.starts_with("photo one.png=inputs/"), "{}", ended.stdout);
    for argument in [named.as_os_str(), OsStr::from_bytes(&named.as_bytes()[2..])] {
        let ended = Run::upload(&stub).argument(argument).run().await.failed(2);
        assert!(ended.stderr.contains("its file name is not UTF-8"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn what_has_no_size_before_it_is_read_is_refused_with_the_way_to_do_it() {
    let (stub, files) = (stub().await, Files::new());
    let fifo = files.folder().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for (path, words) in [
        ("/dev/stdin", "is a named pipe"),
        (fifo.to_str().unwrap(), "is a named pipe"),
        ("/dev/null", "is a device"),
        ("/proc/version", "is a file without a true size"),
        ("/sys/devices/system/cpu/online", "is a file without a true size"),
    ] {
        let ended = Run::upload(&stub).reading(Stdio::piped()).argument(format!("n={path}")).run().await.failed(1);
        let message = format!("{words}, not a regular file");
        let message = if words.contains("without") { words.to_owned() } else { message };
        assert!(ended.stderr.contains(&message), "{path}: {}", ended.stderr);
        assert!(ended.stderr.contains("write its content to a file, and upload that"), "{}", ended.stderr);
    }
    assert_eq!(stub.calls().len(), 0);
    let file = std::fs::File::open(files.with("a.png", b"a")).unwrap();
    Run::upload(&stub).reading(file).argument("n=/dev/stdin").run().await.succeeded();
    assert_eq!(stub.objects().len(), 1);
}
