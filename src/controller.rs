//! The operator: watches `FileUpload`s and carries out what `crate::plan` decides.
//!
//! ```text
//! index ▶ observe (facts) ▶ plan (pure) ▶ perform (begins and deletes) ▶ settle (pure) ▶ outputs ▶ publish
//! ```
//!
//! A reconcile waits for the API server alone, each call under 30 s: never for a place of work, Cyberun or storage, and it
//! never sleeps. What Sends and Jobs do is a fact of later reconciles. The requeue is the retry. Of several operators that
//! share a Lease one works, and the others keep their index; correctness never rests on that.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::budget::{Budget, Slots};
use self::deployments::Lane;
use self::folders::Folders;
use self::gate::Gate;
use self::index::{Index, Key};
use self::launches::Launches;
use self::observe::EventsOf;
use self::outputs::Output;
use self::publish::{Published, Unwritten, publish};
use self::queue::{Waker, Woken};
use self::secrets::Secrets;
use self::sends::Sends;
use self::watches::Listener;
use crate::clock;
use crate::delivery::Courier;
use crate::plan::{self, Case, Senders};
use crate::resource::Phase;
use crate::telemetry::{Health, Metrics};

pub(crate) use self::deployments::{Deployments, Found, Target, shown_terms};
pub(crate) use self::lease::Settings as LeaseSettings;
pub(crate) use self::secrets::secret_facts;

mod budget;
mod deployments;
mod events;
mod folders;
mod gate;
mod index;
mod launches;
mod lease;
mod observe;
mod outputs;
mod perform;
mod publish;
mod queue;
mod scopes;
mod secrets;
mod sends;
mod watches;

/// API calls of reconciles, and those that withdraw keys, which have a lane of their own.
const CALLS: (usize, usize) = (4, 256);
const WITHDRAWALS: (usize, usize) = (4, 32);
/// Sends per namespace.
const SENDS_PER_NAMESPACE: usize = 4;
/// How long the reads that confirm, and the deletions, may take of a reconcile at the most, and even where a key is to be
/// withdrawn.
const PATIENCE: (Duration, Duration) = (Duration::from_mins(1), Duration::from_millis(500));
/// How long Sends and their writes may take once the operator is asked to end.
const SHUT_DOWN: Duration = Duration::from_secs(4);
/// How often places of workers are reviewed.
const REVIEW: Duration = Duration::from_secs(5);

/// How many workers and Sends there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Workers in all.
    pub workers: usize,
    /// Workers of one namespace.
    pub workers_per_namespace: usize,
    /// Sends in all.
    pub sends: usize,
}

/// How the operator was told to work.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Whether it sends files of ConfigMaps itself, rather than by workers.
    pub direct: bool,
    /// How many workers and Sends there may be.
    pub limits: Limits,
    /// Of how many namespaces the metrics say when their first key is withdrawn.
    pub metric_namespaces: usize,
    /// The deployments of Cyberun, and how workers are made for each.
    pub deployments: Arc<Deployments>,
}

impl Settings {
    /// Who sends the files of ConfigMaps.
    pub(crate) fn senders(&self) -> Senders {
        if self.direct { Senders::Operator } else { Senders::Workers }
    }
}

/// The clients of the API server.
#[derive(Clone)]
pub(crate) struct Clients {
    /// For watches and their lists. A watch that says nothing for 35 s ends.
    pub watches: Client,
    /// For all else. Each call ends within 30 s, and an answer of more than 8 MiB is an error.
    pub calls: Client,
}

/// What the operator needs from outside.
pub(crate) struct Operator {
    /// The cluster.
    pub clients: Clients,
    /// They carry the files: one to each deployment.
    pub couriers: Arc<[Courier]>,
    /// How it was told to work.
    pub settings: Arc<Settings>,
    /// What it shares with others of which one works at a time; none if it is the only one.
    pub lease: Option<LeaseSettings>,
    /// Where it is counted.
    pub metrics: Metrics,
    /// Where it says how it is.
    pub health: Health,
    /// Stops it.
    pub stop: CancellationToken,
}

/// Everything a reconcile needs.
struct Context {
    client: Client,
    metrics: Metrics,
    health: Health,
    settings: Arc<Settings>,
    index: Index,
    secrets: Secrets,
    sends: Sends,
    launches: Launches,
    budget: Budget,
    folders: Folders,
    events_of: EventsOf,
    unwritten: Unwritten,
    calls: Gate,
    withdrawals: Gate,
    stop: CancellationToken,
}

/// Why the operator ended although nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// A part of it is no more.
    #[error("{0} has ended, which it never should")]
    Part(&'static str),
    /// Another one may work by now.
    #[error("the lease was lost: another operator may work by now")]
    LeaseLost,
}

impl Operator {
    /// Serves these namespaces, or all if none is named, until it is asked to stop. Each namespace has watches of its own;
    /// places and queues are shared.
    ///
    /// # Errors
    /// A part of it ended: then the whole must not go on.
    pub(crate) async fn run(self, namespaces: BTreeSet<String>) -> Result<(), Ended> {
        let (waker, Woken { wakes, gone }) = Waker::new();
        let context = Arc::new(self.context(&waker));
        let shared = scopes::Shared {
            client: self.clients.watches.clone(),
            waker,
            health: self.health.clone(),
            metrics: self.metrics.clone(),
        };
        let (scopes, watches) = scopes::watch(namespaces, &context.index, shared);
        let (leads, done) = (CancellationToken::new(), CancellationToken::new());
        let mut lease = tokio::spawn(lease::lead(
            self.clients.calls.clone(),
            self.lease.clone(),
            self.metrics.clone(),
            leads.clone(),
            done.clone(),
        ));
        let queue = tokio::spawn(queue::run(Arc::clone(&context), wakes));
        let ended = tokio::select! {
            () = watches => Err(Ended::Part("a watch")),
            _ = queue => Err(Ended::Part("the queue")),
            () = forget_gone(&context, gone) => Err(Ended::Part("the channel of what is gone")),
            () = review(&context) => Err(Ended::Part("the review of places")),
            () = scopes::open(&scopes, &context, &leads) => Err(Ended::Part("the first lists")),
            _ = &mut lease => Err(Ended::LeaseLost),
            () = shut_down(&context) => Ok(()),
        };
        if matches!(ended, Err(Ended::LeaseLost)) {
            context.stop.cancel();
            shut_down(&context).await;
        } else if ended.is_ok() {
            done.cancel();
            // It gives the lease up.
            let _ = lease.await;
        }
        ended
    }

    fn context(&self, waker: &Arc<Waker>) -> Context {
        let Limits { workers, workers_per_namespace, sends } = self.settings.limits;
        let listener = || Arc::clone(waker) as Arc<dyn Listener>;
        let (client, index) = (self.clients.calls.clone(), Index::new(Arc::clone(&self.settings.deployments)));
        let secrets = Secrets::new(self.clients.calls.clone(), index.clone(), listener());
        let budget = Budget {
            sends: Slots::new(SENDS_PER_NAMESPACE, sends),
            workers: Slots::new(workers_per_namespace, workers),
        };
        let sends = Sends::new(sends::Parts {
            client: self.clients.calls.clone(),
            couriers: Arc::clone(&self.couriers),
            deployments: Arc::clone(&self.settings.deployments),
            budget: budget.clone(),
            index: index.clone(),
            secrets: secrets.clone(),
            listener: listener(),
            metrics: self.metrics.clone(),
            stop: self.stop.clone(),
        });
        let launches = Launches::new(launches::Parts {
            client: client.clone(),
            slots: budget.workers.clone(),
            index: index.clone(),
            secrets: secrets.clone(),
            listener: listener(),
            metrics: self.metrics.clone(),
            deployments: Arc::clone(&self.settings.deployments),
            reads_secrets: self.settings.direct,
            stop: self.stop.clone(),
        });
        Context {
            folders: Folders::new(client.clone(), index.clone(), Arc::clone(&self.settings.deployments)),
            client,
            metrics: self.metrics.clone(),
            health: self.health.clone(),
            settings: Arc::clone(&self.settings),
            index,
            secrets,
            sends,
            launches,
            budget,
            events_of: EventsOf::default(),
            unwritten: Unwritten::default(),
            calls: Gate::new(CALLS.0, CALLS.1),
            withdrawals: Gate::new(WITHDRAWALS.0, WITHDRAWALS.1),
            stop: self.stop.clone(),
        }
    }
}

/// One step for one resource; says when to look again.
#[tracing::instrument(skip_all, fields(namespace = key.namespace(), fileupload = key.name()))]
async fn reconcile(context: Arc<Context>, key: Key) -> Option<Duration> {
    let known = context.index.get(&key)?;
    if known.upload.metadata.deletion_timestamp.is_some() {
        forget(&context, &known.uid);
        return None;
    }
    if context.stop.is_cancelled() && !context.sends.owes(&known.uid) {
        return None; // a status would count what is not begun
    }
    let settings = &context.settings;
    let found = settings.deployments.find(&known.upload);
    let case = Case::new(&known.upload, clock::now(), found.deployment(), settings.senders());
    let patience = patience(context.index.withdrawn_at(&key), clock::exact());
    let facts = observe::observe(&context, &key, &known, (&found, case.now), patience).await;
    let plan = plan::plan(&case, &facts);
    let done = perform::perform(&context, &key, &known, &plan, patience).await;
    let settled = plan::settle(&plan, done);
    let written = Output::of(&context.client, &context.index, &known.upload).perform(&settled.output).await;
    let written = context.folders.perform(&known, &settled.keys, written).await;
    let ending = settled.finish(&written);
    let published = match &ending.status {
        Some(status) => publish(&context, &key, &known.upload, status).await,
        None => Published::NoNeed,
    };
    count(&context, Lane::of(case.deployment, key.namespace()).name(key.namespace()), &plan, published);
    if published != Published::No {
        context.unwritten.forget(&known.uid);
    }
    let secret = Key::new(key.namespace(), known.upload.spec.secret_name());
    context.secrets.set_waiting(&secret, &known.uid, &key, ending.waits_for_secret);
    Some(match published {
        Published::Yes => Duration::ZERO,
        // It was planned for a whole second, some of which is over.
        Published::NoNeed => ending.look.saturating_sub(elapsed(case.now)),
        Published::No => ending.look.min(context.unwritten.again(&known.uid)),
    })
}

/// How long a reconcile may wait for what the withdrawal of a key does not wait for.
fn patience(withdrawn_at: Option<Timestamp>, now: Timestamp) -> Duration {
    let (longest, shortest) = PATIENCE;
    let left = withdrawn_at.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
    left.map_or(longest, |left| left.clamp(shortest, longest))
}

fn elapsed(since: Timestamp) -> Duration {
    Duration::try_from(clock::exact().duration_since(since)).unwrap_or_default()
}

/// Counts what workers report, once the status has it.
fn count(context: &Context, lane: &str, plan: &plan::Plan<'_>, published: Published) {
    let taken_in = plan.news.concluded.iter().filter(|concluded| concluded.job.is_some());
    for concluded in taken_in.filter(|_| published == Published::Yes) {
        for (reason, size) in &concluded.reported {
            context.metrics.reported(reason.as_str(), *size);
        }
        info!(attempt = concluded.attempt, "took in what a worker reported");
        if concluded.limited {
            context.budget.strained(lane, None);
        } else {
            context.budget.succeeded(lane);
        }
    }
}

/// Forgets what is gone.
async fn forget_gone(context: &Context, mut gone: mpsc::UnboundedReceiver<Arc<str>>) {
    while let Some(uid) = gone.recv().await {
        forget(context, &uid);
    }
}

fn forget(context: &Context, uid: &str) {
    context.sends.forget_upload(uid);
    context.folders.forget_upload(uid);
    context.launches.forget_upload(uid);
    context.secrets.forget(uid);
    context.unwritten.forget(uid);
}

/// Frees places that nobody uses, and says how many are taken.
async fn review(context: &Context) {
    let mut ticks = tokio::time::interval(REVIEW);
    loop {
        ticks.tick().await;
        context.launches.review();
        context.sends.tidy();
        context.events_of.tidy();
        context.budget.forgive();
        context.metrics.slowed_namespaces(context.budget.slowed());
        let census = context.index.census();
        let count = |phase| census.phases.get(&phase).copied().unwrap_or_default();
        context.metrics.resources(Phase::ALL.map(|(phase, name)| (name, count(phase))));
        context.metrics.earliest_expiry(census.next(context.settings.metric_namespaces));
        let (running, queued) = context.launches.count();
        context.metrics.workers(running, queued);
        let (running, queued) = context.sends.count();
        context.metrics.sends(running, queued);
    }
}

/// Waits until the operator is asked to end, and for what is on its way, for a while. Nothing new begins meanwhile.
async fn shut_down(context: &Context) {
    context.stop.cancelled().await;
    let idle = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while !context.sends.is_idle() {
            ticks.tick().await;
        }
    };
    let _ = tokio::time::timeout(SHUT_DOWN, idle).await;
    for (key, file) in context.sends.owed() {
        let (namespace, fileupload) = (key.namespace(), key.name());
        warn!(namespace, fileupload, file, "its upload is lost: no status could be written in time");
    }
}
