//! ConfigMaps that a FileUpload names, as source or as output: their versions, and of outputs a hash. Others are not kept.

use std::collections::{HashMap, HashSet};

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PartialObjectMeta;

use super::{Key, Readers, Round, Told, Version, is_in};
use crate::plan::{ConfigMapFacts, OutputFacts, hash_of_data, read};
use crate::resource::{FIELD_MANAGER, FileUpload, LABEL_FILE_UPLOAD, LABEL_MANAGED_BY};

/// The ConfigMaps that are named.
#[derive(Default)]
pub(super) struct ConfigMaps {
    readers: Readers,
    known: HashMap<Key, Record>,
    /// By the namespace of a list that is being made, or all, what began to be named meanwhile: it may have been passed over.
    lists: HashMap<Option<Box<str>>, HashSet<Key>>,
}

/// A ConfigMap of which the watch has told since it is named.
struct Record {
    /// Of one that was deleted, that of its deletion: a late answer does not bring it back.
    version: Version,
    exists: bool,
    /// Labels and owners, where it may be an output.
    metadata: Option<Box<ObjectMeta>>,
    /// A hash of its data, where this process wrote or read it in this version.
    hash: Option<String>,
    round: Round,
}

impl ConfigMaps {
    /// A FileUpload names others than before.
    pub(super) fn rename(&mut self, upload: &Key, before: &[Key], after: &[Key]) {
        for key in after.iter().filter(|key| !before.contains(key)) {
            let readers = self.readers.entry(key.clone()).or_default();
            if readers.is_empty() {
                for (_, named) in self.lists.iter_mut().filter(|(namespace, _)| is_in(key, namespace.as_deref())) {
                    named.insert(key.clone());
                }
            }
            readers.push(upload.clone());
        }
        for key in before.iter().filter(|key| !after.contains(key)) {
            if let Some(readers) = self.readers.get_mut(key) {
                readers.retain(|reader| reader != upload);
                if readers.is_empty() {
                    self.readers.remove(key);
                    self.known.remove(key);
                }
            }
        }
    }

    /// The FileUploads that name it.
    pub(super) fn readers(&self, key: &Key) -> &[Key] {
        self.readers.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns the key if there is news.
    pub(super) fn apply(&mut self, config_map: &PartialObjectMeta<ConfigMap>, told: Told) -> Option<Key> {
        let key = Key::of(config_map);
        if !self.readers.contains_key(&key) {
            return None;
        }
        let version = Version::new(config_map.metadata.resource_version.as_deref(), told);
        let round = told.round().unwrap_or_default();
        if let Some(known) = self.known.get_mut(&key)
            && (version.is_behind(known.version, told) || known.exists && version.number == known.version.number)
        {
            known.round = round;
            return None; // what this process wrote is no news
        }
        let metadata = reduced(&config_map.metadata);
        self.known.insert(key.clone(), Record { version, exists: true, metadata, hash: None, round });
        Some(key)
    }

    /// Returns the key if there is news.
    pub(super) fn delete(&mut self, config_map: &PartialObjectMeta<ConfigMap>, round: Round) -> Option<Key> {
        let (key, told) = (Key::of(config_map), Told::Watch(round));
        let version = Version::new(config_map.metadata.resource_version.as_deref(), told);
        let is_new = self.known.get(&key).is_none_or(|known| !version.is_behind(known.version, told));
        if !is_new || !self.readers.contains_key(&key) {
            return None;
        }
        self.known.insert(key.clone(), Record::gone(version, round));
        Some(key)
    }

    /// A list begins.
    pub(super) fn begin(&mut self, namespace: Option<&str>) {
        self.lists.insert(namespace.map(Into::into), HashSet::new());
    }

    /// Of those that were named since it began, those that a complete list lacks do not exist; returns those of which
    /// that is news.
    pub(super) fn sweep(&mut self, namespace: Option<&str>, round: Round) -> Vec<Key> {
        let named_meanwhile = self.lists.remove(&namespace.map(Into::into)).unwrap_or_default();
        let is_listed = |key: &Key| self.known.get(key).is_some_and(|known| known.round == round);
        let is_gone = |key: &&Key| is_in(key, namespace) && !is_listed(key) && !named_meanwhile.contains(*key);
        let gone = self.readers.keys().filter(is_gone).cloned();
        let gone: Vec<_> = gone.collect();
        let was_there = |key: &Key| self.known.get(key).is_none_or(|known| known.exists);
        let news: Vec<_> = gone.iter().filter(|key| was_there(key)).cloned().collect();
        for key in gone {
            // In a restored cluster it may appear with a lower number than it had.
            self.known.insert(key, Record::gone(Version::default(), round));
        }
        news
    }

    pub(super) fn wrote(&mut self, config_map: &ConfigMap) {
        let key = Key::of(config_map);
        if !self.readers.contains_key(&key) {
            return;
        }
        let version = Version::new(config_map.metadata.resource_version.as_deref(), Told::Answer);
        let known = self.known.get(&key);
        let is_newer = |known: &Record| {
            version.number < known.version.number || !known.exists && version.number == known.version.number
        };
        if known.is_some_and(is_newer) {
            return;
        }
        let hash = Some(hash_of_data(&config_map.data.clone().unwrap_or_default()));
        let round = known.map(|known| known.round).unwrap_or_default();
        let metadata = reduced(&config_map.metadata);
        self.known.insert(key, Record { version, exists: true, metadata, hash, round });
    }

    /// What a request found of one that the watch has not told of; none if it does not exist.
    pub(super) fn looked_up(&mut self, key: &Key, version: Option<&str>) {
        if self.readers.contains_key(key) && !self.known.contains_key(key) {
            let exists = version.is_some();
            let version = Version::new(version, Told::Watch(0));
            self.known.insert(key.clone(), Record { exists, ..Record::gone(version, 0) });
        }
    }

    /// What is known of it is wrong.
    pub(super) fn doubt(&mut self, key: &Key) {
        self.known.remove(key);
    }

    pub(super) fn source(&self, key: &Key) -> ConfigMapFacts {
        match self.known.get(key) {
            None => ConfigMapFacts::Unknown,
            Some(Record { exists: false, .. }) => ConfigMapFacts::Missing,
            Some(Record { version, .. }) => {
                ConfigMapFacts::There { version: version.number.to_string(), contents: None }
            }
        }
    }

    pub(super) fn output(&self, key: &Key, upload: &FileUpload) -> (OutputFacts, Option<String>) {
        let Some(Record { version, exists: true, metadata, hash, .. }) = self.known.get(key) else {
            return (OutputFacts::Absent, None);
        };
        let none = ObjectMeta::default();
        let facts = match read::output(metadata.as_deref().unwrap_or(&none), upload) {
            OutputFacts::Ours { .. } => OutputFacts::Ours { hash: hash.clone() },
            other => other,
        };
        (facts, Some(version.number.to_string()))
    }
}

impl Record {
    fn gone(version: Version, round: Round) -> Self {
        Self { version, exists: false, metadata: None, hash: None, round }
    }
}

/// Only what tells whose an output is; of a ConfigMap that is not ours, nothing.
fn reduced(metadata: &ObjectMeta) -> Option<Box<ObjectMeta>> {
    let label = |name: &str| metadata.labels.as_ref().and_then(|labels| labels.get(name)).cloned();
    if label(LABEL_MANAGED_BY).as_deref() != Some(FIELD_MANAGER) {
        return None;
    }
    let labels = [LABEL_MANAGED_BY, LABEL_FILE_UPLOAD].into_iter();
    let labels = labels.filter_map(|name| Some((name.to_owned(), label(name)?))).collect();
    let owner_references = metadata.owner_references.clone();
    Some(Box::new(ObjectMeta { labels: Some(labels), owner_references, ..ObjectMeta::default() }))
}
