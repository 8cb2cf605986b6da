//! Which Launches wait or create their Jobs, and which Jobs have places.
//!
//! Many thousands may wait for their places. So the workers that have left the queue are found by what they read: to plan
//! for one claim looks at no others.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use tokio::task::AbortHandle;

use crate::controller::budget::Slot;
use crate::plan::{LaunchFacts, LaunchStage, Volume};

#[derive(Default)]
pub(super) struct Books {
    /// By uid, the Launches whose result the status does not have.
    pub(super) making: HashMap<Arc<str>, Vec<Making>>,
    /// By uid and name of the Job.
    pub(super) places: HashMap<(Arc<str>, String), Held>,
    /// By namespace and volume, the Launches that create their Jobs, and the Jobs that have places.
    workers: BTreeMap<(String, Volume), Vec<Worker>>,
}

pub(super) struct Making {
    pub(super) namespace: String,
    pub(super) facts: LaunchFacts,
    pub(super) task: Option<AbortHandle>,
}

pub(super) struct Held {
    pub(super) namespace: String,
    pub(super) volume: Volume,
    /// One for each worker that runs at the same time.
    pub(super) places: Vec<Slot>,
    pub(super) since: Instant,
}

/// A worker that does not wait for its place.
#[derive(Eq, PartialEq)]
pub(super) struct Worker {
    pub(super) uid: Arc<str>,
    pub(super) job: String,
    pub(super) stage: Stage,
}

/// How far it is.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Stage {
    /// The Job of this attempt is being created.
    Creating(i64),
    /// The Job has its places since this moment.
    Placed(Instant),
}

impl Books {
    /// The workers that read a volume and do not wait for their places.
    pub(super) fn workers(&self, namespace: &str, volume: &Volume) -> &[Worker] {
        self.workers.get(&(namespace.to_owned(), volume.clone())).map(Vec::as_slice).unwrap_or_default()
    }

    /// A Launch is at this stage.
    pub(super) fn set(&mut self, uid: &str, attempt: i64, stage: LaunchStage, version: Option<String>) {
        let making = self.making.get_mut(uid).into_iter().flatten().find(|making| making.facts.attempt == attempt);
        let Some(making) = making else { return };
        (making.facts.stage, making.facts.credentials_version) = (stage, version);
        let is_creating = making.facts.stage == LaunchStage::Creating;
        let (at, worker) = making.as_worker(uid);
        if is_creating { self.list(at, worker) } else { self.unlist(&at, &worker) }
    }

    /// Forgets a Launch; says whether any of its FileUpload was known.
    pub(super) fn forget(&mut self, uid: &str, attempt: i64) -> bool {
        let Some(making) = self.making.get_mut(uid) else { return false };
        let forgotten: Vec<_> = making.extract_if(.., |making| making.facts.attempt == attempt).collect();
        if making.is_empty() {
            self.making.remove(uid);
        }
        for making in forgotten {
            let (at, worker) = making.as_worker(uid);
            self.unlist(&at, &worker);
        }
        true
    }

    /// Forgets all of a FileUpload; returns the tasks of its Launches.
    pub(super) fn forget_upload(&mut self, uid: &str) -> Vec<AbortHandle> {
        let making = self.making.remove(uid).unwrap_or_default();
        for (at, worker) in making.iter().map(|making| making.as_worker(uid)) {
            self.unlist(&at, &worker);
        }
        let places: Vec<_> = self.places.keys().filter(|(of, _)| **of == *uid).cloned().collect();
        for place in &places {
            self.free(place);
        }
        making.into_iter().filter_map(|making| making.task).collect()
    }

    /// A Job has places.
    pub(super) fn hold(&mut self, uid: Arc<str>, job: String, held: Held) {
        let place = (uid, job);
        self.free(&place);
        let (at, worker) = held.as_worker(&place);
        self.list(at, worker);
        self.places.insert(place, held);
    }

    /// The places of a Job are free.
    pub(super) fn free(&mut self, place: &(Arc<str>, String)) {
        if let Some(held) = self.places.remove(place) {
            let (at, worker) = held.as_worker(place);
            self.unlist(&at, &worker);
        }
    }

    fn list(&mut self, at: (String, Volume), worker: Worker) {
        let workers = self.workers.entry(at).or_default();
        if !workers.contains(&worker) {
            workers.push(worker);
        }
    }

    fn unlist(&mut self, at: &(String, Volume), worker: &Worker) {
        if let Some(workers) = self.workers.get_mut(at) {
            workers.retain(|listed| listed != worker);
            if workers.is_empty() {
                self.workers.remove(at);
            }
        }
    }
}

impl Making {
    /// What it is while it creates its Job, and by what that is found.
    fn as_worker(&self, uid: &str) -> ((String, Volume), Worker) {
        let stage = Stage::Creating(self.facts.attempt);
        let worker = Worker { uid: uid.into(), job: self.facts.name.clone(), stage };
        ((self.namespace.clone(), self.facts.volume.clone()), worker)
    }
}

impl Held {
    /// What it is, and by what that is found.
    fn as_worker(&self, (uid, job): &(Arc<str>, String)) -> ((String, Volume), Worker) {
        let worker = Worker { uid: Arc::clone(uid), job: job.clone(), stage: Stage::Placed(self.since) };
        ((self.namespace.clone(), self.volume.clone()), worker)
    }
}
