//! What a plan says of a spec that cannot be carried out, and of things that are missing.
//!
//! Each text names the object, the field and the fix, and never varies: it is written to the status.

use std::collections::BTreeSet;

use super::volume::Volume;
use crate::reason::Reason;
use crate::resource::{ANNOTATION_REQUESTED_AT, DEFAULT_SECRET, File, FileUpload, KEYS_JSON, SECRET_API_KEY};

/// The longest value of a request for a fresh upload, in characters: the status repeats it.
const REQUEST: usize = 256;

/// Why the spec cannot be carried out, by this operator or by any.
pub(super) fn rejection(upload: &FileUpload, by_worker: bool) -> Option<(Reason, String)> {
    if let Some(problem) = problem(upload) {
        return Some((Reason::InvalidSpec, problem));
    }
    (by_worker && upload.spec.follows_changes()).then(|| {
        let why = "spec.updatePolicy OnChange needs an operator that reads ConfigMaps itself";
        let fix = "set it to Once, or have the operator run with --direct-uploads=true";
        (Reason::UpdateUnsupported, format!("{why}: {fix}"))
    })
}

/// Whether the status has room for a request.
pub(super) fn is_short(request: &str) -> bool {
    request.chars().count() <= REQUEST
}

/// What an API server with an older schema, or `render`, may let through.
fn problem(upload: &FileUpload) -> Option<String> {
    if super::request(upload).is_some_and(|request| !is_short(request)) {
        let fix = "give it a time, or another short text";
        return Some(format!("the annotation {ANNOTATION_REQUESTED_AT} is longer than {REQUEST} characters: {fix}"));
    }
    let mut names = BTreeSet::new();
    for file in &upload.spec.files {
        let name = &file.name;
        match (&file.source.config_map_key_ref, &file.source.persistent_volume_claim) {
            (None, None) | (Some(_), Some(_)) => {
                let fix = "give it either a configMapKeyRef or a persistentVolumeClaim";
                return Some(format!("spec.files[{name}].source must name exactly one place: {fix}"));
            }
            (None, Some(volume)) if !is_beneath(&volume.path) => {
                let fix = "a path is relative to the volume's root, without '..' and ending in a file's name";
                return Some(format!("spec.files[{name}].source.persistentVolumeClaim.path cannot be used: {fix}"));
            }
            _ => {}
        }
        if !names.insert(&file.name) {
            return Some(format!("spec.files has two files called {}: give each its own name", file.name));
        }
        if KEYS_JSON == file.name {
            return Some(format!("spec.files has a file called {}, which the output needs: rename it", file.name));
        }
    }
    upload.spec.files.is_empty().then(|| "spec.files is empty: name at least one file".to_owned())
}

fn is_beneath(path: &str) -> bool {
    !path.starts_with('/') && !path.ends_with('/') && !path.is_empty() && path.split('/').all(|part| part != "..")
}

/// What is said of a key whose life is over.
pub(super) fn expired(upload: &FileUpload) -> String {
    let name = upload.metadata.name.as_deref().unwrap_or_default();
    format!(
        "its key has expired: run 'fileupload refresh {name}' for a new one, or set spec.refreshPolicy to BeforeExpiry"
    )
}

/// Says which Secret is meant where the credential is at fault.
pub fn of_credentials(upload: &FileUpload, reason: Reason, message: String) -> String {
    let secret = upload.spec.secret_name();
    match reason {
        Reason::CredentialsInvalid => format!("Secret {secret}: {message}"),
        Reason::CredentialsRejected => format!("Secret {secret}: {message}: put a valid key into its {SECRET_API_KEY}"),
        Reason::FeatureNotLicensed => format!(
            "{message}: have the deployment's license extended, or use a credential of another team in Secret {secret}"
        ),
        _ => message,
    }
}

pub(super) fn secret_missing(upload: &FileUpload) -> String {
    let name = upload.spec.secret_name();
    let how = if name == DEFAULT_SECRET { "" } else { " (spec.credentials.secretRef)" };
    format!("Secret {name}{how} does not exist in this namespace: create it with the key {SECRET_API_KEY}")
}

pub(super) fn secret_forbidden(upload: &FileUpload) -> String {
    let name = upload.spec.secret_name();
    format!(
        "the operator may not read Secret {name}: name another in spec.credentials.secretRef, or have it added to the chart's rbac.secretNames"
    )
}

pub(super) fn config_map_missing(file: &File) -> String {
    let name = file.source.config_map_key_ref.as_ref().map_or("", |reference| &reference.name);
    format!("ConfigMap {name} does not exist in this namespace: create it, or correct spec.files[{}].source", file.name)
}

pub(super) fn key_missing(file: &File) -> String {
    let (name, key) =
        file.source.config_map_key_ref.as_ref().map_or(("", ""), |reference| (&reference.name, &reference.key));
    format!(
        "ConfigMap {name} has no key {key} in data or binaryData: add it, or correct spec.files[{}].source",
        file.name
    )
}

pub(super) fn queued(volume: &Volume) -> String {
    format!("it waits for a worker on {}: only so many run at the same time", volume.describe())
}
