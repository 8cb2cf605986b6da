//! The clock: a watch on all FileUploads that notes when each came and when it was Available.
//!
//! Both moments are read from the same watch, so what it lags behind is not counted. It asks nobody anything else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::StreamExt as _;
use kube::api::Api;
use kube::core::Object;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watcher};
use kube::{Client, ResourceExt as _};
use serde::Deserialize;
use tokio::task::JoinHandle;

use crate::hands;

/// The parts of a FileUpload that tell the time.
type Watched = Object<Unread, Status>;

#[derive(Clone, Debug, Default, Deserialize)]
struct Unread {}

#[derive(Clone, Debug, Default, Deserialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
    #[serde(default)]
    files: Vec<File>,
}

#[derive(Clone, Debug, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default)]
    reason: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    file_key: Option<String>,
}

/// What was seen of one FileUpload.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) created: Instant,
    /// When it was first Available.
    pub(crate) available: Option<Instant>,
    /// Whether it was Available and was not again.
    pub(crate) lost: bool,
    /// The keys of its files.
    pub(crate) keys: Vec<String>,
    /// The reason of its Ready.
    pub(crate) reason: String,
}

/// By `NAMESPACE/NAME`.
pub(crate) type All = BTreeMap<String, Seen>;

/// The running watch.
pub(crate) struct Clock {
    seen: Arc<Mutex<All>>,
    task: JoinHandle<()>,
}

impl Clock {
    pub(crate) fn start(client: &Client) -> Self {
        let api: Api<Watched> = Api::all_with(client.clone(), &hands::resource("FileUpload"));
        let seen = Arc::<Mutex<All>>::default();
        let writes = Arc::clone(&seen);
        let mut events = watcher(api, watcher::Config::default()).default_backoff().applied_objects().boxed();
        let task = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                // After an error the watch goes on.
                if let Ok(upload) = event {
                    note(&mut writes.lock().unwrap_or_else(PoisonError::into_inner), &upload);
                }
            }
        });
        Self { seen, task }
    }

    /// Looks at all that was seen so far.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&All) -> R) -> R {
        look(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many of those whose name begins so are there, and how many of them were Available.
    pub(crate) fn count(&self, prefix: &str) -> (usize, usize) {
        self.read(|all| {
            let seen = all.iter().filter(|(id, _)| is_of(id, prefix)).map(|(_, seen)| seen);
            let available = seen.clone().filter(|seen| seen.available.is_some()).count();
            (seen.count(), available)
        })
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whether the name in `NAMESPACE/NAME` begins so.
pub(crate) fn is_of(id: &str, prefix: &str) -> bool {
    id.split_once('/').is_some_and(|(_, name)| name.starts_with(prefix))
}

fn note(all: &mut All, upload: &Watched) {
    let now = Instant::now();
    let id = format!("{}/{}", upload.namespace().unwrap_or_default(), upload.name_any());
    let seen = all.entry(id).or_insert_with(|| Seen {
        created: now,
        available: None,
        lost: false,
        keys: Vec::new(),
        reason: String::new(),
    });
    let Some(status) = &upload.status else { return };
    let condition = |kind| status.conditions.iter().find(|condition| condition.kind == kind);
    let is_available = condition("Available").is_some_and(|condition| condition.status == "True");
    if is_available {
        seen.available.get_or_insert(now);
    }
    seen.lost |= seen.available.is_some() && !is_available;
    seen.keys = status.files.iter().filter_map(|file| file.file_key.clone()).collect();
    seen.reason = condition("Ready").map(|condition| condition.reason.clone()).unwrap_or_default();
}
