//! Every state that objects of a kind were in, as the API server tells them: also those that last a moment.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::ensure;
use futures::StreamExt as _;
use kube::api::{Api, DynamicObject, ListParams, WatchEvent, WatchParams};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::space::Space;

/// The states of a kind's objects in one namespace, from when it was asked for; in order.
pub struct History {
    seen: Arc<Mutex<Vec<(SystemTime, Value)>>>,
    watch: JoinHandle<()>,
}

impl Space {
    /// Begins to write down each state of this kind's objects.
    pub async fn history(&self, kind: &str) -> anyhow::Result<History> {
        let api = self.api(kind);
        let mut since = api.list_metadata(&ListParams::default()).await?.metadata.resource_version.unwrap_or_default();
        // Before it is asked for, so that nothing is missed once this returns.
        let mut events = api.watch(&WatchParams::default(), &since).await?.boxed();
        let seen: Arc<Mutex<Vec<(SystemTime, Value)>>> = Arc::default();
        let writes = Arc::clone(&seen);
        let watch = tokio::spawn(async move {
            loop {
                while let Some(Ok(event)) = events.next().await {
                    match event {
                        WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object) => {
                            since = object.metadata.resource_version.clone().unwrap_or_default();
                            write(&writes, &object);
                        }
                        // What is too old to begin with: the list shows what is left of it.
                        WatchEvent::Error(_) => since = listed(&api, &writes).await.unwrap_or(since),
                        WatchEvent::Bookmark(_) => {}
                    }
                }
                // The watch has ended, or its API server has; then it tries again until that is back.
                match api.watch(&WatchParams::default(), &since).await {
                    Ok(again) => events = again.boxed(),
                    Err(_) => sleep(Duration::from_millis(100)).await,
                }
            }
        });
        Ok(History { seen, watch })
    }
}

/// Writes down every object as it is now; where a watch goes on from.
async fn listed(api: &Api<DynamicObject>, seen: &Mutex<Vec<(SystemTime, Value)>>) -> Option<String> {
    let list = api.list(&ListParams::default()).await.ok()?;
    list.items.iter().for_each(|object| write(seen, object));
    list.metadata.resource_version
}

fn write(seen: &Mutex<Vec<(SystemTime, Value)>>, object: &DynamicObject) {
    if let Ok(object) = serde_json::to_value(object) {
        seen.lock().unwrap_or_else(PoisonError::into_inner).push((SystemTime::now(), object));
    }
}

impl History {
    /// Every state so far.
    pub fn states(&self) -> Vec<Value> {
        self.moments().into_iter().map(|(_, state)| state).collect()
    }

    /// Every state so far, with the time at which it was told.
    pub fn moments(&self) -> Vec<(SystemTime, Value)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until there was a state like this, and tells when.
    pub async fn until(
        &self,
        deadline: Duration,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<SystemTime> {
        let began = Instant::now();
        loop {
            let moments = self.moments();
            if let Some((when, _)) = moments.iter().find(|(_, state)| holds(state)) {
                return Ok(*when);
            }
            ensure!(began.elapsed() < deadline, "waited {deadline:?} for {what}; last seen: {:#?}", moments.last());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// The names of the objects that there were, in the order in which they came: two of one name are two.
    pub fn names(&self) -> Vec<String> {
        let mut uids = Vec::new();
        let mut names = Vec::new();
        for state in self.states() {
            let metadata = &state["metadata"];
            if !uids.contains(&metadata["uid"]) {
                uids.push(metadata["uid"].clone());
                names.push(metadata["name"].as_str().unwrap_or_default().to_owned());
            }
        }
        names
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.watch.abort();
    }
}
