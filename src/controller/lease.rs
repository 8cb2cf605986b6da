//! Which of several operators works: the one that holds the Lease.
//!
//! Correctness never rests on it: two that work at the same time cost surplus calls, and no wrong status. What is decided
//! here is decided by a monotonic clock of one's own: whose Lease has not changed for as long as it lasts is dead, whatever
//! times it wrote. A write that somebody else was quicker with is refused by its resourceVersion.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, UserInfo};
use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, Error};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::clock;
use crate::telemetry::Metrics;

#[cfg(test)]
mod tests;

/// How long a Lease lasts that nobody renews.
const LASTS: Duration = Duration::from_secs(15);
/// Who has not renewed it for so long stops working, in time before it is over.
const RENEWED: Duration = Duration::from_secs(10);
/// How often it is looked at and renewed.
const PERIOD: Duration = Duration::from_secs(2);
/// How long a call may take.
const CALL: Duration = Duration::from_secs(6);
/// The longest that a Lease is believed to last, whatever it says: anybody may have written it.
const LONGEST: Duration = Duration::from_mins(1);

/// The Lease that several operators share.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// What no other operator is called.
    pub holder: String,
}

/// What is to be done about the Lease as it was seen.
#[derive(Debug, PartialEq)]
enum Step {
    /// Somebody else works.
    Wait,
    /// It is mine, or nobody's: write this.
    Write(Box<Object>),
}

/// What one operator knows of the Lease.
#[derive(Debug)]
struct Candidate {
    holder: String,
    /// What was seen last, and since when. Another label or annotation is no sign of life.
    seen: Option<(LeaseSpec, Instant)>,
    /// When the renewal was begun that last succeeded; `None` while somebody else works.
    renewed: Option<Instant>,
}

impl Candidate {
    fn new(holder: &str) -> Self {
        Self { holder: holder.to_owned(), seen: None, renewed: None }
    }

    fn leads(&self) -> bool {
        self.renewed.is_some()
    }

    /// Until when it may work without another renewal.
    fn ends(&self) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + RENEWED)
    }

    /// What to do about the Lease, which is looked at now.
    fn step(&mut self, lease: Option<Object>, (now, time): (Instant, Timestamp)) -> Step {
        let mut lease = lease.unwrap_or_default();
        let spec = lease.spec.get_or_insert_default();
        let since = match &self.seen {
            Some((before, since)) if before == spec => *since,
            _ => now,
        };
        self.seen = Some((spec.clone(), since));
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let is_mine = holder == self.holder;
        if !is_mine && !holder.is_empty() && now.duration_since(since) < lasts(spec) {
            return Step::Wait;
        }
        if !is_mine {
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default().saturating_add(1));
            spec.acquire_time = Some(MicroTime(time));
            spec.holder_identity = Some(self.holder.clone());
        }
        spec.lease_duration_seconds = i32::try_from(LASTS.as_secs()).ok();
        spec.renew_time = Some(MicroTime(time));
        Step::Write(Box::new(lease))
    }

    /// The Lease was written as the last step said, by a call that began then.
    fn wrote(&mut self, begun: Instant) {
        self.renewed = Some(begun);
    }
}

/// How long the Lease lasts, as its holder says.
fn lasts(spec: &LeaseSpec) -> Duration {
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    seconds.map_or(LASTS, Duration::from_secs).clamp(LASTS, LONGEST)
}

/// Tells once that this operator works, by `leads`, and ends once it no longer may: its Lease was lost, or was given up
/// after `done`. Without a Lease it works at once.
pub(super) async fn lead(
    client: Client,
    settings: Option<Settings>,
    metrics: Metrics,
    leads: CancellationToken,
    done: CancellationToken,
) {
    let Some(settings) = settings else {
        metrics.leads(true);
        leads.cancel();
        return done.cancelled().await;
    };
    Lease::new(client, settings, metrics).hold(leads, done).await;
}

/// The Lease at the API server, and this operator's part in it.
struct Lease {
    api: Api<Object>,
    settings: Settings,
    candidate: Candidate,
    /// The Lease as this operator wrote it last, to be written again without a look; none if the last write failed.
    written: Option<Object>,
    metrics: Metrics,
}

impl Lease {
    fn new(client: Client, settings: Settings, metrics: Metrics) -> Self {
        let (api, candidate) = (Api::namespaced(client, &settings.namespace), Candidate::new(&settings.holder));
        Self { api, settings, candidate, written: None, metrics }
    }

    async fn hold(mut self, leads: CancellationToken, done: CancellationToken) {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut said = String::new();
        loop {
            tokio::select! {
                biased;
                () = done.cancelled() => return self.give_up().await,
                () = over(self.candidate.ends()) => {
                    warn!(lease = self.settings.name, "the lease was lost: it could not be renewed in time");
                    return;
                }
                _ = ticks.tick() => {}
            }
            let ends = self.candidate.ends();
            let turn = tokio::select! {
                turn = self.turn() => turn,
                // The next round says which of the two.
                () = done.cancelled() => continue,
                () = over(ends) => continue,
            };
            match turn {
                Ok(true) => said.clear(),
                Ok(false) if self.candidate.leads() => {
                    warn!(lease = self.settings.name, "the lease was lost: another operator has it");
                    return;
                }
                Ok(false) => debug!(lease = self.settings.name, "another operator has the lease"),
                Err(error) if error != said => {
                    warn!(
                        lease = self.settings.name,
                        namespace = self.settings.namespace,
                        error,
                        "the lease cannot be had"
                    );
                    said = error;
                }
                Err(_) => {}
            }
            if self.candidate.leads() && !leads.is_cancelled() {
                info!(lease = self.settings.name, holder = self.settings.holder, "leads");
                self.metrics.leads(true);
                leads.cancel();
            }
        }
    }

    /// Looks at the Lease, unless it is as this operator wrote it, and writes what it should be; says whether it is this
    /// operator's now.
    async fn turn(&mut self) -> Result<bool, String> {
        let begun = Instant::now();
        let lease = match self.written.take() {
            None => called(self.api.get_opt(&self.settings.name)).await?,
            written => written,
        };
        match self.candidate.step(lease, (begun, clock::exact())) {
            Step::Wait => Ok(false),
            Step::Write(lease) => {
                self.written = self.write(*lease).await?;
                if self.written.is_some() {
                    self.candidate.wrote(begun);
                }
                // Whoever was quicker is seen at the next look.
                Ok(self.candidate.leads())
            }
        }
    }

    /// Writes it and returns it, unless somebody has written or deleted it since.
    async fn write(&self, mut lease: Object) -> Result<Option<Object>, String> {
        let (name, parameters) = (self.settings.name.as_str(), PostParams::default());
        let is_there = lease.metadata.resource_version.is_some();
        if !is_there {
            let owner_references = self.owner().await.map(|owner| vec![owner]);
            lease.metadata = ObjectMeta { name: Some(name.to_owned()), owner_references, ..ObjectMeta::default() };
        }
        let written = async {
            let written = if is_there {
                self.api.replace(name, &parameters, &lease).await
            } else {
                self.api.create(&parameters, &lease).await
            };
            match written {
                Ok(written) => Ok(Some(written)),
                Err(Error::Api(status)) if status.code == 409 || (status.code == 404 && is_there) => Ok(None),
                Err(error) => Err(error),
            }
        };
        called(written).await
    }

    /// The account of this operator, if the Lease is in its namespace: an operator that is uninstalled takes the Lease along.
    async fn owner(&self) -> Option<OwnerReference> {
        let reviews = Api::<SelfSubjectReview>::all(self.api.clone().into_client());
        // Without an answer the Lease only outlives the operator.
        let review = called(reviews.create(&PostParams::default(), &SelfSubjectReview::default())).await.ok()?;
        account(&self.settings.namespace, &review.status?.user_info?)
    }

    /// Lets another operator have it at once.
    async fn give_up(self) {
        if !self.candidate.leads() {
            return;
        }
        let given_up = async {
            let Some(mut lease) = called(self.api.get_opt(&self.settings.name)).await? else { return Ok(()) };
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() == Some(self.settings.holder.as_str()) {
                spec.holder_identity = None;
                self.write(lease).await?;
            }
            Ok::<_, String>(())
        };
        if let Err(error) = given_up.await {
            warn!(lease = self.settings.name, error, "the lease was not given up: another operator waits for its end");
        }
    }
}

/// The account of this namespace that a user is, as an owner.
fn account(namespace: &str, user: &UserInfo) -> Option<OwnerReference> {
    let account = user.username.as_deref()?.strip_prefix("system:serviceaccount:")?;
    let name = account.strip_prefix(namespace)?.strip_prefix(':')?.to_owned();
    let (api_version, kind, uid) = ("v1".to_owned(), "ServiceAccount".to_owned(), user.uid.clone()?);
    Some(OwnerReference { api_version, kind, name, uid, ..OwnerReference::default() })
}

/// Waits until this moment, or for ever.
async fn over(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// What a call answers in time.
async fn called<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
    match timeout(CALL, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(Error::Api(status))) => Err(status.message),
        Ok(Err(error)) => Err(crate::redact::cause(&error)),
        Err(_) => Err(format!("the API server did not answer within {} s", CALL.as_secs())),
    }
}
