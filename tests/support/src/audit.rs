//! What the API server says it was asked for, by the operator's account or by anybody whom it logs.
//!
//! The log is written before an answer is sent, so what was answered can be read here.

use std::path::Path;

use serde_json::Value;

/// One request of a service account, or of a caller without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who asked, as `system:serviceaccount:NAMESPACE:NAME` or `system:anonymous`.
    pub user: String,
    /// The address it came from; a pod's own.
    pub source: String,
    /// The object's namespace; empty where there is none.
    pub namespace: String,
    /// `get`, `list`, `watch`, `create`, ...
    pub verb: String,
    /// With its subresource, as `fileuploads/status`.
    pub resource: String,
    /// The object's name; empty for a list.
    pub name: String,
    /// The status answered.
    pub code: u64,
    /// When it came, as the log writes it: as text in order of time.
    pub at: String,
}

/// Every request that is logged in a line with this text in it, and is as asked for.
pub(crate) fn read(log: &Path, with: &str, matches: impl Fn(&Request) -> bool) -> anyhow::Result<Vec<Request>> {
    let text = std::fs::read_to_string(log)?;
    // The last line may be half written.
    let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
    let entries = complete.lines().filter(|line| line.contains(with)).map(serde_json::from_str::<Value>);
    let mut requests = Vec::new();
    for entry in entries {
        requests.extend(Some(request(&entry?)).filter(&matches));
    }
    Ok(requests)
}

fn request(entry: &Value) -> Request {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &entry["objectRef"];
    let resource = [text(&object["resource"]), text(&object["subresource"])].join("/");
    Request {
        user: text(&entry["user"]["username"]),
        source: text(&entry["sourceIPs"][0]),
        namespace: text(&object["namespace"]),
        verb: text(&entry["verb"]),
        resource: resource.trim_end_matches('/').to_owned(),
        name: text(&object["name"]),
        code: entry["responseStatus"]["code"].as_u64().unwrap_or_default(),
        at: text(&entry["requestReceivedTimestamp"]),
    }
}
