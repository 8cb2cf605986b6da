//! The texts of a plan: what it says of a spec that cannot be carried out, and of things that are missing.
//!
//! Each text names the object, the field and the fix, and never varies: it is written to the status. No decision rests on
//! a text; only whether one that quotes the cluster is shown again does.

use std::collections::{BTreeMap, BTreeSet};

use super::case::{Case, LONGEST_REQUEST, is_short, request};
use super::facts::Volume;
use crate::outcome::Trouble;
use crate::reason::Reason;
use crate::resource::{
    ANNOTATION_REQUESTED_AT, DEFAULT_SECRET, File, FileUpload, Folder, OutputConfigMap, SECRET_API_KEY, Worker,
};

/// Whether a text that is shown already stays although the cluster may word it otherwise now: what is quoted is frozen at
/// first sight, since it varies and would never rest.
pub(super) fn is_frozen(shown: &str, trouble: &Trouble) -> bool {
    trouble.quoted.is_some() && shown.starts_with(&*trouble.what)
}

/// Why the spec cannot be carried out, by this operator or by any.
pub(super) fn rejection(case: &Case<'_>) -> Option<Trouble> {
    if let Some(problem) = problem(case.upload) {
        return Some(Trouble::new(Reason::InvalidSpec, problem));
    }
    if let Some(refused) = case.deployment.refused {
        return Some(refused.clone());
    }
    (case.leaves_all_to_workers() && case.upload.spec.follows_changes()).then(|| {
        let why = "spec.updatePolicy OnChange needs an operator that reads ConfigMaps itself";
        let fix = "set it to Once, or run the operator with --direct-uploads=true";
        Trouble::new(Reason::UpdateUnsupported, format!("{why}: {fix}"))
    })
}

/// What an API server with an older schema, or `render`, may let through.
fn problem(upload: &FileUpload) -> Option<String> {
    if request(upload).is_some_and(|request| !is_short(request)) {
        let fix = "give it a time, or another short text";
        return Some(format!(
            "the annotation {ANNOTATION_REQUESTED_AT} is longer than {LONGEST_REQUEST} characters: {fix}"
        ));
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
        if !File::is_name(name) {
            let fix = "give it up to 63 letters, digits, '-', '_' and '.', not ending in .json";
            return Some(format!("spec.files has a file called {name}, which cannot be a key of the output: {fix}"));
        }
    }
    if let Some(problem) = folder_problem(upload, &mut names) {
        return Some(problem);
    }
    let output = upload.spec.output.iter().map(|output| &output.config_map);
    let given = output.flat_map(|output| [&output.labels, &output.annotations]).flatten();
    if let Some(key) = given.flat_map(BTreeMap::keys).find(|key| OutputConfigMap::is_reserved(key)) {
        return Some(format!("spec.output.configMap gives {key}, which is the operator's: leave it out"));
    }
    if let Some((field, why)) = upload.spec.worker.as_ref().and_then(Worker::fault) {
        return Some(format!("spec.worker.{field}: {why}"));
    }
    let is_empty = upload.spec.files.is_empty() && upload.spec.folders.is_empty();
    is_empty.then(|| "spec.files is empty: name at least one file, or a folder in spec.folders".to_owned())
}

/// The same of folders; `names` are those that are taken.
fn folder_problem<'a>(upload: &'a FileUpload, names: &mut BTreeSet<&'a String>) -> Option<String> {
    for folder in &upload.spec.folders {
        let name = &folder.name;
        if !Folder::is_name(name) {
            let fix = "give it up to 63 lower-case letters, digits, '-' and '.', not ending in -part";
            return Some(format!(
                "spec.folders has a folder called {name}, which no ConfigMap can be named after: {fix}"
            ));
        }
        if !names.insert(name) {
            return Some(format!("spec has two files or folders called {name}: give each its own name"));
        }
        if !folder.path().is_empty() && !is_beneath(folder.path().trim_end_matches('/')) {
            let fix = "a path is relative to the volume's root, without '..'";
            return Some(format!("spec.folders[{name}].source.persistentVolumeClaim.path cannot be used: {fix}"));
        }
    }
    let lacks_output = !upload.spec.folders.is_empty() && upload.spec.output.is_none();
    lacks_output
        .then(|| "spec.folders needs spec.output: the keys are in ConfigMaps that are named after it".to_owned())
}

fn is_beneath(path: &str) -> bool {
    !path.starts_with('/') && !path.ends_with('/') && !path.is_empty() && path.split('/').all(|part| part != "..")
}

/// What is said of a key that has expired.
pub(super) fn expired(upload: &FileUpload) -> String {
    let name = upload.metadata.name.as_deref().unwrap_or_default();
    format!(
        "the key has expired and is gone: run 'fileupload refresh {name}' for a new one, or set spec.refreshPolicy to BeforeExpiry"
    )
}

/// What is said of a resource whose every key has expired.
pub(super) fn all_expired(upload: &FileUpload) -> String {
    let name = upload.metadata.name.as_deref().unwrap_or_default();
    let from = if upload.spec.output.is_some() { "status and output" } else { "status" };
    format!(
        "every key has expired and is gone from {from}: run 'fileupload refresh {name}' for new ones, or set spec.refreshPolicy to BeforeExpiry"
    )
}

/// What is said of a file that was not there for a day.
pub(super) fn never_appeared(trouble: &Trouble) -> Trouble {
    let fix = "create the file, then request a fresh upload with fileupload refresh";
    let message = trouble.message();
    Trouble::new(Reason::FileNeverAppeared, format!("{message}: it did not appear within a day: {fix}"))
}

/// The same trouble, saying which Secret is meant where the credential is at fault.
pub(crate) fn of_credentials(upload: &FileUpload, trouble: Trouble) -> Trouble {
    let secret = upload.spec.secret_name();
    let said = trouble.message();
    let message = match trouble.reason {
        Reason::CredentialsInvalid => format!("Secret {secret}: {said}"),
        Reason::CredentialsRejected => format!("Secret {secret}: {said}: put a valid key into its {SECRET_API_KEY}"),
        Reason::FeatureNotLicensed => {
            format!(
                "{said}: have the deployment's license extended, or put another team's credential into Secret {secret}"
            )
        }
        _ => return trouble,
    };
    Trouble { what: message.into(), quoted: None, ..trouble }
}

/// The Secret does not exist.
pub(crate) fn secret_missing(upload: &FileUpload) -> Trouble {
    let name = upload.spec.secret_name();
    let field = if name == DEFAULT_SECRET { "" } else { " (spec.credentials.secretRef)" };
    let message =
        format!("Secret {name}{field} does not exist in this namespace: create it with the key {SECRET_API_KEY}");
    Trouble::new(Reason::SecretNotFound, message)
}

/// The operator may not read the Secret.
pub(crate) fn secret_forbidden(upload: &FileUpload) -> Trouble {
    let name = upload.spec.secret_name();
    let fix = format!("name another in spec.credentials.secretRef, or have {name} added to rbac.secretNames");
    Trouble::new(
        Reason::SecretNotFound,
        format!("the operator may not read Secret {name}: {fix} of the operator's chart"),
    )
}

/// The Secret holds nothing that may be sent to Cyberun.
pub(crate) fn secret_invalid(problem: &str) -> Trouble {
    Trouble::new(Reason::CredentialsInvalid, problem.to_owned())
}

/// The ConfigMap of a file does not exist.
pub(crate) fn config_map_missing(file: &File) -> Trouble {
    let name = file.source.config_map_key_ref.as_ref().map_or("", |reference| &reference.name);
    let fix = format!("create it, or correct spec.files[{}].source", file.name);
    Trouble::new(Reason::ConfigMapNotFound, format!("ConfigMap {name} does not exist in this namespace: {fix}"))
}

/// The ConfigMap of a file has no such key.
pub(crate) fn key_missing(file: &File) -> Trouble {
    let reference = file.source.config_map_key_ref.as_ref();
    let (name, key) = reference.map_or(("", ""), |reference| (&reference.name, &reference.key));
    let fix = format!("add it, or correct spec.files[{}].source", file.name);
    Trouble::new(
        Reason::ConfigMapKeyNotFound,
        format!("ConfigMap {name} has no key {key} in data or binaryData: {fix}"),
    )
}

/// A worker on the volume waits for its place.
pub(super) fn queued(volume: &Volume) -> Trouble {
    let message =
        format!("waiting for a worker slot on {} (--max-workers, --max-workers-per-namespace)", volume.describe());
    Trouble::new(Reason::Queued, message)
}

/// A Send waits for its place.
pub(super) fn send_queued() -> Trouble {
    Trouble::new(Reason::Queued, "waiting for an upload slot (--max-sends)")
}

/// Another worker of the same resource reads the volume.
pub(super) fn behind(volume: &Volume) -> Trouble {
    Trouble::new(Reason::Queued, format!("waiting for the worker that reads {} now", volume.describe()))
}

/// The worker left the claim to another Pod.
pub(super) fn yielded(volume: &Volume) -> Trouble {
    let volume = volume.describe();
    let message =
        format!("another Pod waits for {volume}, so the worker gave it up: the next one follows after a while");
    Trouble::new(Reason::ClaimInUse, message)
}

/// What is said while the output that the spec no longer names is still there.
pub(super) fn former_remains(case: &Case<'_>) -> Trouble {
    let former = case.status.and_then(|status| status.output.as_ref()).map_or("", |output| &output.name);
    let what = format!("ConfigMap {former} is no longer the output and is deleted before the new one is written");
    Trouble::new(Reason::Uploading, what)
}

/// What is said while a ConfigMap is deleted that a FileUpload of the same name has left.
pub(super) fn discarded(name: &str) -> Trouble {
    let what = format!("ConfigMap {name} belongs to a deleted FileUpload of the same name: the operator replaces it");
    Trouble::new(Reason::Uploading, what)
}
