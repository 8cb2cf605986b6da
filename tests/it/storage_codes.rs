//! Each error code that S3 publishes, answered to a PUT: what the attempt says and how often it calls.
//!
//! The table is the one that documents `transfer/answer.rs`.

use std::collections::BTreeSet;

use cyberun_stub::{Fault, Step};
use fileupload_operator::reason::Reason;

use crate::support::sender::Sender;

const TABLE: &str = include_str!("../../src/transfer/answer/codes.md");

/// The reason, presigns and PUTs of one attempt.
fn meant(words: &str) -> (Reason, usize, usize) {
    match words {
        "second ticket" => (Reason::StorageRefused, 2, 2),
        "same URL" => (Reason::StorageUnavailable, 1, 2),
        "later" => (Reason::StorageUnavailable, 1, 1),
        "too large" => (Reason::TooLarge, 1, 1),
        "never" => (Reason::StorageRefused, 1, 1),
        other => panic!("the table says {other:?}"),
    }
}

/// Code, status and what follows.
fn rows() -> Vec<(&'static str, u16, &'static str)> {
    let rows = TABLE.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let [code, status, what] = row.trim_end_matches(" |").split(" | ").collect::<Vec<_>>()[..] else {
            panic!("not a row of three: {row}");
        };
        (code.trim_end_matches('`'), status.parse().unwrap(), what)
    })
    .collect()
}

#[tokio::test]
async fn each_published_code_has_the_reason_and_the_calls_of_its_row() {
    let (sender, rows) = (Sender::new().await, rows());
    assert_eq!(rows.iter().collect::<BTreeSet<_>>().len(), rows.len(), "a row stands there twice");
    assert!(rows.len() > 300, "{} rows", rows.len());
    let mut wrong = Vec::new();
    for (code, status, what) in rows {
        let before = sender.counted();
        sender.stub.fault_always(Step::Put, Fault::xml(status, code));
        let failure = sender.send("hello").await.unwrap_err();
        sender.stub.clear_faults();
        let after = sender.counted();
        let found = (failure.reason, after.0 - before.0, after.1 - before.1);
        if found != meant(what) || (status != 304 && !failure.message().contains(code)) {
            wrong.push(format!("{code} ({status}): {found:?} {failure}"));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn a_code_that_nobody_publishes_is_judged_by_its_status() {
    let sender = Sender::new().await;
    for (status, what) in [
        (400, "never"),
        (401, "second ticket"),
        (403, "second ticket"),
        (404, "never"),
        (408, "same URL"),
        (409, "later"),
        (412, "second ticket"),
        (413, "too large"),
        (422, "never"),
        (429, "later"),
        (500, "same URL"),
        (501, "never"),
        (502, "same URL"),
        (503, "same URL"),
        (504, "same URL"),
        (507, "never"),
    ] {
        for fault in [Fault::xml(status, "Unheard"), Fault::status(status), Fault::html(status)] {
            let before = sender.counted();
            sender.stub.fault_always(Step::Put, fault.clone());
            let failure = sender.send("hello").await.unwrap_err();
            sender.stub.clear_faults();
            let after = sender.counted();
            assert_eq!((failure.reason, after.0 - before.0, after.1 - before.1), meant(what), "{fault:?}: {failure}");
        }
    }
}
