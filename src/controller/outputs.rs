//! Writes the output ConfigMap: only one that carries our label and belongs to this very FileUpload.
//!
//! Every write names the version that it is based on; one that meets another is dropped, and the plan made again. What was
//! written enters the index with its answer, so that a Ready resource costs no request.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Status;
use kube::{Api, Client, Error, Resource, ResourceExt};
use serde_json::json;
use tracing::warn;

use super::index::{Index, Key};
use crate::outcome::Trouble;
use crate::plan::{OutputAct, OutputFacts, Written, read};
use crate::reason::Reason;
use crate::redact::quote;
use crate::resource::{FIELD_MANAGER, FileUpload, LABEL_FILE_UPLOAD, LABEL_MANAGED_BY};

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
            OutputAct::Create(data) => self.create(name, data).await,
            // It may be another than the plan knew: then the plan is made again.
            OutputAct::Replace(data) => match version.filter(|version| exists && version != "0") {
                Some(version) => self.replace(name, &version, data).await,
                None => return Written { trouble: Some(unfinished(name)), exists },
            },
        };
        match result {
            Ok(exists) => Written { trouble: None, exists },
            Err(error) => {
                warn!(output = name, error = %crate::redact::cause(&error), "cannot write the output");
                // It may have been deleted, and then not made again.
                let exists = matches!(self.index.output(self.upload, name).0, OutputFacts::Ours { .. });
                Written { trouble: Some(trouble(name, &error)), exists }
            }
        }
    }

    /// Whether there is one then, as of the other writes.
    async fn create(&self, name: &str, data: &Data) -> kube::Result<bool> {
        let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        match self.api.create(&params, &new(self.upload, name, data.clone())).await {
            Ok(created) => {
                self.index.wrote_output(&created);
                Ok(true)
            }
            Err(error) => {
                if matches!(&error, Error::Api(refusal) if refusal.is_already_exists()) {
                    self.look_up(name).await?;
                }
                Err(error)
            }
        }
    }

    /// Replaces the content, provided that it is still as it was last seen. What may not be replaced is made again if it
    /// is immutable, or if it says what it must not say, such as a dead key.
    async fn replace(&self, name: &str, version: &str, data: &Data) -> kube::Result<bool> {
        let patch = json!([
            { "op": "replace", "path": "/metadata/resourceVersion", "value": version },
            { "op": "add", "path": "/data", "value": data },
        ]);
        let patch = serde_json::from_value(patch).map_err(Error::SerdeError)?;
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let error = match self.api.patch(name, &params, &Patch::<ConfigMap>::Json(patch)).await {
            Ok(patched) => {
                self.index.wrote_output(&patched);
                return Ok(true);
            }
            Err(error) => error,
        };
        match &error {
            Error::Api(refusal) if refusal.is_not_found() => self.index.forget_output(&self.key(name)),
            Error::Api(refusal) if is_refusal(refusal) => {
                let must_go = |found: &ConfigMap| found.immutable == Some(true) || says_more(found, data);
                let is_gone = self.delete_if(name, must_go).await.unwrap_or_else(|error| {
                    warn!(output = name, error = %crate::redact::cause(&error), "cannot delete the output");
                    false
                });
                // One without entries is not made.
                match is_gone {
                    true if data.is_empty() => return Ok(false),
                    true => return self.create(name, data).await,
                    false => {}
                }
            }
            _ => {}
        }
        Err(error)
    }

    /// Reads it: the watch has not told of it.
    async fn look_up(&self, name: &str) -> kube::Result<()> {
        match self.api.get_opt(name).await? {
            Some(found) => self.index.wrote_output(&found),
            None => self.index.forget_output(&self.key(name)),
        }
        Ok(())
    }

    /// Deletes an output that is no longer asked for, if it is ours.
    pub(super) async fn delete(&self, name: &str) -> kube::Result<()> {
        self.delete_if(name, |_| true).await.map(drop)
    }

    /// Whether it was ours and as it is meant, and is gone.
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

/// Whether an output holds anything but this data.
fn says_more(found: &ConfigMap, data: &Data) -> bool {
    found.data.iter().flatten().any(|(key, text)| data.get(key) != Some(text))
}

/// A refusal is told; what passes is only work that is not done yet.
fn trouble(name: &str, error: &Error) -> Trouble {
    match error {
        Error::Api(refusal) if is_refusal(refusal) => {
            let what = format!("ConfigMap {name} (spec.output.configMap) cannot be written");
            Trouble::new(Reason::AdmissionDenied, what).quoting(quote(&refusal.message))
        }
        _ => unfinished(name),
    }
}

fn unfinished(name: &str) -> Trouble {
    Trouble::new(Reason::Uploading, format!("ConfigMap {name} is being written"))
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

fn new(upload: &FileUpload, name: &str, data: Data) -> ConfigMap {
    let upload_name = upload.metadata.name.clone().unwrap_or_default();
    let labels = [(LABEL_MANAGED_BY, FIELD_MANAGER.to_owned()), (LABEL_FILE_UPLOAD, upload_name)];
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(labels.map(|(label, value)| (label.to_owned(), value)).into()),
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

    #[test]
    fn an_output_says_more_than_it_is_to_say_if_a_key_is_withdrawn_or_another() {
        let data = |entries: &[(&str, &str)]| -> Data {
            entries.iter().map(|(name, key)| ((*name).to_owned(), (*key).to_owned())).collect()
        };
        let wanted = data(&[("a", "1"), ("b", "2")]);
        for (held, more) in [
            (data(&[]), false),
            (data(&[("a", "1")]), false),
            (data(&[("a", "1"), ("b", "old")]), true),
            (data(&[("a", "1"), ("withdrawn", "3")]), true),
        ] {
            let found = ConfigMap { data: Some(held.clone()), ..ConfigMap::default() };
            assert_eq!(says_more(&found, &wanted), more, "{held:?}");
        }
    }
}
