//! Manifests on disk, sorted by what they are, and what can be observed of them.
//!
//! They are looked at by the functions that the operator's caches are looked at with.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::controller::{
    Found, LABEL_JOB, Settings, claim_of, content_of, credentials_of, job_of, output_of, vanished,
};
use crate::plan::{self, Content, CredentialsView, JobView, Observed};
use crate::resource::{File, FileUpload};

/// The manifests, by what they are.
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
                known_only(&document["spec"], &json!(upload.spec), "spec")?;
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

    /// What the operator would see of `upload`; without credentials as long as it would not look at them.
    pub(super) fn observe(&self, upload: &FileUpload, settings: &Settings, now: Timestamp) -> Observed {
        let mut observed = Observed {
            jobs: self.jobs(upload),
            settings: plan::settings(upload, &settings.worker),
            by_worker: !settings.direct,
            terms: settings.terms,
            ..Observed::default()
        };
        let config_map = |name: &str| beside(&self.config_maps, name, upload);
        observed.output = upload.spec.output_name().map(|name| output_of(config_map(name), upload)).unwrap_or_default();
        let claims = upload.spec.files.iter().filter_map(|file| file.source.persistent_volume_claim.as_ref());
        let claim = |name: &String| claim_of(beside(&self.claims, name, upload), self.pods.iter());
        observed.claims = claims.map(|file| (file.claim_name.clone(), claim(&file.claim_name))).collect();
        if upload.spec.follows_changes() && settings.direct {
            let content = |file: &File| match self.content(upload, file)? {
                Content::Found { sha256, .. } => Some((file.name.clone(), sha256)),
                _ => None,
            };
            observed.hashes = upload.spec.files.iter().filter_map(content).collect();
        }
        if plan::wanted(upload, &observed, now).credentials {
            let name = upload.spec.secret_name();
            let read = || credentials_of(beside(&self.secrets, name, upload), name);
            observed.credentials = if settings.direct { read() } else { CredentialsView::LeftToWorkers };
        }
        let wanted = plan::wanted(upload, &observed, now).contents;
        let files = upload.spec.files.iter().filter(|file| wanted.contains(&file.name));
        let content = |file: &File| match self.content(upload, file)? {
            Content::NoConfigMap => Some((file.name.clone(), Content::NoConfigMap)),
            content => Some((file.name.clone(), if settings.direct { content } else { Content::Unread })),
        };
        observed.contents = files.filter_map(content).collect::<BTreeMap<_, _>>();
        observed
    }

    /// What a file of a ConfigMap holds.
    fn content(&self, upload: &FileUpload, file: &File) -> Option<Content> {
        let reference = file.source.config_map_key_ref.as_ref()?;
        Some(content_of(beside(&self.config_maps, &reference.name, upload), &reference.key).0)
    }

    /// The Jobs that belong to `upload`. What the manifests do not have does not exist.
    fn jobs(&self, upload: &FileUpload) -> Vec<JobView> {
        let mine = |job: &&Job| {
            let owners = job.metadata.owner_references.iter().flatten();
            owners.into_iter().any(|owner| Some(&owner.uid) == upload.metadata.uid.as_ref())
        };
        let view = |name: &str, job: Option<&Job>| {
            let of_job = |pod: &&Pod| pod.labels().get(LABEL_JOB).is_some_and(|job| job == name);
            let pods = self.pods.iter().filter(|pod| pod.metadata.namespace == upload.metadata.namespace);
            let pods: Vec<Pod> = pods.filter(of_job).cloned().collect();
            let view = job_of(Found { name, job, pods: &pods, gone: &[], events: &self.events });
            Some(JobView { confirmed: true, ..view.or_else(|| vanished(upload, name))? })
        };
        let mut names: BTreeSet<String> = self.jobs.iter().filter(mine).map(ResourceExt::name_any).collect();
        names.extend(upload.status.iter().flat_map(|status| &status.jobs).map(|job| job.name.clone()));
        let job = |name: &String| self.jobs.iter().filter(mine).find(|job| job.name_any() == *name);
        names.iter().filter_map(|name| view(name, job(name))).collect()
    }
}

/// The object of that name in the namespace of `upload`, as far as the manifests name one.
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

/// As the API server does when a Secret is applied.
fn with_string_data(mut secret: Secret) -> Secret {
    for (key, text) in secret.string_data.take().unwrap_or_default() {
        secret.data.get_or_insert_default().insert(key, k8s_openapi::ByteString(text.into_bytes()));
    }
    secret
}

/// Refuses a field that no `FileUpload` has: it would be ignored, which is never meant.
fn known_only(typed: &Value, known: &Value, path: &str) -> anyhow::Result<()> {
    match (typed, known) {
        (Value::Object(typed), Value::Object(known)) => {
            typed.iter().filter(|(_, value)| !value.is_null()).try_for_each(|(name, value)| {
                let path = format!("{path}.{name}");
                known
                    .get(name)
                    .with_context(|| format!("{path}: no such field"))
                    .and_then(|known| known_only(value, known, &path))
            })
        }
        (Value::Array(typed), Value::Array(known)) => typed
            .iter()
            .zip(known)
            .enumerate()
            .try_for_each(|(at, (typed, known))| known_only(typed, known, &format!("{path}[{at}]"))),
        _ => Ok(()),
    }
}
