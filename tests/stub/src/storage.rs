//! `PUT` of an object to a signed URL.
//!
//! Everything the head can tell is judged before the body is polled, so hyper sends 100 Continue only to requests
//! that will be accepted, and a refused one is answered without a body byte having been asked for. The body is hashed
//! as it comes and kept only up to 1 MiB. "Exists already" is judged twice: early for the client's sake, and at the
//! end under the lock that stores.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use ring::digest::{Context, SHA256};

use crate::act::Script;
use crate::answer::{self, Exit, Refusal, Reply};
use crate::faults::Moment;
use crate::record::{ActiveCall, Object, Step};
use crate::state::State;
use crate::tickets::Ticket;
use crate::wire::Line;

const KEPT: usize = 1024 * 1024;

/// A body that was read.
struct Content {
    size: u64,
    sha256: String,
    bytes: Option<Bytes>,
}

pub(crate) async fn put(
    state: &State,
    call: &ActiveCall,
    line: &Line,
    request: Request<Incoming>,
) -> Result<Reply, Exit> {
    let (head, body) = request.into_parts();
    let ticket = state.desk.find(head.uri.path());
    let (file_name, credential) = note(call, ticket.as_ref());
    let script = Script::new(state.faults.take(Step::Put, file_name, credential)).on(line);
    call.update(|call| call.fault = script.describe());

    script.reach(Moment::Start).await?;
    if script.refuse_expect() && head.headers.contains_key(header::EXPECT) {
        return Err(answer::reply(StatusCode::EXPECTATION_FAILED, "text/plain", "").into());
    }
    if script.no_continue() {
        line.mute_continue();
    }
    let ticket = admit(state, &head, ticket).await?;
    script.reach(Moment::Accepted).await?;
    let content = intake(body, &script).await?;
    if content.size != ticket.size {
        return Err(answer::xml_error(
            StatusCode::BAD_REQUEST,
            "IncompleteBody",
            "the body is not as long as promised",
        )
        .into());
    }
    script.reach(Moment::Received).await?;
    let etag = format!("\"{}\"", &content.sha256[..32]);
    store(state, ticket, content)?;
    script.reach(Moment::Committed).await?;
    let mut reply = Response::new(answer::whole(Bytes::new()));
    reply.headers_mut().extend(HeaderValue::try_from(etag).ok().map(|etag| (header::ETAG, etag)));
    Ok(reply)
}

fn note<'a>(call: &ActiveCall, ticket: Option<&'a Ticket>) -> (Option<&'a str>, Option<&'a str>) {
    let Some(ticket) = ticket else { return (None, None) };
    call.update(|call| {
        call.credential.clone_from(&ticket.credential);
        call.file_name = Some(ticket.file_name.clone());
        call.file_key = Some(ticket.key.clone());
        call.declared_size = Some(ticket.size);
        call.content_type = Some(ticket.content_type.clone());
    });
    (Some(&ticket.file_name), ticket.credential.as_deref())
}

/// Everything that can be judged without the body.
async fn admit(state: &State, head: &request::Parts, ticket: Option<Ticket>) -> Result<Ticket, Refusal> {
    only_the_signature_speaks(head)?;
    state.verifier.check(head).await?;
    // s3s accepts other spellings of a path; a client has no business re-encoding it.
    let (Some(ticket), &Method::PUT) = (ticket, &head.method) else {
        return Err(answer::xml_error(StatusCode::FORBIDDEN, "AccessDenied", "The URL is not the one that was signed"));
    };
    if state.record.read(|snapshot| snapshot.objects.contains_key(&ticket.key)) {
        return Err(exists());
    }
    Ok(ticket)
}

/// Refuses headers that compete with the signature. S3 would ignore `X-Team-ID`; the stub makes the leak visible.
fn only_the_signature_speaks(head: &request::Parts) -> Result<(), Refusal> {
    let headers = &head.headers;
    let invalid = |message| Err(answer::xml_error(StatusCode::BAD_REQUEST, "InvalidArgument", message));
    if headers.contains_key(header::AUTHORIZATION) {
        return invalid("Only one auth mechanism allowed; the query string and the Authorization header both are one");
    }
    if headers.contains_key("x-team-id") {
        return invalid("X-Team-ID is none of the storage's business");
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return invalid("Transfer-Encoding cannot be used with a signed Content-Length");
    }
    if let Some(unsigned) = unsigned_amz_header(headers, head.uri.query().unwrap_or_default()) {
        let message = format!("There were headers present in the request which were not signed: {unsigned}");
        return Err(answer::xml_error(StatusCode::FORBIDDEN, "AccessDenied", &message));
    }
    Ok(())
}

fn unsigned_amz_header<'a>(headers: &'a HeaderMap, query: &str) -> Option<&'a str> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let signed = pairs.find(|(name, _)| name == "X-Amz-SignedHeaders").map(|(_, value)| value).unwrap_or_default();
    headers
        .keys()
        .map(header::HeaderName::as_str)
        .find(|name| name.starts_with("x-amz-") && !signed.split(';').any(|signed| signed == *name))
}

fn exists() -> Refusal {
    let message = "At least one of the pre-conditions you specified did not hold";
    answer::xml_error(StatusCode::PRECONDITION_FAILED, "PreconditionFailed", message)
}

async fn intake(mut body: Incoming, script: &Script) -> Result<Content, Exit> {
    // Not the client's implementation; and fast in a debug build too.
    let mut hash = Context::new(&SHA256);
    let mut size = 0;
    let mut kept = Some(BytesMut::new());
    let mut mark = script.body_mark();
    loop {
        if let Some(bytes) = mark.take_if(|bytes| size >= *bytes) {
            script.reach(Moment::Body(bytes)).await?;
        }
        let Some(frame) = body.frame().await else { break };
        let Ok(data) = frame.map_err(|_| Exit::Gone)?.into_data() else { continue };
        hash.update(&data);
        size += data.len() as u64;
        match &mut kept {
            Some(kept) if kept.len() + data.len() <= KEPT => kept.extend_from_slice(&data),
            _ => kept = None,
        }
        if let Some(rate) = script.bytes_per_second() {
            tokio::time::sleep(Duration::from_secs(data.len() as u64) / u32::try_from(rate).unwrap_or(u32::MAX)).await;
        }
    }
    let digest = Bytes::copy_from_slice(hash.finish().as_ref());
    Ok(Content { size, sha256: format!("{digest:x}"), bytes: kept.map(BytesMut::freeze) })
}

/// Stores unless something is there: the one place where a race is decided.
fn store(state: &State, ticket: Ticket, content: Content) -> Result<(), Refusal> {
    let Ticket { key, file_name, content_type, .. } = ticket;
    let Content { size, sha256, bytes } = content;
    let object = Object { size, sha256, content_type, file_name, stored_at: crate::clock::now(), bytes };
    let taken = state.record.write(|snapshot| {
        let taken = snapshot.objects.contains_key(&key);
        snapshot.objects.entry(key.clone()).or_insert(object);
        taken
    });
    if taken {
        return Err(exists());
    }
    if let Some(retention) = state.options.retention {
        let record = std::sync::Arc::downgrade(&state.record);
        tokio::spawn(async move {
            tokio::time::sleep(retention).await;
            if let Some(record) = record.upgrade() {
                record.write(|snapshot| snapshot.objects.remove(&key));
            }
        });
    }
    Ok(())
}
