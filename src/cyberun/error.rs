//! What a failed presign call means: a [`Reason`], one stable message, and when to come back.
//!
//! Cyberun documents no error bodies, so they are read leniently and quoted only after cleaning. Three kinds
//! of 403 exist: the feature gate and the permission, told apart here, and storage's, which is not ours.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde_json::Value;
use thiserror::Error;

use super::wire::is_html;
use crate::backoff;
use crate::reason::{Class, Reason};
use crate::redact::quote;

/// A presign call that gave no ticket.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct Error {
    reason: Reason,
    message: String,
    retry_after: Option<Duration>,
    is_untrusted: bool,
}

/// Whether asking again can help.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Retry {
    /// Not before somebody changes something.
    Never,
    /// After a backoff, at least as long as the server asked for.
    After(Option<Duration>),
}

impl Error {
    pub(super) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retry_after: None, is_untrusted: false }
    }

    /// No answer, perhaps because the server's certificate is not accepted.
    pub(super) fn unreachable(message: String, is_untrusted: bool) -> Self {
        Self { is_untrusted, ..Self::new(Reason::ApiUnavailable, message) }
    }

    /// The reason, for conditions, events and metrics.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Whether the server's certificate is not accepted, which does not pass soon.
    pub fn is_untrusted(&self) -> bool {
        self.is_untrusted
    }

    /// Whether asking again can help, and when.
    pub fn retry(&self) -> Retry {
        match self.reason.class() {
            Class::Stalled => Retry::Never,
            _ => Retry::After(self.retry_after),
        }
    }

    /// What an answer other than 2xx means. `body` is its beginning, without the credential.
    pub(super) fn of_answer(status: StatusCode, headers: &HeaderMap, body: &str) -> Self {
        let said = Said::read(body);
        let (reason, what) = match status.as_u16() {
            401 => (Reason::CredentialsRejected, "does not accept the credential".to_owned()),
            403 if said.names_feature => (Reason::FeatureNotLicensed, "lacks a licensed feature for this".to_owned()),
            403 => (Reason::CredentialsRejected, "does not permit uploads with this credential".to_owned()),
            404 => {
                (Reason::RequestRejected, "has nothing at this address: does the API URL end in /api/v1?".to_owned())
            }
            408 => (Reason::ApiUnavailable, "gave up waiting for the request".to_owned()),
            413 => (Reason::TooLarge, "does not take a file of this size".to_owned()),
            429 => (Reason::RateLimited, "asks to slow down".to_owned()),
            300..=399 => (
                Reason::InvalidResponse,
                "redirects, which is not followed with a credential: set the API URL to the final address".to_owned(),
            ),
            500..=599 => (Reason::ApiUnavailable, "is unavailable".to_owned()),
            _ => (Reason::RequestRejected, "rejects the request".to_owned()),
        };
        let message = format!("the Cyberun API {what} ({}{})", status.as_u16(), said.quotation);
        let honours = matches!(reason.class(), Class::Backoff);
        Self { retry_after: backoff::retry_after(headers).filter(|_| honours), ..Self::new(reason, message) }
    }
}

/// What an error body says, as far as it can be understood.
struct Said {
    /// `: text`, or empty.
    quotation: String,
    names_feature: bool,
}

impl Said {
    fn read(body: &str) -> Self {
        if is_html(body.as_bytes()) {
            return Self { quotation: ", an HTML page: is a proxy in between?".into(), names_feature: false };
        }
        let json = serde_json::from_str::<Value>(body).ok();
        let text = json.as_ref().map_or_else(|| Some(body.to_owned()), message);
        let text = quote(text.as_deref().unwrap_or_default());
        let names_feature = json.as_ref().is_some_and(names_feature) || speaks_of_license(&text);
        let quotation = if text.is_empty() { String::new() } else { format!(": {text}") };
        Self { quotation, names_feature }
    }
}

/// `error.message | error | message | detail`, whichever comes first as a text.
fn message(json: &Value) -> Option<String> {
    let candidates = [&json["error"]["message"], &json["error"], &json["message"], &json["detail"]];
    let text = candidates.into_iter().find_map(Value::as_str).map(str::to_owned)?;
    let feature = feature(json).map(|feature| format!(" (feature {feature})")).filter(|_| !text.is_empty());
    Some(text + &feature.unwrap_or_default())
}

/// The feature that a license payload names, wherever it stands.
fn feature(json: &Value) -> Option<String> {
    let fields = ["feature", "missing_feature", "required_feature", "feature_key", "feature_id", "feature_name"];
    [json, &json["error"], &json["detail"], &json["details"], &json["error"]["details"]]
        .into_iter()
        .flat_map(|place| fields.map(|field| &place[field]))
        .find_map(Value::as_str)
        .map(str::to_owned)
}

fn names_feature(json: &Value) -> bool {
    let codes = [&json["code"], &json["error"]["code"], &json["error"]["type"], &json["type"], &json["error"]];
    let code = |value: &&Value| {
        let text = value.as_str().unwrap_or_default().to_ascii_lowercase();
        !text.contains(' ') && (text.contains("feature") || text.contains("licens"))
    };
    feature(json).is_some() || json.get("missing_features").is_some() || codes.iter().any(code)
}

fn speaks_of_license(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("licens")
        || (text.contains("feature")
            && ["not enabled", "not available", "disabled"].iter().any(|state| text.contains(state)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: u16, body: &str) -> Error {
        Error::of_answer(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body)
    }

    #[test]
    fn each_answer_has_its_reason_and_a_message_of_its_own() {
        let cases = [
            (400, Reason::RequestRejected),
            (401, Reason::CredentialsRejected),
            (403, Reason::CredentialsRejected),
            (404, Reason::RequestRejected),
            (409, Reason::RequestRejected),
            (413, Reason::TooLarge),
            (422, Reason::RequestRejected),
            (429, Reason::RateLimited),
            (307, Reason::InvalidResponse),
            (500, Reason::ApiUnavailable),
            (503, Reason::ApiUnavailable),
        ];
        let mut messages = std::collections::BTreeSet::new();
        for (status, reason) in cases {
            let error = error(status, "");
            assert_eq!(error.reason(), reason, "{status}");
            assert!(messages.insert(error.to_string()), "{error}");
        }
    }

    #[test]
    fn the_server_is_quoted_from_any_of_the_usual_places() {
        for body in [
            r#"{"error":{"message":"key revoked"}}"#,
            r#"{"error":"key revoked"}"#,
            r#"{"message":"key revoked"}"#,
            r#"{"detail":"key revoked"}"#,
            "  key revoked\n",
        ] {
            assert_eq!(
                error(401, body).to_string(),
                "the Cyberun API does not accept the credential (401: key revoked)"
            );
        }
        assert_eq!(error(401, "{}").to_string(), "the Cyberun API does not accept the credential (401)");
    }

    #[test]
    fn a_feature_gate_is_told_from_a_permission() {
        for body in [
            r#"{"error":{"code":"feature_not_licensed","message":"no"}}"#,
            r#"{"error":"feature_not_licensed"}"#,
            r#"{"message":"nope","feature":"files.presign"}"#,
            r#"{"error":{"missing_feature":"files"}}"#,
            r#"{"detail":"your license does not cover this"}"#,
            "feature file_upload is not enabled",
        ] {
            assert_eq!(error(403, body).reason(), Reason::FeatureNotLicensed, "{body}");
        }
        for body in
            [r#"{"error":"forbidden"}"#, r#"{"message":"missing scope files:write"}"#, "<html>blocked</html>", ""]
        {
            assert_eq!(error(403, body).reason(), Reason::CredentialsRejected, "{body}");
        }
        assert!(error(403, r#"{"message":"nope","feature":"files.presign"}"#).to_string().contains("files.presign"));
    }

    #[test]
    fn a_page_for_people_is_not_shown() {
        let text = error(502, "<!DOCTYPE html><title>Bad gateway</title>").to_string();
        assert!(text.contains("(502, an HTML page") && !text.contains("title"), "{text}");
    }

    #[test]
    fn retry_after_counts_only_where_a_retry_follows() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "7".parse().unwrap());
        let of = |status| Error::of_answer(status, &headers, "").retry();
        assert_eq!(of(StatusCode::TOO_MANY_REQUESTS), Retry::After(Some(Duration::from_secs(7))));
        assert_eq!(of(StatusCode::SERVICE_UNAVAILABLE), Retry::After(Some(Duration::from_secs(7))));
        assert_eq!(of(StatusCode::UNAUTHORIZED), Retry::Never);
    }
}
