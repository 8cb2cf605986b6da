//! `POST /api/v1/r/workflows/slug/{slug}/run`: where a file key is used.
//!
//! Any slug is a workflow that takes any parameters, and nothing runs: the answer is 202 with a new task. A value that
//! looks like one of the stub's own keys must be one that is stored, so a key that was made up, withdrawn or outlived is
//! refused. How the real API refuses such a key is not documented; the stub says 422. Keys are looked up only here.

use http::{HeaderMap, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::act::Script;
use crate::answer::{self, Exit, Reply};
use crate::faults::Moment;
use crate::presign::{is_json, read};
use crate::record::{ActiveCall, Step};
use crate::state::State;

/// What the documentation's example holds; only the first is required.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Submission {
    parameters: Map<String, Value>,
    #[serde(rename = "dispatch_target")]
    _dispatch_target: Option<String>,
    #[serde(rename = "target_pool")]
    _target_pool: Option<String>,
    #[serde(rename = "submitter_region")]
    _submitter_region: Option<String>,
    #[serde(rename = "tool_type")]
    _tool_type: Option<String>,
}

/// Whether the path is that of a run.
pub(crate) fn is_run(path: &str) -> bool {
    let slug = path.strip_prefix("/api/v1/r/workflows/slug/").and_then(|rest| rest.strip_suffix("/run"));
    slug.is_some_and(|slug| !slug.is_empty() && !slug.contains('/'))
}

pub(crate) async fn run(state: &State, call: &ActiveCall, request: Request<Incoming>) -> Result<Reply, Exit> {
    let (head, body) = request.into_parts();
    if head.method != Method::POST {
        return Err(answer::json_error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "use POST").into());
    }
    let body = read(body).await?;
    let caller = state.credentials.judge(&head.headers);
    let loose: Value = serde_json::from_slice(&body).unwrap_or_default();
    call.update(|call| {
        call.parameters = Some(loose["parameters"].clone());
        call.credential.clone_from(&caller.label);
    });
    let script = Script::new(state.faults.take(Step::Run, None, caller.label.as_deref()));
    call.update(|call| call.fault = script.describe());

    script.reach(Moment::Start).await?;
    caller.verdict.map_err(|denied| answer::json_error(denied.status, denied.code, denied.message))?;
    let Submission { parameters, .. } =
        parse(&head.headers, &body).map_err(|message| refuse(StatusCode::BAD_REQUEST, &message))?;
    if let Some(key) = parameters.values().filter_map(Value::as_str).find(|value| !is_usable(state, value)) {
        return Err(refuse(StatusCode::UNPROCESSABLE_ENTITY, &format!("no file is stored under {key}")).into());
    }
    script.reach(Moment::Committed).await?;
    Ok(answer::json(StatusCode::ACCEPTED, &json!({"task_id": crate::tickets::uuid()})))
}

fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Submission, String> {
    if !is_json(headers) {
        return Err(format!("{} must be application/json", header::CONTENT_TYPE));
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// A value that is no key, or the key of a file that is stored now: what outlived the retention is gone.
fn is_usable(state: &State, value: &str) -> bool {
    !value.starts_with("inputs/") || state.record.read(|snapshot| snapshot.objects.contains_key(value))
}

fn refuse(status: StatusCode, message: &str) -> Reply {
    answer::json_error(status, "invalid_request", message)
}
