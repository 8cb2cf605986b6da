//! The Jobs and Pods of workers, by the FileUpload that they work for.
//!
//! A Pod's report is in its status only as long as the Pod exists, so what a deleted Pod last said is kept until the status
//! has it. Anybody may write our labels: what names no FileUpload of its namespace is not kept, and of one only so much.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use kube::ResourceExt;

use super::uploads::Uploads;
use super::{Key, List, Round, Told};
use crate::plan::objects::{Job, Pod};
use crate::plan::{JobFacts, PodFacts, Presence, Standing, manifest, read};
use crate::report::Assignment;

/// What is kept of the Jobs of a FileUpload that neither this process created nor the status names: as many as it may have
/// files, and their bytes. A Job that was created just before a crash and is not kept is found again, as its name is taken.
const MAX_STRANGERS: (usize, usize) = (100, 256 << 10);
/// The same of Jobs that the status names, whose names somebody else may have taken: more than a FileUpload's files have.
const MAX_NAMED: (usize, usize) = (200, 2 << 20);
/// More Pods than a resource can have.
const MAX_PODS: usize = 400;
/// The most bytes of a termination message that are kept: the kubelet's own bound.
const MAX_MESSAGE: usize = 4 << 10;

/// Of how many deleted Jobs the uid is kept, so that the late answer to a create does not bring them back; and of how many
/// whose reports the status has, so that the end of their Pods, which Kubernetes removes later, is no news.
const MAX_LOST: usize = 64;
const MAX_ABSORBED: usize = 4096;

/// All workers.
#[derive(Default)]
pub(super) struct Work {
    of: HashMap<Arc<str>, Workers>,
    lost: Recent,
    absorbed: Recent,
}

/// The uids of the last so many Jobs of which something holds.
#[derive(Default)]
struct Recent {
    known: HashSet<Arc<str>>,
    order: VecDeque<Arc<str>>,
}

/// The workers of one FileUpload.
struct Workers {
    key: Key,
    jobs: HashMap<String, Held>,
    pods: HashMap<String, (WorkerPod, Round)>,
}

/// A Job.
struct Held {
    facts: JobFacts,
    origin: Origin,
    bytes: usize,
    round: Round,
    /// When the answer to its creation came, until a watch tells of it.
    answered: Option<Instant>,
}

/// Who says that a Job is this FileUpload's: anybody may write our labels.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Origin {
    /// Its labels.
    Stranger,
    /// The status names it.
    Named,
    /// This process created it.
    Own,
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

    pub(super) fn apply_job(&mut self, uploads: &Uploads, job: &Job, told: Told) -> Option<Key> {
        let (uid, key) = owner(uploads, job)?;
        let facts = manifest::read_job(job)?;
        let is_answer = matches!(told, Told::Answer);
        if is_answer && self.lost.contains(&facts.uid) {
            return Some(key);
        }
        let workers = self.workers(Arc::clone(&uid), key.clone());
        // What is known of its Pods alone has no uid.
        match workers.jobs.get_mut(&facts.name) {
            Some(known) if is_answer && !known.facts.uid.is_empty() => known.origin = Origin::Own,
            _ => {
                workers.put_job(uploads, facts, told);
            }
        }
        self.prune(&uid);
        Some(key)
    }

    /// A Job of which nothing but its name is known is gone. This looks at all FileUploads, and is rare.
    pub(super) fn lose_job(&mut self, job: &Key) -> Vec<Key> {
        self.lose_jobs(Some(job.namespace()), |held| held.facts.name == job.name())
    }

    /// A Job that is gone is kept as long as Pods of it may still tell something.
    pub(super) fn delete_job(&mut self, uploads: &Uploads, job: &Job) -> Option<Key> {
        let (uid, key) = owner(uploads, job)?;
        self.lost.add(&job.uid().unwrap_or_default(), MAX_LOST);
        if let Some(workers) = self.of.get_mut(&uid) {
            workers.lose_job(&job.name_any());
        }
        self.prune(&uid);
        Some(key)
    }

    /// A new list lacks what is gone, and may lack what was created while it was made.
    pub(super) fn sweep_jobs(&mut self, namespace: Option<&str>, list: List) -> Vec<Key> {
        self.lose_jobs(namespace, |held| held.round != list.round && !list.may_miss(held.answered))
    }

    fn lose_jobs(&mut self, namespace: Option<&str>, is_gone: impl Fn(&Held) -> bool) -> Vec<Key> {
        let mut wakes = Vec::new();
        for workers in self.of.values_mut().filter(|workers| super::is_in(&workers.key, namespace)) {
            let gone: Vec<_> =
                workers.jobs.iter().filter(|(_, held)| is_gone(held)).map(|(name, _)| name.clone()).collect();
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
        if self.is_absorbed(pod) {
            return None;
        }
        let job = pod.labels().get(read::LABEL_JOB)?.clone();
        let facts = manifest::read_pod(&job, pod)?;
        let workers = self.workers(Arc::clone(&uid), key.clone());
        let attempt = facts.attempt;
        // Its Job is gone, or its watch is behind.
        let is_known = workers.jobs.contains_key(&job) || workers.put_job(uploads, facts, Told::Watch(round));
        if is_known && workers.has_room_for(&pod.name_any(), &job) {
            let facts = bounded(read::pod(pod, false));
            workers.pods.insert(pod.name_any(), (WorkerPod { job, attempt, facts }, round));
        }
        self.prune(&uid);
        Some(key)
    }

    /// A Pod of which nothing but its name is known is gone.
    pub(super) fn lose_pod(&mut self, pod: &Key) -> Vec<Key> {
        self.lose_pods(Some(pod.namespace()), |name, _| name == pod.name())
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
        self.lose_pods(namespace, |_, seen| seen != round)
    }

    fn lose_pods(&mut self, namespace: Option<&str>, is_gone: impl Fn(&str, Round) -> bool) -> Vec<Key> {
        let mut wakes = Vec::new();
        for workers in self.of.values_mut().filter(|workers| super::is_in(&workers.key, namespace)) {
            let is_news = |name: &str, seen: Round| seen != Round::MAX && is_gone(name, seen);
            for (_, (pod, seen)) in workers.pods.iter_mut().filter(|(name, (_, seen))| is_news(name, *seen)) {
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

    /// Whether it is of a Job whose reports the status has.
    fn is_absorbed(&self, pod: &Pod) -> bool {
        let owners = pod.metadata.owner_references.iter().flatten();
        owners.into_iter().any(|owner| self.absorbed.contains(&owner.uid))
    }

    /// Forgets what is gone and was of this attempt.
    pub(super) fn forget_attempt(&mut self, uid: &str, attempt: i64) {
        let Some(workers) = self.of.get_mut(uid) else { return };
        let absorbed = workers.jobs.values().map(|held| &held.facts).filter(|job| job.attempt == attempt);
        for job in absorbed.filter(|job| !job.uid.is_empty()) {
            self.absorbed.add(&job.uid, MAX_ABSORBED);
        }
        workers.pods.retain(|_, (pod, _)| pod.attempt != attempt || pod.facts.presence != Presence::Gone);
        let pods = &workers.pods;
        let told_of = |name: &String| pods.values().any(|(pod, _)| pod.job == *name);
        let is_kept = |job: &JobFacts| job.attempt != attempt || job.standing != Standing::Gone;
        workers.jobs.retain(|name, held| is_kept(&held.facts) || told_of(name));
        self.prune(uid);
    }

    pub(super) fn forget_upload(&mut self, uid: &str) {
        self.of.remove(uid);
    }
}

impl Recent {
    fn add(&mut self, uid: &str, most: usize) {
        if self.known.insert(uid.into()) {
            self.order.push_back(uid.into());
        }
        if self.order.len() > most
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    fn contains(&self, uid: &str) -> bool {
        self.known.contains(uid)
    }
}

impl Workers {
    /// Takes a Job in, if it is credible and there is room for it; those that are known for ours need none. Says whether it
    /// is kept.
    fn put_job(&mut self, uploads: &Uploads, facts: JobFacts, told: Told) -> bool {
        let known = self.jobs.get(&facts.name);
        let origin = match told {
            Told::Answer => Origin::Own,
            _ if uploads.names_job(&self.key, &facts.name) => Origin::Named,
            _ => Origin::Stranger,
        };
        let origin = known.map_or(origin, |known| known.origin.max(origin));
        let facts = if let Some(known) = known { facts.after(&known.facts) } else { facts };
        let bytes = bytes_of(&facts);
        let is_kept = match origin {
            Origin::Own => true,
            Origin::Named => self.has_room(&facts.name, origin, bytes, MAX_NAMED),
            Origin::Stranger => self.has_room(&facts.name, origin, bytes, MAX_STRANGERS),
        };
        if is_kept {
            let round = told.round().or(known.map(|known| known.round)).unwrap_or_default();
            self.jobs.insert(facts.name.clone(), Held { facts, origin, bytes, round, answered: told.answered() });
        } else {
            self.jobs.remove(&facts.name);
        }
        is_kept
    }

    fn has_room(&self, name: &str, origin: Origin, bytes: usize, (most, most_bytes): (usize, usize)) -> bool {
        let others = || self.jobs.iter().filter(|(other, held)| *other != name && held.origin == origin);
        others().count() < most && bytes + others().map(|(_, held)| held.bytes).sum::<usize>() <= most_bytes
    }

    /// Whether a Pod of this Job is kept. One of a Job that is known for ours takes the room of another.
    fn has_room_for(&mut self, pod: &str, job: &str) -> bool {
        if self.pods.len() < MAX_PODS || self.pods.contains_key(pod) {
            return true;
        }
        let jobs = &self.jobs;
        let is_strange = |job: &str| jobs.get(job).is_none_or(|held| held.origin == Origin::Stranger);
        if is_strange(job) {
            return false;
        }
        let stranger = self.pods.iter().find(|(_, (pod, _))| is_strange(&pod.job)).map(|(name, _)| name.clone());
        stranger.is_some_and(|stranger| self.pods.remove(&stranger).is_some())
    }

    fn lose_job(&mut self, name: &str) {
        let is_told_of = self.pods.values().any(|(pod, _)| pod.job == name);
        match self.jobs.get_mut(name) {
            Some(held) if is_told_of => held.facts.standing = Standing::Gone,
            _ => drop(self.jobs.remove(name)),
        }
    }

    /// A Job with its Pods: those that are gone first, then in the order in which they were created.
    fn job(&self, name: &str) -> Option<JobFacts> {
        let job = &self.jobs.get(name)?.facts;
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

/// What a Job's texts take.
fn bytes_of(job: &JobFacts) -> usize {
    let of_file = |file: &Assignment| {
        let texts = [&file.name, &file.revision, &file.path, &file.file_name];
        let content_type = file.content_type.as_ref().map_or(0, String::len);
        let folder = file.folder.as_deref().map_or(0, |folder| {
            let globs = folder.include.iter().chain(&folder.exclude).map(String::len).sum::<usize>();
            globs + size_of_val(folder) + 2 * folder.cuts.len() + folder.part_name.len() + folder.part.len()
        });
        folder + size_of::<Assignment>() + texts.map(String::len).iter().sum::<usize>() + content_type
    };
    size_of::<Held>() + job.files.iter().map(of_file).sum::<usize>()
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
