//! How many files go at the same time, counted at the stub, and what is known of each when the batch ends early.

use std::sync::Mutex;
use std::time::Duration;

use cyberun_stub::{Fault, Hold, Kind, Moment, Rule, Step};
use fileupload_operator::delivery::{Batch, Delivery, Hooks, Limits, Parcel, Progress, Source, Window};
use fileupload_operator::reason::Reason;
use tokio_util::sync::CancellationToken;

use crate::support::files::Files;
use crate::support::sender::{Sender, parcels};
use crate::support::thread::with_read_errors;

const DEADLINE: Duration = Duration::from_secs(20);

/// What was heard of each file, in words.
#[derive(Default)]
struct Heard(Mutex<Vec<(usize, String)>>);

impl Heard {
    fn hear(&self, index: usize, progress: Progress) {
        let words = match progress {
            Progress::Begun => "begun".to_owned(),
            Progress::Ended(Delivery::Stored(_)) => "stored".to_owned(),
            Progress::Ended(Delivery::Failed(trouble)) => trouble.reason.to_string(),
            Progress::Ended(Delivery::NotSent(last)) => format!("not sent {last:?}"),
        };
        self.0.lock().unwrap().push((index, words));
    }

    fn of(&self, index: usize) -> Vec<String> {
        let heard = self.0.lock().unwrap();
        heard.iter().filter(|(of, _)| *of == index).map(|(_, words)| words.clone()).collect()
    }
}

/// Sends so many files, each once, while `meanwhile` runs; what was heard.
async fn attempted(
    sender: &Sender,
    count: usize,
    stop: CancellationToken,
    meanwhile: impl Future<Output = ()>,
) -> Heard {
    let (heard, batch, parcels) =
        (Heard::default(), Batch::new(&sender.courier, stop, Window::small()), parcels(count));
    let attempts = batch.attempt_each(&sender.credential, &parcels, |index, progress| heard.hear(index, progress));
    tokio::join!(attempts, meanwhile);
    heard
}

#[tokio::test]
async fn the_first_goes_alone_until_it_has_its_ticket_and_then_four_go_side_by_side_in_order() {
    let sender = Sender::new().await;
    let (ticket, bytes) = (Hold::new("the first ticket"), Hold::new("all bytes"));
    sender.stub.arm(Rule::once(Step::Presign, Fault::hold(&ticket)));
    sender.stub.fault_always(Step::Put, Fault::hold(&bytes).at(Moment::Received));
    let watched = async {
        ticket.reached(DEADLINE).await.unwrap();
        assert_eq!(sender.counted(), (1, 0));
        ticket.release();
        sender.stub.wait_for(|seen| seen.of(Step::Put).count() == 4, DEADLINE).await.unwrap();
        assert_eq!(sender.counted(), (4, 4), "the fifth waits");
        bytes.release();
    };
    let heard = attempted(&sender, 8, CancellationToken::new(), watched).await;
    for index in 0..8 {
        assert_eq!(heard.of(index), ["begun", "stored"], "{index}");
    }
    let begun: Vec<usize> =
        heard.0.lock().unwrap().iter().filter(|(_, word)| word == "begun").map(|(i, _)| *i).collect();
    assert_eq!(begun, (0..8).collect::<Vec<_>>());
    assert_eq!((sender.counted(), sender.stub.objects().len()), ((8, 8), 8));
}

#[tokio::test]
async fn a_file_that_fails_without_a_ticket_lets_only_the_next_one_begin() {
    let sender = Sender::new().await;
    sender.stub.arm(Rule::always(Step::Presign, Fault::status(413)).for_file("0"));
    let ticket = Hold::new("the first ticket");
    sender.stub.arm(Rule::once(Step::Presign, Fault::hold(&ticket)).for_file("1"));
    let watched = async {
        ticket.reached(DEADLINE).await.unwrap();
        assert_eq!(sender.counted(), (2, 0));
        ticket.release();
    };
    let heard = attempted(&sender, 3, CancellationToken::new(), watched).await;
    assert_eq!(heard.of(0), ["begun", "TooLarge"]);
    assert_eq!((heard.of(1), heard.of(2)), (heard.of(2), vec!["begun".to_owned(), "stored".to_owned()]));
}

const ENDLESS: Limits = Limits { attempts: u32::MAX, longest_wait: DEADLINE };

fn two() -> [Parcel; 2] {
    parcels(2).try_into().unwrap()
}

/// Delivers the parcel in the place that it has, or gets.
async fn delivered(batch: &Batch<'_>, sender: &Sender, parcel: &Parcel) -> Delivery {
    let place = batch.place(&parcel.source).await.unwrap();
    place.deliver(&sender.credential, parcel, ENDLESS, Hooks::none()).await
}

#[tokio::test]
async fn a_source_that_takes_long_does_not_keep_the_others_waiting() {
    let (sender, files, [mut slow, other]) = (Sender::new().await, Files::new(), two());
    let path = files.with("0", b"content");
    slow.source = Source::file(&path);
    let batch = sender.batch();
    let place = batch.place(&slow.source).await.unwrap();
    drop(slow.source.open().await.unwrap()); // it may have been opened ahead
    // A file that was just written must settle for five seconds, so it takes that long to open.
    std::fs::write(&path, "anew").unwrap();
    let slowly = place.deliver(&sender.credential, &slow, ENDLESS, Hooks::none());
    let (slowly, other) = tokio::join!(slowly, delivered(&batch, &sender, &other));
    assert!(matches!((slowly, other), (Delivery::Stored(_), Delivery::Stored(_))));
    let asked: Vec<_> = sender.stub.snapshot().of(Step::Presign).map(|call| call.file_name.clone().unwrap()).collect();
    assert_eq!(asked, ["1", "0"]);
}

#[test]
fn a_source_that_fails_does_not_keep_the_others_waiting_for_its_next_attempt() {
    with_read_errors(0, || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let (sender, files, [mut failing, other]) = (Sender::new().await, Files::new(), two());
            failing.source = Source::file(files.with("0", &vec![0; 100_000]));
            let batch = sender.batch();
            let both = async {
                tokio::select! {
                    biased;
                    delivery = delivered(&batch, &sender, &failing) => unreachable!("{delivery:?}"),
                    delivery = delivered(&batch, &sender, &other) => delivery,
                }
            };
            let delivery = tokio::time::timeout(DEADLINE, both).await.unwrap();
            assert!(matches!(delivery, Delivery::Stored(_)), "{delivery:?}");
        });
    });
}

#[tokio::test]
async fn a_failure_that_is_every_files_ends_the_batch_after_one_call_without_a_retry() {
    for (fault, reason) in [(401, "CredentialsRejected"), (503, "ApiUnavailable"), (429, "RateLimited")] {
        let sender = Sender::new().await;
        sender.stub.fault_always(Step::Presign, Fault::status(fault));
        let heard = attempted(&sender, 8, CancellationToken::new(), async {}).await;
        assert_eq!((heard.of(0), sender.counted()), (vec!["begun".to_owned(), reason.to_owned()], (1, 0)));
        assert!((1..8).all(|index| heard.of(index).is_empty()), "what was not begun is not heard of");
    }
}

#[tokio::test]
async fn a_failure_that_is_every_files_lets_those_finish_whose_bytes_are_on_their_way() {
    let sender = Sender::new().await;
    let bytes = Hold::new("the bytes of the first");
    sender.stub.arm(Rule::once(Step::Put, Fault::hold(&bytes).at(Moment::Received)).for_file("0"));
    sender.stub.arm(Rule::always(Step::Presign, Fault::status(401)).for_file("1"));
    let watched = async {
        bytes.reached(DEADLINE).await.unwrap();
        sender
            .stub
            .wait_for(|seen| seen.of(Step::Presign).any(|call| call.status() == Some(401)), DEADLINE)
            .await
            .unwrap();
        bytes.release();
    };
    let heard = attempted(&sender, 8, CancellationToken::new(), watched).await;
    assert_eq!(heard.of(0), ["begun", "stored"]);
    assert_eq!(heard.of(1), ["begun", "CredentialsRejected"]);
    assert!((4..8).all(|index| heard.of(index).is_empty()), "none has begun since");
}

#[tokio::test]
async fn a_stop_finishes_what_is_on_its_way_and_drops_what_only_waits_for_its_ticket() {
    let sender = Sender::new().await;
    let (bytes, ticket) = (Hold::new("bytes"), Hold::new("tickets that never come"));
    sender.stub.arm(Rule::once(Step::Put, Fault::hold(&bytes).at(Moment::Received)).for_file("0"));
    for other in ["1", "2", "3"] {
        sender.stub.arm(Rule::always(Step::Presign, Fault::hold(&ticket)).for_file(other));
    }
    let stop = CancellationToken::new();
    let watched = async {
        bytes.reached(DEADLINE).await.unwrap();
        sender.stub.wait_for(|seen| seen.of(Step::Presign).count() == 4, DEADLINE).await.unwrap();
        stop.cancel();
        bytes.release();
    };
    let heard = attempted(&sender, 5, stop.clone(), watched).await;
    assert_eq!(heard.of(0), ["begun", "stored"]);
    for index in 1..4 {
        assert_eq!(heard.of(index), ["begun", "not sent None"], "{index}");
    }
    assert!(heard.of(4).is_empty());
}

#[tokio::test]
async fn after_a_stop_no_second_ticket_is_used() {
    let sender = Sender::new().await;
    let second = Hold::new("the second ticket");
    sender.stub.fault(Step::Put, Fault::status(403));
    sender.stub.fault(Step::Presign, Fault::delay(Duration::ZERO));
    sender.stub.fault(Step::Presign, Fault::hold(&second));
    let stop = CancellationToken::new();
    let watched = async {
        second.reached(DEADLINE).await.unwrap();
        stop.cancel();
        second.release();
    };
    let heard = attempted(&sender, 1, stop.clone(), watched).await;
    assert_eq!((heard.of(0).last().unwrap().as_str(), sender.counted()), ("not sent None", (2, 1)));
}

#[tokio::test]
async fn what_is_done_is_known_though_the_whole_is_cut_off() {
    let sender = Sender::new().await;
    let bytes = Hold::new("bytes that never come");
    sender.stub.arm(Rule::always(Step::Put, Fault::hold(&bytes).at(Moment::Received)).for_file("1"));
    let (heard, batch, parcels) = (Heard::default(), sender.batch(), parcels(3));
    let cut = async {
        bytes.reached(DEADLINE).await.unwrap();
        sender.stub.wait_for(|seen| seen.objects.len() == 2, DEADLINE).await.unwrap();
        while heard.of(2).len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = batch.attempt_each(&sender.credential, &parcels, |index, progress| heard.hear(index, progress)) => panic!(),
        () = cut => {}
    }
    assert_eq!((heard.of(0).len(), heard.of(1), heard.of(2).len()), (2, vec!["begun".to_owned()], 2));
}

#[tokio::test]
async fn one_attempt_that_fails_for_every_file_leaves_the_place_to_the_next_and_does_not_end_the_batch() {
    let sender = Sender::new().await;
    let (batch, parcel) = (sender.batch(), &parcels(1)[0]);
    sender.stub.fault(Step::Presign, Fault::status(503));
    for expected in [Some(Reason::ApiUnavailable), None] {
        let place = batch.place(&parcel.source).await.unwrap();
        let failed = match place.attempt(&sender.credential, parcel, |_| true).await {
            Delivery::Failed(trouble) => Some(trouble.reason),
            _ => None,
        };
        assert_eq!((failed, batch.has_ended()), (expected, false));
    }
    batch.end();
    assert!(batch.place(&parcel.source).await.is_none());
}

#[tokio::test]
async fn a_batch_can_be_moved_to_a_task_of_its_own() {
    let sender = Sender::with(cyberun_stub::Options::default(), Kind::Device).await;
    let sent = tokio::spawn(async move {
        let (heard, batch) = (Heard::default(), sender.batch());
        batch.attempt_each(&sender.credential, &parcels(2), |index, progress| heard.hear(index, progress)).await;
        heard.of(1)
    });
    assert_eq!(sent.await.unwrap(), ["begun", "stored"]);
}
