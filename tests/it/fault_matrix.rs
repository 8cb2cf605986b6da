//! Everything that may befall an upload between the program and its storage, over TLS and real sockets: the right reason,
//! the right number of objects, an end in time, and no secret in what is printed.
//!
//! Each row is a process of its own with a double of its own; all run at once, as most of their time is waiting.

use std::fs::File;
use std::io::Write as _;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use cyberun_stub::{ExternalS3, Fault, Hold, Kind, Moment, Options, Rule, Step, Stub};
use fileupload_operator::delivery::Courier;
use fileupload_operator::reason::Reason;
use rustix::process::Signal;
use tokio::time::timeout;

use crate::support::files::{Files, bytes, sha256};
use crate::support::process::{Ended, Run, Running};
use crate::support::sender::Sender;
use crate::support::thread::with_read_errors;

/// Of several parts, and asked for before it is sent.
const SIZE: usize = 3_000_000;
/// More than the buffers of a connection take, so that the middle of the body is not yet read while its begin is held.
const LARGE: usize = 24_000_000;
/// Within the body, in bytes.
const HALF: Moment = Moment::Body(1_500_000);
/// For five attempts with their waits.
const DEADLINE: Duration = Duration::from_mins(1);

/// What befalls an upload, and what is to come of it.
struct Row {
    what: &'static str,
    faults: Vec<Rule>,
    options: Options,
    /// `None` if it ends with a key.
    reason: Option<Reason>,
    /// Presigns, PUTs and objects.
    counts: [usize; 3],
}

fn over_tls() -> Options {
    Options { tls: true, ..Options::default() }
}

fn row(what: &'static str, faults: impl IntoIterator<Item = Rule>, reason: Option<Reason>, counts: [usize; 3]) -> Row {
    Row { what, faults: faults.into_iter().collect(), options: over_tls(), reason, counts }
}

fn once(fault: Fault) -> [Rule; 1] {
    [Rule::once(Step::Put, fault)]
}

fn always(fault: Fault) -> [Rule; 1] {
    [Rule::always(Step::Put, fault)]
}

/// What happens once is got over with as few calls as can be.
fn got_over() -> Vec<Row> {
    let soon = jiff::Timestamp::try_from(SystemTime::now()).unwrap() + Duration::from_secs(2);
    vec![
        row("nothing", None, None, [1, 1, 1]),
        row("a reset before the body", once(Fault::reset().at(Moment::Accepted)), None, [1, 2, 1]),
        row("a reset at half of the body", once(Fault::reset().at(HALF)), None, [1, 2, 1]),
        row("a reset after the last byte", once(Fault::reset().at(Moment::Received)), None, [1, 2, 1]),
        row("a reset after it was stored", once(Fault::reset_after_commit()), None, [1, 2, 1]),
        row("an end of the answers before the body", once(Fault::half_close().at(Moment::Accepted)), None, [1, 2, 1]),
        row(
            "an end of the answers after the last byte",
            once(Fault::half_close().at(Moment::Received)),
            None,
            [1, 2, 1],
        ),
        row("a slow store", once(Fault::slow(1_000_000)), None, [1, 1, 1]),
        row("a storm of 1xx before the body", once(Fault::informational(2000).at(Moment::Accepted)), None, [1, 1, 1]),
        row("a storm of 1xx before the answer", once(Fault::informational(2000).at(Moment::Received)), None, [1, 1, 1]),
        row("a store that never asks for the body", once(Fault::from(cyberun_stub::Act::NoContinue)), None, [1, 1, 1]),
        row("a store without Expect", once(Fault::from(cyberun_stub::Act::RefuseExpect)), None, [1, 2, 1]),
        row("409", once(Fault::status(409)), None, [2, 2, 1]),
        row("429 with seconds", once(Fault::retry_after(429, 1)), None, [2, 2, 1]),
        row("429 with a date", once(Fault::retry_after_date(429, soon)), None, [2, 2, 1]),
        row("500", once(Fault::status(500)), None, [1, 2, 1]),
        row("503", once(Fault::status(503)), None, [1, 2, 1]),
        row("503 that asks to wait", once(Fault::retry_after(503, 1)), None, [2, 2, 1]),
        row("403", once(Fault::status(403)), None, [2, 2, 1]),
        row("a URL that has expired", [Rule::once(Step::Presign, cyberun_stub::Act::ExpiredUrl)], None, [2, 2, 1]),
        row("a reset of the presign", [Rule::once(Step::Presign, Fault::reset())], None, [2, 1, 1]),
    ]
}

/// What lasts has its reason, and stores nothing.
fn lasting() -> Vec<Row> {
    let unavailable = Some(Reason::StorageUnavailable);
    let refused = Some(Reason::StorageRefused);
    let elsewhere = "https://elsewhere.example/";
    vec![
        row("resets at half of the body", always(Fault::reset().at(HALF)), unavailable, [5, 10, 0]),
        row("ends of the answers", always(Fault::half_close().at(Moment::Received)), unavailable, [5, 10, 0]),
        row("500 for ever", always(Fault::status(500)), unavailable, [5, 10, 0]),
        row("301", always(Fault::redirect(301, elsewhere)), refused, [1, 1, 0]),
        row("307", always(Fault::redirect(307, elsewhere)), refused, [1, 1, 0]),
    ]
}

/// Where nobody listens, a name that nobody has, an address of the other kind.
fn ways() -> Vec<Row> {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let store = |endpoint: String| ExternalS3 {
        endpoint: endpoint.parse().unwrap(),
        bucket: "bucket".into(),
        region: "us-east-1".into(),
        access_key: "access".into(),
        secret_key: "secret".into(),
    };
    let with = |what, endpoint: String| Row {
        options: Options { external_s3: Some(store(endpoint)), ..over_tls() },
        ..row(what, None, Some(Reason::StorageUnavailable), [5, 0, 0])
    };
    vec![
        with("a store where nobody listens", format!("https://{closed}/")),
        with("a store whose name nobody has", "https://store.invalid/".into()),
        Row {
            options: Options { bind: std::net::Ipv6Addr::LOCALHOST.into(), ..over_tls() },
            ..row("IPv6 only", None, None, [1, 1, 1])
        },
    ]
}

/// The program with this file, and the double's authority.
fn start(stub: &Stub, files: &Files, path: &Path) -> Running {
    let authority = files.with("ca.pem", stub.ca_pem().unwrap().as_bytes());
    Run::upload(stub).environment("SSL_CERT_FILE", authority).file("photo", path).start()
}

impl Row {
    async fn check(self) {
        let (stub, files) = (Stub::start(self.options).await.unwrap(), Files::new());
        self.faults.into_iter().for_each(|rule| stub.arm(rule));
        let content = bytes(SIZE);
        let running = start(&stub, &files, &files.with("a.png", &content));
        let ended = timeout(DEADLINE, running.ended()).await.unwrap_or_else(|_| panic!("{} has no end", self.what));
        check(self.what, self.reason, self.counts, &stub, &ended, &content);
    }
}

fn check(what: &str, reason: Option<Reason>, counts: [usize; 3], stub: &Stub, ended: &Ended, content: &[u8]) {
    let (seen, said) = (stub.snapshot(), &ended.stderr);
    let counted = [seen.of(Step::Presign).count(), seen.of(Step::Put).count(), seen.objects.len()];
    let last = said.lines().rfind(|line| line.starts_with("error: ")).unwrap_or_default();
    match reason {
        None => {
            assert!(ended.status.success(), "{what}: {last}");
            assert_eq!(seen.objects[ended.key("photo")].sha256, sha256(content), "{what}");
        }
        Some(reason) => {
            assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(1), ""), "{what}: {last}");
            assert!(last.starts_with(&format!("error: photo: {reason}: ")), "{what}: {last}");
        }
    }
    assert_eq!(counted, counts, "presigns, puts and objects of {what}: {last}");
}

#[tokio::test]
async fn what_befalls_an_upload_once_is_got_over_and_what_lasts_has_its_reason() {
    let rows = got_over().into_iter().chain(lasting()).chain(ways());
    futures::future::join_all(rows.map(Row::check)).await;
}

#[tokio::test]
async fn an_api_that_nobody_has_is_unavailable_and_named() {
    let files = Files::new();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let urls = [
        (format!("https://{closed}/api/v1"), closed.to_string()),
        ("https://api.invalid/api/v1".into(), "api.invalid".into()),
    ];
    let runs = urls.map(|(url, host)| {
        let run = Run::bare().token("sk-01234567890123456789").environment("CYBERUN_API_URL", url);
        let run = run.file("photo", &files.with("a.png", b"a"));
        async move {
            let ended = timeout(DEADLINE, run.run()).await.unwrap().failed(1);
            let last = ended.stderr.lines().last().unwrap_or_default().to_owned();
            let host = host.split(':').next().unwrap_or_default();
            assert!(last.starts_with("error: photo: ApiUnavailable: cannot connect") && last.contains(host), "{last}");
        }
    });
    futures::future::join_all(runs).await;
}

type Change = fn(&Path);

/// A file that is changed in the middle of its first PUT: what is stored is what it became.
#[tokio::test]
async fn a_file_that_is_changed_while_it_is_sent_is_sent_as_it_became() {
    let changes: [(&str, Change); 4] = [
        ("truncated", |path| File::options().write(true).open(path).unwrap().set_len(1000).unwrap()),
        ("grown", |path| File::options().append(true).open(path).unwrap().write_all(b"more").unwrap()),
        ("written to", |path| File::options().write(true).open(path).unwrap().write_all_at(b"X", 0).unwrap()),
        ("replaced", |path| {
            let other = path.with_extension("new");
            std::fs::write(&other, bytes(LARGE - 5)).unwrap();
            std::fs::rename(other, path).unwrap();
        }),
    ];
    let runs = changes.map(|(what, change)| async move {
        let (stub, files, hold) = (Stub::start(over_tls()).await.unwrap(), Files::new(), Hold::new("the middle"));
        stub.arm(Rule::once(Step::Put, Fault::hold(&hold).at(HALF)));
        let path = files.with("a.png", &bytes(LARGE));
        let running = start(&stub, &files, &path);
        hold.reached(DEADLINE).await.unwrap();
        change(&path);
        hold.release();
        let ended = timeout(DEADLINE, running.ended()).await.unwrap();
        check(what, None, [2, 2, 1], &stub, &ended, &std::fs::read(&path).unwrap());
    });
    futures::future::join_all(runs).await;
}

#[tokio::test]
async fn a_file_that_is_deleted_while_it_is_sent_is_not_found_and_stores_nothing() {
    let (stub, files, hold) = (Stub::start(over_tls()).await.unwrap(), Files::new(), Hold::new("the middle"));
    stub.arm(Rule::once(Step::Put, Fault::hold(&hold).at(HALF)));
    let path = files.with("a.png", &bytes(LARGE));
    let running = start(&stub, &files, &path);
    hold.reached(DEADLINE).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    hold.release();
    let ended = timeout(DEADLINE, running.ended()).await.unwrap();
    check("deleted", Some(Reason::FileNotFound), [1, 1, 0], &stub, &ended, b"");
}

#[test]
fn a_disk_that_cannot_be_read_to_the_end_is_named_and_stores_nothing() {
    let (reason, message, counted) = with_read_errors(u64::try_from(LARGE / 2).unwrap(), || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (stub, files) = (Stub::start(over_tls()).await.unwrap(), Files::new());
            let bundle = stub.ca_pem().map(str::to_owned);
            let courier = Courier::new(stub.api_url().as_str(), false, bundle.as_deref()).unwrap();
            let sender = Sender::of(stub, courier, Kind::Integration);
            let trouble = sender.send_file(files.with("a.png", &bytes(LARGE))).await.unwrap_err();
            let (presigns, puts) = sender.counted();
            (trouble.reason, trouble.message(), [presigns, puts, sender.stub.objects().len()])
        })
    });
    assert_eq!((reason, counted), (Reason::SourceChanged, [1, 1, 0]), "{message}");
    assert!(message.contains("a.png: cannot be read: the disk, or the file server behind it, failed"), "{message}");
}

/// Where an upload stands when its signal comes, and how many objects there may be then.
type Stage = (Step, Moment, RangeInclusive<usize>);

const STAGES: [Stage; 6] = [
    (Step::Presign, Moment::Start, 0..=0),
    (Step::Presign, Moment::Accepted, 0..=0),
    (Step::Put, Moment::Accepted, 0..=0),
    (Step::Put, HALF, 0..=0),
    (Step::Put, Moment::Received, 0..=1),
    (Step::Put, Moment::Committed, 1..=1),
];

async fn signalled(signal: Signal, (step, moment, stored): Stage) {
    let what = format!("{signal:?} at {step:?} {moment:?}");
    let (stub, files, hold) = (Stub::start(over_tls()).await.unwrap(), Files::new(), Hold::new("the stage"));
    stub.arm(Rule::once(step, Fault::hold(&hold).at(moment)));
    let running = start(&stub, &files, &files.with("a.png", &bytes(LARGE)));
    hold.reached(DEADLINE).await.unwrap();
    running.signal(signal);
    let ended = timeout(DEADLINE, running.ended()).await.unwrap_or_else(|_| panic!("{what} has no end"));
    hold.release();
    assert!(!ended.status.success() && ended.stdout.is_empty(), "{what}: {}", ended.stdout);
    let done = |seen: &cyberun_stub::Snapshot| seen.calls.iter().all(|call| call.end.is_some());
    stub.wait_for(done, DEADLINE).await.unwrap();
    assert!(stored.contains(&stub.objects().len()), "{what}: {} objects", stub.objects().len());
}

#[tokio::test]
async fn a_signal_at_any_stage_ends_the_program_and_costs_at_most_the_file_under_way() {
    let all = [Signal::TERM, Signal::KILL].into_iter().flat_map(|signal| STAGES.map(|stage| signalled(signal, stage)));
    futures::future::join_all(all).await;
}
