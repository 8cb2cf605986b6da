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
use crate::redact::quote_rule;
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
            Ok(()) => Written { trouble: None, exists: true },
            Err(error) => {
                warn!(output = name, error = %crate::redact::cause(&error), "cannot write the output");
                Written { trouble: Some(trouble(name, &error)), exists }
            }
        }
    }

    async fn create(&self, name: &str, data: &Data) -> kube::Result<()> {
        let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        match self.api.create(&params, &new(self.upload, name, data.clone())).await {
            Ok(created) => {
                self.index.wrote_output(&created);
                Ok(())
            }
            Err(error) => {
                if matches!(&error, Error::Api(refusal) if refusal.is_already_exists()) {
                    self.look_up(name).await?;
                }
                Err(error)
            }
        }
    }

    /// Replaces the content, provided that it is still as it was last seen.
    async fn replace(&self, name: &str, version: &str, data: &Data) -> kube::Result<()> {
        let patch = json!([
            { "op": "replace", "path": "/metadata/resourceVersion", "value": version },
            { "op": "add", "path": "/data", "value": data },
        ]);
        let patch = serde_json::from_value(patch).map_err(Error::SerdeError)?;
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match self.api.patch(name, &params, &Patch::<ConfigMap>::Json(patch)).await {
            Ok(patched) => {
                self.index.wrote_output(&patched);
                Ok(())
            }
            Err(error) => {
                match &error {
                    Error::Api(refusal) if refusal.is_not_found() => self.index.forget_output(&self.key(name)),
                    Error::Api(refusal) if refusal.code == 422 => {
                        self.delete_if(name, |found| found.immutable == Some(true)).await?;
                    }
                    _ => {}
                }
                Err(error)
            }
        }
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
        self.delete_if(name, |_| true).await
    }

    async fn delete_if(&self, name: &str, is_meant: impl FnOnce(&ConfigMap) -> bool) -> kube::Result<()> {
        let is_ours = |found: &ConfigMap| {
            let facts = read::Ownership::of(&found.metadata).output(self.upload, None);
            matches!(facts, OutputFacts::Ours { .. })
        };
        let found = self.api.get_opt(name).await?;
        let Some(found) = found.filter(|found| is_ours(found) && is_meant(found)) else { return Ok(()) };
        let preconditions = Preconditions { uid: found.uid(), resource_version: found.resource_version() };
        self.api.delete(name, &DeleteParams::default().preconditions(preconditions)).await?;
        self.index.forget_output(&self.key(name));
        Ok(())
    }

    fn key(&self, name: &str) -> Key {
        Key::new(self.upload.metadata.namespace.as_deref().unwrap_or_default(), name)
    }
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
