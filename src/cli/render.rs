//! `fileupload render -f …`: what the operator would do about manifests on disk, by the production planner.
//!
//! It reads `FileUpload`s and the Secrets and ConfigMaps beside them, and touches nothing. A manifest without a
//! status is one that was just applied, so the first step (writing down what is wanted) is taken for it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::print;
use crate::clock;
use crate::controller::{content_of, credentials_of, output_of};
use crate::plan::{self, CredentialsView, Observed, Outcome, OutputAct, Plan};
use crate::resource::{FileUpload, FileUploadStatus};

/// Print what would be done about FileUploads in manifests; touches nothing.
///
/// Secrets and ConfigMaps are taken from the same manifests.
#[derive(Parser)]
pub(super) struct Render {
    /// A manifest, a folder of them, or - for standard input (repeatable)
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    filename: Vec<PathBuf>,
}

/// The manifests, by what they are.
#[derive(Default)]
struct Manifests {
    uploads: Vec<FileUpload>,
    secrets: Vec<Secret>,
    config_maps: Vec<ConfigMap>,
}

impl Render {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut manifests = Manifests::default();
        for path in &self.filename {
            manifests.read(path)?;
        }
        if manifests.uploads.is_empty() {
            bail!(
                "no FileUpload in {}",
                self.filename.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
            );
        }
        for upload in &manifests.uploads {
            print(&format!("---\n{}", serde_yaml::to_string(&manifests.render(upload))?))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Manifests {
    fn read(&mut self, path: &Path) -> anyhow::Result<()> {
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
            _ => {}
        }
        Ok(())
    }

    fn render(&self, upload: &FileUpload) -> Value {
        let now = clock::now();
        let mut upload = upload.clone();
        let mut plan = plan::next(&upload, &self.observe(&upload, &CredentialsView::Unseen), now);
        let accepted = plan::status(&upload, &plan, &Outcome::default(), now);
        if upload.status.as_ref().map(|status| status.observed_generation) != upload.metadata.generation {
            upload.status = Some(accepted);
        }
        let credentials = self.credentials(&upload);
        let observed = self.observe(&upload, &credentials);
        plan = plan::next(&upload, &observed, now);
        let act = plan::output(&upload, &plan.files, &observed.output);
        let output = (act == OutputAct::Conflict).then(|| plan::conflict(&upload));
        let status = plan::status(&upload, &plan, &Outcome { output, ..Outcome::default() }, now);
        describe(&upload, &plan, &act, &status)
    }

    fn credentials(&self, upload: &FileUpload) -> CredentialsView {
        let name = upload.spec.secret_name();
        let found = self.secrets.iter().find(|secret| secret.name_any() == name && is_beside(*secret, upload));
        credentials_of(found, name)
    }

    fn observe(&self, upload: &FileUpload, credentials: &CredentialsView) -> Observed {
        let wanted = plan::wanted(upload, credentials, clock::now()).contents;
        let beside =
            |name: &str| self.config_maps.iter().find(|found| found.name_any() == name && is_beside(*found, upload));
        let files = upload.spec.files.iter().filter(|file| wanted.contains(&file.name));
        let content = |file: &crate::resource::File| {
            let reference = file.source.config_map_key_ref.as_ref()?;
            Some((file.name.clone(), content_of(beside(&reference.name), &reference.key).0))
        };
        Observed {
            credentials: credentials.clone(),
            contents: files.filter_map(content).collect::<BTreeMap<_, _>>(),
            output: upload.spec.output_name().map(|name| output_of(beside(name), upload)).unwrap_or_default(),
            failures: 0,
        }
    }
}

/// In the same namespace, as far as the manifests name one.
fn is_beside(object: &impl ResourceExt, upload: &FileUpload) -> bool {
    let (theirs, ours) = (object.namespace(), upload.metadata.namespace.clone());
    theirs.is_none() || ours.is_none() || theirs == ours
}

fn describe(upload: &FileUpload, plan: &Plan, act: &OutputAct, status: &FileUploadStatus) -> Value {
    let output = match act {
        OutputAct::None => json!("none"),
        OutputAct::Create(_) => json!("create"),
        OutputAct::Replace(data) => json!({ "replace": data.keys().collect::<Vec<_>>() }),
        OutputAct::Conflict => json!("conflict"),
    };
    let condition = |condition: &crate::resource::Condition| {
        (
            condition.type_.clone(),
            json!({ "status": condition.status, "reason": condition.reason, "message": condition.message }),
        )
    };
    let conditions: serde_json::Map<_, _> = status.conditions.iter().map(condition).collect();
    json!({
        "fileUpload": upload.name_any(),
        "secret": upload.spec.secret_name(),
        "send": plan.send,
        "output": output,
        "files": plan.files,
        "status": { "phase": status.phase, "summary": status.summary, "conditions": conditions },
    })
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
