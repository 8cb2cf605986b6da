//! What a PUT looks like on the wire: exactly the signed headers, and the wait for `100 Continue`.

use std::time::{Duration, Instant};

use cyberun_stub::{Act, Defect, Fault, Field, Kind, Options, Step, UploadHeaders};
use fileupload_operator::reason::Reason;
use serde_json::json;

use crate::support::files::bytes;
use crate::support::sender::Sender;

/// More than what is sent without asking.
const LARGE: usize = 100_000;

#[tokio::test]
async fn storage_sees_the_signed_headers_and_no_other() {
    for upload_headers in [UploadHeaders::Empty, UploadHeaders::Filled] {
        for (kind, size) in [(Kind::Integration, 5), (Kind::Device, LARGE), (Kind::User, 0)] {
            let sender = Sender::with(Options { upload_headers, ..Options::default() }, kind).await;
            sender.send(bytes(size)).await.unwrap();
            let put = sender.puts().pop().unwrap();
            let mut headers: Vec<&str> = put.headers.iter().map(|(name, _)| name.as_str()).collect();
            headers.sort_unstable();
            headers.retain(|name| !(*name == "expect" && size == LARGE));
            assert_eq!(headers, ["content-length", "host", "if-none-match"], "{upload_headers:?}, {kind:?}");
            assert_eq!(put.header("content-length"), Some(size.to_string().as_str()));
            assert_eq!(put.header("if-none-match"), Some("*"));
        }
    }
}

#[tokio::test]
async fn a_presign_has_the_three_fields_and_the_team_only_of_a_user() {
    for kind in [Kind::Integration, Kind::Device, Kind::User] {
        let sender = Sender::with(Options::default(), kind).await;
        sender.send("hello").await.unwrap();
        let presign = sender.stub.calls().swap_remove(0);
        assert_eq!((presign.step, presign.file_name.as_deref()), (Step::Presign, Some("photo.png")));
        assert_eq!((presign.declared_size, presign.content_type.as_deref()), (Some(5), Some("image/png")));
        assert_eq!(presign.header("x-team-id"), sender.stub.credential(kind).team(), "{kind:?}");
    }
}

#[tokio::test]
async fn an_empty_file_is_sent_with_its_length() {
    let sender = Sender::new().await;
    let delivered = sender.send("").await.unwrap();
    assert_eq!(delivered.size, 0);
    assert_eq!(delivered.sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(sender.puts()[0].header("content-length"), Some("0"));
}

#[tokio::test]
async fn missing_null_and_empty_upload_headers_are_made_up_for_from_the_url() {
    for defect in [Defect::Missing, Defect::Null, Defect::Empty] {
        let sender = Sender::new().await;
        sender.stub.fault(Step::Presign, Fault::field(Field::UploadHeaders, defect));
        sender.send("hello").await.unwrap();
        assert_eq!(sender.counted(), (1, 1), "{defect:?}");
    }
}

/// The stub gives `If-None-Match: true` there, which nobody signed.
#[tokio::test]
async fn upload_headers_are_sent_as_given_even_if_storage_then_refuses_them() {
    let sender = Sender::new().await;
    sender.stub.fault(Step::Presign, Fault::field(Field::UploadHeaders, Defect::NotAString));
    sender.send("hello").await.unwrap();
    let puts = sender.puts();
    assert_eq!((puts[0].header("if-none-match"), puts[0].status()), (Some("true"), Some(403)));
    assert_eq!(puts[0].header("content-length"), Some("5"), "a number is sent as text");
    assert_eq!(sender.counted(), (2, 2));
}

#[tokio::test]
async fn upload_headers_that_cannot_be_signed_are_refused_before_a_byte_is_sent() {
    for (headers, said) in [
        (json!({"Content-Length": "6"}), "a Content-Length that is not the size"),
        (json!({"Content-Length": "+5"}), "a Content-Length that is not the size"),
        (json!({"Host": "elsewhere.example"}), "an upload header host"),
        (json!({"Transfer-Encoding": "chunked"}), "an upload header transfer-encoding"),
        (json!({"Connection": "close"}), "an upload header connection"),
        (json!({"Keep-Alive": "timeout=5"}), "an upload header keep-alive"),
        (json!({"Upgrade": "websocket"}), "an upload header upgrade"),
        (json!({"TE": "trailers"}), "an upload header te"),
        (json!({"Trailer": "Expires"}), "an upload header trailer"),
        (json!({"Proxy-Authorization": "Basic eDp5"}), "an upload header proxy-authorization"),
        (json!({"Authorization": "Bearer x"}), "an upload header authorization"),
        (json!({"Expect": "100-continue"}), "an upload header expect"),
        (json!({"A": ["b"]}), "an upload header \"A\""),
    ] {
        let sender = Sender::new().await;
        let url = format!("{}bucket/key?X-Amz-Signature=0", sender.stub.s3_url());
        let answer = json!({"file_key": "key", "upload_url": url, "upload_headers": headers});
        sender.stub.fault(Step::Presign, Fault::json(200, &answer));
        let failure = sender.send("hello").await.unwrap_err();
        assert!(
            failure.reason == Reason::InvalidResponse && failure.message().contains(said),
            "{headers}: {failure:?}"
        );
        assert_eq!(sender.counted(), (1, 0), "{headers}");
    }
}

#[tokio::test]
async fn a_content_type_that_the_url_signs_is_sent_as_it_was_declared() {
    let options = Options { also_signs: vec!["content-type".into()], ..Options::default() };
    for defect in [None, Some(Defect::Missing), Some(Defect::Null), Some(Defect::Empty)] {
        let sender = Sender::with(options.clone(), Kind::Integration).await;
        if let Some(defect) = defect {
            sender.stub.fault(Step::Presign, Fault::field(Field::UploadHeaders, defect));
        }
        sender.send(bytes(LARGE)).await.unwrap();
        assert_eq!(
            (sender.counted(), sender.puts()[0].header("content-type")),
            ((1, 1), Some("image/png")),
            "{defect:?}"
        );
    }
}

#[tokio::test]
async fn a_signed_header_whose_value_nobody_gives_is_refused_before_a_byte_is_sent() {
    let options = Options { also_signs: vec!["x-amz-meta-team".into()], ..Options::default() };
    let sender = Sender::with(options, Kind::Integration).await;
    let failure = sender.send("hello").await.unwrap_err();
    assert_eq!((failure.reason, sender.counted()), (Reason::InvalidResponse, (1, 0)));
    assert!(failure.message().ends_with("signs x-amz-meta-team and gives no value"), "{failure}");
}

#[tokio::test]
async fn only_a_large_body_waits_to_be_asked_for() {
    for (size, asks) in [(64 * 1024, false), (64 * 1024 + 1, true)] {
        let sender = Sender::new().await;
        sender.send(bytes(size)).await.unwrap();
        let put = sender.puts().pop().unwrap();
        assert_eq!((put.continue_asked, put.continue_sent, put.body_received), (asks, asks, size as u64));
    }
}

#[tokio::test]
async fn storage_that_does_not_know_expect_is_sent_the_same_url_without_it() {
    let sender = Sender::new().await;
    sender.stub.fault_always(Step::Put, Act::RefuseExpect);
    sender.send(bytes(LARGE)).await.unwrap();
    assert_eq!(sender.counted(), (1, 2));
    let puts = sender.puts();
    assert_eq!(puts.iter().map(|put| put.continue_asked).collect::<Vec<_>>(), [true, false]);
    assert_eq!(puts[0].path, puts[1].path);
    sender.send(bytes(LARGE)).await.unwrap();
    assert_eq!(sender.counted(), (2, 3), "that host is not asked again");
}

#[tokio::test]
async fn storage_that_never_asks_is_waited_for_only_once() {
    let sender = Sender::new().await;
    sender.stub.fault_always(Step::Put, Act::NoContinue);
    let begun = Instant::now();
    sender.send(bytes(LARGE)).await.unwrap();
    let first = begun.elapsed();
    assert!(first >= Duration::from_secs(1), "sent after {first:?}");
    sender.send(bytes(LARGE)).await.unwrap();
    let puts = sender.puts();
    assert_eq!(puts.iter().map(|put| put.continue_asked).collect::<Vec<_>>(), [true, false]);
    assert_eq!(sender.counted(), (2, 2));
}
