//! Writes the output ConfigMap: only one that carries our label and belongs to this very FileUpload.
//!
//! Every write names the version that it is based on; one that meets another is dropped, and the plan made again. What was
//! written enters the index with its answer, so that a Ready resource costs no request.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Status;
use kube::{Api, Client, Error, Resource, ResourceExt};
use serde_json::{Value, json};
use tracing::{info, warn};

use super::index::{Index, Key};
use crate::clock;
use crate::outcome::Trouble;
use crate::plan::{OutputAct, OutputFacts, Written, read};
use crate::reason::Reason;
use crate::redact::quote_rule;
use crate::resource::{ANNOTATION_GIVEN, FIELD_MANAGER, FileUpload, KEYS_JSON, LABEL_FILE_UPLOAD, LABEL_MANAGED_BY};

type Data = BTreeMap<String, String>;

/// The output of one FileUpload.
pub(super) struct Output<'a> {
    pub(super) index: &'a Index,
    pub(super) upload: &'a FileUpload,
    pub(super) api: Api<ConfigMap>,
}

impl<'a> Output<'a> {
    pub(super) fn of(client: &Client, index: &'a Index, upload: &'a FileUpload) -> Self {
        let namespace = upload.metadata.namespace.as_deref().unwrap_or_default();
        Self { index, upload, api: Api::namespaced(client.clone(), namespace) }
    }

    /// Carries out what is to happen to it.
    pub(super) async fn perform(&self, act: &OutputAct) -> Written {
        let Some(name) = self.upload.spec.output_name() else { return Written::default() };
        let (facts, version) = self.index.output(self.upload, name);
        let exists = matches!(facts, OutputFacts::Ours { .. });
        let result = match act {
            OutputAct::None => return Written { trouble: None, exists },
            OutputAct::Held(trouble) => return Written { trouble: Some(trouble.clone()), exists },
            OutputAct::Discard(trouble) => {
                let refused = discard(&self.api.clone().into_client(), self.index, self.upload, name).await.err();
                return Written { trouble: refused.or_else(|| Some(trouble.clone())), exists };
            }
            OutputAct::Create(data) => self.create(name, data).await,
            // It may be another than the plan knew: then the plan is made again.
            OutputAct::Replace(data) => match version.filter(|version| exists && version != "0") {
                Some(version) => self.replace(name, &version, data).await,
                None => return Written { trouble: Some(unfinished(name)), exists },
            },
        };
        let trouble = result.err().map(|error| {
            warn!(output = name, error = %crate::redact::cause(&error), "cannot write the output");
            trouble(name, &error)
        });
        // Even what could not be written may be another by now.
        let exists = matches!(self.index.output(self.upload, name).0, OutputFacts::Ours { .. });
        Written { trouble, exists }
    }

    async fn create(&self, name: &str, data: &Data) -> kube::Result<()> {
        let created = self.post(name, data).await;
        if matches!(&created, Err(Error::Api(refusal)) if refusal.is_already_exists()) {
            self.look_up(name).await?;
        }
        created
    }

    async fn post(&self, name: &str, data: &Data) -> kube::Result<()> {
        let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        let created = self.api.create(&params, &new(self.upload, name, data.clone())).await?;
        self.index.wrote_output(self.upload, &created);
        Ok(())
    }

    /// Replaces the content, provided that it is still as it was last seen. One that may not be changed is deleted and created again.
    async fn replace(&self, name: &str, version: &str, data: &Data) -> kube::Result<()> {
        let patch = json!([
            { "op": "replace", "path": "/metadata/resourceVersion", "value": version },
            { "op": "add", "path": "/data", "value": data },
        ]);
        let patch = serde_json::from_value(patch).map_err(Error::SerdeError)?;
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match self.api.patch(name, &params, &Patch::<ConfigMap>::Json(patch)).await {
            Ok(patched) => {
                self.index.wrote_output(self.upload, &patched);
                self.give_metadata(name, &patched).await
            }
            Err(Error::Api(refusal)) if is_refusal(&refusal) => self.recreate(name, data, refusal).await,
            Err(error) => {
                if matches!(&error, Error::Api(refusal) if refusal.is_not_found()) {
                    self.index.forget_output(&self.key(name));
                }
                Err(error)
            }
        }
    }

    /// Gives it the labels and annotations of the spec that it lacks, and takes away what an earlier spec gave. Its keys are
    /// written before that, so that no label keeps a key from being withdrawn; and nothing else is written, since others
    /// may have added their own.
    async fn give_metadata(&self, name: &str, found: &ConfigMap) -> kube::Result<()> {
        let metadata = &found.metadata;
        let lacks = |given: &BTreeMap<&String, &String>, found: Option<&Data>| {
            given.iter().any(|(key, value)| found.and_then(|found| found.get(*key)) != Some(*value))
        };
        let spec = &self.upload.spec;
        let (record, [labels, annotations]) = (spec.output_record(), spec.output_metadata());
        let is_recorded = metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION_GIVEN)) == record.as_ref();
        if is_recorded
            && !lacks(&labels, metadata.labels.as_ref())
            && !lacks(&annotations, metadata.annotations.as_ref())
        {
            return Ok(());
        }
        let [old_labels, old_annotations] = spec.output_leftovers(metadata.annotations.as_ref());
        let merged = |given: BTreeMap<&String, &String>, old: Vec<String>| -> BTreeMap<String, Option<String>> {
            let given = given.into_iter().map(|(key, value)| (key.clone(), Some(value.clone())));
            old.into_iter().map(|key| (key, None)).chain(given).collect()
        };
        let mut annotations = merged(annotations, old_annotations);
        annotations.insert(ANNOTATION_GIVEN.to_owned(), record);
        let patch = json!({ "metadata": {
            "resourceVersion": metadata.resource_version,
            "labels": merged(labels, old_labels),
            "annotations": annotations,
        }});
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patched = self.api.patch(name, &params, &Patch::Merge(patch)).await?;
        self.index.wrote_output(self.upload, &patched);
        Ok(())
    }

    /// Deletes one that may not be changed, and creates it again. One that could not be created stays, unless it holds a key
    /// that is withdrawn: that goes by any means.
    async fn recreate(&self, name: &str, data: &Data, refusal: Box<Status>) -> kube::Result<()> {
        // Whether a name is taken is looked at after all policies have agreed.
        let may_be_made = match self.post(name, data).await {
            Ok(()) => return Ok(()),
            Err(Error::Api(said)) => said.is_already_exists(),
            Err(_) => false,
        };
        let now = clock::now();
        let goes =
            |found: &ConfigMap| may_be_made || found.immutable == Some(true) || holds_withdrawn(found, data, now);
        match self.delete_if(name, goes).await {
            Ok(true) if data.is_empty() => Ok(()),
            Ok(true) => self.create(name, data).await,
            Ok(false) => Err(Error::Api(refusal)),
            Err(error) => {
                warn!(output = name, error = %crate::redact::cause(&error), "cannot delete an output that may not be changed");
                Err(Error::Api(refusal))
            }
        }
    }

    /// Reads it: the watch has not told of it.
    async fn look_up(&self, name: &str) -> kube::Result<()> {
        match self.api.get_opt(name).await? {
            Some(found) => self.index.wrote_output(self.upload, &found),
            None => self.index.forget_output(&self.key(name)),
        }
        Ok(())
    }

    /// Deletes an output that is no longer asked for, if it is ours.
    pub(super) async fn delete(&self, name: &str) -> kube::Result<()> {
        self.delete_if(name, |_| true).await.map(drop)
    }

    /// Deletes an output that is ours and meant; says whether it did.
    async fn delete_if(&self, name: &str, is_meant: impl FnOnce(&ConfigMap) -> bool) -> kube::Result<bool> {
        let is_ours = |found: &ConfigMap| {
            let facts = read::Ownership::of(&found.metadata).output(self.upload, None);
            matches!(facts, OutputFacts::Ours { .. })
        };
        let found = self.api.get_opt(name).await?;
        let Some(found) = found.filter(|found| is_ours(found) && is_meant(found)) else { return Ok(false) };
        let preconditions = Preconditions { uid: found.uid(), resource_version: found.resource_version() };
        self.api.delete(name, &DeleteParams::default().preconditions(preconditions)).await?;
        self.index.forget_output(&self.key(name));
        Ok(true)
    }

    fn key(&self, name: &str) -> Key {
        Key::new(self.upload.metadata.namespace.as_deref().unwrap_or_default(), name)
    }
}

/// Deletes a ConfigMap that a FileUpload of the same name has left. Kubernetes does so as well, but its garbage collector
/// never learns of an owner that was deleted and created again while its watch was broken. Fails where that is refused.
pub(super) async fn discard(client: &Client, index: &Index, upload: &FileUpload, name: &str) -> Result<(), Trouble> {
    match delete_orphan(client, index, upload, name).await {
        Ok(true) => info!(config_map = name, "deleted what a FileUpload of the same name has left"),
        Ok(false) => {}
        Err(error) => {
            warn!(config_map = name, error = %crate::redact::cause(&error), "cannot delete what a FileUpload has left");
            if let Error::Api(refusal) = &error
                && is_refusal(refusal)
            {
                let what =
                    format!("ConfigMap {name} belongs to a deleted FileUpload of the same name and cannot be deleted");
                return Err(refused(what, refusal));
            }
        }
    }
    Ok(())
}

async fn delete_orphan(client: &Client, index: &Index, upload: &FileUpload, name: &str) -> kube::Result<bool> {
    let namespace = upload.metadata.namespace.as_deref().unwrap_or_default();
    // What is known of the FileUpload may be older than that ConfigMap, which then is its successor's.
    let uploads = Api::<FileUpload>::namespaced(client.clone(), namespace);
    let of_this_name = ListParams::default().fields(&format!("metadata.name={}", upload.name_any()));
    let now = uploads.list_metadata(&of_this_name).await?.items.into_iter().next();
    if now.and_then(|now| now.metadata.uid) != upload.metadata.uid {
        return Ok(false);
    }
    let maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let found = maps.get_opt(name).await?;
    if let Some(found) = &found {
        if read::Ownership::of(&found.metadata).output(upload, None) != OutputFacts::Orphaned {
            index.wrote_output(upload, found);
            return Ok(false);
        }
        let same = Preconditions { uid: found.uid(), resource_version: found.resource_version() };
        maps.delete(name, &DeleteParams::default().preconditions(same)).await?;
    }
    index.forget_output(&Key::new(namespace, name));
    Ok(found.is_some())
}

/// A refusal is told; what passes is only work that is not done yet.
fn trouble(name: &str, error: &Error) -> Trouble {
    match error {
        Error::Api(refusal) if is_refusal(refusal) => {
            refused(format!("ConfigMap {name} (spec.output.configMap) cannot be written"), refusal)
        }
        _ => unfinished(name),
    }
}

/// Whether an output holds a key that `data` no longer has for its file, or another key that has expired by now.
fn holds_withdrawn(found: &ConfigMap, data: &Data, now: Timestamp) -> bool {
    let held = found.data.iter().flatten().filter(|(name, _)| *name != KEYS_JSON);
    let all = found.data.as_ref().and_then(|data| data.get(KEYS_JSON));
    let all: Value = all.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let expires_at = |name: &String| all[name]["expiresAt"].as_str()?.parse::<Timestamp>().ok();
    let has_expired = |name| expires_at(name).is_some_and(|at| at <= now);
    held.into_iter().any(|(name, key)| data.get(name) != Some(key) && (!data.contains_key(name) || has_expired(name)))
}

fn unfinished(name: &str) -> Trouble {
    Trouble::new(Reason::Uploading, format!("ConfigMap {name} is being written"))
}

/// What the API server does not admit, in the words of its rule.
pub(super) fn refused(what: String, said: &Status) -> Trouble {
    Trouble::new(Reason::AdmissionDenied, what).quoting(quote_rule(&said.message))
}

/// Whether the API server, or a webhook that it cannot do without, does not admit a write.
pub(super) fn is_refusal(said: &Status) -> bool {
    let passes = said.is_conflict() || said.is_already_exists() || said.is_not_found();
    let refuses = (400..500).contains(&said.code) && !passes && !matches!(said.code, 401 | 429);
    refuses || is_webhook(said)
}

/// A webhook that fails, or that cannot be called, is told of with the code 500.
fn is_webhook(said: &Status) -> bool {
    said.code == 500 && said.reason == "InternalError" && said.message.contains("webhook")
}

/// A ConfigMap that belongs to a FileUpload.
pub(super) fn new(upload: &FileUpload, name: &str, data: Data) -> ConfigMap {
    let upload_name = upload.metadata.name.clone().unwrap_or_default();
    let owned = |given: BTreeMap<&String, &String>| -> Data {
        given.into_iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let [labels, mut annotations] = upload.spec.output_metadata().map(owned);
    annotations.extend(upload.spec.output_record().map(|record| (ANNOTATION_GIVEN.to_owned(), record)));
    let own = [(LABEL_MANAGED_BY, FIELD_MANAGER.to_owned()), (LABEL_FILE_UPLOAD, upload_name)];
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(labels.into_iter().chain(own.map(|(label, value)| (label.to_owned(), value))).collect()),
        annotations: (!annotations.is_empty()).then_some(annotations),
        // Blocking the deletion of its owner would need a right on finalizers, and nobody waits for it.
        owner_references: upload.controller_owner_ref(&()).map(|owner| {
            vec![k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference { block_owner_deletion: None, ..owner }]
        }),
        ..ObjectMeta::default()
    };
    ConfigMap { metadata, data: Some(data), ..ConfigMap::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(entries: &[(&str, &str)]) -> Data {
        entries.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn an_output_holds_what_is_withdrawn_if_the_key_is_missing_now_or_another_and_expired() {
        let all = |expires: &str| json!({"b": {"expiresAt": expires}}).to_string();
        let (over, alive) = (all("2026-01-01T00:00:00Z"), all("2026-01-03T00:00:00Z"));
        let wanted = data(&[("a", "1"), ("b", "2")]);
        let now = "2026-01-02T00:00:00Z".parse().unwrap();
        for (held, expected) in [
            (vec![], false),
            (vec![("a", "1"), (KEYS_JSON, "{}")], false),
            (vec![("a", "1"), ("gone", "3")], true),
            (vec![("a", "1"), ("b", "old")], false),
            (vec![("b", "old"), (KEYS_JSON, &*alive)], false),
            (vec![("b", "old"), (KEYS_JSON, &*over)], true),
            (vec![("b", "2"), (KEYS_JSON, &*over)], false),
            (vec![("b", "old"), (KEYS_JSON, "{")], false),
        ] {
            let found = ConfigMap { data: Some(data(&held)), ..ConfigMap::default() };
            assert_eq!(holds_withdrawn(&found, &wanted, now), expected, "{held:?}");
        }
    }

    #[test]
    fn a_policy_is_quoted_with_its_numbers_and_its_end() {
        let rules = "provider \"anyuid\": Forbidden: not usable by user or serviceaccount, ".repeat(5);
        let message =
            format!("admission webhook \"rules.example\" denied the request: [{rules}at most 134217728 bytes]");
        let status = Status { code: 403, reason: "Forbidden".into(), message: message.clone(), ..Status::default() };
        let said = trouble("keys", &Error::Api(status.into()));
        assert_eq!(said.reason, Reason::AdmissionDenied);
        assert_eq!(said.message(), format!("ConfigMap keys (spec.output.configMap) cannot be written: {message}"));
    }
}
