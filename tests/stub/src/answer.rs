//! Answers: Cyberun's JSON, S3's XML, and those a test made up.
//!
//! Nothing here knows why an answer is sent. The shape of Cyberun's error bodies is not documented; the stub's are
//! `{"error": {"code", "message"}}`.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use serde_json::{Value, json};

use crate::faults::Answer;

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;
pub(crate) type Reply = Response<Body>;

/// The answer of a handler that says no; boxed, so that the good case stays small.
pub(crate) struct Refusal(Box<Reply>);

impl From<Reply> for Refusal {
    fn from(reply: Reply) -> Self {
        Self(Box::new(reply))
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        *refusal.0
    }
}

/// How a handler ends early.
pub(crate) enum Exit {
    Answer(Refusal),
    Reset,
    /// The client is gone.
    Gone,
}

impl From<Reply> for Exit {
    fn from(reply: Reply) -> Self {
        Self::Answer(reply.into())
    }
}

impl From<Refusal> for Exit {
    fn from(refusal: Refusal) -> Self {
        Self::Answer(refusal)
    }
}

pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

pub(crate) fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(whole(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

pub(crate) fn json(status: StatusCode, body: &Value) -> Reply {
    reply(status, "application/json", body.to_string())
}

pub(crate) fn json_error(status: StatusCode, code: &str, message: &str) -> Reply {
    json(status, &json!({"error": {"code": code, "message": message}}))
}

pub(crate) fn xml_error(status: StatusCode, code: &str, message: &str) -> Refusal {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    reply(status, "application/xml", body).into()
}

/// The answer a test made up; a status or header that HTTP does not know becomes 500 and tells so.
pub(crate) fn made_up(answer: &Answer) -> Reply {
    try_made_up(answer).unwrap_or_else(|error| {
        json_error(StatusCode::INTERNAL_SERVER_ERROR, "bad_fault", &format!("the armed answer is no HTTP: {error}"))
    })
}

fn try_made_up(answer: &Answer) -> Result<Reply, http::Error> {
    let filled = answer.filler > 0 || answer.claimed_length.is_some();
    let body = if filled { padded(answer.body.clone(), answer.filler) } else { whole(answer.body.clone()) };
    let mut reply = Response::builder().status(answer.status).body(body)?;
    for (name, value) in &answer.headers {
        reply.headers_mut().append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    if let Some(length) = answer.claimed_length {
        reply.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    Ok(reply)
}

/// A stream, so that hyper takes the headers' word for its length.
fn padded(body: String, filler: u64) -> Body {
    static SPACES: [u8; 64 * 1024] = [b' '; 64 * 1024];
    let mut left = filler;
    let chunks = std::iter::from_fn(move || {
        let size = usize::try_from(left).unwrap_or(usize::MAX).min(SPACES.len());
        left -= size as u64;
        (size > 0).then(|| Bytes::from_static(&SPACES[..size]))
    });
    // hyper gives up on a body that ends too early; while the tail is pending it first sends what it has.
    let tail = stream::once(tokio::task::yield_now()).map(|()| Bytes::new());
    streamed(stream::iter(std::iter::once(Bytes::from(body)).chain(chunks)).chain(tail))
}

/// The same answer, written at this rate.
pub(crate) async fn throttled(reply: Reply, bytes_per_second: u64) -> Reply {
    let (head, body) = reply.into_parts();
    let Ok(bytes) = body.collect().await.map(http_body_util::Collected::to_bytes);
    let pause = Duration::from_secs(1).div_f64(f64::from(u32::try_from(bytes_per_second).unwrap_or(u32::MAX)));
    let slowly = stream::iter(bytes.into_iter().map(|byte| Bytes::from(vec![byte]))).then(move |byte| async move {
        tokio::time::sleep(pause).await;
        byte
    });
    Response::from_parts(head, streamed(slowly))
}

fn streamed(chunks: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    StreamBody::new(chunks.map(|chunk| Ok(Frame::data(chunk)))).boxed_unsync()
}
