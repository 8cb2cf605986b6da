//! Every fault does what its name says.

use std::time::{Duration, Instant};

use cyberun_stub::{Act, Defect, End, Fault, Field, GateShape, Hold, Kind, Moment, Rule, Step, Stub};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::client::{DEADLINE, ask, connect, good, head, presign, put, read, read_until, stub, ticket};

async fn presign_under(stub: &Stub, fault: impl Into<Fault>) -> std::io::Result<crate::client::Reply> {
    stub.fault(Step::Presign, fault);
    presign(stub, &good("a.png", 5)).await
}

#[tokio::test]
async fn made_up_answers_come_as_ordered_and_only_once() {
    let stub = stub().await;
    let date = "2030-01-02T03:04:05Z".parse().unwrap();
    for (fault, status, head, body) in [
        (Fault::status(500), 500, "content-length: 0", ""),
        (Fault::retry_after(429, 7), 429, "retry-after: 7", ""),
        (Fault::retry_after_date(503, date), 503, "retry-after: wed, 02 jan 2030 03:04:05 gmt", ""),
        (Fault::html(502), 502, "content-type: text/html", "<html>"),
        (Fault::redirect(307, "http://127.0.0.1:1/"), 307, "location: http://127.0.0.1:1/", ""),
        (Fault::malformed_json(), 200, "application/json", "{\"file_key\""),
        (Fault::empty_body(), 200, "content-length: 0", ""),
        (Fault::feature_gate(GateShape::Nested), 403, "application/json", "\"feature\":\"file_upload\""),
        (Fault::feature_gate(GateShape::Flat), 403, "application/json", "\"missing_feature\":\"file_upload\""),
        (Fault::feature_gate(GateShape::Text), 403, "application/json", "feature not licensed: file_upload"),
        (Fault::permission_denied(), 403, "application/json", "permission denied"),
    ] {
        let name = format!("{fault:?}");
        let reply = presign_under(&stub, fault).await.unwrap();
        assert!(reply.status == status && reply.head.contains(head), "{name}: {}", reply.head);
        assert!(reply.body.contains(body), "{name}: {}", reply.body);
        assert_eq!(presign(&stub, &good("a.png", 5)).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_made_up_answer_to_a_put_stores_the_object_only_if_it_comes_after_the_commit() {
    let stub = stub().await;
    for (at, objects) in [(Moment::Start, 0), (Moment::Received, 0), (Moment::Committed, 1)] {
        let url = ticket(&stub, "a.png", 5).await;
        stub.fault(Step::Put, Fault::status(503).at(at));
        assert_eq!(put(&url, b"hello").await.unwrap().status, 503);
        assert_eq!(stub.objects().len(), objects, "{at:?}");
    }
}

#[tokio::test]
async fn huge_and_mislabelled_bodies_are_sent_as_ordered() {
    let stub = stub().await;
    let reply = presign_under(&stub, Fault::huge_body(200, 2_000_000)).await.unwrap();
    assert!(reply.head.contains("transfer-encoding: chunked") && reply.body.len() > 2_000_000);
    let reply = presign_under(&stub, Fault::wrong_content_length(200, 99)).await.unwrap();
    assert!(reply.head.contains("content-length: 99") && reply.body == "{}", "{} {}", reply.head, reply.body);
}

#[tokio::test]
async fn fields_of_the_presign_answer_are_spoilt_one_at_a_time() {
    let stub = stub().await;
    for (field, name) in
        [(Field::FileKey, "file_key"), (Field::UploadUrl, "upload_url"), (Field::UploadHeaders, "upload_headers")]
    {
        for defect in [Defect::Missing, Defect::Null, Defect::Empty, Defect::NotAString] {
            let answer = presign_under(&stub, Fault::field(field, defect)).await.unwrap().json();
            let value = answer.get(name);
            let as_ordered = match defect {
                Defect::Missing => value.is_none(),
                Defect::Null => value == Some(&Value::Null),
                Defect::Empty => value.unwrap().as_str() == Some("") || value.unwrap().as_object().unwrap().is_empty(),
                Defect::NotAString => value.unwrap().is_number() || value.unwrap()["Content-Length"].is_number(),
            };
            assert!(as_ordered, "{name} {defect:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn an_expired_url_can_be_handed_out() {
    let stub = stub().await;
    let answer = presign_under(&stub, Act::ExpiredUrl).await.unwrap().json();
    let reply = put(&answer["upload_url"].as_str().unwrap().parse().unwrap(), b"hello").await.unwrap();
    assert!(reply.status == 403 && reply.body.contains("Request has expired"));
}

#[tokio::test]
async fn resets_are_rst_and_come_at_their_moment() {
    let stub = stub().await;
    let error = presign_under(&stub, Fault::reset()).await.err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    for (fault, read, objects) in [
        (Fault::reset().at(Moment::Body(3)), 3, 0),
        (Fault::reset().at(Moment::Received), 5, 0),
        (Fault::reset_after_commit(), 5, 1),
    ] {
        let url = ticket(&stub, "a.png", 5).await;
        stub.fault(Step::Put, fault);
        let mut stream = ask(&url, 5).await;
        read_until(&mut stream, "100 Continue").await;
        stream.write_all(b"hel").await.unwrap();
        let _ = stream.write_all(b"lo").await;
        let error = crate::client::read(&mut stream).await.err().unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        let call = stub.calls().into_iter().rfind(|call| call.step == Step::Put).unwrap();
        assert_eq!(call.end, Some(End::Reset));
        assert!(call.body_received >= read && stub.objects().len() == objects);
    }
}

#[tokio::test]
async fn a_hold_stops_the_call_at_its_moment_until_it_is_released() {
    let stub = stub().await;
    let moments = [Moment::Start, Moment::Accepted, Moment::Body(3), Moment::Received, Moment::Committed];
    for (at, read_before) in moments.into_iter().zip([0, 0, 3, 5, 5]) {
        let url = ticket(&stub, "a.png", 5).await;
        let hold = Hold::new("here");
        stub.fault(Step::Put, Fault::hold(&hold).at(at));
        let mut stream = ask(&url, 5).await;
        if matches!(at, Moment::Start | Moment::Accepted) {
            hold.reached(DEADLINE).await.unwrap();
            assert!(!stub.calls().last().unwrap().continue_sent, "{at:?}");
            hold.release();
        }
        read_until(&mut stream, "100 Continue").await;
        let (early, late) = b"hello".split_at(if at == Moment::Body(3) { 3 } else { 5 });
        stream.write_all(early).await.unwrap();
        hold.reached(DEADLINE).await.unwrap();
        assert!(stub.calls().last().unwrap().body_received >= read_before);
        if at == Moment::Committed {
            assert!(
                stub.objects()
                    .values()
                    .any(|object| Some(object.stored_at) > stub.calls().last().map(|c| c.started_at))
            );
        }
        hold.release();
        stream.write_all(late).await.unwrap();
        assert_eq!(read(&mut stream).await.unwrap().status, 200, "{at:?}");
    }
    let hold = Hold::new("presign");
    stub.fault(Step::Presign, Fault::hold(&hold).at(Moment::Committed));
    let body = good("a.png", 5);
    let asking = presign(&stub, &body);
    let deed = async {
        hold.reached(DEADLINE).await.unwrap();
        assert_eq!(stub.calls().last().unwrap().end, None);
        hold.release();
    };
    assert_eq!(tokio::join!(asking, deed).0.unwrap().status, 200);
}

#[tokio::test]
async fn a_client_killed_at_a_presign_hold_is_recorded_as_dropped() {
    let stub = stub().await;
    let hold = Hold::new("never released");
    stub.fault(Step::Presign, Fault::hold(&hold));
    let body = good("a.png", 5);
    {
        let asking = presign(&stub, &body);
        tokio::select! {
            _ = asking => panic!("the call went on"),
            reached = hold.reached(DEADLINE) => reached.unwrap(),
        }
    }
    stub.wait_for(|seen| seen.calls[0].end == Some(End::Dropped), DEADLINE).await.unwrap();
}

#[tokio::test]
async fn a_stall_is_for_ever_and_ends_with_the_client() {
    let stub = stub().await;
    stub.fault(Step::Presign, Fault::stall());
    let body = good("a.png", 5);
    let waited = tokio::time::timeout(Duration::from_millis(300), presign(&stub, &body)).await;
    assert!(waited.is_err());
    stub.wait_for(|seen| seen.calls[0].end == Some(End::Dropped), DEADLINE).await.unwrap();
}

#[tokio::test]
async fn delays_and_slow_reading_take_their_time() {
    let stub = stub().await;
    let url = ticket(&stub, "a.png", 5).await;
    for (step, fault) in [
        (Step::Presign, Fault::delay(Duration::from_millis(300))),
        (Step::Put, Fault::slow(10)),
        (Step::Presign, Fault::slow(1000)),
    ] {
        stub.fault(step, fault);
        let start = Instant::now();
        let status = match step {
            Step::Presign => presign(&stub, &good("a.png", 5)).await.unwrap().status,
            _ => put(&url, b"hello").await.unwrap().status,
        };
        assert_eq!(status, 200);
        assert!(start.elapsed() >= Duration::from_millis(300), "{step:?} took {:?}", start.elapsed());
    }
}

#[tokio::test]
async fn expect_can_be_refused_and_the_next_put_without_it_goes_on() {
    let stub = stub().await;
    let url = ticket(&stub, "a.png", 5).await;
    stub.fault_always(Step::Put, Act::RefuseExpect);
    assert_eq!(read(&mut ask(&url, 5).await).await.unwrap().status, 417);
    assert_eq!(put(&url, b"hello").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_body_sent_without_waiting_is_taken_though_100_never_comes() {
    let stub = stub().await;
    let url = ticket(&stub, "a.png", 5).await;
    stub.fault(Step::Put, Act::NoContinue);
    let mut stream = ask(&url, 5).await;
    let quiet = tokio::time::timeout(Duration::from_millis(300), stream.readable()).await;
    assert!(quiet.is_err(), "nothing may come before the body");
    stream.write_all(b"hello").await.unwrap();
    assert_eq!(read(&mut stream).await.unwrap().status, 200);
    assert!(!stub.calls().last().unwrap().continue_sent);
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_sends_its_small_body_at_once() {
    let stub = stub().await;
    for _ in 0..50 {
        let url = ticket(&stub, "a.png", 65536).await;
        stub.fault(Step::Put, Fault::status(503));
        assert_eq!(put(&url, &vec![0; 65536]).await.unwrap().status, 503);
    }
}

#[tokio::test]
async fn rules_strike_only_their_file_and_credential_and_in_order() {
    let stub = stub().await;
    let other = stub.mint(Kind::Integration);
    stub.arm(Rule::once(Step::Presign, Fault::status(501)).for_credential(&other));
    stub.arm(Rule::always(Step::Presign, Fault::status(502)).for_file("a.png"));
    stub.arm(Rule::once(Step::Presign, Fault::status(503)).for_file("a.png"));
    stub.arm(Rule::once(Step::Presign, Fault::status(504)).for_file("a.png"));
    let mut statuses = Vec::new();
    for name in ["b.png", "a.png", "a.png", "a.png", "a.png"] {
        statuses.push(presign(&stub, &good(name, 1)).await.unwrap().status);
    }
    assert_eq!(statuses, [200, 503, 504, 502, 502]);
    assert_eq!(stub.armed().len(), 2);
    stub.clear_faults();
    assert_eq!(presign(&stub, &good("a.png", 1)).await.unwrap().status, 200);
    assert!(stub.calls()[1].fault.as_ref().unwrap().contains("503"));
}

#[tokio::test]
async fn a_put_meets_the_rule_of_its_presigns_file() {
    let stub = stub().await;
    let (a, b) = (ticket(&stub, "a.png", 5).await, ticket(&stub, "b.png", 5).await);
    stub.arm(Rule::once(Step::Put, Fault::status(503)).for_file("b.png"));
    assert_eq!(put(&a, b"hello").await.unwrap().status, 200);
    assert_eq!(put(&b, b"hello").await.unwrap().status, 503);
}

#[tokio::test]
async fn a_large_refused_body_is_not_read_to_its_end() {
    let stub = stub().await;
    let size = 64 << 20;
    let url = ticket(&stub, "a.png", size).await;
    stub.fault(Step::Put, Fault::status(503));
    let mut stream = connect(&url).await;
    let length = size.to_string();
    stream
        .write_all(head("PUT", &url, &[("Content-Length", &length), ("If-None-Match", "*")]).as_bytes())
        .await
        .unwrap();
    let chunk = vec![0; 1 << 20];
    let mut sent = 0;
    while sent < size && stream.write_all(&chunk).await.is_ok() {
        sent += chunk.len();
    }
    assert!(sent < size, "the stub took everything");
    assert!(stub.calls().last().unwrap().body_received < 1 << 20);
}
