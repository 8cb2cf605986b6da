//! The ConfigMaps of folders: the keys so far, into which reports are absorbed, and the complete keys.
//!
//! Only digests and counts are kept in memory; a text is read when it is needed. Every write names the version that it is
//! based on, and what somebody has edited counts as absent.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, Error, ResourceExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tracing::{info, warn};

use super::deployments::Deployments;
use super::events::{self, Announcement, Tone};
use super::index::{Index, Key, Known};
use super::outputs::{self, is_refusal, new, refused};
use crate::outcome::Trouble;
use crate::plan::{Absorb, ConfigMapFacts, FolderFacts, Kept, KeysAct, KeysWhat, Progress, Written, kept};
use crate::reason::Reason;
use crate::report::folder::Part;
use crate::resource::{ANNOTATION_PART, ANNOTATION_SHA256, FIELD_MANAGER, FileUpload, Folder};

#[cfg(test)]
mod tests;

type Data = BTreeMap<String, String>;

/// What is known of the ConfigMaps of folders. Clones are the same.
#[derive(Clone)]
pub(super) struct Folders {
    client: Client,
    index: Index,
    deployments: Arc<Deployments>,
    seen: Arc<Mutex<HashMap<Key, Seen>>>,
}

/// What a ConfigMap held in one version.
struct Seen {
    uid: Arc<str>,
    version: String,
    what: What,
}

#[derive(Clone)]
enum What {
    Part(Kept<Option<Progress>>),
    Keys(Kept<Option<String>>),
}

/// Which of the two ConfigMaps of a folder.
#[derive(Clone, Copy)]
enum Kind {
    Part,
    Keys,
}

/// One folder's ConfigMap.
#[derive(Clone, Copy)]
struct At<'a> {
    known: &'a Known,
    folder: &'a str,
    kind: Kind,
}

impl At<'_> {
    fn name(&self) -> String {
        let output = self.known.upload.spec.output_name().unwrap_or_default();
        match self.kind {
            Kind::Part => Folder::part_name(output, self.folder),
            Kind::Keys => Folder::keys_name(output, self.folder),
        }
    }

    fn key(&self) -> Key {
        Key::new(self.known.upload.metadata.namespace.as_deref().unwrap_or_default(), &self.name())
    }

    fn read(&self, found: &ConfigMap) -> What {
        match self.kind {
            Kind::Part => What::Part(kept::progress(found, &self.known.upload)),
            Kind::Keys => What::Keys(kept::keys(found, &self.known.upload, self.folder)),
        }
    }
}

impl What {
    fn absent(kind: Kind) -> Self {
        match kind {
            Kind::Part => Self::Part(Kept::Absent),
            Kind::Keys => Self::Keys(Kept::Absent),
        }
    }

    /// Whether it is ours and does not hold what was written.
    fn is_damaged(&self, found: &ConfigMap) -> bool {
        let has_text = found.data.as_ref().is_some_and(|data| !data.is_empty());
        has_text && matches!(self, Self::Part(Kept::Ours(None)))
            || matches!(self, Self::Keys(Kept::Ours(Some(of))) if of.is_empty())
    }

    fn is_ours(&self) -> bool {
        matches!(self, Self::Part(Kept::Ours(_)) | Self::Keys(Kept::Ours(_)))
    }
}

impl Folders {
    pub(super) fn new(client: Client, index: Index, deployments: Arc<Deployments>) -> Self {
        Self { client, index, deployments, seen: Arc::default() }
    }

    /// What is known of all folders of a FileUpload; read again where the version is another.
    pub(super) async fn facts(&self, known: &Known) -> BTreeMap<String, FolderFacts> {
        let mut facts = BTreeMap::new();
        if known.upload.spec.output_name().is_none() {
            return facts;
        }
        for folder in &known.upload.spec.folders {
            let at = |kind| At { known, folder: &folder.name, kind };
            let (part, keys) = (self.look(at(Kind::Part)).await, self.look(at(Kind::Keys)).await);
            let part = if let Some(What::Part(part)) = part { part } else { Kept::Unknown };
            let keys = if let Some(What::Keys(keys)) = keys { keys } else { Kept::Unknown };
            facts.insert(folder.name.clone(), FolderFacts { part, keys });
        }
        facts
    }

    async fn look(&self, at: At<'_>) -> Option<What> {
        let key = at.key();
        let before = self.index.config_map(&key, key.name());
        match &before {
            ConfigMapFacts::Missing => return Some(What::absent(at.kind)),
            ConfigMapFacts::There { version, .. } => {
                let seen =
                    self.seen.lock().get(&key).filter(|seen| seen.version == *version).map(|seen| seen.what.clone());
                if seen.is_some() {
                    return seen;
                }
            }
            ConfigMapFacts::Unknown => {}
        }
        match self.api(&key).get_opt(key.name()).await {
            Ok(Some(found)) => {
                self.index.wrote_output(&at.known.upload, &found);
                let what = self.see(at, &found);
                if what.is_damaged(&found) {
                    self.tell_damage(at).await;
                }
                Some(what)
            }
            Ok(None) => {
                self.index.looked_up(&key, &before, None);
                Some(What::absent(at.kind))
            }
            Err(error) => {
                warn!(config_map = key.name(), error = %crate::redact::cause(&error), "cannot read the keys of a folder");
                None
            }
        }
    }

    fn see(&self, at: At<'_>, found: &ConfigMap) -> What {
        let what = at.read(found);
        let (uid, version) = (Arc::clone(&at.known.uid), found.resource_version().unwrap_or_default());
        let mut seen = self.seen.lock();
        // Of one that is gone nobody would forget it.
        if self.index.is(&Key::of(&at.known.upload), &uid) {
            seen.insert(at.key(), Seen { uid, version, what: what.clone() });
        }
        what
    }

    async fn tell_damage(&self, at: At<'_>) {
        let name = at.name();
        warn!(config_map = name, "the keys of a folder were edited, and are not believed");
        let note = format!("ConfigMap {name} was edited by somebody else: its keys are not used");
        let news = Announcement { tone: Tone::Warning, reason: Reason::OutputConflict.as_str(), note: &note };
        let told = events::publish(&self.client, &at.known.upload, news);
        if let Ok(Err(error)) = tokio::time::timeout(super::publish::EVENT, told).await {
            warn!(error = %crate::redact::cause(&error), "cannot publish an event");
        }
    }

    /// Takes reports into the keys so far; says whether all are in.
    pub(super) async fn absorb(&self, known: &Known, all: &[Absorb]) -> bool {
        let mut done = true;
        for absorb in all {
            let at = At { known, folder: &absorb.folder, kind: Kind::Part };
            match self.absorb_one(at, absorb).await {
                Ok(false) => done = false,
                Ok(true) => info!(folder = absorb.folder, attempt = absorb.attempt, "took in what workers reported"),
                Err(error) => {
                    warn!(folder = absorb.folder, error = %crate::redact::cause(&error), "cannot write the keys of a folder");
                    done = false;
                }
            }
        }
        done
    }

    /// Says whether the reports are in: a ConfigMap that is not ours takes none.
    async fn absorb_one(&self, at: At<'_>, absorb: &Absorb) -> kube::Result<bool> {
        let found = self.api(&at.key()).get_opt(&at.name()).await?;
        if let Some(found) = &found
            && !self.see(at, found).is_ours()
        {
            return Ok(false);
        }
        let current = found.as_ref().and_then(kept::part).filter(|(_, part)| {
            part.meta.revision == absorb.revision && (!absorb.given.is_empty() || part.meta.round == absorb.attempt)
        });
        let (mut part, is_current) = match current {
            Some((digest, part)) => (part, digest == absorb.given),
            None => (Part::new(&absorb.revision, absorb.attempt), absorb.given.is_empty()),
        };
        if part.meta.attempt >= absorb.attempt {
            return Ok(true);
        }
        part.absorb(absorb.attempt, &absorb.reports, &absorb.given, is_current);
        let text = serde_json::to_string(&part).map_err(Error::SerdeError)?;
        let digest = Part::digest(&text);
        let data = Data::from([(kept::PART.to_owned(), text)]);
        self.put(at, found.as_ref(), data, &[(ANNOTATION_SHA256, Some(digest))]).await.map(|()| true)
    }

    /// Carries out what is to happen to the complete keys; adds to what became of the output why they are not as they are
    /// to be.
    pub(super) async fn perform(&self, known: &Known, acts: &[KeysAct], mut written: Written) -> Written {
        for act in acts {
            let at = At { known, folder: &act.folder, kind: Kind::Keys };
            let trouble = match &act.what {
                KeysWhat::Held(trouble) => Some(trouble.clone()),
                KeysWhat::Discard(name, trouble) => {
                    let refused = outputs::discard(&self.client, &self.index, &known.upload, name).await.err();
                    refused.or_else(|| Some(trouble.clone()))
                }
                KeysWhat::Write(of) => self.write(at, of).await.err(),
                KeysWhat::Withdraw => self.withdraw(at).await.err(),
            };
            written.trouble = written.trouble.or(trouble);
        }
        written
    }

    async fn write(&self, at: At<'_>, of: &str) -> Result<(), Trouble> {
        let source = At { kind: Kind::Part, ..at };
        let found = self.api(&at.key()).get_opt(&source.name()).await.map_err(|error| trouble(at, &error))?;
        let part = found.as_ref().and_then(kept::part).filter(|(digest, _)| digest == of);
        let Some((_, part)) = part else {
            // Somebody edited it: the next plan sees that.
            self.seen.lock().remove(&source.key());
            return Err(unfinished(at));
        };
        let terms = self.deployments.terms_of(&at.known.upload);
        let text = part.keys(|at: Timestamp| terms.expires_at(at));
        let annotations = [(ANNOTATION_SHA256, Some(Part::digest(&text))), (ANNOTATION_PART, Some(of.to_owned()))];
        self.replace(at, Data::from([(format!("{}.json", at.folder), text)]), &annotations).await
    }

    async fn withdraw(&self, at: At<'_>) -> Result<(), Trouble> {
        self.replace(at, Data::new(), &[(ANNOTATION_SHA256, None), (ANNOTATION_PART, None)]).await
    }

    async fn replace(&self, at: At<'_>, data: Data, annotations: &[(&str, Option<String>)]) -> Result<(), Trouble> {
        let replace = async {
            let found = self.api(&at.key()).get_opt(&at.name()).await?;
            let is_ours = found.as_ref().is_none_or(|found| self.see(at, found).is_ours());
            if is_ours && !(found.is_none() && data.is_empty()) {
                self.put(at, found.as_ref(), data, annotations).await?;
            }
            kube::Result::Ok(is_ours)
        };
        match replace.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(unfinished(at)),
            Err(error) => {
                warn!(config_map = at.name(), error = %crate::redact::cause(&error), "cannot write the keys of a folder");
                Err(trouble(at, &error))
            }
        }
    }

    /// Gives a ConfigMap this content in one write, provided that it is still as it was found.
    async fn put(
        &self,
        at: At<'_>,
        found: Option<&ConfigMap>,
        data: Data,
        annotations: &[(&str, Option<String>)],
    ) -> kube::Result<()> {
        let (name, key) = (at.name(), at.key());
        let Some(found) = found else { return self.create(at, data, annotations).await };
        let mut wanted: BTreeMap<&str, Value> =
            found.data.iter().flatten().map(|(key, _)| (key.as_str(), Value::Null)).collect();
        wanted.extend(data.iter().map(|(key, text)| (key.as_str(), json!(text))));
        let metadata = json!({
            "resourceVersion": found.resource_version(),
            "annotations": annotations.iter().cloned().collect::<BTreeMap<_, _>>(),
        });
        let patch = json!({ "metadata": metadata, "data": wanted, "binaryData": null });
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match self.api(&key).patch(&name, &params, &Patch::Merge(patch)).await {
            Ok(written) => {
                self.index.wrote_output(&at.known.upload, &written);
                self.see(at, &written);
                Ok(())
            }
            Err(Error::Api(refusal)) if is_refusal(&refusal) && found.immutable == Some(true) => {
                let same = Preconditions { uid: found.uid(), resource_version: found.resource_version() };
                self.api(&key).delete(&name, &DeleteParams::default().preconditions(same)).await?;
                self.index.forget_output(&key);
                if data.is_empty() { Ok(()) } else { self.create(at, data, annotations).await }
            }
            Err(error) => {
                if matches!(&error, Error::Api(refusal) if refusal.is_not_found()) {
                    self.index.forget_output(&key);
                }
                Err(error)
            }
        }
    }

    async fn create(&self, at: At<'_>, data: Data, annotations: &[(&str, Option<String>)]) -> kube::Result<()> {
        let mut map = new(&at.known.upload, &at.name(), data);
        let own = annotations.iter().filter_map(|(name, value)| Some(((*name).to_owned(), value.clone()?)));
        map.metadata.annotations.get_or_insert_default().extend(own);
        let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        match self.api(&at.key()).create(&params, &map).await {
            Ok(created) => {
                self.index.wrote_output(&at.known.upload, &created);
                self.see(at, &created);
                Ok(())
            }
            Err(error) => {
                // What is there, the next look reads.
                self.index.forget_output(&at.key());
                Err(error)
            }
        }
    }

    /// Deletes the ConfigMaps of folders that the spec no longer names; returns the folders of which some are still there.
    pub(super) async fn delete_former(&self, known: &Known) -> Vec<String> {
        let mut left = Vec::new();
        let namespace = known.upload.metadata.namespace.as_deref().unwrap_or_default();
        for (folder, name) in known.upload.former_folder_maps() {
            let key = Key::new(namespace, &name);
            if let Err(error) = self.delete(&known.upload, &key).await {
                warn!(config_map = name, error = %crate::redact::cause(&error), "cannot delete the keys of a folder that the spec no longer names");
                left.push(folder);
            }
        }
        left.dedup();
        left
    }

    async fn delete(&self, upload: &FileUpload, key: &Key) -> kube::Result<()> {
        let Some(found) = self.api(key).get_opt(key.name()).await? else { return Ok(()) };
        if !matches!(kept::progress(&found, upload), Kept::Ours(_)) {
            return Ok(());
        }
        let same = Preconditions { uid: found.uid(), resource_version: found.resource_version() };
        self.api(key).delete(key.name(), &DeleteParams::default().preconditions(same)).await?;
        self.seen.lock().remove(key);
        self.index.forget_output(key);
        Ok(())
    }

    /// A FileUpload is gone.
    pub(super) fn forget_upload(&self, uid: &str) {
        self.seen.lock().retain(|_, seen| &*seen.uid != uid);
    }

    fn api(&self, key: &Key) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), key.namespace())
    }
}

fn unfinished(at: At<'_>) -> Trouble {
    Trouble::new(Reason::Uploading, format!("ConfigMap {} is being written", at.name()))
}

/// A refusal is told; what passes is only work that is not done yet.
fn trouble(at: At<'_>, error: &Error) -> Trouble {
    match error {
        Error::Api(refusal) if is_refusal(refusal) => {
            refused(format!("ConfigMap {} (spec.folders[{}]) cannot be written", at.name(), at.folder), refusal)
        }
        _ => unfinished(at),
    }
}
