//! What the API server says the operator asked it for.
//!
//! The log is written before an answer is sent, so what was answered can be read here.

use std::path::Path;

use serde_json::Value;

/// One request of the operator's account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `get`, `list`, `watch`, `create`, ...
    pub verb: String,
    /// With its subresource, as `fileuploads/status`.
    pub resource: String,
    /// The object's name; empty for a list.
    pub name: String,
    /// The status answered.
    pub code: u64,
}

/// Every request of an account in a namespace.
pub(crate) fn read(log: &Path, account: &str, namespace: &str) -> anyhow::Result<Vec<Request>> {
    let text = std::fs::read_to_string(log)?;
    // The last line may be half written.
    let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
    let of_account = complete.lines().filter(|line| line.contains(namespace)).map(serde_json::from_str::<Value>);
    let mut requests = Vec::new();
    for entry in of_account {
        let entry = entry?;
        if entry["user"]["username"] == account && entry["objectRef"]["namespace"] == namespace {
            requests.push(request(&entry));
        }
    }
    Ok(requests)
}

fn request(entry: &Value) -> Request {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &entry["objectRef"];
    let resource = [text(&object["resource"]), text(&object["subresource"])].join("/");
    Request {
        verb: text(&entry["verb"]),
        resource: resource.trim_end_matches('/').to_owned(),
        name: text(&object["name"]),
        code: entry["responseStatus"]["code"].as_u64().unwrap_or_default(),
    }
}
