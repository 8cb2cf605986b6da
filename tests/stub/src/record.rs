//! What happened: every call, and every object that is stored.
//!
//! Written by the two servers while calls are under way, read by tests at any time. It never holds a token or a
//! signed URL: a call carries its credential's label, its path without the query, and `Authorization` blotted out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// The two steps of an upload, the use of its key, and everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// `POST /api/v1/r/files/presign`
    Presign,
    /// Any request to the storage port.
    Put,
    /// A request to `/api/v1/r/workflows/slug/{slug}/run`.
    Run,
    /// Any other request to the API port.
    Other,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// This status was answered.
    Status(u16),
    /// The stub reset the connection.
    Reset,
    /// The connection went away, or the stub stopped, while the call was under way.
    Dropped,
}

/// One request, as the stub saw it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Call {
    /// The step.
    pub step: Step,
    /// The method.
    pub method: String,
    /// The path, without its query.
    pub path: String,
    /// The label of the credential, or what sort of unknown token came; a put has its presign's.
    pub credential: Option<String>,
    /// The file name declared at presign.
    pub file_name: Option<String>,
    /// The key handed out or put to.
    pub file_key: Option<String>,
    /// The size declared at presign.
    pub declared_size: Option<u64>,
    /// The content type declared at presign.
    pub content_type: Option<String>,
    /// The parameters of a run, as they came.
    pub parameters: Option<serde_json::Value>,
    /// The headers received, names in lower case; the value of `authorization` is replaced.
    pub headers: Vec<(String, String)>,
    /// The fault that befell the call, as its `Debug` text.
    pub fault: Option<String>,
    /// How it ended; none while it is under way.
    pub end: Option<End>,
    /// Body bytes that came through the socket, be they read by the handler or not.
    pub body_received: u64,
    /// The client sent `Expect: 100-continue`.
    pub continue_asked: bool,
    /// The stub answered it with 100.
    pub continue_sent: bool,
    /// When its head was there.
    pub started_at: Timestamp,
    /// When it ended; an answer counts as ended when it is handed to the connection.
    pub ended_at: Option<Timestamp>,
}

impl Call {
    /// The status answered, if one was.
    pub fn status(&self) -> Option<u16> {
        match self.end {
            Some(End::Status(status)) => Some(status),
            _ => None,
        }
    }

    /// The value of the first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn new(step: Step, method: &Method, path: &str, headers: &HeaderMap) -> Self {
        Self {
            step,
            method: method.to_string(),
            path: path.to_owned(),
            credential: None,
            file_name: None,
            file_key: None,
            declared_size: None,
            content_type: None,
            parameters: None,
            headers: headers.iter().map(|(name, value)| (name.to_string(), shown(name, value))).collect(),
            fault: None,
            end: None,
            body_received: 0,
            continue_asked: headers.contains_key(header::EXPECT),
            continue_sent: false,
            started_at: crate::clock::now(),
            ended_at: None,
        }
    }
}

fn shown(name: &header::HeaderName, value: &header::HeaderValue) -> String {
    if name == header::AUTHORIZATION {
        return "(not recorded)".into();
    }
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// An object in the stub's storage.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Object {
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the content, in hex.
    pub sha256: String,
    /// The content type declared at presign.
    pub content_type: String,
    /// The file name declared at presign.
    pub file_name: String,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// The content, of objects up to 1 MiB.
    #[serde(skip)]
    pub bytes: Option<Bytes>,
}

/// Everything the stub knows at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// In the order in which their heads arrived.
    pub calls: Vec<Call>,
    /// By key.
    pub objects: BTreeMap<String, Object>,
}

impl Snapshot {
    /// The calls of one step.
    pub fn of(&self, step: Step) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(move |call| call.step == step)
    }
}

/// The snapshot that is being written.
#[derive(Default)]
pub(crate) struct Record {
    snapshot: Mutex<Snapshot>,
    changed: watch::Sender<()>,
}

impl Record {
    pub(crate) fn read<R>(&self, look: impl FnOnce(&Snapshot) -> R) -> R {
        look(&self.snapshot.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn write<R>(&self, change: impl FnOnce(&mut Snapshot) -> R) -> R {
        let result = change(&mut self.snapshot.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.send_replace(());
        result
    }

    pub(crate) async fn wait_for(&self, holds: impl Fn(&Snapshot) -> bool, deadline: Duration) -> anyhow::Result<()> {
        let mut changed = self.changed.subscribe();
        let wait = async { while !self.read(&holds) && changed.changed().await.is_ok() {} };
        if tokio::time::timeout(deadline, wait).await.is_err() {
            anyhow::bail!("the condition did not come true within {deadline:?}; the stub saw:{}", self.read(summary));
        }
        Ok(())
    }
}

fn summary(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    for call in &snapshot.calls {
        let Call { step, file_name, end, body_received, .. } = call;
        let _ = write!(text, "\n  {step:?} {file_name:?}: {end:?}, {body_received} body bytes");
    }
    let _ = write!(text, "\n  {} objects", snapshot.objects.len());
    text
}

/// A call under way; dropped before its end, it ends as [`End::Dropped`].
pub(crate) struct ActiveCall {
    record: Arc<Record>,
    index: usize,
    ended: bool,
}

impl ActiveCall {
    pub(crate) fn start(record: &Arc<Record>, step: Step, method: &Method, path: &str, headers: &HeaderMap) -> Self {
        let call = Call::new(step, method, path, headers);
        let index = record.write(|snapshot| {
            snapshot.calls.push(call);
            snapshot.calls.len() - 1
        });
        Self { record: Arc::clone(record), index, ended: false }
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Call)) {
        self.meter().update(change);
    }

    /// A handle that outlives the handler, for what the connection still sees of this call.
    pub(crate) fn meter(&self) -> Meter {
        Meter { record: Arc::clone(&self.record), index: self.index }
    }

    pub(crate) fn end(mut self, end: End) {
        self.finish(end);
    }

    fn finish(&mut self, end: End) {
        self.ended = true;
        self.update(|call| {
            call.end = Some(end);
            call.ended_at = Some(crate::clock::now());
        });
    }
}

impl Drop for ActiveCall {
    fn drop(&mut self) {
        if !self.ended {
            self.finish(End::Dropped);
        }
    }
}

/// Writes into one call.
pub(crate) struct Meter {
    record: Arc<Record>,
    index: usize,
}

impl Meter {
    pub(crate) fn update(&self, change: impl FnOnce(&mut Call)) {
        self.record.write(|snapshot| snapshot.calls.get_mut(self.index).map(change));
    }
}
