//! Creates the Jobs of workers once there is a place for them, and frees the places of those that are over.
//!
//! `create`, never `apply`: a name comes from what the Job is for, so one that exists already is the same Job. What became
//! of a Launch is a fact of later reconciles, until the Job is in the index or the status has the refusal.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use kube::Client;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use self::books::{Books, Held, Making, Stage};
use super::budget::{Slot, Slots};
use super::clock;
use super::deployments::{Deployments, Found, Lane};
use super::index::{Change, Index, Key, Told};
use super::secrets::Secrets;
use super::watches::Listener;
use crate::outcome::Trouble;
use crate::plan::objects::Job;
use crate::plan::{
    self, ClaimFacts, ClaimUser, FileId, Launch, LaunchFacts, LaunchStage, MAX_PARALLELISM, Placement, Volume,
};
use crate::reason::Reason;
use crate::telemetry::Metrics;

mod books;
mod create;
#[cfg(test)]
mod tests;

/// A worker that does not run after so long gives its place in the process back, and keeps that of its namespace.
const PATIENCE: Duration = Duration::from_mins(1);
/// A Job that was created is in the index by then, or was deleted.
const IS_KNOWN: Duration = Duration::from_secs(30);
/// The most Launches of one FileUpload whose results the status does not have: no plan begins more than it may have files.
const MAX_MAKING: usize = 100;
/// How long a Launch keeps its place while another worker on its claim finds a node, and how often it looks.
const FINDS_NODE: Duration = Duration::from_secs(5);
const LOOKS: Duration = Duration::from_millis(200);

/// Jobs in the making, and the places of those that exist. Clones are the same.
#[derive(Clone)]
pub(super) struct Launches(Arc<State>);

struct State {
    client: Client,
    slots: Slots,
    index: Index,
    secrets: Secrets,
    listener: Arc<dyn Listener>,
    metrics: Metrics,
    deployments: Arc<Deployments>,
    /// Whether the operator reads Secrets.
    reads_secrets: bool,
    /// Once true, no Job is created.
    stop: CancellationToken,
    books: Mutex<Books>,
}

/// What a Launch is for; small, as many may wait.
pub(super) struct Order {
    pub(super) key: Key,
    pub(super) uid: Arc<str>,
    pub(super) lane: Lane,
    /// Of the spec that it was planned for.
    pub(super) generation: i64,
    pub(super) launch: Launch,
}

/// What launches need.
pub(super) struct Parts {
    pub(super) client: Client,
    pub(super) slots: Slots,
    pub(super) index: Index,
    pub(super) secrets: Secrets,
    pub(super) listener: Arc<dyn Listener>,
    pub(super) metrics: Metrics,
    pub(super) deployments: Arc<Deployments>,
    pub(super) reads_secrets: bool,
    pub(super) stop: CancellationToken,
}

impl Launches {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { client, slots, index, secrets, listener, metrics, deployments, reads_secrets, stop } = parts;
        let books = Mutex::default();
        Self(Arc::new(State {
            client,
            slots,
            index,
            secrets,
            listener,
            metrics,
            deployments,
            reads_secrets,
            stop,
            books,
        }))
    }

    /// The Jobs that exist in a namespace, or in all, at the start take their places first. What a Job says of itself
    /// anybody may have written, so a namespace gets no more than its places.
    pub(super) fn adopt(&self, scope: Option<&str>, per_namespace: usize) {
        let mut taken: HashMap<String, usize> = HashMap::new();
        let jobs = self.0.index.living_jobs().into_iter();
        for (uid, namespace, job) in jobs.filter(|(_, namespace, _)| scope.is_none_or(|scope| scope == namespace)) {
            let count = taken.entry(namespace.clone()).or_default();
            let number = job.parallelism.clamp(1, MAX_PARALLELISM).min(per_namespace.saturating_sub(*count));
            if number > 0 {
                *count += number;
                let lane = self.0.lane(&uid, &namespace);
                let places = (0..number).map(|_| self.0.slots.take(lane.name(&namespace))).collect();
                let held = Held { namespace, volume: job.volume, places, since: Instant::now() };
                self.0.books.lock().hold(uid, job.name, held);
            }
        }
    }

    /// Begins a Launch; one of the same attempt that is known goes on. False if it is not the time for it.
    pub(super) fn begin(&self, order: Order) -> bool {
        let Order { key, uid, launch, .. } = &order;
        let mut books = self.0.books.lock();
        if !self.0.index.is(key, uid) {
            return false; // nobody would forget it
        }
        let making = books.making.entry(Arc::clone(uid)).or_default();
        if making.iter().any(|making| making.facts.attempt == launch.attempt) {
            return true;
        }
        if making.len() >= MAX_MAKING {
            return false;
        }
        let files = launch.files.iter().map(FileId::of).collect();
        let (volume, attempt, stage) = (launch.volume.clone(), launch.attempt, LaunchStage::Waiting(clock::now()));
        let facts = LaunchFacts { name: launch.name.clone(), volume, attempt, files, stage, credentials_version: None };
        making.push(Making { namespace: key.namespace().to_owned(), facts, task: None });
        let task = tokio::spawn(Arc::clone(&self.0).supervised(order)).abort_handle();
        if let Some(making) = making.last_mut() {
            making.task = Some(task);
        }
        true
    }

    /// A claim of a FileUpload with its users. A worker that is to use it counts before its Pod is known.
    pub(super) fn claim(&self, key: &Key, uid: &str, name: &str) -> ClaimFacts {
        self.0.claim(&self.0.books.lock(), key, uid, name)
    }

    /// What is known of the Launches of a FileUpload.
    pub(super) fn facts(&self, uid: &str) -> Vec<LaunchFacts> {
        let books = self.0.books.lock();
        books.making.get(uid).into_iter().flatten().map(|making| making.facts.clone()).collect()
    }

    /// The status has what came of this attempt.
    pub(super) fn forget(&self, uid: &str, attempt: i64) {
        self.0.forget(uid, attempt);
    }

    /// A FileUpload that is gone waits for nothing.
    pub(super) fn forget_upload(&self, uid: &str) {
        for task in self.0.books.lock().forget_upload(uid) {
            task.abort();
        }
    }

    /// The place of a Job that is over is free, whatever the index has of it.
    pub(super) fn ended(&self, uid: &Arc<str>, job: &str) {
        self.0.books.lock().free(&(Arc::clone(uid), job.to_owned()));
    }

    /// Frees the places of Jobs that are over, and the process places of workers that do not run.
    pub(super) fn review(&self) {
        let places: Vec<_> = {
            let books = self.0.books.lock();
            books.places.iter().map(|(at, held)| (at.clone(), held.since.elapsed())).collect()
        };
        for (at, age) in places {
            let job = self.0.index.job(&at.0, &at.1);
            let is_over = job.as_ref().map_or(age > IS_KNOWN, plan::JobFacts::is_over);
            let runs = job.is_some_and(|job| job.pods.iter().any(plan::PodFacts::is_running));
            let mut books = self.0.books.lock();
            if is_over {
                books.free(&at);
            } else if let Some(held) = books.places.get_mut(&at)
                && age > PATIENCE
                && !runs
            {
                held.places.iter_mut().for_each(Slot::release_process);
            }
        }
    }

    /// How many workers have a place, and how many wait for one.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.0.slots.taken(), self.0.slots.waiting())
    }
}

impl State {
    fn lane(&self, uid: &str, namespace: &str) -> Lane {
        let known = self.index.of_uid(uid, namespace);
        let found = known.as_ref().map(|known| self.deployments.find(&known.upload));
        Lane::of(found.as_ref().map(Found::deployment).unwrap_or_default(), namespace)
    }

    fn claim(&self, books: &Books, key: &Key, uid: &str, name: &str) -> ClaimFacts {
        let mut claim = self.index.claim(key, name);
        for job in self.unplaced(books, key, uid, &Volume::Claim(name.to_owned())) {
            if claim.users.iter().all(|user| user.worker_of.as_ref() != Some(&job)) {
                claim.users.push(ClaimUser { worker_of: Some(job), ..ClaimUser::default() });
            }
        }
        claim
    }

    /// The Jobs of other FileUploads that read this volume and have no node yet, whether they exist or are being created.
    /// One that waits for its place keeps nobody from the queue.
    fn unplaced(&self, books: &Books, key: &Key, uid: &str, volume: &Volume) -> Vec<String> {
        let has_no_node = |of: &str, name: &str| {
            self.index.job(of, name).is_some_and(|job| job.pods.iter().all(|pod| pod.node.is_none()))
        };
        let others = books.workers(key.namespace(), volume).iter().filter(|worker| *worker.uid != *uid);
        let unplaced = others.filter(|worker| match worker.stage {
            Stage::Creating(_) => true,
            Stage::Placed(since) => since.elapsed() < PATIENCE && has_no_node(&worker.uid, &worker.job),
        });
        unplaced.map(|worker| worker.job.clone()).collect()
    }

    /// Waits for its place, which many may do at the same time: what comes after is in a box, so that this is small.
    #[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice")]
    fn supervised(self: Arc<Self>, order: Order) -> impl Future<Output = ()> {
        async move {
            let begun = Instant::now();
            let place = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                place = self.slots.enter(order.lane.name(order.key.namespace())) => place,
            };
            self.metrics.waited("worker", begun.elapsed());
            // A fault of ours is the matter of this one resource: it is tried again later.
            if Box::pin(AssertUnwindSafe(self.make(&order, place)).catch_unwind()).await.is_err() {
                error!(namespace = order.key.namespace(), fileupload = order.key.name(), "a Launch panicked");
                let trouble = Trouble::new(Reason::WorkerPending, "the operator failed: see its log");
                self.set(&order.uid, order.launch.attempt, LaunchStage::Refused(trouble), None);
                self.wake(&order);
            }
        }
    }

    /// Creates the Job, with as many of its places as are free.
    async fn make(&self, order: &Order, first: Slot) {
        let Order { key, uid, launch, .. } = order;
        // Another spec may have come while it waited, or somebody may use the claim: then the plan is made again.
        let placement = self.placed(order).await;
        let known = self.index.get(key).filter(|known| known.uid == *uid).map(|known| known.upload);
        let upload = known.filter(|upload| upload.metadata.generation == Some(order.generation));
        let Some((placement, upload)) = placement.zip(upload) else {
            self.forget(uid, launch.attempt);
            return self.wake(order);
        };
        let launch = launch.placed(placement);
        let mut places = vec![first];
        while places.len() < launch.parallelism
            && let Some(further) = self.slots.try_enter(order.lane.name(key.namespace()))
        {
            places.push(further);
        }
        let launch = Launch { parallelism: places.len(), ..launch };
        match self.create(order, &upload, &launch).await {
            Ok(job) => {
                let (namespace, fileupload, files) = (key.namespace(), key.name(), launch.files.len());
                info!(namespace, fileupload, job = launch.name, files, "launched a worker");
                self.exists(order, &job, places);
            }
            Err((trouble, version)) => self.set(uid, launch.attempt, LaunchStage::Refused(trouble), version),
        }
        self.wake(order);
    }

    /// Where a Launch that has its place is to run: who uses its claim may have moved since it was planned. None if the
    /// claim cannot be used now. The first worker on a claim that is nowhere has a node within seconds; whoever gave up
    /// the place for that would stand at the end of the queue again.
    async fn placed(&self, order: &Order) -> Option<Placement> {
        let finds_node = async {
            loop {
                match self.take_turn(order) {
                    Err(trouble) if trouble.reason == Reason::Queued && !self.stop.is_cancelled() => {
                        // Until a place is free, which nobody tells it.
                        tokio::time::sleep(LOOKS).await;
                    }
                    turn => break turn.ok(),
                }
            }
        };
        tokio::time::timeout(FINDS_NODE, finds_node).await.ok().flatten()
    }

    /// Two workers of one claim that is nowhere yet would part: from now on the others of its claim wait for this one.
    fn take_turn(&self, order: &Order) -> Result<Placement, Trouble> {
        let Order { key, uid, launch, .. } = order;
        let mut books = self.books.lock();
        let placement = match &launch.volume {
            Volume::Claim(name) => plan::access(name, &self.claim(&books, key, uid, name), clock::now())?,
            Volume::ConfigMap(_) => launch.placement.clone(),
        };
        books.set(uid, launch.attempt, LaunchStage::Creating, None);
        Ok(placement)
    }

    fn wake(&self, order: &Order) {
        self.listener.hear(Change { wakes: vec![order.key.clone()], gone: Vec::new() });
    }

    fn forget(&self, uid: &str, attempt: i64) {
        self.books.lock().forget(uid, attempt);
    }

    /// The Job is in the index before the Launch is forgotten.
    fn exists(&self, order: &Order, job: &Job, places: Vec<Slot>) {
        let Order { key, uid, launch, .. } = order;
        self.index.apply_job(job, Told::Answer);
        let mut books = self.books.lock();
        if books.forget(uid, launch.attempt) {
            let (namespace, volume) = (key.namespace().to_owned(), launch.volume.clone());
            let held = Held { namespace, volume, places, since: Instant::now() };
            books.hold(Arc::clone(uid), launch.name.clone(), held);
        }
    }

    fn set(&self, uid: &str, attempt: i64, stage: LaunchStage, version: Option<String>) {
        self.books.lock().set(uid, attempt, stage, version);
    }
}
