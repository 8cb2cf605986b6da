//! What the watches know, reduced to what a plan may ask, and found by what it asks with. Nothing here scans.
//!
//! | asked | found by |
//! |---|---|
//! | a FileUpload | its namespace and name |
//! | the Jobs and Pods of a FileUpload | its uid |
//! | the Pods that use a claim, the FileUploads that name it | the claim |
//! | the FileUploads that name a ConfigMap, and its version | the ConfigMap |
//!
//! The operator's own writes enter with their answers, so what this process did is known before the watch tells of it; a
//! watch that is behind does not undo that. Objects that no FileUpload names are not kept, but for claims and their users.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use parking_lot::Mutex;

use self::config_maps::ConfigMaps;
use self::told::{Round, Version};
use self::uploads::Uploads;
use self::volumes::Volumes;
use self::work::Work;
use super::deployments::Deployments;
use crate::plan::objects::{Job, PersistentVolumeClaim, Pod};
use crate::plan::{ClaimFacts, ConfigMapFacts, JobFacts, OutputFacts, output_hash};
use crate::resource::{FileUpload, Phase};

pub(super) use self::told::{List, Told};

mod config_maps;
#[cfg(test)]
mod tests;
mod told;
mod uploads;
mod volumes;
mod work;

/// A namespace and a name in it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Key(Arc<str>);

impl Key {
    pub(super) fn new(namespace: &str, name: &str) -> Self {
        Self(format!("{namespace}/{name}").into())
    }

    pub(super) fn of(object: &impl ResourceExt) -> Self {
        Self::in_metadata(object.meta())
    }

    pub(super) fn in_metadata(metadata: &ObjectMeta) -> Self {
        Self::new(metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
    }

    pub(super) fn namespace(&self) -> &str {
        self.0.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    pub(super) fn name(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, name)| name)
    }

    fn beside(&self, name: &str) -> Self {
        Self::new(self.namespace(), name)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The index; clones are the same.
#[derive(Clone)]
pub(super) struct Index(Arc<Mutex<Inner>>);

struct Inner {
    uploads: Uploads,
    config_maps: ConfigMaps,
    volumes: Volumes,
    work: Work,
}

/// What a change concerns.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// The FileUploads that are looked at again.
    pub(super) wakes: Vec<Key>,
    /// The uids of the FileUploads that are gone.
    pub(super) gone: Vec<Arc<str>>,
}

/// A FileUpload as it is known.
pub(super) struct Known {
    pub(super) upload: FileUpload,
    pub(super) uid: Arc<str>,
}

/// All FileUploads, counted.
#[derive(Default)]
pub(super) struct Census {
    /// How many there are of a phase.
    pub(super) phases: HashMap<Phase, usize>,
    /// When the first key of a namespace is withdrawn.
    pub(super) earliest: HashMap<String, Timestamp>,
}

impl Census {
    /// The namespaces whose keys are withdrawn next, so many, each with the second of that.
    pub(super) fn next(&self, most: usize) -> Vec<(String, i64)> {
        let mut all: Vec<_> = self.earliest.iter().map(|(namespace, at)| (at.as_second(), namespace)).collect();
        all.sort_unstable();
        all.into_iter().take(most).map(|(at, namespace)| (namespace.clone(), at)).collect()
    }
}

impl Index {
    pub(super) fn new(deployments: Arc<Deployments>) -> Self {
        let (config_maps, volumes, work) = Default::default();
        Self(Arc::new(Mutex::new(Inner { uploads: Uploads::new(deployments), config_maps, volumes, work })))
    }

    /// This process wrote a FileUpload's status. Says whether that changed anything.
    pub(super) fn wrote_upload(&self, upload: FileUpload) -> bool {
        !self.apply_upload(upload, Told::Answer).wakes.is_empty()
    }

    /// Whether it is this very one.
    pub(super) fn is(&self, key: &Key, uid: &str) -> bool {
        self.0.lock().uploads.uid(key) == Some(uid)
    }

    /// A FileUpload appeared or changed.
    pub(super) fn apply_upload(&self, upload: FileUpload, told: Told) -> Change {
        let mut inner = self.0.lock();
        let Inner { uploads, config_maps, volumes, work } = &mut *inner;
        let key = Key::of(&upload);
        let Some(update) = uploads.apply(&key, upload, told) else { return Change::default() };
        if let Some(old) = &update.replaced {
            work.forget_upload(old);
        }
        config_maps.rename(&update.key, &update.before.config_maps, &update.after.config_maps);
        volumes.rename(&update.key, &update.before.claims, &update.after.claims);
        Change { wakes: vec![update.key], gone: update.replaced.into_iter().collect() }
    }

    /// A FileUpload is gone.
    pub(super) fn delete_upload(&self, key: &Key) -> Change {
        let gone = self.0.lock().remove_upload(key);
        Change { wakes: Vec::new(), gone: gone.into_iter().collect() }
    }

    /// A new list of FileUploads of a namespace, or of all, is complete: those that it lacks are gone.
    pub(super) fn sweep_uploads(&self, namespace: Option<&str>, list: List) -> Change {
        let mut inner = self.0.lock();
        let missing = inner.uploads.not_seen_since(namespace, list.round);
        let gone = missing.into_iter().filter_map(|key| inner.remove_upload(&key)).collect();
        Change { wakes: Vec::new(), gone }
    }

    /// A FileUpload, read for one reconcile.
    pub(super) fn get(&self, key: &Key) -> Option<Known> {
        let stored = self.0.lock().uploads.get(key);
        stored?.read(key)
    }

    /// The FileUpload with this uid.
    pub(super) fn of_uid(&self, uid: &str, namespace: &str) -> Option<Known> {
        let key = self.0.lock().uploads.uid_of(uid, namespace)?.1;
        self.get(&key)
    }

    /// When the first key of a FileUpload is withdrawn.
    pub(super) fn withdrawn_at(&self, key: &Key) -> Option<Timestamp> {
        self.0.lock().uploads.withdrawn_at(key)
    }

    /// All FileUploads, counted for the metrics.
    pub(super) fn census(&self) -> Census {
        self.0.lock().uploads.census()
    }

    /// All FileUploads of a namespace, or all.
    pub(super) fn keys(&self, namespace: Option<&str>) -> Vec<Key> {
        self.0.lock().uploads.keys(namespace)
    }

    /// How many FileUploads there are.
    pub(super) fn len(&self) -> usize {
        self.0.lock().uploads.len()
    }

    /// A ConfigMap appeared, changed, or is gone.
    pub(super) fn apply_config_map(&self, config_map: &ObjectMeta, told: Told) -> Change {
        self.0.lock().wake_readers(|config_maps| config_maps.apply(config_map, told))
    }

    pub(super) fn delete_config_map(&self, config_map: &ObjectMeta, round: Round) -> Change {
        self.0.lock().wake_readers(|config_maps| config_maps.delete(config_map, round))
    }

    /// A ConfigMap cannot be understood any more.
    pub(super) fn lose_config_map(&self, key: &Key) -> Change {
        self.0.lock().wake_readers(|config_maps| config_maps.lose(key))
    }

    /// A new list of ConfigMaps begins.
    pub(super) fn begin_config_maps(&self, namespace: Option<&str>) -> Change {
        self.0.lock().config_maps.begin(namespace);
        Change::default()
    }

    pub(super) fn sweep_config_maps(&self, namespace: Option<&str>, list: List) -> Change {
        self.0.lock().wake_readers(|config_maps| config_maps.sweep(namespace, list))
    }

    /// This process wrote an output of `upload`, or found it to hold this.
    pub(super) fn wrote_output(&self, upload: &FileUpload, config_map: &ConfigMap) {
        self.0.lock().config_maps.wrote(config_map, output_hash(upload, config_map));
    }

    /// An output turned out to be gone, or to exist although it was not known of: the watch tells the rest.
    pub(super) fn forget_output(&self, key: &Key) {
        self.0.lock().config_maps.unlearn(key);
    }

    /// What a request found of a ConfigMap of which `before` was known when it was made; none if it does not exist.
    pub(super) fn looked_up(&self, key: &Key, before: &ConfigMapFacts, version: Option<&str>) {
        self.0.lock().config_maps.looked_up(key, before, version);
    }

    /// What is known of a ConfigMap that files come from.
    pub(super) fn config_map(&self, upload: &Key, name: &str) -> ConfigMapFacts {
        self.0.lock().config_maps.source(&upload.beside(name))
    }

    /// What is known of an output, and its resourceVersion.
    pub(super) fn output(&self, upload: &FileUpload, name: &str) -> (OutputFacts, Option<String>) {
        self.0.lock().config_maps.output(&Key::of(upload).beside(name), upload)
    }

    /// A claim appeared, changed, or is gone.
    pub(super) fn apply_claim(&self, claim: &PersistentVolumeClaim, told: Told) -> Change {
        let round = told.round().unwrap_or_default();
        self.0.lock().wake_open(|volumes| volumes.apply_claim(claim, round))
    }

    pub(super) fn delete_claim(&self, key: &Key) -> Change {
        self.0.lock().wake_open(|volumes| volumes.delete_claim(key))
    }

    pub(super) fn sweep_claims(&self, namespace: Option<&str>, list: List) -> Change {
        self.0.lock().wake_open(|volumes| volumes.sweep_claims(namespace, list.round))
    }

    /// What is known of a claim.
    pub(super) fn claim(&self, upload: &Key, name: &str) -> ClaimFacts {
        // Of thousands of users only the copying is slow, so that is done outside the lock.
        let (claim, users) = self.0.lock().volumes.claim(&upload.beside(name));
        ClaimFacts { users: volumes::users_that_matter(&users), ..claim }
    }

    /// A Pod appeared, changed, or is gone.
    pub(super) fn apply_pod(&self, pod: &Pod, told: Told) -> Change {
        let round = told.round().unwrap_or_default();
        let mut inner = self.0.lock();
        let mut change = inner.wake_open(|volumes| volumes.apply_pod(pod, round));
        let Inner { uploads, work, .. } = &mut *inner;
        change.wakes.extend(work.apply_pod(uploads, pod, round));
        change
    }

    pub(super) fn delete_pod(&self, pod: &Pod) -> Change {
        let mut inner = self.0.lock();
        let mut change = inner.wake_open(|volumes| volumes.delete_pod(pod));
        let Inner { uploads, work, .. } = &mut *inner;
        change.wakes.extend(work.delete_pod(uploads, pod));
        change
    }

    /// A Pod cannot be understood any more.
    pub(super) fn lose_pod(&self, key: &Key) -> Change {
        let mut inner = self.0.lock();
        let mut change = inner.wake_open(|volumes| volumes.lose_pod(key));
        change.wakes.extend(inner.work.lose_pod(key));
        change
    }

    pub(super) fn sweep_pods(&self, namespace: Option<&str>, list: List) -> Change {
        let mut inner = self.0.lock();
        let mut change = inner.wake_open(|volumes| volumes.sweep_pods(namespace, list.round));
        change.wakes.extend(inner.work.sweep_pods(namespace, list.round));
        change
    }

    /// A Job of ours appeared, changed, or is gone.
    pub(super) fn apply_job(&self, job: &Job, told: Told) -> Change {
        let mut inner = self.0.lock();
        let Inner { uploads, work, .. } = &mut *inner;
        Change { wakes: work.apply_job(uploads, job, told).into_iter().collect(), gone: Vec::new() }
    }

    pub(super) fn delete_job(&self, job: &Job) -> Change {
        let mut inner = self.0.lock();
        let Inner { uploads, work, .. } = &mut *inner;
        Change { wakes: work.delete_job(uploads, job).into_iter().collect(), gone: Vec::new() }
    }

    /// A Job cannot be understood any more.
    pub(super) fn lose_job(&self, key: &Key) -> Change {
        Change { wakes: self.0.lock().work.lose_job(key), gone: Vec::new() }
    }

    pub(super) fn sweep_jobs(&self, namespace: Option<&str>, list: List) -> Change {
        Change { wakes: self.0.lock().work.sweep_jobs(namespace, list), gone: Vec::new() }
    }

    /// The Jobs of a FileUpload that exist, or whose Pods may still tell something.
    pub(super) fn jobs(&self, uid: &str) -> Vec<JobFacts> {
        self.0.lock().work.jobs(uid)
    }

    /// One of them.
    pub(super) fn job(&self, uid: &str, name: &str) -> Option<JobFacts> {
        self.0.lock().work.job(uid, name)
    }

    /// Every Job that exists and has not ended, with the uid of its FileUpload and its namespace; for the start alone.
    pub(super) fn living_jobs(&self) -> Vec<(Arc<str>, String, JobFacts)> {
        self.0.lock().work.living()
    }

    /// Forgets the reports of an attempt whose Pods are gone: the status has them.
    pub(super) fn forget_attempt(&self, uid: &str, attempt: i64) {
        self.0.lock().work.forget_attempt(uid, attempt);
    }
}

impl Inner {
    fn remove_upload(&mut self, key: &Key) -> Option<Arc<str>> {
        let (uid, names) = self.uploads.remove(key)?;
        self.config_maps.rename(key, &names.config_maps, &[]);
        self.volumes.rename(key, &names.claims, &[]);
        self.work.forget_upload(&uid);
        Some(uid)
    }

    /// Of those who name a ConfigMap that changed, only those to whom it matters.
    fn wake_readers<N: IntoIterator<Item = Key>>(&mut self, change: impl FnOnce(&mut ConfigMaps) -> N) -> Change {
        let news = change(&mut self.config_maps);
        let of = |key: Key| {
            let readers = self.config_maps.readers(&key).iter();
            readers.filter(|reader| self.uploads.is_concerned(reader, &key)).cloned().collect::<Vec<_>>()
        };
        Change { wakes: news.into_iter().flat_map(of).collect(), gone: Vec::new() }
    }

    /// Of those who name a claim that changed, only those wait for it whose files are not all uploaded.
    fn wake_open(&mut self, change: impl FnOnce(&mut Volumes) -> HashSet<Key>) -> Change {
        let named = change(&mut self.volumes);
        let wakes = named.into_iter().filter(|key| self.uploads.is_open(key)).collect();
        Change { wakes, gone: Vec::new() }
    }
}

/// By key, those who name it.
type Readers = HashMap<Key, Vec<Key>>;

pub(super) fn is_in(key: &Key, namespace: Option<&str>) -> bool {
    namespace.is_none_or(|namespace| key.namespace() == namespace)
}
