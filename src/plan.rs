//! What to do next about a `FileUpload`, decided from what was observed: pure and total.
//!
//! Nothing here is async, reads a clock, a file or the environment, or logs. A plan leaves the executor no
//! choice: it names the files to send, and what every other file's entry says. A bad spec is a planned
//! rejection, not an error. `fileupload render` prints a plan for manifests on disk with this same code.
//!
//! The road on from here: [`status`](self::status()) makes the new status of a plan and its outcome,
//! `crate::controller` performs it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::output::{OutputAct, OutputView, conflict, output};
pub use self::status::status;
use crate::reason::{Class, Reason, Scope};
use crate::resource::{File, FileState, FileStatus, FileUpload};

mod output;
mod revision;
mod status;
mod text;

/// The most files of one Send: between two, the status is written, so a crash costs no more than these.
const BATCH: usize = 8;

/// What was seen of the world, as far as it was asked for. Holds neither bytes nor credentials.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Observed {
    /// The credentials Secret.
    pub credentials: CredentialsView,
    /// The content of the files that were looked at, by file name.
    pub contents: BTreeMap<String, Content>,
    /// The output ConfigMap.
    pub output: OutputView,
    /// How many Sends in a row failed in a way that may pass by itself.
    pub failures: u32,
}

/// What is known of the credentials Secret.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum CredentialsView {
    /// It was not looked at.
    #[default]
    Unseen,
    /// There is none of that name.
    Missing,
    /// The operator has no right to read it.
    Forbidden,
    /// It exists but holds nothing that may be sent to Cyberun.
    Invalid {
        /// Its resourceVersion.
        version: String,
        /// What is wrong with it.
        problem: String,
    },
    /// It holds a credential.
    Usable {
        /// Its resourceVersion.
        version: String,
    },
}

/// What is known of a file's content.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Content {
    /// The ConfigMap does not exist.
    NoConfigMap,
    /// The ConfigMap does not have the key.
    NoKey,
    /// It is there.
    Found {
        /// Size in bytes.
        size: i64,
        /// SHA-256 in lower-case hex.
        sha256: String,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The generation of the spec that was planned for.
    pub generation: i64,
    /// Every file's entry, as the status is to show it unless a Send says otherwise.
    pub files: Vec<FileStatus>,
    /// The files to send now, by name; in order.
    pub send: Vec<String>,
    /// The whole resource rests because the spec cannot be carried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejection: Option<String>,
    /// The resourceVersion of the credentials that are used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_version: Option<String>,
    /// Failed Sends in a row before this one.
    pub failures: u32,
    /// Seeds this resource's jitter.
    #[serde(skip)]
    pub seed: u64,
}

/// What came of a plan. A failed act is data, so that the status is always written.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What came of each file that was sent, by file name.
    pub sent: BTreeMap<String, Sent>,
    /// Why the output could not be written, if it could not.
    pub output: Option<(Reason, String)>,
    /// The output that exists now, by name.
    pub output_name: Option<String>,
}

/// What came of sending one file.
#[derive(Clone, Debug)]
pub enum Sent {
    /// It is stored.
    Uploaded {
        /// Its key.
        file_key: String,
        /// The MIME type it was declared with.
        content_type: String,
        /// When.
        at: Timestamp,
    },
    /// It is not, or not known to be.
    Failed {
        /// Why.
        reason: Reason,
        /// In words.
        message: String,
        /// How long the other side asks to wait.
        retry_after: Option<Duration>,
    },
}

/// What must be looked at before [`next`] can decide.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Wanted {
    /// The credentials Secret.
    pub credentials: bool,
    /// The contents of these files, by name, given that the credentials are as they are.
    pub contents: BTreeSet<String>,
}

/// What to look at: the credentials if a file is without a key, contents only where they may be sent.
pub fn wanted(upload: &FileUpload, credentials: &CredentialsView, now: Timestamp) -> Wanted {
    let entries = entries(upload);
    if !is_accepted(upload, &entries) || upload.spec.is_suspended() || text::rejection(upload).is_some() {
        return Wanted::default();
    }
    let open = || entries.iter().filter(|entry| entry.state != FileState::Uploaded);
    let mut wanted = Wanted { credentials: open().next().is_some(), contents: BTreeSet::new() };
    if let CredentialsView::Usable { version } = credentials
        && !held_back(upload, &entries, version, now)
    {
        let may_go = open().filter(|entry| !backs_off(upload, entry, now));
        wanted.contents = may_go.map(|entry| entry.name.clone()).collect();
    }
    wanted
}

/// The next step: the pure heart of the operator.
pub fn next(upload: &FileUpload, observed: &Observed, now: Timestamp) -> Plan {
    let mut plan = Plan {
        generation: upload.metadata.generation.unwrap_or_default(),
        files: entries(upload),
        send: Vec::new(),
        rejection: text::rejection(upload),
        credentials_version: upload.status.as_ref().and_then(|status| status.credentials_version.clone()),
        failures: observed.failures,
        seed: revision::seed(upload),
    };
    if upload.status.as_ref().is_none_or(|status| status.observed_generation != plan.generation) {
        // A new spec is a new chance for what failed under the old one.
        for entry in plan.files.iter_mut().filter(|entry| entry.file_key.is_none()) {
            *entry = FileStatus::pending(&entry.name, std::mem::take(&mut entry.revision));
        }
    }
    // First the status says what is wanted now, and the output no longer what is not; only then is sent.
    if plan.rejection.is_some() || !is_accepted(upload, &plan.files) || upload.spec.is_suspended() {
        return plan;
    }
    match &observed.credentials {
        CredentialsView::Unseen => {}
        CredentialsView::Missing => fail_open(&mut plan, Reason::SecretNotFound, &text::secret_missing(upload)),
        CredentialsView::Forbidden => fail_open(&mut plan, Reason::SecretNotFound, &text::secret_forbidden(upload)),
        CredentialsView::Invalid { version, problem } => {
            plan.credentials_version = Some(version.clone());
            fail_open(&mut plan, Reason::CredentialsInvalid, problem);
        }
        CredentialsView::Usable { version } => choose(upload, observed, version, now, &mut plan),
    }
    plan
}

/// Decides for each file without a key whether it is sent now.
fn choose(upload: &FileUpload, observed: &Observed, version: &str, now: Timestamp, plan: &mut Plan) {
    if held_back(upload, &plan.files, version, now) {
        return;
    }
    let known = plan.credentials_version.as_deref() == Some(version);
    for (file, entry) in upload.spec.files.iter().zip(&mut plan.files) {
        if entry.state == FileState::Uploaded || backs_off(upload, entry, now) {
            continue;
        }
        match observed.contents.get(&file.name) {
            None => {}
            Some(Content::NoConfigMap) => fail(entry, Reason::ConfigMapNotFound, text::config_map_missing(file)),
            Some(Content::NoKey) => fail(entry, Reason::ConfigMapKeyNotFound, text::key_missing(file)),
            Some(Content::Found { size, sha256 }) => {
                let stalled = reason(entry)
                    .is_some_and(|reason| reason.class() == Class::Stalled && reason.scope() == Scope::File);
                if stalled && known && entry.sha256.as_deref() == Some(sha256) {
                    continue;
                }
                if plan.send.len() < BATCH {
                    plan.send.push(entry.name.clone());
                }
                (entry.state, entry.reason, entry.message) = (FileState::Uploading, None, None);
                (entry.size, entry.sha256) = (Some(*size), Some(sha256.clone()));
            }
        }
    }
    plan.credentials_version = Some(version.to_owned());
}

/// The entry of each file of the spec: the one the status has, if it is about the same revision.
fn entries(upload: &FileUpload) -> Vec<FileStatus> {
    let known = upload.status.as_ref().map_or(&[][..], |status| &status.files);
    let entry = |file: &File| {
        let revision = revision::revision(file, upload.spec.secret_name());
        let same = known.iter().find(|entry| entry.name == file.name && entry.revision == revision);
        same.cloned().unwrap_or_else(|| FileStatus::pending(&file.name, revision))
    };
    upload.spec.files.iter().map(entry).collect()
}

/// Whether the status is already about this spec.
fn is_accepted(upload: &FileUpload, entries: &[FileStatus]) -> bool {
    upload
        .status
        .as_ref()
        .is_some_and(|status| Some(status.observed_generation) == upload.metadata.generation && status.files == entries)
}

fn reason(entry: &FileStatus) -> Option<Reason> {
    entry.reason.as_deref().and_then(Reason::parse)
}

fn waits_until(upload: &FileUpload) -> Option<Timestamp> {
    upload.status.as_ref()?.next_attempt_at.as_ref().map(|time| time.0)
}

fn backs_off(upload: &FileUpload, entry: &FileStatus, now: Timestamp) -> bool {
    let backoff = reason(entry).is_some_and(|reason| reason.class() == Class::Backoff);
    backoff && waits_until(upload).is_some_and(|until| until > now)
}

/// Whether a failure of one file, that would be every file's, holds all of them back.
fn held_back(upload: &FileUpload, entries: &[FileStatus], version: &str, now: Timestamp) -> bool {
    let known = upload.status.as_ref().and_then(|status| status.credentials_version.as_deref()) == Some(version);
    entries.iter().any(|entry| match reason(entry) {
        Some(reason) if reason.scope() == Scope::Resource => match reason.class() {
            Class::Stalled => known,
            Class::Backoff => backs_off(upload, entry, now),
            _ => false,
        },
        _ => false,
    })
}

fn fail_open(plan: &mut Plan, reason: Reason, message: &str) {
    for entry in plan.files.iter_mut().filter(|entry| entry.state != FileState::Uploaded) {
        fail(entry, reason, message.to_owned());
    }
}

/// Marks a file as failed, or as waiting where that is what its reason means.
fn fail(entry: &mut FileStatus, reason: Reason, message: String) {
    entry.state = if reason.class() == Class::Stalled { FileState::Failed } else { FileState::Pending };
    entry.reason = Some(reason.to_string());
    entry.message = Some(message);
}
