//! The JSON of `POST /r/files/presign`, lenient in what it takes.
//!
//! An answer may lack `upload_headers` or carry it as null, give numbers for strings, and carry fields that
//! are not known here. What is needed and missing is named.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Ticket;
use crate::outcome::LONGEST_KEY;
use crate::redact::PresignedUrl;

/// What is to be uploaded: the three fields of the request.
#[derive(Clone, Debug, Serialize)]
pub struct File<'a> {
    /// The original name, with its extension.
    pub file_name: &'a str,
    /// The exact size in bytes.
    pub file_size: u64,
    /// The MIME type.
    pub content_type: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    file_key: Option<Value>,
    upload_url: Option<Value>,
    upload_headers: Option<Value>,
}

/// Reads an answer; the error says what is wrong with it, and never quotes the URL.
pub(super) fn ticket(body: &[u8]) -> Result<Ticket, String> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err("an empty body".into());
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|_| {
        if is_html(body) {
            "an HTML page instead of JSON: is a proxy or a login page in between?"
        } else {
            "a body that is not the documented JSON object"
        }
    })?;
    let file_key = text(answer.file_key.as_ref(), "file_key")?.to_owned();
    // A longer one would not fit into a status, and its file would be sent for nothing.
    if file_key.chars().count() > LONGEST_KEY {
        return Err(format!("a file_key of more than {LONGEST_KEY} characters"));
    }
    let url = text(answer.upload_url.as_ref(), "upload_url")?;
    let url = PresignedUrl::parse(url).ok_or("an upload_url that is not an absolute http(s) URL")?;
    let headers = match answer.upload_headers {
        None | Some(Value::Null) => HeaderMap::new(),
        Some(Value::Object(fields)) => headers(&fields)?,
        Some(_) => return Err("upload_headers that are not an object".into()),
    };
    Ok(Ticket { file_key, url, headers })
}

fn text<'a>(value: Option<&'a Value>, field: &str) -> Result<&'a str, String> {
    match value {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text),
        Some(Value::String(_)) => Err(format!("an empty {field}")),
        Some(Value::Null) | None => Err(format!("no {field}")),
        Some(_) => Err(format!("a {field} that is not a string")),
    }
}

fn headers(fields: &Map<String, Value>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let value = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            Value::Array(_) | Value::Object(_) => return Err(bad_header(name)),
        };
        let name = HeaderName::try_from(name).map_err(|_| bad_header(name))?;
        let value = HeaderValue::try_from(value).map_err(|_| bad_header(name.as_str()))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

fn bad_header(name: &str) -> String {
    format!("an upload header {:?} that cannot be sent", crate::redact::quote(name))
}

/// Whether a body is a page for people. Only its first bytes are looked at.
pub(super) fn is_html(body: &[u8]) -> bool {
    let start = String::from_utf8_lossy(&body[..body.len().min(256)]).trim_start().to_ascii_lowercase();
    start.starts_with("<!doctype html") || start.starts_with("<html") || start.contains("<head>")
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://s3.example.com/b/k?X-Amz-Signature=abc";

    fn answer(headers: &str) -> String {
        format!(r#"{{"file_key":"inputs/a/b","upload_url":"{URL}"{headers},"new_field":[1]}}"#)
    }

    #[test]
    fn missing_null_and_empty_upload_headers_are_the_same() {
        for headers in ["", r#","upload_headers":null"#, r#","upload_headers":{}"#] {
            assert_eq!(ticket(answer(headers).as_bytes()).unwrap().headers.len(), 0, "{headers}");
        }
    }

    #[test]
    fn upload_headers_keep_their_values_and_numbers_become_text() {
        let ticket =
            ticket(answer(r#","upload_headers":{"Content-Length":12,"If-None-Match":"*","X":null}"#).as_bytes())
                .unwrap();
        assert_eq!(ticket.headers["content-length"], "12");
        assert_eq!(ticket.headers["if-none-match"], "*");
        assert_eq!(ticket.headers.len(), 2);
    }

    #[test]
    fn a_key_that_no_status_could_hold_is_refused_before_anything_is_sent() {
        let long = answer("").replace("inputs/a/b", &"k".repeat(LONGEST_KEY + 1));
        assert!(ticket(long.as_bytes()).unwrap_err().contains("more than 2048 characters"));
        let longest = answer("").replace("inputs/a/b", &"k".repeat(LONGEST_KEY));
        assert!(ticket(longest.as_bytes()).is_ok());
    }

    #[test]
    fn each_broken_answer_says_what_is_wrong_with_it() {
        let cases = [
            ("", "an empty body"),
            ("  <!DOCTYPE html><html>", "an HTML page"),
            ("{\"file_key\":", "not the documented JSON"),
            ("[]", "not the documented JSON"),
            ("{}", "no file_key"),
            (r#"{"file_key":null}"#, "no file_key"),
            (r#"{"file_key":7}"#, "a file_key that is not a string"),
            (r#"{"file_key":" "}"#, "an empty file_key"),
            (r#"{"file_key":"k"}"#, "no upload_url"),
            (r#"{"file_key":"k","upload_url":"/relative"}"#, "not an absolute"),
            (r#"{"file_key":"k","upload_url":"https://h/","upload_headers":[]}"#, "not an object"),
            (r#"{"file_key":"k","upload_url":"https://h/","upload_headers":{"A":{}}}"#, "upload header \"A\""),
            (r#"{"file_key":"k","upload_url":"https://h/","upload_headers":{"A b":"c"}}"#, "upload header \"A b\""),
        ];
        for (body, expected) in cases {
            let error = ticket(body.as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{body}: {error}");
        }
    }
}
