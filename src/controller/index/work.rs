//! The Jobs and Pods of workers, by the FileUpload that they work for.
//!
//! A Pod's report is in its status only as long as the Pod exists, so what a deleted Pod last said is kept until the status
//! has it. Anybody may write our labels: what names no FileUpload of its namespace is not kept, and of one only so much.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::uploads::Uploads;
use super::{Key, Round};
use crate::plan::{JobFacts, PodFacts, Presence, Standing, manifest, read};

/// More Jobs and Pods than a resource can have.
const MAX_JOBS: usize = 200;
const MAX_PODS: usize = 400;
/// The most bytes of a termination message that are kept: the kubelet's own bound is 4 KiB a container.
const MAX_MESSAGE: usize = 8 * 1024;

/// Of how many deleted Jobs the uid is kept, so that the late answer to a create does not bring them back.
const MAX_LOST: usize = 64;

/// All workers.
#[derive(Default)]
pub(super) struct Work {
    of: HashMap<Arc<str>, Workers>,
    lost: VecDeque<String>,
}

/// The workers of one FileUpload.
struct Workers {
    key: Key,
    jobs: HashMap<String, (JobFacts, Round)>,
    pods: HashMap<String, (WorkerPod, Round)>,
}

struct WorkerPod {
    job: String,
    attempt: i64,
    facts: PodFacts,
}

impl Work {
    fn workers(&mut self, uid: Arc<str>, key: Key) -> &mut Workers {
        let (jobs, pods) = Default::default();
        self.of.entry(uid).or_insert(Workers { key, jobs, pods })
    }

    fn prune(&mut self, uid: &str) {
        if self.of.get(uid).is_some_and(|workers| workers.jobs.is_empty() && workers.pods.is_empty()) {
            self.of.remove(uid);
        }
    }

    /// `round` is that of the watch, or none where this process created it.
    pub(super) fn apply_job(&mut self, uploads: &Uploads, job: &Job, round: Option<Round>) -> Option<Key> {
        let (uid, key) = owner(uploads, job)?;
        let facts = manifest::read_job(job)?;
        if round.is_none() && self.lost.contains(&facts.uid) {
            return Some(key);
        }
        let workers = self.workers(uid, key.clone());
        let known = workers.jobs.get(&facts.name);
        // What is known of its Pods alone has no uid.
        if round.is_none() && known.is_some_and(|(job, _)| !job.uid.is_empty()) {
            return Some(key);
        }
        let round = round.or(known.map(|(_, round)| *round)).unwrap_or_default();
        if known.is_some() || workers.jobs.len() < MAX_JOBS {
            workers.jobs.insert(facts.name.clone(), (facts, round));
        }
        Some(key)
    }

    /// A Job that is gone is kept as long as Pods of it may still tell something.
    pub(super) fn delete_job(&mut self, uploads: &Uploads, job: &Job) -> Option<Key> {
        let (uid, key) = owner(uploads, job)?;
        self.lost.push_back(job.uid().unwrap_or_default());
        if self.lost.len() > MAX_LOST {
            self.lost.pop_front();
        }
        if let Some(workers) = self.of.get_mut(&uid) {
            workers.lose_job(&job.name_any());
        }
        self.prune(&uid);
        Some(key)
    }

    pub(super) fn sweep_jobs(&mut self, namespace: Option<&str>, round: Round) -> Vec<Key> {
        let mut wakes = Vec::new();
        for workers in self.of.values_mut().filter(|workers| super::is_in(&workers.key, namespace)) {
            let gone: Vec<_> =
                workers.jobs.iter().filter(|(_, (_, seen))| *seen != round).map(|(name, _)| name.clone()).collect();
            for name in &gone {
                workers.lose_job(name);
            }
            wakes.extend((!gone.is_empty()).then(|| workers.key.clone()));
        }
        self.of.retain(|_, workers| !workers.jobs.is_empty() || !workers.pods.is_empty());
        wakes
    }

    pub(super) fn apply_pod(&mut self, uploads: &Uploads, pod: &Pod, round: Round) -> Option<Key> {
        let (uid, key) = owner(uploads, pod)?;
        let job = pod.labels().get(read::LABEL_JOB)?.clone();
        let facts = manifest::read_pod(&job, pod)?;
        let workers = self.workers(uid, key.clone());
        if !workers.pods.contains_key(&pod.name_any()) && workers.pods.len() >= MAX_PODS {
            return None;
        }
        let attempt = facts.attempt;
        if !workers.jobs.contains_key(&job) && workers.jobs.len() < MAX_JOBS {
            // Its Job is gone, or its watch is behind.
            workers.jobs.insert(job.clone(), (facts, round));
        }
        let facts = bounded(read::pod(pod, false));
        workers.pods.insert(pod.name_any(), (WorkerPod { job, attempt, facts }, round));
        Some(key)
    }

    /// What a Pod that is gone last said is kept until the status has it.
    pub(super) fn delete_pod(&mut self, uploads: &Uploads, pod: &Pod) -> Option<Key> {
        let (uid, key) = owner(uploads, pod)?;
        let (known, round) = self.of.get_mut(&uid)?.pods.get_mut(&pod.name_any())?;
        known.facts = bounded(read::pod(pod, true));
        *round = Round::MAX;
        Some(key)
    }

    pub(super) fn sweep_pods(&mut self, namespace: Option<&str>, round: Round) -> Vec<Key> {
        let mut wakes = Vec::new();
        for workers in self.of.values_mut().filter(|workers| super::is_in(&workers.key, namespace)) {
            let missing = |seen: Round| seen != round && seen != Round::MAX;
            for (pod, seen) in workers.pods.values_mut().filter(|(_, seen)| missing(*seen)) {
                (pod.facts.presence, *seen) = (Presence::Gone, Round::MAX);
                wakes.push(workers.key.clone());
            }
        }
        wakes
    }

    pub(super) fn jobs(&self, uid: &str) -> Vec<JobFacts> {
        let Some(workers) = self.of.get(uid) else { return Vec::new() };
        let mut jobs: Vec<_> = workers.jobs.keys().filter_map(|name| workers.job(name)).collect();
        jobs.sort_by_key(|job| job.attempt);
        jobs
    }

    pub(super) fn job(&self, uid: &str, name: &str) -> Option<JobFacts> {
        self.of.get(uid)?.job(name)
    }

    pub(super) fn living(&self) -> Vec<(Arc<str>, String, JobFacts)> {
        let of_upload = |(uid, workers): (&Arc<str>, &Workers)| {
            let jobs = workers.jobs.keys().filter_map(|name| workers.job(name)).filter(|job| !job.is_over());
            let namespace = workers.key.namespace().to_owned();
            jobs.map(|job| (Arc::clone(uid), namespace.clone(), job)).collect::<Vec<_>>()
        };
        self.of.iter().flat_map(of_upload).collect()
    }

    /// Forgets what is gone and was of this attempt.
    pub(super) fn forget_attempt(&mut self, uid: &str, attempt: i64) {
        let Some(workers) = self.of.get_mut(uid) else { return };
        workers.pods.retain(|_, (pod, _)| pod.attempt != attempt || pod.facts.presence != Presence::Gone);
        let pods = &workers.pods;
        let told_of = |name: &String| pods.values().any(|(pod, _)| pod.job == *name);
        workers.jobs.retain(|name, (job, _)| job.attempt != attempt || job.standing != Standing::Gone || told_of(name));
        self.prune(uid);
    }

    pub(super) fn forget_upload(&mut self, uid: &str) {
        self.of.remove(uid);
    }
}

impl Workers {
    fn lose_job(&mut self, name: &str) {
        let is_told_of = self.pods.values().any(|(pod, _)| pod.job == name);
        match self.jobs.get_mut(name) {
            Some((job, _)) if is_told_of => job.standing = Standing::Gone,
            _ => drop(self.jobs.remove(name)),
        }
    }

    /// A Job with its Pods: those that are gone first, then in the order in which they were created.
    fn job(&self, name: &str) -> Option<JobFacts> {
        let (job, _) = self.jobs.get(name)?;
        let mut pods: Vec<_> =
            self.pods.values().filter(|(pod, _)| pod.job == name).map(|(pod, _)| pod.facts.clone()).collect();
        pods.sort_by_key(|pod| (pod.presence != Presence::Gone, pod.created, pod.name.clone()));
        Some(JobFacts { pods, ..job.clone() })
    }
}

/// The FileUpload that a Job or Pod of ours works for.
fn owner(uploads: &Uploads, object: &impl ResourceExt) -> Option<(Arc<str>, Key)> {
    let uid = read::upload_uid(object.labels())?;
    uploads.uid_of(uid, object.meta().namespace.as_deref().unwrap_or_default())
}

fn bounded(mut pod: PodFacts) -> PodFacts {
    if let crate::plan::Container::Ended(ended) = &mut pod.container
        && ended.message.len() > MAX_MESSAGE
    {
        let end = ended.message.floor_char_boundary(MAX_MESSAGE);
        ended.message.truncate(end);
    }
    pod
}
