//! FileUploads, kept as compact JSON: a tenth of what the objects take, and read again for each reconcile.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::{Census, Deployments, Key, Known, Round, Told, Version, is_in};
use crate::resource::{
    ANNOTATION_REQUESTED_AT, FileState, FileUpload, FileUploadSpec, FileUploadStatus, Folder, Phase,
};

/// All FileUploads.
pub(super) struct Uploads {
    deployments: Arc<Deployments>,
    by_key: HashMap<Key, Record>,
    by_uid: HashMap<Arc<str>, Key>,
}

struct Record {
    uid: Arc<str>,
    json: Arc<[u8]>,
    version: Version,
    withdrawn_at: Option<Timestamp>,
    phase: Phase,
    /// Whether something may happen to a file without its time having come.
    open: bool,
    /// Whether it follows changes of its ConfigMaps.
    follows: bool,
    names: Names,
    /// The Jobs that the status names.
    jobs: Box<[Box<str>]>,
    round: Round,
}

/// What is kept of a FileUpload.
#[derive(Deserialize, Serialize)]
struct Kept {
    metadata: ObjectMeta,
    spec: FileUploadSpec,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<FileUploadStatus>,
}

/// A FileUpload as it is kept.
pub(super) struct Stored {
    json: Arc<[u8]>,
    uid: Arc<str>,
    version: u64,
}

impl Stored {
    pub(super) fn read(self, key: &Key) -> Option<Known> {
        let Kept { mut metadata, spec, status } = serde_json::from_slice(&self.json).ok()?;
        metadata.name = Some(key.name().to_owned());
        metadata.namespace = Some(key.namespace().to_owned());
        metadata.resource_version.get_or_insert_with(|| self.version.to_string());
        metadata.uid = Some((*self.uid).to_owned());
        Some(Known { upload: FileUpload { metadata, spec, status }, uid: self.uid })
    }
}

/// What a FileUpload names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Names {
    /// Outputs first.
    pub(super) config_maps: Box<[Key]>,
    outputs: usize,
    pub(super) claims: Box<[Key]>,
}

/// What a change did.
pub(super) struct Update {
    pub(super) key: Key,
    pub(super) before: Names,
    pub(super) after: Names,
    /// The uid of another FileUpload that had this name.
    pub(super) replaced: Option<Arc<str>>,
}

impl Uploads {
    pub(super) fn new(deployments: Arc<Deployments>) -> Self {
        let (by_key, by_uid) = Default::default();
        Self { deployments, by_key, by_uid }
    }

    /// Takes a FileUpload in, unless what is known is newer.
    pub(super) fn apply(&mut self, key: &Key, upload: FileUpload, told: Told) -> Option<Update> {
        let version = Version::new(upload.metadata.resource_version.as_deref(), told);
        let uid: Arc<str> = upload.metadata.uid.as_deref().unwrap_or_default().into();
        let known = self.by_key.get_mut(key);
        let same = known.as_ref().is_some_and(|known| known.uid == uid);
        let round = told.round().or(known.as_ref().map(|known| known.round)).unwrap_or_default();
        if !same && matches!(told, Told::Answer) {
            return None; // it was deleted meanwhile
        }
        // What this process wrote is no news.
        let is_known = |known: &Version| version.number == known.number || version.is_behind(*known, told);
        if let Some(known) = known.filter(|known| same && is_known(&known.version)) {
            known.round = round;
            return None;
        }
        let mut record = self.record(key, upload, uid, version, round)?;
        // Whatever is the same as before is the same in memory.
        let key = self.by_key.get_key_value(key).map_or(key, |(key, _)| key).clone();
        let old = self.by_key.remove(&key);
        if let Some(old) = old.as_ref().filter(|old| old.uid == record.uid) {
            record.uid = Arc::clone(&old.uid);
        }
        let before = old.as_ref().map(|old| old.names.clone()).unwrap_or_default();
        if before == record.names {
            record.names = before.clone();
        }
        let replaced = old.map(|old| old.uid).filter(|old| *old != record.uid);
        if let Some(replaced) = &replaced {
            self.by_uid.remove(replaced);
        }
        let after = record.names.clone();
        self.by_uid.insert(Arc::clone(&record.uid), key.clone());
        self.by_key.insert(key.clone(), record);
        Some(Update { key, before, after, replaced })
    }

    fn record(
        &self,
        key: &Key,
        mut upload: FileUpload,
        uid: Arc<str>,
        version: Version,
        round: Round,
    ) -> Option<Record> {
        let status = upload.status.as_ref();
        let keys = status.into_iter().flat_map(|status| &status.files).filter(|file| file.file_key.is_some());
        let folders = status.into_iter().flat_map(|status| &status.folders);
        let folders = folders.filter(|folder| folder.available_until.is_some());
        let of_folders = folders.filter_map(|folder| folder.uploaded_at.as_ref());
        let uploaded = keys.filter_map(|file| file.uploaded_at.as_ref()).chain(of_folders);
        let first = uploaded.map(|at| at.0).min();
        let withdrawn_at = first.map(|at| self.deployments.terms_of(&upload).withdrawn_at(at));
        // Whatever the status says of another generation, this one is to be looked at.
        let is_of_now = |status: &FileUploadStatus| upload.metadata.generation == Some(status.observed_generation);
        let open = status.is_none_or(|status| is_open(status) || !is_of_now(status));
        let follows = upload.spec.follows_changes();
        let phase = status.and_then(|status| status.phase).unwrap_or_default();
        let names = names(key, &upload);
        let jobs = status.iter().flat_map(|status| &status.jobs).map(|job| job.name.as_str().into()).collect();
        strip(&mut upload.metadata);
        let kept = Kept { metadata: upload.metadata, spec: upload.spec, status: upload.status };
        let json = serde_json::to_vec(&kept).ok()?.into();
        Some(Record { uid, json, version, withdrawn_at, phase, open, follows, names, jobs, round })
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<(Arc<str>, Names)> {
        let record = self.by_key.remove(key)?;
        self.by_uid.remove(&record.uid);
        Some((record.uid, record.names))
    }

    pub(super) fn not_seen_since(&self, namespace: Option<&str>, round: Round) -> Vec<Key> {
        let missing = self.by_key.iter().filter(|(key, record)| is_in(key, namespace) && record.round != round);
        missing.map(|(key, _)| key.clone()).collect()
    }

    pub(super) fn get(&self, key: &Key) -> Option<Stored> {
        let record = self.by_key.get(key)?;
        let (json, uid) = (Arc::clone(&record.json), Arc::clone(&record.uid));
        Some(Stored { json, uid, version: record.version.number })
    }

    pub(super) fn uid(&self, key: &Key) -> Option<&str> {
        self.by_key.get(key).map(|record| &*record.uid)
    }

    pub(super) fn withdrawn_at(&self, key: &Key) -> Option<Timestamp> {
        self.by_key.get(key)?.withdrawn_at
    }

    pub(super) fn is_open(&self, key: &Key) -> bool {
        self.by_key.get(key).is_some_and(|record| record.open)
    }

    /// Whether a change of a ConfigMap that it names matters: of its output always, of a source while files wait for it.
    pub(super) fn is_concerned(&self, key: &Key, config_map: &Key) -> bool {
        let is_concerned = |record: &Record| {
            let is_output = record.names.config_maps.iter().take(record.names.outputs).any(|key| key == config_map);
            is_output || record.open || record.follows
        };
        self.by_key.get(key).is_some_and(is_concerned)
    }

    pub(super) fn uid_of(&self, uid: &str, namespace: &str) -> Option<(Arc<str>, Key)> {
        let (uid, key) = self.by_uid.get_key_value(uid)?;
        // Labels can be written by anybody: what another namespace says of itself is nobody's report here.
        (key.namespace() == namespace).then(|| (Arc::clone(uid), key.clone()))
    }

    /// Whether a FileUpload's status names this Job.
    pub(super) fn names_job(&self, key: &Key, job: &str) -> bool {
        self.by_key.get(key).is_some_and(|record| record.jobs.iter().any(|name| **name == *job))
    }

    pub(super) fn keys(&self, namespace: Option<&str>) -> Vec<Key> {
        self.by_key.keys().filter(|key| is_in(key, namespace)).cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// All of them, counted.
    pub(super) fn census(&self) -> Census {
        let mut census = Census::default();
        for (key, record) in &self.by_key {
            *census.phases.entry(record.phase).or_default() += 1;
            let Some(at) = record.withdrawn_at else { continue };
            match census.earliest.get_mut(key.namespace()) {
                Some(earliest) => *earliest = at.min(*earliest),
                None => drop(census.earliest.insert(key.namespace().to_owned(), at)),
            }
        }
        census
    }
}

fn names(key: &Key, upload: &FileUpload) -> Names {
    let files = || upload.spec.files.iter();
    let read = files().filter_map(|file| Some(file.source.config_map_key_ref.as_ref()?.name.as_str()));
    let written = upload.status.as_ref().and_then(|status| status.output.as_ref()).map(|output| output.name.as_str());
    let claims = files().filter_map(|file| Some(file.source.persistent_volume_claim.as_ref()?.claim_name.as_str()));
    let claims = claims.chain(upload.spec.folders.iter().map(Folder::claim));
    let of_folders = upload.folder_maps();
    let outputs: BTreeSet<_> = upload.spec.output_name().into_iter().chain(written).collect();
    let outputs: BTreeSet<_> = outputs.into_iter().chain(of_folders.iter().map(String::as_str)).collect();
    let sources: BTreeSet<_> = read.filter(|name| !outputs.contains(name)).collect();
    let claims: BTreeSet<_> = claims.collect();
    Names {
        outputs: outputs.len(),
        config_maps: outputs.into_iter().chain(sources).map(|name| key.beside(name)).collect(),
        claims: claims.into_iter().map(|name| key.beside(name)).collect(),
    }
}

/// What no plan asks for is not kept, nor what the record has beside the JSON.
fn strip(metadata: &mut ObjectMeta) {
    let mut annotations = metadata.annotations.take().unwrap_or_default();
    annotations.retain(|name, _| name == ANNOTATION_REQUESTED_AT);
    *metadata = ObjectMeta {
        annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
        creation_timestamp: metadata.creation_timestamp.take(),
        deletion_timestamp: metadata.deletion_timestamp.take(),
        generation: metadata.generation,
        // One that is no number is not in the record.
        resource_version: metadata.resource_version.take().filter(|version| version.parse::<u64>().is_err()),
        ..ObjectMeta::default()
    };
}

fn is_open(status: &FileUploadStatus) -> bool {
    let open = |file: &crate::resource::FileStatus| match file.file_key {
        None => file.state != FileState::Expired,
        Some(_) => file.reason.is_some(),
    };
    let of_folder = |folder: &crate::resource::FolderStatus| {
        let waits = folder.available_until.is_none() && folder.state != FileState::Expired;
        waits || folder.available_until.is_some() && folder.reason.is_some()
    };
    let is_open_folder = status.folders.iter().any(of_folder);
    is_open_folder || status.observed_generation < 0 || !status.jobs.is_empty() || status.files.iter().any(open)
}
