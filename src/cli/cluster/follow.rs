//! One `FileUpload` over time: read, then watched by its name, and read again whenever the watch ends.
//!
//! The rights `get` and `watch` suffice, also if they name this one object. A lost connection, an API server that restarts
//! and a version that is too old (410) only cost a pause. A refusal is believed once it has lasted: an API server that has
//! just started knows no rights yet, and a Role may come after the Pod that needs it.

use std::time::Duration;

use futures::stream::{self, BoxStream, Stream, StreamExt};
use kube::api::{WatchEvent, WatchParams};
use kube::{Error, ResourceExt};
use tokio::time::{Instant, sleep_until, timeout};

use super::{ANSWER, Cluster, is_unknown_kind};
use crate::backoff;
use crate::resource::FileUpload;

/// How long a watch is asked for: so often the object is read again although nothing seems to happen.
const WATCH_SECONDS: u32 = 60;
/// A watch that says nothing for so long is given up: it is the API server's to end earlier.
const SILENCE: Duration = Duration::from_secs(65);
/// The shortest and the longest pause before it is read again.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// A refusal that has lasted for so long is an error.
const REFUSED: Duration = Duration::from_secs(10);

/// What is seen of a `FileUpload`.
#[derive(Debug)]
pub(in super::super) enum Sight {
    /// It exists.
    There(Box<FileUpload>),
    /// It does not exist.
    Absent,
    /// It cannot be read at the moment: why.
    Unseen(String),
}

struct Follower<'a> {
    cluster: &'a Cluster,
    name: &'a str,
    step: Step,
    not_before: Instant,
    failures: u32,
    refused_since: Option<Instant>,
}

/// What comes next.
enum Step {
    Read,
    /// Open a watch from this version; without one, it begins with what exists.
    Open(String),
    Watch(BoxStream<'static, kube::Result<WatchEvent<FileUpload>>>),
}

/// Why a step failed.
enum Failure {
    Silent,
    Said(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Said(error)
    }
}

impl Cluster {
    /// What is seen of the `FileUpload` called `name`, from now on. It ends only with an error: a lasting refusal.
    pub(in super::super) fn follow<'a>(&'a self, name: &'a str) -> impl Stream<Item = anyhow::Result<Sight>> + 'a {
        let follower = Follower {
            cluster: self,
            name,
            step: Step::Read,
            not_before: Instant::now(),
            failures: 0,
            refused_since: None,
        };
        stream::unfold(Some(follower), async |follower| {
            let mut follower = follower?;
            match follower.next().await {
                Ok(sight) => Some((Ok(sight), Some(follower))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }
}

impl Follower<'_> {
    async fn next(&mut self) -> anyhow::Result<Sight> {
        loop {
            let seen = match self.advance().await {
                Ok(seen) => seen,
                Err(failure) => self.after(failure)?,
            };
            if let Some(sight) = seen {
                return Ok(sight);
            }
        }
    }

    /// Takes one step, which may show nothing new.
    async fn advance(&mut self) -> Result<Option<Sight>, Failure> {
        let uploads = self.cluster.uploads();
        match &mut self.step {
            Step::Read => {
                sleep_until(self.not_before).await;
                let found = timeout(ANSWER, uploads.get(self.name)).await.map_err(|_| Failure::Silent)?;
                let found = match found {
                    Err(Error::Api(said)) if said.is_not_found() && !is_unknown_kind(&said) => None,
                    found => Some(found?),
                };
                let version = found.as_ref().and_then(ResourceExt::resource_version).unwrap_or_default();
                self.step = Step::Open(version);
                Ok(Some(found.map_or(Sight::Absent, |upload| Sight::There(Box::new(upload)))))
            }
            Step::Open(version) => {
                let only =
                    WatchParams::default().fields(&format!("metadata.name={}", self.name)).timeout(WATCH_SECONDS);
                let events = timeout(ANSWER, uploads.watch(&only, version)).await.map_err(|_| Failure::Silent)??;
                self.step = Step::Watch(events.boxed());
                (self.failures, self.refused_since) = (0, None);
                Ok(None)
            }
            Step::Watch(events) => {
                let Ok(Some(event)) = timeout(SILENCE, events.next()).await else {
                    self.read_again_after(PAUSE.0);
                    return Ok(None);
                };
                match event? {
                    WatchEvent::Added(upload) | WatchEvent::Modified(upload) => {
                        Ok(Some(Sight::There(Box::new(upload))))
                    }
                    WatchEvent::Deleted(_) => Ok(Some(Sight::Absent)),
                    WatchEvent::Bookmark(_) => Ok(None),
                    WatchEvent::Error(said) => Err(Error::Api(said).into()),
                }
            }
        }
    }

    /// What a failure shows; an error if it will not pass.
    fn after(&mut self, failure: Failure) -> anyhow::Result<Option<Sight>> {
        let error = match failure {
            Failure::Said(Error::Api(said)) if said.code == 410 => {
                self.read_again_after(PAUSE.0);
                return Ok(None);
            }
            Failure::Said(error) if is_refusal(&error) => {
                let since = *self.refused_since.get_or_insert_with(Instant::now);
                self.read_again_after(PAUSE.0);
                return if since.elapsed() < REFUSED { Ok(None) } else { Err(self.cluster.complain(self.name, error)) };
            }
            Failure::Said(error) => self.cluster.complain(self.name, error),
            Failure::Silent => super::silent(),
        };
        self.failures = self.failures.saturating_add(1);
        self.read_again_after(backoff::delay(self.failures, u64::from(std::process::id())).min(PAUSE.1));
        Ok(Some(Sight::Unseen(format!("{error:#}"))))
    }

    fn read_again_after(&mut self, pause: Duration) {
        (self.step, self.not_before) = (Step::Read, Instant::now() + pause);
    }
}

/// What the API server forbids, or does not know at all.
fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::Api(said) if said.is_forbidden() || said.code == 401 || is_unknown_kind(said))
}

#[cfg(test)]
mod tests;
