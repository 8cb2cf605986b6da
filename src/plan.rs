//! What to do next about a `FileUpload`, decided from what was observed: pure and total.
//!
//! Nothing here is async, reads a clock, a file or the environment, or logs. A plan leaves the executor no
//! choice: it names the files to send, the Jobs to create and delete, and what every other file's entry says. A bad
//! spec is a planned rejection, not an error. `fileupload render` prints a plan for manifests on disk with this code.
//!
//! The road on from here: `workers` takes in what Jobs report, `launch` plans new ones, `job` writes their manifest,
//! [`status`](self::status()) makes the new status of a plan and its outcome, `crate::controller` performs it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

pub use self::budget::{Asked, Limits, Running, grant};
use self::entries::{begun, entries, fail, fail_open, is_accepted, reason, request, requested};
pub use self::job::{SOURCE, WorkerSettings, job, settings};
pub use self::launch::{Launch, job_status};
pub use self::life::{Terms, is_open, next_moment, refresh_failure};
pub use self::observed::{
    ClaimUser, ClaimView, Content, CredentialsView, JobView, Observed, PodView, Said, Terminated,
};
pub use self::output::{OutputAct, OutputView, conflict, output};
use self::patience::{backs_off, held_back, is_timed};
pub use self::status::status;
pub use self::text::of_credentials;
pub use self::trouble::refused;
pub use self::volume::{Placement, Volume};
use self::workers::UnderWay;
pub use self::workers::{Removal, is_doubtful, may_be_kept};
use crate::reason::{Class, Reason, Scope};
use crate::resource::{FileState, FileStatus, FileUpload, JobStatus};

mod budget;
mod entries;
mod job;
mod launch;
mod life;
mod observed;
mod output;
mod patience;
mod reports;
mod revision;
mod status;
mod text;
mod trouble;
mod volume;
mod workers;

/// The most files of one Send: between two, the status is written, so a crash costs no more than these.
const BATCH: usize = 8;

/// What is to be done.
#[expect(clippy::struct_excessive_bools, reason = "each is an answer of its own")]
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The generation of the spec that was planned for.
    pub generation: i64,
    /// Every file's entry, as the status is to show it unless an act says otherwise.
    pub files: Vec<FileStatus>,
    /// The files to send now, by name; in order.
    pub send: Vec<String>,
    /// The Jobs to create.
    pub launch: Vec<Launch>,
    /// The Jobs to delete.
    pub remove: Vec<Removal>,
    /// The Jobs that are under way, those to create not yet among them.
    pub jobs: Vec<JobStatus>,
    /// The highest number of an attempt, with the Jobs to create.
    pub attempts: i64,
    /// How long to wait before the next attempt, if a Job ended with something that may pass by itself.
    pub wait: Option<Duration>,
    /// The Jobs that are over and taken in: the status no longer names them.
    pub concluded: Vec<JobStatus>,
    /// Whether one of those was asked to slow down (429).
    #[serde(skip)]
    pub limited: bool,
    /// What came of each file of those, and its size in bytes: for the metrics.
    #[serde(skip)]
    pub reported: Vec<(Reason, u64)>,
    /// When to look again although nothing may have changed.
    pub look_again: Option<Duration>,
    /// The whole resource rests because the spec cannot be carried out: why, and in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejection: Option<(Reason, String)>,
    /// The request for a fresh upload that is heeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Whether a key is withdrawn: that is written down before anything is begun.
    #[serde(skip_serializing_if = "is_false")]
    pub withdraws: bool,
    /// Whether the resource has finished and is to be deleted.
    #[serde(skip_serializing_if = "is_false")]
    pub discards: bool,
    /// Keys that were uploaded at this moment or before it are to be renewed.
    #[serde(skip)]
    pub renew_before: Option<Timestamp>,
    /// How long keys live.
    #[serde(skip)]
    pub terms: Terms,
    /// The resourceVersion of the credentials that are used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_version: Option<String>,
    /// Failed attempts in a row before this one.
    pub failures: u32,
    /// Whether files of ConfigMaps are sent by workers too.
    #[serde(skip)]
    pub by_worker: bool,
    /// Seeds this resource's jitter.
    #[serde(skip)]
    pub seed: u64,
}

/// What came of a plan. A failed act is data, so that the status is always written.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What came of each file that was sent, by file name.
    pub sent: BTreeMap<String, Sent>,
    /// Of the Jobs to create, those that exist now, and those that the API server refused with the reason.
    pub launched: BTreeMap<String, Option<(Reason, String)>>,
    /// Whether something that was to be written or deleted is not.
    pub unfinished: bool,
    /// Why the output could not be written, if it could not.
    pub output: Option<(Reason, String)>,
    /// Whether the resource was deleted.
    pub discarded: bool,
    /// The output that exists now, by name.
    pub output_name: Option<String>,
}

/// What came of sending one file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Sent {
    /// It is stored.
    Uploaded {
        /// Its key.
        file_key: String,
        /// The MIME type it was declared with.
        content_type: String,
        /// Its size in bytes.
        size: i64,
        /// Its SHA-256 in lower-case hex.
        sha256: String,
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

/// What to look at, given the Jobs and as much of the credentials as is known: the credentials if a file has neither a
/// key nor a worker, contents only where they may be sent.
pub fn wanted(upload: &FileUpload, observed: &Observed, now: Timestamp) -> Wanted {
    let (plan, under_way) = begin(upload, observed, now);
    if rests(upload, &plan) {
        return Wanted::default();
    }
    let open = || plan.files.iter().filter(|entry| is_free(entry, &plan, &under_way));
    let mut wanted = Wanted { credentials: open().next().is_some(), contents: BTreeSet::new() };
    if let Some(version) = observed.credentials.usable()
        && !held_back(upload, &plan, version, now)
    {
        let may_go = open().filter(|entry| !backs_off(upload, &plan, entry, now));
        wanted.contents = may_go.map(|entry| entry.name.clone()).collect();
    }
    wanted
}

/// The next step: the pure heart of the operator.
pub fn next(upload: &FileUpload, observed: &Observed, now: Timestamp) -> Plan {
    let (mut plan, under_way) = begin(upload, observed, now);
    let over = upload.status.as_ref().and_then(|status| life::discarded_at(upload, status));
    plan.discards = is_accepted(upload) && under_way.files.is_empty() && over.is_some_and(|over| over <= now);
    // First the status says what is wanted now, and the output no longer what is not; only then is sent.
    if plan.discards || rests(upload, &plan) {
        return plan;
    }
    match &observed.credentials {
        CredentialsView::Unseen => {}
        CredentialsView::Missing => {
            fail_open(&mut plan, &under_way, Reason::SecretNotFound, &text::secret_missing(upload));
        }
        CredentialsView::Forbidden => {
            fail_open(&mut plan, &under_way, Reason::SecretNotFound, &text::secret_forbidden(upload));
        }
        CredentialsView::Invalid { version, problem } => {
            plan.credentials_version = Some(version.clone());
            fail_open(&mut plan, &under_way, Reason::CredentialsInvalid, problem);
        }
        CredentialsView::Usable { .. } | CredentialsView::LeftToWorkers => {
            choose(upload, observed, now, &under_way, &mut plan);
        }
    }
    plan
}

/// The entries as they stand with what the workers report.
fn begin(upload: &FileUpload, observed: &Observed, now: Timestamp) -> (Plan, UnderWay) {
    let status = upload.status.as_ref();
    let mut plan = Plan {
        generation: upload.metadata.generation.unwrap_or_default(),
        files: entries(upload),
        send: Vec::new(),
        launch: Vec::new(),
        remove: Vec::new(),
        jobs: Vec::new(),
        attempts: status.map_or(0, |status| status.attempts),
        wait: None,
        concluded: Vec::new(),
        limited: false,
        reported: Vec::new(),
        look_again: None,
        rejection: text::rejection(upload, observed.by_worker),
        request: requested(upload).map(str::to_owned),
        withdraws: false,
        discards: false,
        renew_before: None,
        terms: observed.terms,
        credentials_version: status.and_then(|status| status.credentials_version.clone()),
        failures: observed.failures,
        by_worker: observed.by_worker,
        seed: revision::seed(upload),
    };
    if status.is_none_or(|status| status.observed_generation != plan.generation) {
        // A new spec is a new chance for what failed under the old one.
        for entry in plan.files.iter_mut().filter(|entry| entry.state != FileState::Expired) {
            if entry.file_key.is_none() {
                *entry = FileStatus::pending(&entry.name, std::mem::take(&mut entry.revision));
            }
            (entry.reason, entry.message, entry.missing_since) = (None, None, None);
        }
    }
    plan.renew_before = life::renew_before(upload, &plan.files, &plan.terms, now);
    let under_way = workers::follow(upload, observed, now, &mut plan);
    plan.withdraws = life::withdraw(upload, observed, now, &mut plan.files);
    (plan, under_way)
}

/// Whether nothing new is begun: the spec is not to be carried out, or what is wanted is not yet written down.
fn rests(upload: &FileUpload, plan: &Plan) -> bool {
    plan.rejection.is_some() || plan.withdraws || !is_accepted(upload) || upload.spec.is_suspended()
}

/// Whether a file wants to be uploaded and no worker has it.
fn is_free(entry: &FileStatus, plan: &Plan, under_way: &UnderWay) -> bool {
    plan.wants(entry) && !under_way.files.contains(&entry.name)
}

/// Decides for each file without a key whether it is sent or given to a worker now.
fn choose(upload: &FileUpload, observed: &Observed, now: Timestamp, under_way: &UnderWay, plan: &mut Plan) {
    let version = observed.credentials.usable().unwrap_or_default();
    if held_back(upload, plan, version, now) {
        return;
    }
    let known = plan.credentials_version.as_deref() == Some(version);
    let mut due = launch::Due::new();
    let mut send = Vec::new();
    for (at, file) in upload.spec.files.iter().enumerate() {
        if !is_free(&plan.files[at], plan, under_way) || backs_off(upload, plan, &plan.files[at], now) {
            continue;
        }
        let entry = &mut plan.files[at];
        let stalled =
            reason(entry).is_some_and(|reason| reason.class() == Class::Stalled && reason.scope() == Scope::File);
        let volume = Volume::of(file, observed.by_worker);
        match (observed.contents.get(&file.name), volume) {
            (Some(Content::NoConfigMap), _) => fail(entry, Reason::ConfigMapNotFound, text::config_map_missing(file)),
            (Some(Content::NoKey), _) => fail(entry, Reason::ConfigMapKeyNotFound, text::key_missing(file)),
            // Nobody watches a volume's files: what is wrong with one is looked at again when spec or Secret change.
            (_, Some(_)) if stalled && known => {}
            (_, Some(volume)) => due.entry(volume).or_default().push(file),
            (Some(Content::Found { size, sha256 }), None) => {
                // What is known of the content is about the key, where there still is one.
                let keyed = entry.file_key.is_some();
                if stalled && known && (keyed || entry.sha256.as_deref() == Some(sha256)) {
                    continue;
                }
                begun(entry);
                if !keyed {
                    (entry.size, entry.sha256) = (Some(*size), Some(sha256.clone()));
                }
                send.push(entry.name.clone());
            }
            (None | Some(Content::Unread), None) => {}
        }
    }
    send.truncate(BATCH);
    plan.send = send;
    launch::launch(upload, observed, version, due, under_way, plan);
    plan.credentials_version = Some(version.to_owned());
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_false(value: &bool) -> bool {
    !value
}
