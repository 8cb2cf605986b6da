//! The rules between presign and PUT, each counted at the stub: how often which call is made, and what comes of it.
//!
//! The table is the one in `delivery.rs` and §6 of the design.

use cyberun_stub::{Act, Answer, End, Fault, Hold, Moment, Step};
use fileupload_operator::delivery::{Candidate, Limits};
use fileupload_operator::reason::Reason;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::files::{Files, bytes, sha256};
use crate::support::sender::Sender;

const DEADLINE: Duration = Duration::from_secs(20);
/// Larger than what is sent without asking, and than what the sockets of one connection hold.
const LARGE: usize = 24 * 1024 * 1024;

#[tokio::test]
async fn a_file_is_delivered_with_one_presign_and_one_put() {
    let sender = Sender::new().await;
    let content = bytes(100_000);
    let delivered = sender.send(content.clone()).await.unwrap();
    assert_eq!((delivered.size, delivered.sha256), (100_000, sha256(&content)));
    assert_eq!(delivered.content_type, "image/png");
    let object = &sender.stub.objects()[&delivered.file_key];
    assert_eq!((object.sha256.as_str(), object.content_type.as_str()), (&*sha256(&content), "image/png"));
    assert_eq!(sender.counted(), (1, 1));
}

#[tokio::test]
async fn a_first_403_or_412_is_tried_with_a_second_ticket() {
    for status in [403, 412] {
        let sender = Sender::new().await;
        sender.stub.fault(Step::Put, Fault::status(status));
        let delivered = sender.send("hello").await.unwrap();
        assert_eq!(sender.counted(), (2, 2), "{status}");
        assert!(sender.stub.objects().contains_key(&delivered.file_key));
        let puts = sender.puts();
        assert_ne!(puts[0].file_key, puts[1].file_key, "the second ticket is another one");
    }
}

#[tokio::test]
async fn a_second_403_or_412_is_storage_refused() {
    for (first, second) in [(412, 412), (403, 403), (403, 412), (412, 403)] {
        let sender = Sender::new().await;
        for status in [first, second] {
            sender.stub.fault(Step::Put, Fault::status(status));
        }
        let failure = sender.send("hello").await.unwrap_err();
        assert_eq!(failure.reason, Reason::StorageRefused);
        assert!(failure.message().contains(&second.to_string()), "{failure}");
        assert_eq!(sender.counted(), (2, 2), "{first}, {second}");
    }
}

#[tokio::test]
async fn an_expired_url_is_replaced_once() {
    let sender = Sender::new().await;
    sender.stub.fault(Step::Presign, Act::ExpiredUrl);
    sender.send("hello").await.unwrap();
    assert_eq!(sender.counted(), (2, 2));
    sender.stub.fault_always(Step::Presign, Act::ExpiredUrl);
    let failure = sender.send("hello").await.unwrap_err();
    assert_eq!(failure.reason, Reason::StorageRefused);
    assert!(failure.message().contains("expired"), "S3's own words help: {failure}");
    assert_eq!(sender.counted(), (4, 4));
}

#[tokio::test]
async fn after_a_reset_the_same_url_is_tried_once_more() {
    for at in [Moment::Start, Moment::Accepted, Moment::Body(100_000), Moment::Received] {
        let sender = Sender::new().await;
        let content = bytes(LARGE);
        sender.stub.fault(Step::Put, Fault::reset().at(at));
        let delivered = sender.send(content.clone()).await.unwrap();
        assert_eq!(delivered.sha256, sha256(&content));
        assert_eq!(sender.counted(), (1, 2), "{at:?}");
        let puts = sender.puts();
        assert_eq!((puts[0].end, &puts[0].path), (Some(End::Reset), &puts[1].path));
    }
}

#[tokio::test]
async fn a_second_reset_is_storage_unavailable() {
    let sender = Sender::new().await;
    sender.stub.fault_always(Step::Put, Fault::reset().at(Moment::Body(1)));
    let failure = sender.send(bytes(LARGE)).await.unwrap_err();
    assert_eq!(failure.reason, Reason::StorageUnavailable);
    assert_eq!(sender.counted(), (1, 2));
}

#[tokio::test]
async fn a_412_after_a_whole_body_was_lost_from_sight_means_stored() {
    for fault in [Fault::reset_after_commit(), Fault::status(500).at(Moment::Committed)] {
        for size in [5, LARGE] {
            let sender = Sender::new().await;
            let content = bytes(size);
            sender.stub.fault(Step::Put, fault.clone());
            let delivered = sender.send(content.clone()).await.unwrap();
            assert_eq!(delivered.sha256, sha256(&content));
            assert_eq!(sender.puts()[1].status(), Some(412));
            assert_eq!((sender.counted(), sender.stub.objects().len()), ((1, 2), 1), "{fault:?}, {size} bytes");
            assert_eq!(sender.stub.objects()[&delivered.file_key].sha256, delivered.sha256);
        }
    }
}

#[tokio::test]
async fn a_412_after_only_a_part_was_sent_asks_for_a_second_ticket() {
    let sender = Sender::new().await;
    sender.stub.fault(Step::Put, Fault::reset().at(Moment::Body(100_000)));
    sender.stub.fault(Step::Put, Fault::status(412));
    let delivered = sender.send(bytes(LARGE)).await.unwrap();
    assert_eq!((sender.counted(), sender.stub.objects().len()), ((2, 3), 1));
    assert!(sender.stub.objects().contains_key(&delivered.file_key));
}

#[tokio::test]
async fn a_5xx_is_tried_once_more_and_then_storage_unavailable() {
    for status in [500, 502, 503] {
        let sender = Sender::new().await;
        sender.stub.fault(Step::Put, Fault::status(status));
        sender.send("hello").await.unwrap();
        assert_eq!(sender.counted(), (1, 2), "{status}, then 200");
        sender.stub.fault_always(Step::Put, Fault::status(status));
        assert_eq!(sender.send("hello").await.unwrap_err().reason, Reason::StorageUnavailable);
        assert_eq!(sender.counted(), (2, 4), "{status} twice");
    }
}

#[tokio::test]
async fn a_5xx_that_asks_to_wait_is_left_alone_for_later() {
    for size in [5, LARGE] {
        for (fault, asked) in [
            (Fault::retry_after(500, 7), Some(7)),
            (Fault::retry_after(503, 7), Some(7)),
            (Fault::xml(503, "SlowDown"), None),
        ] {
            let sender = Sender::new().await;
            sender.stub.fault_always(Step::Put, fault.clone());
            let failure = sender.send(bytes(size)).await.unwrap_err();
            let asked = asked.map(Duration::from_secs);
            assert_eq!((failure.reason, failure.retry_after), (Reason::StorageUnavailable, asked), "{fault:?}");
            assert_eq!(sender.counted(), (1, 1), "{fault:?}");
        }
    }
}

#[tokio::test]
async fn a_store_without_conditional_writes_is_refused_at_once_and_for_long() {
    let about = "<Message>A header you provided implies functionality that is not implemented</Message>";
    let fault = Fault::xml_with(501, "NotImplemented", &format!("{about}<Header>If-None-Match</Header>"));
    for size in [5, LARGE] {
        let sender = Sender::new().await;
        sender.stub.fault_always(Step::Put, fault.clone());
        let failure = sender.send(bytes(size)).await.unwrap_err();
        assert_eq!(failure.reason, Reason::StorageRefused);
        let said = "the storage does not know conditional writes (If-None-Match) (501: NotImplemented: ";
        assert!(failure.message().starts_with(said), "{failure}");
        assert!(failure.retry_after >= Some(Duration::from_mins(5)), "{failure:?}");
        assert_eq!(sender.counted(), (1, 1), "no second PUT of the same URL");
    }
}

#[tokio::test]
async fn what_lasts_is_not_tried_five_times() {
    let sender = Sender::new().await;
    sender.stub.fault_always(Step::Put, Fault::xml(404, "NoSuchBucket"));
    let (result, retried) = sender.deliver(Limits { attempts: 5, longest_wait: Duration::from_hours(1) }).await;
    let failure = result.unwrap_err();
    assert_eq!((failure.reason, retried.len(), sender.counted()), (Reason::StorageRefused, 0, (1, 1)));
    assert!(failure.message().starts_with("the storage has no such bucket"), "{failure}");
}

#[tokio::test]
async fn the_body_of_an_error_is_not_waited_for_longer_than_5_s() {
    let begun = Instant::now();
    let slow = |status| {
        let body = format!("<Error><Code>AccessDenied</Code>{}</Error>", " ".repeat(4000));
        Answer { status, body, bytes_per_second: Some(20), ..Answer::default() }
    };
    let of = async |step, status| {
        let sender = Sender::new().await;
        sender.stub.fault(step, slow(status));
        sender.stub.fault_always(Step::Put, Fault::status(413));
        sender.send("hello").await.unwrap_err()
    };
    let both = async { tokio::join!(of(Step::Put, 403), of(Step::Presign, 400)) };
    let (put, presign) = tokio::time::timeout(DEADLINE, both).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    assert_eq!((put.reason, presign.reason), (Reason::TooLarge, Reason::RequestRejected), "{put}, {presign}");
}

#[tokio::test]
async fn a_409_or_429_is_left_alone_for_later() {
    for status in [409, 429] {
        let sender = Sender::new().await;
        sender.stub.fault_always(Step::Put, Fault::retry_after(status, 7));
        let failure = sender.send("hello").await.unwrap_err();
        assert_eq!((failure.reason, failure.retry_after), (Reason::StorageUnavailable, Some(Duration::from_secs(7))));
        assert_eq!(sender.counted(), (1, 1), "{status}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_by_a_put() {
    for status in [301, 302, 307, 308] {
        let (sender, elsewhere) = (Sender::new().await, Sender::new().await);
        sender.stub.fault(Step::Put, Fault::redirect(status, elsewhere.stub.s3_url().as_str()));
        let failure = sender.send("hello").await.unwrap_err();
        assert_eq!(failure.reason, Reason::StorageRefused);
        assert_eq!((sender.counted(), elsewhere.counted()), ((1, 1), (0, 0)), "{status}");
    }
}

#[tokio::test]
async fn a_413_from_storage_is_too_large() {
    let sender = Sender::new().await;
    sender.stub.fault_always(Step::Put, Fault::status(413));
    assert_eq!(sender.send("hello").await.unwrap_err().reason, Reason::TooLarge);
    assert_eq!(sender.counted(), (1, 1));
}

#[tokio::test]
async fn what_is_not_admitted_is_not_put() {
    let sender = Sender::new().await;
    let mut asked = Vec::new();
    let admit = |candidate: &Candidate<'_>| {
        asked.push((candidate.file_key.ends_with("/photo.png"), candidate.content_type.to_owned(), candidate.size));
        false
    };
    let failure = sender.send_if("hello", admit).await.unwrap_err();
    assert_eq!(failure.reason, Reason::ReportFull);
    assert_eq!(asked, [(true, "image/png".to_owned(), 5)]);
    assert_eq!(sender.counted(), (1, 0));
}

#[tokio::test]
async fn a_second_ticket_is_admitted_anew() {
    let sender = Sender::new().await;
    sender.stub.fault_always(Step::Put, Fault::status(412));
    let mut keys = Vec::new();
    let admit = |candidate: &Candidate<'_>| {
        keys.push(candidate.file_key.to_owned());
        keys.len() == 1
    };
    let failure = sender.send_if("hello", admit).await.unwrap_err();
    assert_eq!(failure.reason, Reason::ReportFull);
    assert!(keys.len() == 2 && keys[0] != keys[1], "{keys:?}");
    assert_eq!(sender.counted(), (2, 1));
}

#[tokio::test]
async fn a_wait_beyond_the_limit_ends_the_attempts() {
    let sender = Sender::new().await;
    sender.stub.fault(Step::Presign, Fault::retry_after(429, 1));
    sender.stub.fault(Step::Presign, Fault::retry_after(429, 3));
    let limits = Limits { attempts: 5, longest_wait: Duration::from_secs(2) };
    let (result, retried) = sender.deliver(limits).await;
    let failure = result.unwrap_err();
    assert_eq!((failure.reason, failure.retry_after), (Reason::RateLimited, Some(Duration::from_secs(3))));
    assert_eq!(retried.len(), 1, "the first was waited for, and told");
    assert_eq!((retried[0].reason, sender.counted()), (Reason::RateLimited, (2, 0)));
}

/// Sends a large file and does a deed to it while the stub holds back the middle of its body.
async fn disturbed(sender: &Sender, deed: impl Fn(&Path)) -> Reason {
    let files = Files::new();
    let path = files.with("photo.png", &bytes(LARGE));
    let hold = Hold::new("the middle of the body");
    sender.stub.fault(Step::Put, Fault::hold(&hold).at(Moment::Body(100_000)));
    let deed = async {
        hold.reached(DEADLINE).await.unwrap();
        deed(&path);
        hold.release();
    };
    tokio::join!(sender.send_file(path.clone()), deed).0.unwrap_err().reason
}

#[tokio::test]
async fn a_file_that_is_changed_while_it_is_read_gets_no_key() {
    let changes: [fn(&Path); 3] = [
        |path| File::options().write(true).open(path).unwrap().write_all_at(b"X", 0).unwrap(),
        |path| File::options().append(true).open(path).unwrap().write_all(b"more").unwrap(),
        |path| {
            let other = path.with_extension("new");
            std::fs::write(&other, bytes(LARGE)).unwrap();
            std::fs::rename(other, path).unwrap();
        },
    ];
    for (number, change) in changes.iter().enumerate() {
        let sender = Sender::new().await;
        assert_eq!(disturbed(&sender, change).await, Reason::SourceChanged, "change {number}");
        assert_eq!(sender.counted(), (1, 1), "change {number}");
    }
}

#[tokio::test]
async fn a_file_that_shrinks_while_it_is_read_stores_nothing() {
    let sender = Sender::new().await;
    let shrink = |path: &Path| File::options().write(true).open(path).unwrap().set_len(1000).unwrap();
    assert_eq!(disturbed(&sender, shrink).await, Reason::SourceChanged);
    assert_eq!((sender.counted(), sender.stub.objects().len()), ((1, 1), 0));
}
