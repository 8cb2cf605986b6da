//! What can go wrong with one call.
//!
//! A [`Fault`] is an [`Act`] at a [`Moment`] of the call's road. It is data only, so that it can come as JSON from a
//! shell script: `rules` decides which call it befalls and `act` carries it out.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use serde::{Deserialize, Serialize};

use crate::hold::Hold;

/// Where on a call's road the act happens.
///
/// For a presign, whose body is always read first, the moments between `Start` and `Committed` are one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// The head is there (for a presign the body too) and nothing has been judged yet.
    #[default]
    Start,
    /// The call will be accepted as far as its head tells; no 100 was sent and no body byte read.
    Accepted,
    /// At least this many bytes of the body were read.
    Body(u64),
    /// The whole body was read, the object is not stored.
    Received,
    /// The object is stored or the ticket written, the answer is not sent.
    Committed,
}

/// What happens there.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "act")]
pub enum Act {
    /// This answer instead of the true one.
    Answer(Answer),
    /// The connection is reset (RST).
    Reset,
    /// Nothing more happens, for ever.
    Stall,
    /// The call waits until the hold is released.
    Hold {
        /// The gate to wait at.
        hold: Hold,
    },
    /// The call waits this long.
    Delay {
        /// Milliseconds.
        millis: u64,
    },
    /// The body is read (put) or the answer is written (presign) at this rate.
    Slow {
        /// Bytes a second.
        bytes_per_second: u64,
    },
    /// Presign: the URL handed out has already expired.
    ExpiredUrl,
    /// Presign: a field of the answer is not as documented.
    Field {
        /// Which field.
        field: Field,
        /// What is wrong with it.
        defect: Defect,
    },
    /// Put: so many answers `102 Processing` come, then all goes on.
    Informational {
        /// How many.
        answers: u32,
    },
    /// Put: the server ends its side of the connection (FIN) without an answer, and does nothing more.
    HalfClose,
    /// Put: `Expect` is answered 417; a call without it goes on as usual.
    RefuseExpect,
    /// Put: 100 Continue is never sent, though the body is taken when it comes.
    NoContinue,
}

/// A field of the presign answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// `file_key`
    FileKey,
    /// `upload_url`
    UploadUrl,
    /// `upload_headers`
    UploadHeaders,
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Defect {
    /// The field is not there.
    Missing,
    /// It is `null`.
    Null,
    /// It is `""`, or `{}` for the headers.
    Empty,
    /// It is a number; for the headers, their values are.
    NotAString,
}

/// An answer made up by a test.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Header names and values.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The body.
    #[serde(default)]
    pub body: String,
    /// So many bytes of filler follow the body, streamed.
    #[serde(default)]
    pub filler: u64,
    /// The Content-Length to claim, be it true or not.
    #[serde(default)]
    pub claimed_length: Option<u64>,
    /// The body is written at this rate.
    #[serde(default)]
    pub bytes_per_second: Option<u64>,
}

/// An act at a moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// When; ignored by acts that concern the whole call.
    #[serde(default)]
    pub at: Moment,
    /// What.
    #[serde(flatten)]
    pub act: Act,
}

impl From<Act> for Fault {
    fn from(act: Act) -> Self {
        Self { at: Moment::Start, act }
    }
}

impl From<Answer> for Fault {
    fn from(answer: Answer) -> Self {
        Act::Answer(answer).into()
    }
}

impl Fault {
    /// The same act at another moment.
    #[must_use]
    pub fn at(self, at: Moment) -> Self {
        Self { at, ..self }
    }

    /// So many answers `102 Processing`.
    pub fn informational(answers: u32) -> Self {
        Act::Informational { answers }.into()
    }

    /// The server has nothing more to say, and keeps the other side open.
    pub fn half_close() -> Self {
        Act::HalfClose.into()
    }

    /// This status with an empty body.
    pub fn status(status: u16) -> Self {
        Answer { status, ..Answer::default() }.into()
    }

    /// This status with `Retry-After` in seconds.
    pub fn retry_after(status: u16, seconds: u64) -> Self {
        Answer { status, headers: vec![("Retry-After".into(), seconds.to_string())], ..Answer::default() }.into()
    }

    /// This status with `Retry-After` as an HTTP date.
    pub fn retry_after_date(status: u16, date: Timestamp) -> Self {
        // Only years beyond 9999 cannot be printed; they become a header that no client understands.
        let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&date).unwrap_or_default();
        Answer { status, headers: vec![("Retry-After".into(), date)], ..Answer::default() }.into()
    }

    /// This status with a JSON body.
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        let headers = vec![("Content-Type".into(), "application/json".into())];
        Answer { status, headers, body: body.to_string(), ..Answer::default() }.into()
    }

    /// This status with a page of HTML, as from a proxy.
    pub fn html(status: u16) -> Self {
        let headers = vec![("Content-Type".into(), "text/html".into())];
        let body = format!("<html><head><title>{status}</title></head><body><h1>proxy error</h1></body></html>");
        Answer { status, headers, body, ..Answer::default() }.into()
    }

    /// A redirect (302, 307, ...) to `location`.
    pub fn redirect(status: u16, location: &str) -> Self {
        Answer { status, headers: vec![("Location".into(), location.into())], ..Answer::default() }.into()
    }

    /// 200 whose JSON is cut off.
    pub fn malformed_json() -> Self {
        let headers = vec![("Content-Type".into(), "application/json".into())];
        let body = r#"{"file_key": "inputs/a/b/c", "upload_url": "#.into();
        Answer { status: 200, headers, body, ..Answer::default() }.into()
    }

    /// 200 without a body.
    pub fn empty_body() -> Self {
        Self::status(200)
    }

    /// This status and a streamed body of so many bytes.
    pub fn huge_body(status: u16, bytes: u64) -> Self {
        Answer { status, filler: bytes, ..Answer::default() }.into()
    }

    /// This status and a `Content-Length` its two-byte body (`{}`) does not have.
    pub fn wrong_content_length(status: u16, claimed: u64) -> Self {
        Answer { status, body: "{}".into(), claimed_length: Some(claimed), ..Answer::default() }.into()
    }

    /// 403: the licence lacks a feature; Cyberun says that the payload names it, not how.
    pub fn feature_gate(shape: GateShape) -> Self {
        let body = match shape {
            GateShape::Nested => serde_json::json!({"error": {
                "code": "feature_not_licensed", "message": "feature not licensed", "feature": "file_upload"}}),
            GateShape::Flat => serde_json::json!({
                "code": "FEATURE_NOT_LICENSED", "message": "feature not licensed", "missing_feature": "file_upload"}),
            GateShape::Text => serde_json::json!({"detail": "feature not licensed: file_upload"}),
        };
        Self::json(403, &body)
    }

    /// 403: the caller may not do this; nothing about a licence.
    pub fn permission_denied() -> Self {
        Self::json(403, &serde_json::json!({"error": {"code": "forbidden", "message": "permission denied"}}))
    }

    /// This status with S3's XML around an error code.
    pub fn xml(status: u16, code: &str) -> Self {
        Self::xml_with(status, code, "")
    }

    /// The same, and more elements.
    pub fn xml_with(status: u16, code: &str, elements: &str) -> Self {
        let headers = vec![("Content-Type".into(), "application/xml".into())];
        let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>{elements}</Error>");
        Answer { status, headers, body, ..Answer::default() }.into()
    }

    /// The connection is reset; before anything is judged, unless moved.
    pub fn reset() -> Self {
        Act::Reset.into()
    }

    /// The object is stored and the connection reset before the answer.
    pub fn reset_after_commit() -> Self {
        Self::reset().at(Moment::Committed)
    }

    /// Silence for ever; from the start, unless moved.
    pub fn stall() -> Self {
        Act::Stall.into()
    }

    /// A wait before the answer.
    pub fn delay(delay: Duration) -> Self {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        Self::from(Act::Delay { millis }).at(Moment::Committed)
    }

    /// So many bytes a second.
    pub fn slow(bytes_per_second: u64) -> Self {
        Act::Slow { bytes_per_second: bytes_per_second.max(1) }.into()
    }

    /// The call waits at `hold`; from the start, unless moved.
    pub fn hold(hold: &Hold) -> Self {
        Act::Hold { hold: hold.clone() }.into()
    }

    /// A field of the presign answer is wrong.
    pub fn field(field: Field, defect: Defect) -> Self {
        Act::Field { field, defect }.into()
    }
}

/// Shapes a feature gate's payload may have, as its real one is not documented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateShape {
    /// `{"error": {"code", "message", "feature"}}`
    Nested,
    /// `{"code", "message", "missing_feature"}`
    Flat,
    /// `{"detail": "feature not licensed: NAME"}`
    Text,
}
