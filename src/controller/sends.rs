//! Sends: the operator's own Jobs, for files of ConfigMaps.
//!
//! A Send gets its place, Secret and ConfigMap itself, and sends exactly the bytes that it hashed. What is wrong with them
//! is its result. Its results stay facts of later reconciles until the status has them; until then it keeps the place of
//! its namespace, so that a namespace whose status cannot be written costs a bounded number of paid keys.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use kube::Client;
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::budget::{Budget, Slot};
use super::clock;
use super::deployments::{Deployments, Lane};
use super::index::{Change, Index, Key};
use super::secrets::Secrets;
use super::watches::Listener;
use crate::delivery::Courier;
use crate::plan::{Content, Dispatch, FileId, SendFacts, SendResult, SendStage};
use crate::telemetry::Metrics;

mod task;

/// All Sends of this process. Clones are the same.
#[derive(Clone)]
pub(super) struct Sends(Arc<State>);

/// What Sends need.
pub(super) struct Parts {
    pub(super) client: Client,
    /// One for each of the deployments.
    pub(super) couriers: Arc<[Courier]>,
    pub(super) deployments: Arc<Deployments>,
    pub(super) budget: Budget,
    pub(super) index: Index,
    pub(super) secrets: Secrets,
    pub(super) listener: Arc<dyn Listener>,
    pub(super) metrics: Metrics,
    /// Once cancelled, nothing new is begun.
    pub(super) stop: CancellationToken,
}

struct State {
    parts: Parts,
    /// By uid of the FileUpload.
    sends: Mutex<HashMap<Arc<str>, Sending>>,
}

/// The Sends of one FileUpload whose results the status does not have yet.
struct Sending {
    key: Key,
    sends: Vec<Send>,
    last_read: Option<jiff::Timestamp>,
}

struct Send {
    facts: SendFacts,
    begun: BTreeMap<usize, Begun>,
    /// The place of the namespace, once the Send is over and has something to report.
    place: Option<Slot>,
    task: Option<AbortHandle>,
}

/// An upload that is on its way.
struct Begun {
    at: Instant,
    content: Content,
    source_version: String,
}

/// What a Send is for; small, as many may wait.
pub(super) struct Order {
    pub(super) key: Key,
    pub(super) uid: Arc<str>,
    pub(super) lane: Lane,
    /// Of the spec that it was planned for.
    pub(super) generation: i64,
    pub(super) dispatch: Dispatch,
}

impl Sends {
    pub(super) fn new(parts: Parts) -> Self {
        Self(Arc::new(State { parts, sends: Mutex::default() }))
    }

    /// Begins a Send; one of the same attempt that is known goes on.
    pub(super) fn begin(&self, order: Order) {
        let Order { key, uid, dispatch, .. } = &order;
        let mut all = self.0.sends.lock();
        if !self.0.parts.index.is(key, uid) {
            return; // nobody would forget it
        }
        // Mostly one: a Vec that grows would have room for four.
        let new = || Sending { key: key.clone(), sends: Vec::with_capacity(1), last_read: None };
        let sending = all.entry(Arc::clone(uid)).or_insert_with(new);
        let is_known = |send: &Send| send.facts.attempt == dispatch.attempt || send.facts.stage != SendStage::Ended;
        if sending.sends.iter().any(is_known) {
            return;
        }
        let facts = SendFacts {
            attempt: dispatch.attempt,
            stage: SendStage::Waiting(clock::now()),
            files: dispatch.files.iter().map(|item| item.id.clone()).collect::<Vec<FileId>>(),
            results: BTreeMap::new(),
            trouble: None,
            credentials_version: None,
        };
        let (uid, attempt) = (Arc::clone(uid), dispatch.attempt);
        sending.sends.push(Send { facts, begun: BTreeMap::new(), place: None, task: None });
        let task = tokio::spawn(Arc::clone(&self.0).supervised(order)).abort_handle();
        State::with(&mut all, &uid, attempt, |send| send.task = Some(task));
    }

    /// Whether a Send of a FileUpload has ended, and the status does not have what came of it.
    pub(super) fn owes(&self, uid: &str) -> bool {
        let all = self.0.sends.lock();
        let mut sends = all.get(uid).into_iter().flat_map(|sending| &sending.sends);
        sends.any(|send| send.facts.stage == SendStage::Ended)
    }

    /// What is known of the Sends of a FileUpload, and when one last read a ConfigMap.
    pub(super) fn facts(&self, uid: &str) -> (Vec<SendFacts>, Option<jiff::Timestamp>) {
        let all = self.0.sends.lock();
        let Some(sending) = all.get(uid) else { return (Vec::new(), None) };
        (sending.sends.iter().map(|send| send.facts.clone()).collect(), sending.last_read)
    }

    /// The status has what came of this attempt: only now the namespace's place is free.
    pub(super) fn forget(&self, uid: &str, attempt: i64) {
        let mut all = self.0.sends.lock();
        if let Some(sending) = all.get_mut(uid) {
            sending.sends.retain(|send| send.facts.attempt != attempt);
        }
    }

    /// What a Send looked at is forgotten once it no longer decides anything; and results that no status has are counted.
    pub(super) fn tidy(&self) {
        let now = clock::now().as_second();
        let is_old = |sending: &Sending| sending.last_read.is_none_or(|read| now - read.as_second() > 15);
        let mut all = self.0.sends.lock();
        all.retain(|_, sending| !sending.sends.is_empty() || !is_old(sending));
        let sends = all.values().flat_map(|sending| &sending.sends);
        let ended = sends.filter(|send| send.facts.stage == SendStage::Ended);
        self.0.parts.metrics.owed_results(ended.map(|send| send.facts.results.len()).sum());
    }

    /// A FileUpload that is gone wants nothing, and its results are nobody's.
    pub(super) fn forget_upload(&self, uid: &str) {
        let mut all = self.0.sends.lock();
        for send in all.remove(uid).into_iter().flat_map(|sending| sending.sends) {
            if let Some(task) = send.task {
                task.abort();
            }
        }
    }

    /// How many run and how many wait for their place.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.0.parts.budget.sends.taken(), self.0.parts.budget.sends.waiting())
    }

    /// Whether no file is on its way, and no result is yet to be written.
    pub(super) fn is_idle(&self) -> bool {
        let all = self.0.sends.lock();
        let mut sends = all.values().flat_map(|sending| &sending.sends);
        sends.all(|send| matches!(send.facts.stage, SendStage::Waiting(_)))
    }

    /// The FileUploads and files whose keys no status has.
    pub(super) fn owed(&self) -> Vec<(Key, String)> {
        let all = self.0.sends.lock();
        let mut owed = Vec::new();
        for sending in all.values() {
            // A status that was written just now has not led to another look yet.
            let known = self.0.parts.index.get(&sending.key).and_then(|known| known.upload.status);
            let known = |key: &str| {
                let mut files = known.iter().flat_map(|status| &status.files);
                files.any(|file| file.file_key.as_deref() == Some(key))
            };
            for send in &sending.sends {
                let stored = send.facts.results.iter().filter(
                    |(_, result)| matches!(result, SendResult::Stored { upload, .. } if !known(&upload.file_key)),
                );
                let cut_off = send.begun.keys().filter(|index| !send.facts.results.contains_key(index));
                for index in stored.map(|(index, _)| index).chain(cut_off) {
                    owed.extend(send.facts.files.get(*index).map(|id| (sending.key.clone(), id.name.clone())));
                }
            }
        }
        owed
    }
}

impl State {
    fn with(all: &mut HashMap<Arc<str>, Sending>, uid: &str, attempt: i64, change: impl FnOnce(&mut Send)) {
        let sends = all.get_mut(uid).into_iter().flat_map(|sending| &mut sending.sends);
        if let Some(send) = sends.into_iter().find(|send| send.facts.attempt == attempt) {
            change(send);
        }
    }

    fn change(&self, order: &Order, change: impl FnOnce(&mut Send)) {
        Self::with(&mut self.sends.lock(), &order.uid, order.dispatch.attempt, change);
    }

    fn wake(&self, order: &Order) {
        self.parts.listener.hear(Change { wakes: vec![order.key.clone()], gone: Vec::new() });
    }
}
