//! The control API under `/_stub/`, for demos and shell scripts; tests in Rust call [`Stub`](crate::Stub) itself.
//!
//! | request | does |
//! |---|---|
//! | `GET /_stub/calls` · `GET /_stub/objects` · `GET /_stub/faults` | what was seen, is stored, is armed |
//! | `POST /_stub/faults` with a [`Rule`] · `DELETE /_stub/faults` | arms · disarms all |
//! | `POST /_stub/revoke` · `/_stub/restore` · `/_stub/expire` with `{"credential": LABEL-OR-TOKEN}` | standing |
//! | `POST /_stub/release` with `{"hold": NAME}` | opens a hold |
//!
//! It asks for no credential and its own calls are not recorded.

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::answer::{self, Reply};
use crate::credentials::Standing;
use crate::rules::Rule;
use crate::state::State;

pub(crate) const PREFIX: &str = "/_stub/";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    credential: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    hold: String,
}

pub(crate) async fn control(state: &State, request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, 1024 * 1024).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let action = head.uri.path().trim_start_matches(PREFIX);
    match obey(state, &head.method, action, &body) {
        Ok(value) => answer::json(StatusCode::OK, &value),
        Err(problem) => answer::json_error(StatusCode::BAD_REQUEST, "bad_control_request", &problem),
    }
}

fn obey(state: &State, method: &Method, action: &str, body: &[u8]) -> Result<Value, String> {
    match (method, action) {
        (&Method::GET, "calls") => Ok(state.record.read(|snapshot| json!(snapshot.calls))),
        (&Method::GET, "objects") => Ok(state.record.read(|snapshot| json!(snapshot.objects))),
        (&Method::GET, "faults") => Ok(json!(state.faults.armed())),
        (&Method::POST, "faults") => {
            state.faults.arm(parse::<Rule>(body)?);
            Ok(json!({}))
        }
        (&Method::DELETE, "faults") => {
            state.faults.clear();
            Ok(json!({}))
        }
        (&Method::POST, "revoke") => stand(state, body, Standing::Revoked),
        (&Method::POST, "restore") => stand(state, body, Standing::Valid),
        (&Method::POST, "expire") => stand(state, body, Standing::Expired),
        (&Method::POST, "release") => {
            let Release { hold } = parse(body)?;
            if state.faults.release(&hold) { Ok(json!({})) } else { Err(format!("no hold named {hold:?} is armed")) }
        }
        _ => Err(format!("no such control request: {method} {action}")),
    }
}

fn stand(state: &State, body: &[u8], standing: Standing) -> Result<Value, String> {
    let Named { credential } = parse(body)?;
    if state.credentials.set(&credential, standing) { Ok(json!({})) } else { Err("no such credential".into()) }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}
