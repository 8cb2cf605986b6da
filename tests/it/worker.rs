//! `fileupload worker` as a process: what it sends, what its report says, and how it ends, by whatever end.

use std::time::Duration;

use cyberun_stub::{Fault, Hold, Kind, Moment, Options, Rule, Step};
use fileupload_operator::report::Entry;
use rustix::process::Signal;

use crate::support::files::{Files, bytes};
use crate::support::process::Run;
use crate::support::work::{DEADLINE, Work, failed, uploaded};

#[tokio::test]
async fn one_file_is_sent_and_reported() {
    let mut work = Work::with(&["photo.png"]).await;
    work.assignments[0].content_type = Some("image/x-own; a=b".into());
    work.assignments[0].file_name = "other name.png".into();
    let (ended, report) = work.done(0).await;
    assert_eq!((uploaded(&report), report.entries.len()), (vec![0], 1));
    assert_eq!((work.counted(), report.full, report.limited), ((1, 1), false, false));
    let Entry::Uploaded { upload, .. } = &report.entries[0] else { panic!("{report:?}") };
    assert_eq!((upload.content_type.as_str(), upload.size), ("image/x-own; a=b", 1000));
    let line: serde_json::Value = serde_json::from_str(ended.stderr.trim_end()).unwrap();
    assert_eq!((&line["message"], &line["file"], &line["size"]), (&"uploaded".into(), &"n0".into(), &1000.into()));
}

#[tokio::test]
async fn many_files_are_sent_each_once() {
    let names: Vec<String> = (0..28).map(|number| format!("image_{number:04}.png")).collect();
    let mut work = Work::with(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    work.file("empty.bin", b"");
    let (_, report) = work.done(0).await;
    assert_eq!(uploaded(&report), (0..29).collect::<Vec<_>>());
    assert_eq!((work.counted(), work.stub.objects().len()), ((29, 29), 29));
}

#[tokio::test]
async fn the_first_goes_alone_and_then_four_go_side_by_side() {
    let work = Work::with(&["0", "1", "2", "3", "4", "5"]).await;
    let (ticket, bytes) = (Hold::new("the first ticket"), Hold::new("all bytes"));
    work.stub.arm(Rule::once(Step::Presign, Fault::hold(&ticket)).for_file("0"));
    work.stub.arm(Rule::always(Step::Put, Fault::hold(&bytes).at(Moment::Received)));
    let running = work.run().start();
    ticket.reached(DEADLINE).await.unwrap();
    assert_eq!(work.counted(), (1, 0));
    ticket.release();
    work.stub.wait_for(|seen| seen.of(Step::Put).count() == 4, DEADLINE).await.unwrap();
    assert_eq!(work.counted(), (4, 4), "the fifth waits");
    bytes.release();
    assert_eq!(uploaded(&work.ended(running, 0).await.1).len(), 6);
}

#[tokio::test]
async fn workers_share_the_files_by_their_index() {
    let mut all = Vec::new();
    for index in ["0", "1"] {
        let work = Work::with(&["0", "1", "2", "3", "4"]).await;
        let run = work.run().environment("JOB_COMPLETION_INDEX", index).argument("--shards").argument("2");
        all.push(uploaded(&work.ended(run.start(), 0).await.1));
    }
    assert_eq!(all, [vec![0, 1, 2], vec![3, 4]]);
}

#[tokio::test]
async fn what_is_missing_or_too_large_does_not_hold_up_the_others() {
    let mut work = Work::with(&[]).await;
    work.assign("missing.png");
    work.volume.sparse("large.bin", 5 * 1024 * 1024 * 1024 + 1);
    work.assign("large.bin");
    work.file("there.png", b"a");
    std::fs::create_dir(work.volume.folder().join("folder")).unwrap();
    work.assign("folder");
    let (ended, report) = work.done(1).await;
    assert_eq!((uploaded(&report), work.counted()), (vec![2], (1, 1)));
    let reasons: Vec<_> = failed(&report).into_iter().map(|(file, reason, _)| (file, reason)).collect();
    assert_eq!(reasons, [(Some(0), "FileNotFound"), (Some(1), "TooLarge"), (Some(3), "NotAFile")]);
    assert_eq!(ended.stderr.lines().filter(|line| line.contains("\"failed\"")).count(), 3, "{}", ended.stderr);
}

#[tokio::test]
async fn a_file_that_may_be_too_large_for_the_platform_is_warned_of() {
    let mut work = Work::with(&[]).await;
    work.volume.sparse("large.bin", 500_000_001);
    work.assign("large.bin");
    work.stub.fault(Step::Put, Fault::status(413));
    let (ended, report) = work.done(1).await;
    assert_eq!(failed(&report)[0].1, "TooLarge");
    let warnings = ended.stderr.lines().filter(|line| line.contains("WARN") && line.contains("500 MB"));
    assert_eq!(warnings.count(), 1, "{}", ended.stderr);
}

#[tokio::test]
async fn a_large_file_says_every_ten_seconds_how_far_it_is_and_a_small_one_nothing() {
    let mut work = Work::with(&["small"]).await;
    work.volume.sparse("large.bin", 100_000_001);
    work.assign("large.bin");
    let hold = Hold::new("half of it");
    work.stub.arm(Rule::once(Step::Put, Fault::hold(&hold).at(Moment::Body(50_000_000))).for_file("large.bin"));
    work.stub.arm(Rule::once(Step::Put, Fault::hold(&hold).at(Moment::Received)).for_file("small"));
    let mut running = work.run().start();
    running.said("\"message\":\"uploading\"").await;
    hold.release();
    let (ended, report) = work.ended(running, 0).await;
    assert_eq!(uploaded(&report), [0, 1]);
    let lines = ended.stderr.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let lines: Vec<_> = lines.filter(|line| line["message"] == "uploading").collect();
    assert!(lines.iter().all(|line| line["file"] == "n1" && line["size"] == 100_000_001), "{lines:?}");
    let (sent, rate) = (lines[0]["sent"].as_u64().unwrap(), lines[0]["rate"].as_u64().unwrap());
    assert!((50_000_000..100_000_001).contains(&sent) && rate == sent / 10, "{lines:?}");
}

#[tokio::test]
async fn a_refused_credential_costs_one_call_and_is_said_once() {
    let mut work = Work::with(&["0", "1", "2", "3", "4", "5"]).await;
    // What fails before any call proves nothing of the credential.
    work.assignments[0].path = "missing".into();
    assert!(work.stub.revoke(work.stub.credential(Kind::Integration).token()));
    let (_, report) = work.done(1).await;
    assert_eq!(work.counted(), (1, 0));
    let said = failed(&report);
    assert_eq!((said.len(), said[1].0, said[1].1), (2, None, "CredentialsRejected"), "{said:?}");
}

#[tokio::test]
async fn a_failure_of_all_is_said_once_though_several_meet_it() {
    let work = Work::with(&["0", "1", "2", "3", "4", "5"]).await;
    let hold = Hold::new("first");
    work.stub.arm(Rule::once(Step::Put, Fault::hold(&hold).at(Moment::Received)).for_file("0"));
    for other in ["1", "2", "3", "4", "5"] {
        work.stub.arm(Rule::always(Step::Presign, Fault::status(401)).for_file(other));
    }
    let mut running = work.run().start();
    hold.reached(DEADLINE).await.unwrap();
    running.said("CredentialsRejected").await;
    hold.release();
    let (_, report) = work.ended(running, 1).await;
    let said: Vec<_> = failed(&report).into_iter().map(|(file, reason, _)| (file, reason)).collect();
    assert_eq!((uploaded(&report), said), (vec![0], vec![(None, "CredentialsRejected")]));
    assert!(work.counted().0 <= 4, "no further file is begun");
}

#[tokio::test]
async fn a_credential_that_cannot_work_is_reported_without_a_call() {
    use base64::Engine;
    let claims = r#"{"sub":"system:serviceaccount:team-a:default"}"#;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims);
    let service_account = format!("eyJhbGciOiJSUzI1NiJ9.{claims}.c2lnbmF0dXJl");
    for (token, told) in [
        (None, "it has no key CYBERUN_API_KEY: put the team's sk- or dk- key there"),
        (Some("ak-0123456789abcdef"), "key CYBERUN_API_KEY: "),
        (Some(service_account.as_str()), "key CYBERUN_API_KEY: "),
    ] {
        let mut work = Work::with(&["0", "1"]).await;
        match token {
            Some(token) => work.rotate(token),
            None => std::fs::remove_file(work.secret.folder().join("CYBERUN_API_KEY")).unwrap(),
        }
        let (_, report) = work.done(1).await;
        let said = failed(&report);
        assert_eq!((said.len(), said[0].0, said[0].1), (1, None, "CredentialsInvalid"));
        assert!(said[0].2.starts_with(told), "{said:?}");
        assert_eq!(work.stub.calls().len(), 0);
    }
}

#[tokio::test]
async fn a_user_token_is_sent_with_its_team() {
    let mut work = Work::with(&["0"]).await;
    let user = work.stub.credential(Kind::User);
    work.rotate(user.token());
    work.secret.with("CYBERUN_TEAM_ID", user.team().unwrap().as_bytes());
    work.done(0).await;
}

#[tokio::test]
async fn a_rotated_credential_is_used_from_the_next_file_on() {
    let mut work = Work::with(&["0", "1"]).await;
    let hold = Hold::new("first");
    work.stub.arm(Rule::once(Step::Presign, Fault::hold(&hold).at(Moment::Committed)).for_file("0"));
    let new = work.stub.mint(Kind::Device);
    let running = work.run().secret(new.token()).start();
    hold.reached(DEADLINE).await.unwrap();
    work.rotate(new.token());
    assert!(work.stub.revoke(work.stub.credential(Kind::Integration).token()));
    hold.release();
    assert_eq!(uploaded(&work.ended(running, 0).await.1), [0, 1]);
    let used: Vec<_> = work.stub.snapshot().of(Step::Presign).map(|call| call.credential.clone().unwrap()).collect();
    assert_eq!(used, [work.stub.credential(Kind::Integration).label(), new.label()]);
}

#[tokio::test]
async fn what_was_done_before_a_sigkill_is_known() {
    let work = Work::with(&["0", "1", "2", "3", "4"]).await;
    let hold = Hold::new("third");
    work.stub.arm(Rule::always(Step::Put, Fault::hold(&hold).at(Moment::Received)).for_file("2"));
    let mut running = work.run().start();
    hold.reached(DEADLINE).await.unwrap();
    for other in ["n0", "n1", "n3", "n4"] {
        running.said(&format!("\"uploaded\",\"file\":\"{other}\"")).await;
    }
    work.stub.wait_for(|seen| seen.objects.len() == 4, DEADLINE).await.unwrap();
    running.signal(Signal::KILL);
    let ended = running.ended().await;
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended.status), Some(9));
    work.check(&ended);
    let text = std::fs::read_to_string(work.report_path()).unwrap();
    assert!(text.ends_with('\n'), "nothing is torn: {text}");
    let report = work.report();
    assert_eq!((uploaded(&report), report.entries.len()), (vec![0, 1, 3, 4], 4));
}

#[tokio::test]
async fn at_sigterm_what_is_being_sent_is_finished_and_nothing_begun() {
    let work = Work::with(&["0", "1", "2", "3", "4", "5"]).await;
    let hold = Hold::new("all");
    work.stub.fault_always(Step::Put, Fault::hold(&hold).at(Moment::Received));
    let mut running = work.run().start();
    let received = |seen: &cyberun_stub::Snapshot| seen.of(Step::Put).filter(|call| call.body_received > 0).count();
    work.stub.wait_for(|seen| received(seen) == 4, DEADLINE).await.unwrap();
    running.signal(Signal::TERM);
    running.said("stopping").await;
    hold.release();
    let (_, report) = work.ended(running, 143).await;
    assert_eq!((uploaded(&report), report.entries.len(), report.full), (vec![0, 1, 2, 3], 4, false));
    assert_eq!(work.counted(), (4, 4));
}

#[tokio::test]
async fn at_sigterm_a_wait_between_two_tries_ends_with_what_was_wrong() {
    let work = Work::with(&["0", "1"]).await;
    work.stub.fault_always(Step::Presign, Fault::retry_after(503, 50));
    let mut running = work.run().start();
    running.said("trying again").await;
    running.signal(Signal::TERM);
    let (_, report) = work.ended(running, 143).await;
    assert_eq!(failed(&report).iter().map(|failed| failed.1).collect::<Vec<_>>(), ["ApiUnavailable"]);
    assert_eq!(work.counted(), (1, 0));
}

#[tokio::test]
async fn nothing_is_sent_that_the_report_has_no_room_to_tell_of() {
    // Long names: the room for a line is promised before it is known how much of it can be left out.
    let names: Vec<String> = (0..60).map(|number| format!("{number:02}{}.bin", "n".repeat(240))).collect();
    let mut work = Work::with(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let (mut rounds, mut sent) = (0, 0);
    while !work.assignments.is_empty() {
        let (_, report) = work.done(0).await;
        let stored = uploaded(&report);
        assert_eq!(report.full, stored.len() < work.assignments.len(), "round {rounds}");
        // How much each line leaves out depends on the order in which the uploads end.
        assert!(stored.len() >= 10 || !report.full, "round {rounds}: {}", stored.len());
        sent += stored.len();
        assert_eq!((work.stub.objects().len(), work.counted().1), (sent, sent), "each PUT has its line");
        let mut index = 0..;
        work.assignments.retain(|_| !stored.contains(&index.next().unwrap()));
        std::fs::remove_file(work.report_path()).unwrap();
        rounds += 1;
    }
    assert!(sent == 60 && (2..=6).contains(&rounds), "{rounds}");
}

#[tokio::test]
async fn a_key_that_fits_no_report_is_not_paid_for() {
    let work = Work::with(&["0", "1"]).await;
    let answer = serde_json::json!({"file_key": "é".repeat(2000), "upload_url": work.stub.s3_url().join("x").unwrap()});
    work.stub.fault_always(Step::Presign, Fault::json(200, &answer));
    let (_, report) = work.done(1).await;
    assert_eq!(failed(&report).iter().map(|failed| failed.1).collect::<Vec<_>>(), ["InvalidResponse"]);
    assert_eq!((work.counted(), report.full), ((1, 0), false));
}

#[tokio::test]
async fn a_long_wait_that_is_asked_for_is_handed_on() {
    let work = Work::with(&["0", "1"]).await;
    work.stub.fault_always(Step::Presign, Fault::retry_after(429, 600));
    let (_, report) = work.done(1).await;
    let [Entry::Failed { file: None, trouble }] = &report.entries[..] else { panic!("{report:?}") };
    assert_eq!((trouble.reason.as_str(), trouble.retry_after), ("RateLimited", Some(Duration::from_mins(10))));
    assert_eq!((work.counted(), report.limited), ((1, 0), true));
}

#[tokio::test]
async fn a_rate_limit_that_was_waited_for_is_told() {
    let work = Work::with(&["0", "1"]).await;
    work.stub.fault(Step::Presign, Fault::retry_after(429, 1));
    let (_, report) = work.done(0).await;
    assert_eq!((uploaded(&report), report.limited, work.counted()), (vec![0, 1], true, (3, 2)));
}

#[tokio::test]
async fn an_authority_is_trusted_that_comes_as_text_even_where_the_system_has_none() {
    let mut work = Work::on(Options { tls: true, ..Options::default() }).await;
    work.file("photo.png", &bytes(200_000));
    let none = Files::new();
    let run = work.run().environment("SSL_CERT_FILE", none.folder().join("absent.pem"));
    let run = run.argument("--ca-pem").argument(work.stub.ca_pem().unwrap());
    assert_eq!(uploaded(&work.ended(run.start(), 0).await.1), [0]);
}

#[tokio::test]
async fn wrong_arguments_end_with_2_and_make_no_call() {
    let work = Work::with(&["0"]).await;
    let index = |index: &str| work.run().environment("JOB_COMPLETION_INDEX", index);
    for (run, named) in [
        (index("1"), "shard 1 of 1"),
        (index("first"), "first"),
        (work.run().argument("{}"), "missing field"),
        (work.run().argument("--ca-pem").argument("no PEM"), "no certificate"),
        (Run::of("worker").argument("--api-url").argument("https://127.0.0.1/api/v1"), "ASSIGNMENT"),
    ] {
        let ended = run.run().await.failed(2);
        assert!(ended.stderr.contains(named), "{}", ended.stderr);
    }
    assert!(!work.report_path().exists() && work.stub.calls().is_empty());
}

#[tokio::test]
async fn a_report_that_cannot_be_written_is_told_and_nothing_sent() {
    let work = Work::with(&["0"]).await;
    std::fs::write(work.report_path(), "of another run\n").unwrap();
    let ended = work.run().run().await.failed(1);
    assert!(ended.stderr.contains("cannot write the report") && ended.stderr.contains("not empty"), "{}", ended.stderr);
    std::fs::remove_file(work.report_path()).unwrap();
    std::fs::create_dir(work.report_path()).unwrap();
    let ended = work.run().run().await.failed(1);
    assert!(ended.stderr.contains("cannot write the report"), "{}", ended.stderr);
    assert_eq!(work.stub.calls().len(), 0);
}

#[tokio::test]
async fn the_command_is_not_shown_to_people() {
    let ended = Run::of("--help").run().await.succeeded();
    assert!(ended.stdout.contains("  upload") && !ended.stdout.contains("worker"), "{}", ended.stdout);
}
