//! One kind at the API server: its list, page by page, and the watch that goes on from there.
//!
//! kube's own watcher parses each page as a whole, so that one odd object is an error of all, and a page of large ones is
//! in memory several times. Here each object is read for itself, while the page comes. Nothing is tried again here.

use std::marker::PhantomData;
use std::time::Duration;

use futures::io::AsyncBufRead;
use futures::{AsyncBufReadExt, TryStreamExt};
use kube::api::{ListParams, WatchParams};
use kube::core::{ListMeta, Request, WatchEvent};
use kube::{Client, Error, Resource};
use tokio::time::timeout;

use super::pages::{Cutter, NoPage};
use super::received::{Odd, Received, Watched};

/// For how long a watch is asked for, in seconds.
const WATCH: u32 = 30;
/// A watch that the API server does not end is given up so much later.
const MARGIN: Duration = Duration::from_secs(5);
/// Objects in a page of a list. It spares the API server, which makes a whole page at a time; here it costs no memory.
const PAGE: u32 = 50;

/// What a watch tells.
pub(super) enum News<K> {
    /// An object appeared or changed.
    Applied(Received<K>),
    /// An object is gone.
    Deleted(Received<K>),
}

/// Where objects of one kind come from.
pub(super) struct Source<K> {
    client: Client,
    path: String,
    labels: Option<String>,
    kind: PhantomData<fn() -> K>,
}

impl<K: Watched> Source<K> {
    /// Those of a namespace, or of all, which bear these labels.
    pub(super) fn new(client: Client, namespace: Option<&str>, labels: Option<String>) -> Self {
        Self { client, path: K::Kind::url_path(&(), namespace), labels, kind: PhantomData }
    }

    /// Gives each object that there is to `each`; returns the version from which a watch goes on.
    pub(super) async fn list(&self, mut each: impl FnMut(Received<K>)) -> Result<String, Error> {
        let mut token = None;
        loop {
            let ListMeta { continue_, resource_version, .. } = self.page(token, &mut each).await?;
            token = continue_.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(resource_version.unwrap_or_default());
            }
        }
    }

    async fn page(&self, token: Option<String>, each: &mut impl FnMut(Received<K>)) -> Result<ListMeta, Error> {
        let params = ListParams {
            label_selector: self.labels.clone(),
            limit: Some(PAGE),
            continue_token: token,
            ..ListParams::default()
        };
        let request = Request::new(&self.path);
        let request = if K::ONLY_METADATA { request.list_metadata(&params) } else { request.list(&params) };
        let mut body = std::pin::pin!(self.client.request_stream(request.map_err(Error::BuildRequest)?).await?);
        let mut page = Cutter::default();
        loop {
            let bytes = body.fill_buf().await.map_err(Error::ReadEvents)?;
            let length = bytes.len();
            if length == 0 {
                return page.end().map_err(unreadable);
            }
            page.take(bytes, |text| each(text.map_or_else(too_large, Received::read))).map_err(unreadable)?;
            body.as_mut().consume(length);
        }
    }

    /// Gives what happens after `version` to `each`, and moves `version` on, until the API server ends the watch.
    pub(super) async fn watch(&self, version: &mut String, mut each: impl FnMut(News<K>)) -> Result<(), Error> {
        let params =
            WatchParams { label_selector: self.labels.clone(), timeout: Some(WATCH), ..WatchParams::default() };
        let request = Request::new(&self.path);
        let request =
            if K::ONLY_METADATA { request.watch_metadata(&params, version) } else { request.watch(&params, version) };
        let request = request.map_err(Error::BuildRequest)?;
        let mut events = std::pin::pin!(self.client.request_events::<Received<K>>(request).await?);
        let silence = Duration::from_secs(WATCH.into()) + MARGIN;
        while let Some(event) = timeout(silence, events.try_next()).await.unwrap_or(Ok(None))? {
            let told = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => News::Applied(object),
                WatchEvent::Deleted(object) => News::Deleted(object),
                WatchEvent::Bookmark(mark) => {
                    *version = mark.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(status) => return Err(Error::Api(status)),
            };
            let (News::Applied(object) | News::Deleted(object)) = &told;
            if let Some(newer) = object.version().filter(|version| !version.is_empty()) {
                newer.clone_into(version);
            }
            each(told);
        }
        Ok(())
    }
}

/// Whether a watch cannot go on from where it was, so that a new list is due.
pub(super) fn is_too_old(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == 410)
}

fn unreadable(error: NoPage) -> Error {
    Error::ReadEvents(std::io::Error::other(error))
}

fn too_large<K: Watched>() -> Received<K> {
    Received(Err(Box::new(Odd::new(b"", "it is too large".to_owned()))))
}
