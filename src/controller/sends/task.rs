//! One Send, from its place to its results.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{FutureExt, TryFutureExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Error};
use tracing::{error, info, warn};

use super::{Begun, Order, State};
use crate::clock;
use crate::controller::budget::Slot;
use crate::controller::index::Key;
use crate::controller::outputs;
use crate::controller::secrets::Fetched;
use crate::delivery::{Batch, Delivery, Parcel, Progress, Source, Window};
use crate::outcome::Trouble;
use crate::plan::{self, Content, Item, SEND_SHOWS, SecretFacts, SendResult, SendStage, read};
use crate::reason::Reason;
use crate::resource::{File, FileUpload};

/// How long a Send may take in all, once it has its place.
const LONGEST: Duration = Duration::from_mins(1);
/// The wait before a Secret or ConfigMap that could not be read is read again.
const READ_AGAIN: Duration = Duration::from_secs(2);
/// What the API server does not give out for so long is told, and the place is left to others.
const UNREADABLE: Duration = Duration::from_secs(5);

/// A Send that has its place, and its resource.
struct Work<'a> {
    order: &'a Order,
    upload: FileUpload,
}

/// A Send that cannot go on.
enum Halt {
    /// For all files the same.
    Trouble(Trouble),
    /// The ConfigMap does not exist.
    NoConfigMap,
}

impl State {
    /// Waits for its place, which many may do at the same time: what comes after is in a box, so that this is small.
    #[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice")]
    pub(super) fn supervised(self: Arc<Self>, order: Order) -> impl Future<Output = ()> {
        async move {
            let begun = Instant::now();
            let place = tokio::select! {
                biased;
                () = self.parts.stop.cancelled() => return,
                place = self.parts.budget.sends.enter(order.lane.name(order.key.namespace())) => place,
            };
            self.parts.metrics.waited("send", begun.elapsed());
            // A fault of ours is the matter of this one resource: it is tried again later.
            if Box::pin(AssertUnwindSafe(self.run(&order, place)).catch_unwind()).await.is_err() {
                error!(namespace = order.key.namespace(), fileupload = order.key.name(), "a Send panicked");
                let trouble = Trouble::new(Reason::ApiUnavailable, "the operator failed: see its log");
                self.change(&order, |send| (send.facts.stage, send.facts.trouble) = (SendStage::Ended, Some(trouble)));
                self.wake(&order);
            }
        }
    }

    async fn run(&self, order: &Order, mut place: Slot) {
        // Another spec may have come while it waited.
        let known = self.parts.index.get(&order.key).filter(|known| known.uid == order.uid);
        if let Some(upload) =
            known.map(|known| known.upload).filter(|upload| upload.metadata.generation == Some(order.generation))
        {
            self.change(order, |send| send.facts.stage = SendStage::Running(clock::now()));
            let mut work = pin!(tokio::time::timeout(LONGEST, self.send(Work { order, upload })));
            let shown = async {
                // The moment from which the status shows it.
                tokio::time::sleep(SEND_SHOWS).await;
                self.wake(order);
                std::future::pending::<()>().await;
            };
            let ended = tokio::select! { ended = &mut work => ended, () = shown => Ok(()) };
            if ended.is_err() {
                self.cut_off(order);
            }
        }
        place.release_process();
        self.change(order, |send| {
            let has_news = !send.facts.results.is_empty() || send.facts.trouble.is_some();
            (send.facts.stage, send.place) = (SendStage::Ended, Some(place).filter(|_| has_news));
        });
        self.wake(order);
    }

    /// What the end cuts off is not known to be stored; what did not begin has no result.
    fn cut_off(&self, order: &Order) {
        let seconds = LONGEST.as_secs();
        self.change(order, |send| {
            for (index, begun) in &send.begun {
                let message = format!("the upload did not end within {seconds} s");
                let trouble = Trouble::new(Reason::StorageUnavailable, message);
                let (source_version, content) = (Some(begun.source_version.clone()), Some(begun.content.clone()));
                let failed = SendResult::Failed { trouble, source_version, content };
                send.facts.results.entry(*index).or_insert(failed);
            }
        });
        warn!(namespace = order.key.namespace(), fileupload = order.key.name(), seconds, "a Send was cut off");
    }

    async fn send(&self, work: Work<'_>) {
        let Work { order, .. } = work;
        let courier = match self.parts.deployments.find(&work.upload).place() {
            Ok(place) => &self.parts.couriers[place],
            Err(refused) => {
                let refused = refused.clone();
                return self.change(order, |send| send.facts.trouble = Some(refused));
            }
        };
        let fetched = match self.credential(&work).await {
            Ok(fetched) => fetched,
            Err(trouble) => return self.change(order, |send| send.facts.trouble = Some(trouble)),
        };
        let (version, contents) = match self.contents(order).await {
            Ok(read) => read,
            Err(Halt::Trouble(trouble)) => return self.change(order, |send| send.facts.trouble = Some(trouble)),
            Err(Halt::NoConfigMap) => return self.nothing_there(&work),
        };
        let (Some(credential), mut items, mut parcels) = (fetched.credential(), Vec::new(), Vec::new()) else { return };
        for (index, item) in order.dispatch.files.iter().enumerate() {
            match parcel(&work, item, &version, contents.get(&item.key)) {
                Ok((content, parcel)) => {
                    items.push((index, content));
                    parcels.push(parcel);
                }
                Err(result) => self.change(order, |send| drop(send.facts.results.insert(index, *result))),
            }
        }
        drop(contents);
        let batch = Batch::new(courier, self.parts.stop.clone(), Window::small());
        let progress = |at: usize, progress: Progress| {
            if let Some((index, content)) = items.get(at) {
                self.note(order, *index, content, &version, progress);
            }
        };
        batch.attempt_each(credential, &parcels, progress).await;
    }

    /// The Secret's credential, or what is wrong with it.
    async fn credential(&self, work: &Work<'_>) -> Result<Fetched, Trouble> {
        let Work { order, upload } = work;
        let secret = Key::new(order.key.namespace(), upload.spec.secret_name());
        let fetched = read(&format!("Secret {}", secret.name()), || self.parts.secrets.read(&secret)).await?;
        let facts = fetched.facts(&order.uid);
        let version = facts.version().map(str::to_owned);
        self.change(order, |send| send.facts.credentials_version = version);
        match facts {
            SecretFacts::Usable { .. } => Ok(fetched),
            SecretFacts::Invalid { problem, .. } => Err(plan::secret_invalid(&problem)),
            SecretFacts::Forbidden => Err(plan::secret_forbidden(upload)),
            SecretFacts::Missing | SecretFacts::Unknown => Err(plan::secret_missing(upload)),
        }
    }

    /// The ConfigMap's version, and what its keys hold that are to be sent; each once, however many files name it.
    async fn contents(&self, order: &Order) -> Result<(String, HashMap<String, (Content, Bytes)>), Halt> {
        let config_map = self.config_map(order).await?;
        let version = config_map.metadata.resource_version.clone().unwrap_or_default();
        if let Some(sending) = self.sends.lock().get_mut(&order.uid) {
            sending.last_read = Some(clock::now());
        }
        let (mut data, mut binary) = (config_map.data.unwrap_or_default(), config_map.binary_data.unwrap_or_default());
        let mut contents = HashMap::new();
        for item in &order.dispatch.files {
            let bytes = data.remove(&item.key).map(Bytes::from);
            if let Some(bytes) = bytes.or_else(|| binary.remove(&item.key).map(|bytes| Bytes::from(bytes.0))) {
                contents.insert(item.key.clone(), (read::content(&bytes), bytes));
            }
        }
        Ok((version, contents))
    }

    async fn config_map(&self, order: &Order) -> Result<ConfigMap, Halt> {
        let name = &order.dispatch.config_map;
        let api = Api::<ConfigMap>::namespaced(self.parts.client.clone(), order.key.namespace());
        let (place, before) = (Key::new(order.key.namespace(), name), self.parts.index.config_map(&order.key, name));
        let get = || api.get_opt(name).map_err(Arc::new);
        let found = read(&format!("ConfigMap {name}"), get).await.map_err(Halt::Trouble)?;
        let version = found.as_ref().map(|found| found.metadata.resource_version.as_deref().unwrap_or_default());
        self.parts.index.looked_up(&place, &before, version);
        found.ok_or(Halt::NoConfigMap)
    }

    fn nothing_there(&self, work: &Work<'_>) {
        let order = work.order;
        for (index, item) in order.dispatch.files.iter().enumerate() {
            let Some(file) = work.file(item) else { continue };
            let trouble = plan::config_map_missing(file);
            let failed = SendResult::Failed { trouble, source_version: None, content: None };
            self.change(order, |send| drop(send.facts.results.insert(index, failed)));
        }
    }

    fn note(&self, order: &Order, index: usize, content: &Content, version: &str, progress: Progress) {
        let delivery = match progress {
            Progress::Begun => {
                let (content, source_version) = (content.clone(), version.to_owned());
                let begun = Begun { at: Instant::now(), content, source_version };
                return self.change(order, |send| drop(send.begun.insert(index, begun)));
            }
            Progress::Ended(delivery) => delivery,
        };
        let (namespace, fileupload) = (order.key.namespace(), order.key.name());
        let file = order.dispatch.files.get(index).map_or("", |item| item.id.name.as_str());
        let (budget, metrics, source_version) = (&self.parts.budget, &self.parts.metrics, version.to_owned());
        self.change(order, |send| {
            let took = send.begun.remove(&index).map(|begun| begun.at.elapsed()).unwrap_or_default();
            let result = match delivery {
                Delivery::Stored(upload) => {
                    info!(namespace, fileupload, file, size = upload.size, "uploaded");
                    metrics.attempt(Reason::Uploaded.as_str(), upload.size, took);
                    budget.succeeded(order.lane.name(namespace));
                    SendResult::Stored { upload, source_version }
                }
                Delivery::Failed(trouble) => {
                    warn!(namespace, fileupload, file, reason = %trouble.reason, cause = trouble.message(), "not uploaded");
                    metrics.attempt(trouble.reason.as_str(), 0, took);
                    budget.failed(order.lane.name(namespace), &trouble);
                    let content = Some(content.clone());
                    SendResult::Failed { trouble, source_version: Some(source_version), content }
                }
                Delivery::NotSent(_) => return,
            };
            send.facts.results.insert(index, result);
        });
    }
}

impl Work<'_> {
    fn file(&self, item: &Item) -> Option<&File> {
        self.upload.spec.files.iter().find(|file| file.name == item.id.name)
    }
}

/// Reads until there is an answer. What the API server refuses, or goes on to refuse, is told; that it cannot be reached
/// could not be told to anybody.
async fn read<T, F>(what: &str, read: impl Fn() -> F) -> Result<T, Trouble>
where
    F: Future<Output = Result<T, Arc<Error>>>,
{
    let begun = tokio::time::Instant::now();
    loop {
        let error = match read().await {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        warn!(what, error = %crate::redact::cause(&*error), "cannot read what a Send needs");
        if let Error::Api(said) = &*error
            && (said.is_forbidden() || begun.elapsed() >= UNREADABLE)
        {
            return Err(outputs::refused(format!("the operator cannot read {what}"), said));
        }
        // The deadline of the Send ends this.
        tokio::time::sleep(READ_AGAIN).await;
    }
}

/// What is sent of a file; or its result, where nothing is.
fn parcel(
    work: &Work<'_>,
    item: &Item,
    version: &str,
    found: Option<&(Content, Bytes)>,
) -> Result<(Content, Parcel), Box<SendResult>> {
    let source_version = version.to_owned();
    let Some((content, bytes)) = found else {
        let trouble = work.file(item).map(plan::key_missing);
        let trouble = trouble.unwrap_or_else(|| Trouble::new(Reason::ConfigMapKeyNotFound, "the key is not there"));
        return Err(Box::new(SendResult::Failed { trouble, source_version: Some(source_version), content: None }));
    };
    if item.unless.as_ref() == Some(&content.sha256) {
        return Err(Box::new(SendResult::Unchanged { source_version }));
    }
    let parcel = Parcel {
        source: Source::bytes(bytes.clone()),
        file_name: item.file_name.clone(),
        content_type: item.content_type.clone(),
        sent: Arc::default(),
    };
    Ok((content.clone(), parcel))
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn what_waits_for_its_place_is_small() {
        fn size<F>(_: fn(Arc<State>, Order) -> F) -> usize {
            size_of::<F>()
        }
        assert!(size(State::supervised) <= 512, "{}", size(State::supervised));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_api_server_goes_on_to_refuse_is_told_and_that_it_cannot_be_reached_is_waited_for() {
        let begun = tokio::time::Instant::now();
        let refused = |code, reason: &str| Status::failure("the key service is down", reason).with_code(code).boxed();
        let cases = [(403, "Forbidden", 0..1), (500, "InternalError", 5..9), (429, "TooManyRequests", 5..9)];
        for (code, reason, limits) in cases {
            let begun = tokio::time::Instant::now();
            let answer = || async { Err::<(), _>(Arc::new(Error::Api(refused(code, reason)))) };
            let trouble = read("Secret cyberun", answer).await.unwrap_err();
            let told = trouble.message();
            assert!(told.contains("Secret cyberun") && told.contains("the key service is down"), "{told}");
            assert!(limits.contains(&begun.elapsed().as_secs()), "{code} after {:?}", begun.elapsed());
        }
        let unreachable = || async {
            let is_back = begun.elapsed() > Duration::from_secs(50);
            if is_back { Ok(()) } else { Err(Arc::new(Error::Service("connection refused".into()))) }
        };
        assert_eq!(read("Secret cyberun", unreachable).await, Ok(()));
    }
}
