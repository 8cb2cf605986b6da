//! Manifests on disk, sorted by kind, and the facts that they give.
//!
//! The functions that read the operator's caches read the manifests too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::fields::known_only;
use crate::controller::{Found, Settings, secret_facts};
use crate::plan::objects::{Event, Job, PersistentVolumeClaim, Pod};
use crate::plan::{
    self, ClaimFacts, ConfigMapFacts, Facts, JobFacts, OutputFacts, SecretFacts, Volume, WorkFacts, read,
};
use crate::plan::{FolderFacts, Kept, kept};
use crate::resource::{FileUpload, Folder};

/// The manifests, by kind.
#[derive(Default)]
pub(super) struct Manifests {
    pub(super) uploads: Vec<FileUpload>,
    secrets: Vec<Secret>,
    config_maps: Vec<ConfigMap>,
    claims: Vec<PersistentVolumeClaim>,
    jobs: Vec<Job>,
    pods: Vec<Pod>,
    events: Vec<Event>,
}

impl Manifests {
    pub(super) fn read(&mut self, path: &Path) -> anyhow::Result<()> {
        if path.is_dir() {
            let mut inside: Vec<PathBuf> =
                fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
            inside.retain(|path| {
                path.extension()
                    .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
            });
            inside.sort();
            return inside.iter().try_for_each(|path| self.read(path));
        }
        let mut text = String::new();
        if path == Path::new("-") {
            std::io::stdin().read_to_string(&mut text).context("standard input")?;
        } else {
            text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        }
        let documents: Vec<Value> =
            serde_yaml::from_multiple(&text).with_context(|| format!("{} is not YAML", path.display()))?;
        documents.iter().try_for_each(|document| self.add(document).with_context(|| path.display().to_string()))
    }

    fn add(&mut self, document: &Value) -> anyhow::Result<()> {
        match (document["apiVersion"].as_str(), document["kind"].as_str()) {
            (_, Some("List")) => {
                return document["items"].as_array().into_iter().flatten().try_for_each(|item| self.add(item));
            }
            (Some("cyberun.cloud/v1alpha1"), Some("FileUpload")) => {
                let mut upload: FileUpload = parse(document)?;
                known_only(&document["spec"], &json!(upload.spec), "spec").map_err(anyhow::Error::msg)?;
                upload.metadata.generation.get_or_insert(1);
                self.uploads.push(upload);
            }
            (Some("v1"), Some("Secret")) => self.secrets.push(with_string_data(parse(document)?)),
            (Some("v1"), Some("ConfigMap")) => self.config_maps.push(parse(document)?),
            (Some("v1"), Some("PersistentVolumeClaim")) => self.claims.push(parse(document)?),
            (Some("v1"), Some("Pod")) => self.pods.push(parse(document)?),
            (Some("batch/v1"), Some("Job")) => self.jobs.push(parse(document)?),
            (Some("events.k8s.io/v1"), Some("Event")) => self.events.push(parse(document)?),
            _ => {}
        }
        Ok(())
    }

    /// The facts that the operator would have about `upload`, and the contents of ConfigMaps, which only its Sends
    /// read.
    pub(super) fn observe(&self, upload: &FileUpload, settings: &Settings, found: &Found<'_>) -> Facts {
        let files = || upload.spec.files.iter();
        let claims = files().filter_map(|file| file.source.persistent_volume_claim.as_ref());
        let config_maps = files().filter_map(|file| file.source.config_map_key_ref.as_ref());
        let output = upload.spec.output_name().and_then(|name| beside(&self.config_maps, name, upload));
        let (name, uid) = (upload.spec.secret_name(), upload.metadata.uid.as_deref().unwrap_or_default());
        let secret = || secret_facts(beside(&self.secrets, name, upload), name, uid);
        Facts {
            work: self.jobs(upload).into_iter().map(WorkFacts::Job).collect(),
            claims: claims
                .map(|file| file.claim_name.as_str())
                .chain(upload.spec.folders.iter().map(Folder::claim))
                .map(|name| (name.to_owned(), self.claim(upload, name)))
                .collect(),
            folders: self.folders(upload),
            config_maps: config_maps
                .map(|reference| (reference.name.clone(), self.config_map(upload, &reference.name, settings)))
                .collect(),
            secret: if settings.direct { secret() } else { SecretFacts::Unknown },
            output: output.map(|found| output_of(found, upload)).unwrap_or_default(),
            settings_hash: found.worker().map(|worker| plan::settings_hash(upload, worker)).unwrap_or_default(),
            last_read: None,
        }
    }

    fn folders(&self, upload: &FileUpload) -> BTreeMap<String, FolderFacts> {
        let Some(output) = upload.spec.output_name() else { return BTreeMap::new() };
        let of = |folder: &Folder| {
            let name = folder.name.clone();
            let part = beside(&self.config_maps, &Folder::part_name(output, &name), upload);
            let keys = beside(&self.config_maps, &Folder::keys_name(output, &name), upload);
            let facts = FolderFacts {
                part: part.map_or(Kept::Absent, |part| kept::progress(part, upload)),
                keys: keys.map_or(Kept::Absent, |keys| kept::keys(keys, upload, &name)),
            };
            (name, facts)
        };
        upload.spec.folders.iter().map(of).collect()
    }

    fn claim(&self, upload: &FileUpload, name: &str) -> ClaimFacts {
        let Some(claim) = beside(&self.claims, name, upload) else { return ClaimFacts::default() };
        let same_place = |pod: &&Pod| pod.metadata.namespace == claim.metadata.namespace;
        let names_it = |pod: &&Pod| !read::has_ended(pod) && read::claims_of(pod).any(|used| used == name);
        let users = self.pods.iter().filter(same_place).filter(names_it).map(read::claim_user).collect();
        ClaimFacts { users, ..read::claim(claim) }
    }

    fn config_map(&self, upload: &FileUpload, name: &str, settings: &Settings) -> ConfigMapFacts {
        let Some(found) = beside(&self.config_maps, name, upload) else { return ConfigMapFacts::Missing };
        let keys = found.data.iter().flat_map(BTreeMap::keys).chain(found.binary_data.iter().flat_map(BTreeMap::keys));
        let contents = keys.filter_map(|key| Some((key.clone(), read::content_of(found, key)?))).collect();
        let version = found.resource_version().unwrap_or_default();
        ConfigMapFacts::There { version, contents: settings.direct.then_some(contents) }
    }

    /// The Jobs that belong to `upload`. A Job that is not in the manifests does not exist.
    fn jobs(&self, upload: &FileUpload) -> Vec<JobFacts> {
        let mine = |job: &&Job| {
            let owners = job.metadata.owner_references.iter().flatten();
            owners.into_iter().any(|owner| Some(&owner.uid) == upload.metadata.uid.as_ref())
        };
        let in_status = upload.status.iter().flat_map(|status| &status.jobs);
        let mut names: BTreeSet<String> = self.jobs.iter().filter(mine).map(ResourceExt::name_any).collect();
        names.extend(in_status.clone().map(|job| job.name.clone()));
        let pods: Vec<_> = self.pods.iter().filter(|pod| pod.metadata.namespace == upload.metadata.namespace).collect();
        let known = |name: &String| {
            let job = self.jobs.iter().filter(mine).find(|job| job.name_any() == *name);
            let facts = plan::manifest::of_objects(name, job, &pods, &self.events);
            facts.or_else(|| {
                let known = in_status.clone().find(|job| job.name == *name)?;
                let attempts = upload.status.as_ref().map_or(0, |status| status.attempts);
                Some(JobFacts::vanished(name, Volume::of_job(known)?, attempts))
            })
        };
        let mut jobs: Vec<_> = names.iter().filter_map(known).map(|job| JobFacts { confirmed: true, ..job }).collect();
        jobs.sort_by_key(|job| job.attempt);
        jobs
    }
}

/// An output that the manifests hold.
fn output_of(found: &ConfigMap, upload: &FileUpload) -> OutputFacts {
    read::Ownership::of(&found.metadata).output(upload, Some(plan::output_hash(upload, found)))
}

/// The object of that name in the namespace of `upload`. An object without a namespace is in any namespace.
fn beside<'a, K: ResourceExt>(objects: &'a [K], name: &str, upload: &FileUpload) -> Option<&'a K> {
    let ours = upload.metadata.namespace.clone();
    let same = |theirs: Option<String>| theirs.is_none() || ours.is_none() || theirs == ours;
    objects.iter().find(|object| object.name_any() == name && same(object.namespace()))
}

fn parse<T: DeserializeOwned>(document: &Value) -> anyhow::Result<T> {
    let name = document["metadata"]["name"].as_str().unwrap_or("without a name");
    serde_json::from_value(document.clone())
        .with_context(|| format!("{} {name}", document["kind"].as_str().unwrap_or("object")))
}

/// Merges `stringData` as the API server does.
fn with_string_data(mut secret: Secret) -> Secret {
    for (key, text) in secret.string_data.take().unwrap_or_default() {
        secret.data.get_or_insert_default().insert(key, k8s_openapi::ByteString(text.into_bytes()));
    }
    secret
}
