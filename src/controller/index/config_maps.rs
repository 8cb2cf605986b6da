//! ConfigMaps that a FileUpload names, as source or as output: their versions, and of outputs a hash. Others are not kept.

use std::collections::{HashMap, HashSet};

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Key, List, Round, Told, Version, is_in};
use crate::plan::read::Ownership;
use crate::plan::{ConfigMapFacts, OutputFacts};
use crate::resource::FileUpload;

/// The ConfigMaps that are named.
#[derive(Default)]
pub(super) struct ConfigMaps {
    named: HashMap<Key, Named>,
    /// By the namespace of a list that is being made, or all, what began to be named meanwhile: it may have been passed over.
    lists: HashMap<Option<Box<str>>, HashSet<Key>>,
}

/// A ConfigMap that is named, whether it exists or not.
#[derive(Default)]
struct Named {
    /// The FileUploads that name it: mostly one, to which a Vec is small.
    readers: Vec<Key>,
    /// None as long as the watch has not told of it.
    record: Option<Record>,
}

/// What is known of one.
struct Record {
    /// Of one that was deleted, that of its deletion: a late answer does not bring it back.
    version: Version,
    exists: bool,
    ownership: Ownership,
    /// A hash of its data, where this process wrote or read it in this version.
    hash: Option<Box<str>>,
    round: Round,
}

impl ConfigMaps {
    /// A FileUpload names others than before.
    pub(super) fn rename(&mut self, upload: &Key, before: &[Key], after: &[Key]) {
        for key in after.iter().filter(|key| !before.contains(key)) {
            let readers = &mut self.named.entry(key.clone()).or_default().readers;
            if readers.is_empty() {
                readers.reserve_exact(1);
                for (_, named) in self.lists.iter_mut().filter(|(namespace, _)| is_in(key, namespace.as_deref())) {
                    named.insert(key.clone());
                }
            }
            readers.push(upload.clone());
        }
        for key in before.iter().filter(|key| !after.contains(key)) {
            if let Some(named) = self.named.get_mut(key) {
                named.readers.retain(|reader| reader != upload);
                if named.readers.is_empty() {
                    self.named.remove(key);
                }
            }
        }
    }

    /// The FileUploads that name it.
    pub(super) fn readers(&self, key: &Key) -> &[Key] {
        self.named.get(key).map(|named| named.readers.as_slice()).unwrap_or_default()
    }

    fn known(&self, key: &Key) -> Option<&Record> {
        self.named.get(key)?.record.as_ref()
    }

    /// Returns the key if there is news.
    pub(super) fn apply(&mut self, config_map: &ObjectMeta, told: Told) -> Option<Key> {
        let key = Key::in_metadata(config_map);
        let named = self.named.get_mut(&key)?;
        let version = Version::new(config_map.resource_version.as_deref(), told);
        let round = told.round().unwrap_or_default();
        if let Some(known) = &mut named.record
            && (version.is_behind(known.version, told) || known.exists && version.number == known.version.number)
        {
            known.round = round;
            return None; // what this process wrote is no news
        }
        let ownership = Ownership::of(config_map);
        named.record = Some(Record { version, exists: true, ownership, hash: None, round });
        Some(key)
    }

    /// Returns the key if there is news.
    pub(super) fn delete(&mut self, config_map: &ObjectMeta, round: Round) -> Option<Key> {
        let (key, told) = (Key::in_metadata(config_map), Told::Watch(round));
        let named = self.named.get_mut(&key)?;
        let version = Version::new(config_map.resource_version.as_deref(), told);
        if named.record.as_ref().is_some_and(|known| version.is_behind(known.version, told)) {
            return None;
        }
        named.record = Some(Record::gone(version, round));
        Some(key)
    }

    /// Returns the key if there is news.
    pub(super) fn lose(&mut self, key: &Key) -> Option<Key> {
        self.named.get_mut(key)?.record = Some(Record::gone(Version::default(), 0));
        Some(key.clone())
    }

    /// A list begins.
    pub(super) fn begin(&mut self, namespace: Option<&str>) {
        self.lists.insert(namespace.map(Into::into), HashSet::new());
    }

    /// Of those that were named since it began, those that a complete list lacks do not exist, but for what this process
    /// has written or read meanwhile; returns those of which that is news.
    pub(super) fn sweep(&mut self, namespace: Option<&str>, list: List) -> Vec<Key> {
        let named_meanwhile = self.lists.remove(&namespace.map(Into::into)).unwrap_or_default();
        let mut news = Vec::new();
        for (key, named) in self.named.iter_mut().filter(|(key, _)| is_in(key, namespace)) {
            let is_listed = |known: &Record| known.round == list.round || list.may_miss(known.version.answered);
            if named.record.as_ref().is_some_and(is_listed) || named_meanwhile.contains(key) {
                continue;
            }
            // In a restored cluster it may appear with a lower number than it had.
            let known = named.record.replace(Record::gone(Version::default(), list.round));
            if known.is_none_or(|known| known.exists) {
                news.push(key.clone());
            }
        }
        news
    }

    /// `hash` is that of what it holds.
    pub(super) fn wrote(&mut self, config_map: &ConfigMap, hash: String) {
        let Some(named) = self.named.get_mut(&Key::of(config_map)) else { return };
        let version = Version::new(config_map.metadata.resource_version.as_deref(), Told::Answer);
        let known = named.record.as_ref();
        let is_newer = |known: &Record| {
            version.number < known.version.number || !known.exists && version.number == known.version.number
        };
        if known.is_some_and(is_newer) {
            return;
        }
        let round = known.map(|known| known.round).unwrap_or_default();
        let ownership = Ownership::of(&config_map.metadata);
        named.record = Some(Record { version, exists: true, ownership, hash: Some(hash.into()), round });
    }

    /// What a request found of one of which `before` was known when it was made; none if it does not exist. The watch may
    /// be far behind: one that is gone is not looked for again until it tells of another.
    pub(super) fn looked_up(&mut self, key: &Key, before: &ConfigMapFacts, version: Option<&str>) {
        let is_as_before = self.source(key) == *before;
        let Some(named) = self.named.get_mut(key) else { return };
        let exists = version.is_some();
        let version = Version::new(version, Told::Answer);
        match &mut named.record {
            None => named.record = Some(Record { exists, ..Record::gone(version, 0) }),
            Some(known) => known.exists &= exists || !is_as_before,
        }
    }

    /// What is known of it is wrong.
    pub(super) fn unlearn(&mut self, key: &Key) {
        if let Some(named) = self.named.get_mut(key) {
            named.record = None;
        }
    }

    pub(super) fn source(&self, key: &Key) -> ConfigMapFacts {
        match self.known(key) {
            None => ConfigMapFacts::Unknown,
            Some(Record { exists: false, .. }) => ConfigMapFacts::Missing,
            Some(Record { version, .. }) => {
                ConfigMapFacts::There { version: version.number.to_string(), contents: None }
            }
        }
    }

    pub(super) fn output(&self, key: &Key, upload: &FileUpload) -> (OutputFacts, Option<String>) {
        match self.known(key) {
            Some(Record { version, exists: true, ownership, hash, .. }) => {
                let hash = hash.as_deref().map(str::to_owned);
                (ownership.output(upload, hash), Some(version.number.to_string()))
            }
            _ => (OutputFacts::Absent, None),
        }
    }
}

impl Record {
    fn gone(version: Version, round: Round) -> Self {
        Self { version, exists: false, ownership: Ownership::default(), hash: None, round }
    }
}
