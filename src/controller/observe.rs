//! Gathers the facts of one reconcile: from the index and this process's memory. Reads only.
//!
//! The API server is asked in two cases alone: for the events of a worker that does not run, which nobody watches, and for
//! a Job that seems to have ended without a word. What cannot be read is unknown, and keeps nothing else from being done.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use tracing::warn;

use super::Context;
use super::deployments::Found;
use super::index::{Key, Known};
use crate::plan::objects::{Event, Job, Pod};
use crate::plan::{
    self, ClaimFacts, ConfigMapFacts, Facts, JobFacts, Presence, Said, SecretFacts, Standing, Volume, WorkFacts, read,
};
use crate::resource::{FileUpload, Folder};

#[cfg(test)]
mod tests;

/// Observes what a plan for this resource may depend on. The API server has so long to tell of all Jobs.
pub(super) async fn observe(
    context: &Context,
    key: &Key,
    known: &Known,
    (found, now): (&Found<'_>, Timestamp),
    patience: Duration,
) -> Facts {
    let Known { upload, uid } = known;
    let (sends, last_read) = context.sends.facts(uid);
    let launches = context.launches.facts(uid);
    let mut work: Vec<_> = sends.into_iter().map(WorkFacts::Send).collect();
    let mut jobs = context.index.jobs(uid);
    for launch in launches {
        // One whose Job exists is that Job.
        if !jobs.iter().any(|job| job.name == launch.name) {
            work.push(WorkFacts::Launch(launch));
        }
    }
    jobs.extend(vanished(upload, &jobs));
    let deadline = tokio::time::Instant::now() + patience;
    for job in jobs {
        let look = looked_at(context, key, uid, job.clone(), now);
        let job = tokio::time::timeout_at(deadline, look).await.unwrap_or_else(|_| unconfirmed(job));
        work.push(WorkFacts::Job(job));
    }
    let folders = tokio::time::timeout_at(deadline, context.folders.facts(known)).await.unwrap_or_default();
    let secret = Key::new(key.namespace(), upload.spec.secret_name());
    let output = upload.spec.output_name().map(|name| context.index.output(upload, name).0);
    Facts {
        work,
        claims: claims(context, key, known),
        config_maps: config_maps(context, key, upload),
        secret: if context.settings.direct { context.secrets.facts(&secret, uid) } else { SecretFacts::Unknown },
        folders,
        output: output.unwrap_or_default(),
        settings_hash: found.worker().map(|worker| plan::settings_hash(upload, worker)).unwrap_or_default(),
        last_read,
    }
}

/// The Jobs that the status names and of which nothing else is known.
fn vanished(upload: &FileUpload, jobs: &[JobFacts]) -> Vec<JobFacts> {
    let Some(status) = &upload.status else { return Vec::new() };
    let named = status.jobs.iter().filter(|named| jobs.iter().all(|job| job.name != named.name));
    named.filter_map(|named| Some(JobFacts::vanished(&named.name, Volume::of_job(named)?, status.attempts))).collect()
}

/// Claims with their users.
fn claims(context: &Context, key: &Key, known: &Known) -> BTreeMap<String, ClaimFacts> {
    let sources = known.upload.spec.files.iter().filter_map(|file| file.source.persistent_volume_claim.as_ref());
    let folders = known.upload.spec.folders.iter().map(Folder::claim);
    let names: BTreeSet<_> = sources.map(|file| file.claim_name.as_str()).chain(folders).collect();
    names.into_iter().map(|name| (name.to_owned(), context.launches.claim(key, &known.uid, name))).collect()
}

fn config_maps(context: &Context, key: &Key, upload: &FileUpload) -> BTreeMap<String, ConfigMapFacts> {
    let sources = upload.spec.files.iter().filter_map(|file| file.source.config_map_key_ref.as_ref());
    let names: BTreeSet<_> = sources.map(|reference| &reference.name).collect();
    names.into_iter().map(|name| (name.clone(), context.index.config_map(key, name))).collect()
}

/// A Job, with what only the API server can tell of it.
async fn looked_at(context: &Context, key: &Key, uid: &str, job: JobFacts, now: Timestamp) -> JobFacts {
    if plan::is_doubtful(&job) {
        return confirmed(&context.client, key, uid, &job).await.unwrap_or_else(|error| {
            warn!(job = job.name, error = %crate::redact::cause(&error), "cannot ask for a worker that seems to be over");
            unconfirmed(job)
        });
    }
    if !plan::needs_events(&job, now) {
        return job;
    }
    let mut job = job;
    let told = context.events_of.read(&context.client, key, &job).await;
    let said_of = |uid: &String| told.get(uid).cloned().unwrap_or_default();
    job.events = said_of(&job.uid);
    for pod in &mut job.pods {
        pod.events = said_of(&pod.uid);
    }
    job
}

/// A Job that nobody could tell of: that it is over is not believed yet.
fn unconfirmed(job: JobFacts) -> JobFacts {
    if plan::is_doubtful(&job) { JobFacts { standing: Standing::Alive, pods: Vec::new(), ..job } } else { job }
}

/// Asks the API server itself for a Job and its Pods: a watch may be behind.
async fn confirmed(client: &Client, key: &Key, uid: &str, known: &JobFacts) -> kube::Result<JobFacts> {
    let jobs = Api::<Job>::namespaced(client.clone(), key.namespace());
    let job = jobs.get_opt(&known.name).await?;
    let is_ours =
        |labels: Option<&BTreeMap<String, String>>| labels.and_then(read::upload_uid).is_some_and(|found| found == uid);
    let job = job.filter(|job| is_ours(job.metadata.labels.as_ref()));
    let of_job = ListParams::default().labels(&format!("{}={}", read::LABEL_JOB, known.name)).limit(500);
    let mut pods = Api::<Pod>::namespaced(client.clone(), key.namespace()).list(&of_job).await?.items;
    pods.retain(|pod| is_ours(pod.metadata.labels.as_ref()));
    let fresh = job.as_ref().and_then(plan::manifest::read_job);
    let from_pod = || pods.first().and_then(|pod| plan::manifest::read_pod(&known.name, pod));
    let exists = fresh.is_some();
    let facts = fresh.or_else(from_pod).map_or_else(|| known.clone(), |facts| facts.after(known));
    let living = pods.iter().map(|pod| read::pod(pod, false));
    let is_gone = |pod: &&plan::PodFacts| pods.iter().all(|living| living.metadata.uid.as_deref() != Some(&*pod.uid));
    let gone = known.pods.iter().filter(is_gone).map(|pod| plan::PodFacts { presence: Presence::Gone, ..pod.clone() });
    let pods = gone.chain(living).collect();
    let standing = if exists { facts.standing.clone() } else { Standing::Gone };
    Ok(JobFacts { pods, standing, confirmed: true, ..facts })
}

/// What events say of workers that do not run, read at most so often.
#[derive(Default)]
pub(super) struct EventsOf(Mutex<HashMap<(Key, String), LookedAt>>);

/// When, and what there was.
type LookedAt = (Instant, Arc<Told>);

/// What events say, by the uid of the Job or Pod that they are about. The events themselves may be large and are not kept.
type Told = HashMap<String, Vec<Said>>;

/// Events of one worker are read again after this.
const INTERVAL: Duration = Duration::from_secs(8);

impl EventsOf {
    /// What the cluster says of a Job and its Pods. Without it only the cause is missing.
    async fn read(&self, client: &Client, key: &Key, job: &JobFacts) -> Arc<Told> {
        let place = (key.clone(), job.name.clone());
        let known =
            self.0.lock().get(&place).filter(|(at, _)| at.elapsed() < INTERVAL).map(|(_, told)| Arc::clone(told));
        if let Some(told) = known {
            return told;
        }
        let api = Api::<Event>::namespaced(client.clone(), key.namespace());
        let of_pods = job.pods.iter().map(|pod| ("Pod", &pod.name, &pod.uid));
        let mut told = Told::new();
        for (kind, name, uid) in std::iter::once(("Job", &job.name, &job.uid)).chain(of_pods) {
            let regarding = format!("regarding.kind={kind},regarding.name={name}");
            match api.list(&ListParams::default().fields(&regarding).limit(100)).await {
                Ok(list) => {
                    let said = read::said_of(&list.items, uid);
                    if !said.is_empty() {
                        told.insert(uid.clone(), said);
                    }
                }
                Err(error) => {
                    warn!(job = job.name, error = %crate::redact::cause(&error), "cannot read the events of a worker");
                    break;
                }
            }
        }
        let told = Arc::new(told);
        self.0.lock().insert(place, (Instant::now(), Arc::clone(&told)));
        told
    }

    /// Forgets what is read again before it is used.
    pub(super) fn tidy(&self) {
        self.0.lock().retain(|_, (at, _)| at.elapsed() < INTERVAL);
    }
}
