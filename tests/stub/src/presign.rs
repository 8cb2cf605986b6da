//! `POST /api/v1/r/files/presign`, and the refusal of everything else on the API port.
//!
//! The order is a proxy's, then an API's: path and method, an armed fault, the caller, the request. The request must
//! hold exactly the three documented fields. It never looks at the storage.

use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::act::Script;
use crate::answer::{self, Exit, Reply};
use crate::faults::{Defect, Field, Moment};
use crate::options::UploadHeaders;
use crate::record::{ActiveCall, Step};
use crate::state::State;
use crate::tickets::Ticket;

pub(crate) const PATH: &str = "/api/v1/r/files/presign";

const MAX_REQUEST: usize = 64 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    file_name: String,
    file_size: u64,
    content_type: String,
}

/// Everything on the API port that is neither a presign nor a run.
pub(crate) fn elsewhere(method: &Method, path: &str) -> Option<Reply> {
    if path != PATH {
        return Some(answer::json_error(StatusCode::NOT_FOUND, "not_found", "no such endpoint"));
    }
    if method == Method::POST {
        return None;
    }
    let mut reply = answer::json_error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "use POST");
    reply.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("POST"));
    Some(reply)
}

pub(crate) async fn presign(state: &State, call: &ActiveCall, request: Request<Incoming>) -> Result<Reply, Exit> {
    let (head, body) = request.into_parts();
    let body = read(body).await?;
    let loose: Value = serde_json::from_slice(&body).unwrap_or_default();
    let caller = state.credentials.judge(&head.headers);
    note(call, &loose, caller.label.as_deref());
    let file_name = loose["file_name"].as_str();
    let script = Script::new(state.faults.take(Step::Presign, file_name, caller.label.as_deref()));
    call.update(|call| call.fault = script.describe());

    script.reach(Moment::Start).await?;
    caller.verdict.map_err(|denied| answer::json_error(denied.status, denied.code, denied.message))?;
    let declared = parse(&head.headers, &body).map_err(|message| bad_request(&message))?;
    if state.options.max_size.is_some_and(|max| declared.file_size > max) {
        return Err(answer::json_error(StatusCode::PAYLOAD_TOO_LARGE, "file_too_large", "the file is too large").into());
    }
    for moment in [Moment::Accepted, Moment::Received] {
        script.reach(moment).await?;
    }
    if let Some(bytes) = script.body_mark() {
        script.reach(Moment::Body(bytes)).await?;
    }
    let granted = grant(state, call, declared, caller.label, &script);
    script.reach(Moment::Committed).await?;
    let reply = answer::json(StatusCode::OK, &Value::Object(granted));
    Ok(match script.bytes_per_second() {
        Some(rate) => answer::throttled(reply, rate).await,
        None => reply,
    })
}

pub(crate) async fn read(body: Incoming) -> Result<bytes::Bytes, Exit> {
    match Limited::new(body, MAX_REQUEST).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let mut reply =
                answer::json_error(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "the request is too large");
            reply.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
            Err(reply.into())
        }
        Err(_) => Err(Exit::Gone),
    }
}

/// Records what was asked for, even if it is refused.
fn note(call: &ActiveCall, request: &Value, credential: Option<&str>) {
    let text = |name: &str| request[name].as_str().map(ToOwned::to_owned);
    call.update(|call| {
        call.file_name = text("file_name");
        call.declared_size = request["file_size"].as_u64();
        call.content_type = text("content_type");
        call.credential = credential.map(ToOwned::to_owned);
    });
}

fn bad_request(message: &str) -> Reply {
    answer::json_error(StatusCode::BAD_REQUEST, "invalid_request", message)
}

fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Declared, String> {
    if !is_json(headers) {
        return Err("Content-Type must be application/json".into());
    }
    let declared: Declared = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if !is_file_name(&declared.file_name) {
        return Err("file_name must be the name of one file, of at most 255 bytes".into());
    }
    if !is_mime_type(&declared.content_type) {
        return Err("content_type must be a MIME type".into());
    }
    if i64::try_from(declared.file_size).is_err() {
        return Err("file_size must fit 64 bits".into());
    }
    Ok(declared)
}

/// Whether the body is said to be JSON.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split(';').next().map(str::trim) == Some("application/json")
}

fn is_file_name(name: &str) -> bool {
    let forbidden = |c: char| c == '/' || c == '\\' || c.is_control();
    !name.is_empty() && name.len() <= 255 && name != "." && name != ".." && !name.contains(forbidden)
}

fn is_mime_type(text: &str) -> bool {
    let is_token =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    let essence = text.split(';').next().unwrap_or_default().trim_end();
    essence.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
        && !text.contains(char::is_control)
}

fn grant(
    state: &State,
    call: &ActiveCall,
    declared: Declared,
    credential: Option<String>,
    script: &Script,
) -> Map<String, Value> {
    let Declared { file_name, file_size: size, content_type } = declared;
    let key = state.desk.new_key(&file_name, &content_type);
    call.update(|call| call.file_key = Some(key.clone()));
    let ticket = Ticket { key: key.clone(), file_name, size, content_type, credential };
    let url = state.desk.issue(ticket, script.expired_url());
    let headers = match state.options.upload_headers {
        UploadHeaders::Empty => json!({}),
        UploadHeaders::Filled => json!({"Content-Length": size.to_string(), "If-None-Match": "*"}),
    };
    let mut granted = Map::new();
    granted.insert("file_key".into(), key.into());
    granted.insert("upload_url".into(), url.as_str().into());
    granted.insert("upload_headers".into(), headers);
    granted.insert("region_hint".into(), json!({"unknown": ["to", "every", "client"]}));
    if let Some((field, defect)) = script.defect() {
        spoil(&mut granted, field, defect, size);
    }
    granted
}

fn spoil(granted: &mut Map<String, Value>, field: Field, defect: Defect, size: u64) {
    let name = match field {
        Field::FileKey => "file_key",
        Field::UploadUrl => "upload_url",
        Field::UploadHeaders => "upload_headers",
    };
    let value = match (defect, field) {
        (Defect::Missing, _) => {
            granted.remove(name);
            return;
        }
        (Defect::Null, _) => Value::Null,
        (Defect::Empty, Field::UploadHeaders) => json!({}),
        (Defect::Empty, _) => json!(""),
        (Defect::NotAString, Field::UploadHeaders) => json!({"Content-Length": size, "If-None-Match": true}),
        (Defect::NotAString, _) => json!(7),
    };
    granted.insert(name.into(), value);
}
