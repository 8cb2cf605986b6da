//! The new status: what was planned, and what became of the output.
//!
//! Conditions, phase, summary and the top key are derived from the entries and never read back.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::acts::{Plan, Stand};
use super::file::{Entry, is_wait};
use super::folder::{self, KeysAct};
use super::output::{OutputAct, Written, output};
use super::{messages, retry};
use crate::outcome::Trouble;
use crate::reason::{Class, Reason, Scope};
use crate::resource::{Condition, FileState, FileStatus, FileUploadStatus, FolderStatus, OutputStatus, Phase};

/// What became of a plan's acts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    /// Whether something that was to be deleted is still there.
    pub unfinished: bool,
    /// Whether that is the output that the spec no longer names.
    pub former_remains: bool,
    /// Whether reports were absorbed: what follows from them is planned at once.
    pub absorbed: bool,
    /// The folders that the spec no longer has and whose ConfigMaps are still there.
    pub former_folders: Vec<String>,
}

/// A plan that was carried out, but for the output and the status.
#[derive(Debug)]
pub(crate) struct Settled<'a> {
    /// What is to happen to the output.
    pub output: OutputAct,
    /// What is to happen to the keys of folders.
    pub keys: Vec<KeysAct>,
    plan: &'a Plan<'a>,
    /// Of the files, then of the folders.
    files: Vec<FileStatus>,
    folders: Vec<FolderStatus>,
    done: Done,
}

/// What is written last, and when to look again.
#[derive(Debug)]
pub(crate) struct Ending {
    /// The status; none if it is as it should be, or need not be written yet.
    pub status: Option<FileUploadStatus>,
    /// When to look again although nothing may have changed.
    pub look: Duration,
    /// Whether it goes on once the content of the Secret is another.
    pub waits_for_secret: bool,
}

impl<'a> Settled<'a> {
    pub(super) fn new(plan: &'a Plan<'_>, done: Done) -> Self {
        let files: Vec<_> = plan.files.iter().map(|entry| entry.shown(&plan.case)).collect();
        let (single, folders) = files.split_at(plan.case.upload.spec.files.len());
        let output = match output(plan.case.upload, single, &plan.output) {
            // The status has room for one name, and keys that it does not name would never be withdrawn.
            OutputAct::Create(_) if done.former_remains => OutputAct::Held(messages::former_remains(&plan.case)),
            act => act,
        };
        let known = |entry: &Entry| plan.folders.get(&entry.id.name);
        let entries = || plan.files[single.len()..].iter();
        let keys = entries().filter_map(|entry| folder::keys_act(&plan.case, entry, known(entry)?)).collect();
        let shown = |(entry, file): (&Entry, &FileStatus)| folder::shown(&plan.case, entry, file.clone(), known(entry));
        let mut folders: Vec<_> = entries().zip(folders).map(shown).collect();
        keep_former(plan, &done, &mut folders);
        Self { output, keys, plan, files, folders, done }
    }

    /// The status, now that it is known what became of the output.
    pub(crate) fn finish(self, written: &Written) -> Ending {
        let plan = self.plan;
        let fails = |trouble: &Trouble| trouble.reason.class() != Class::Stalled;
        let unfinished = self.done.unfinished || written.trouble.as_ref().is_some_and(fails);
        let look = if unfinished { plan.look.min(retry::rewrite_in(&plan.case)) } else { plan.look };
        let look = if self.done.absorbed { Duration::ZERO } else { look };
        let status = self.status(written);
        let is_due = plan.case.status != Some(&status) && !self.only_begins(&status);
        let waits_for_secret = plan.stand == Stand::Open && retry::waits_for_secret(&plan.case, &plan.files);
        Ending { status: is_due.then_some(status), look, waits_for_secret }
    }

    /// How many files have a key, and how many there are to be.
    fn counts(&self) -> (i64, i64) {
        let single = &self.files[..self.plan.case.upload.spec.files.len()];
        let uploaded = count(single.iter().filter(|file| file.file_key.is_some()).count());
        let folders = || self.folders.iter().take(self.plan.case.upload.spec.folders.len());
        let of_folders: i64 = folders().map(|folder| folder.uploaded).fold(0, i64::saturating_add);
        let in_folders: i64 = folders().map(|folder| folder.files).fold(0, i64::saturating_add);
        (uploaded.saturating_add(of_folders), count(single.len()).saturating_add(in_folders))
    }

    /// The output that there is, or that the spec no longer names but that is still there.
    fn output_name(&self, written: &Written) -> Option<String> {
        let case = &self.plan.case;
        let former = || case.status?.output.as_ref().map(|output| output.name.clone());
        if self.done.former_remains {
            return former();
        }
        case.upload.spec.output_name().filter(|_| written.exists).map(str::to_owned)
    }

    /// When the first key is withdrawn.
    fn available_until(&self) -> Option<Timestamp> {
        let terms = &self.plan.case.deployment.terms;
        self.plan.files.iter().filter_map(Entry::live).map(|upload| terms.withdrawn_at(upload.at)).min()
    }

    /// Whether a new resource's status would say nothing but that work begins: it is written once it can say more. The
    /// status is also what names a Job, and what lets a Job that is over be forgotten.
    fn only_begins(&self, status: &FileUploadStatus) -> bool {
        let Plan { case, news, .. } = self.plan;
        let is_new = case.status.is_none_or(|status| status.observed_generation < 0);
        let waits = news.under_way.sends || self.plan.acts.send.is_some();
        let says_nothing = |state: FileState, reason: &Option<String>| state == FileState::Pending && reason.is_none();
        is_new
            && waits
            && self.plan.stand == Stand::Open
            && news.jobs.is_empty()
            && news.concluded.is_empty()
            && self.keys.iter().all(|act| act.conflict().is_none())
            && status.files.iter().all(|file| says_nothing(file.state, &file.reason))
            && status.folders.iter().all(|folder| says_nothing(folder.state, &folder.reason))
    }

    /// The status as it is to be, whether it is written now or not.
    pub(crate) fn status(&self, written: &Written) -> FileUploadStatus {
        let Plan { case, news, .. } = self.plan;
        let conflict = self.keys.iter().find_map(KeysAct::conflict);
        let verdict = verdict(self.plan, &self.files, written, conflict);
        let (uploaded, total) = self.counts();
        let single = &self.files[..case.upload.spec.files.len()];
        let only = if self.files.len() == 1 { single.first() } else { None };
        let old = case.status.map_or(&[][..], |status| &status.conditions);
        let is_noted = self.plan.requested_attempt.is_some();
        let handled = case.request.filter(|_| !is_noted).map(str::to_owned);
        FileUploadStatus {
            observed_generation: case.generation,
            phase: Some(verdict.phase),
            summary: Some(format!("{uploaded}/{total}")),
            files_uploaded: uploaded,
            files_total: total,
            file_key: only.and_then(|file| file.file_key.clone()),
            available_until: self.available_until().map(Time),
            attempts: self.plan.attempts,
            requested_attempt: self.plan.requested_attempt,
            requested_at: case.request.filter(|_| is_noted).map(str::to_owned),
            next_attempt_at: self.plan.next_attempt_at.map(Time),
            last_handled_requested_at: handled
                .or_else(|| case.status.and_then(|status| status.last_handled_requested_at.clone())),
            credentials_version: self.plan.credentials_version.clone(),
            deployment: Some(case.deployment.name).filter(|name| !name.is_empty()).map(str::to_owned),
            jobs: news.jobs.clone(),
            output: self.output_name(written).map(|name| OutputStatus { name }),
            conditions: conditions(old, &verdict, case.generation, case.now),
            files: single.to_vec(),
            folders: self.folders.clone(),
        }
    }
}

/// A folder whose former ConfigMaps are still there goes on to name them.
fn keep_former(plan: &Plan<'_>, done: &Done, folders: &mut Vec<FolderStatus>) {
    let known = plan.case.status.map_or(&[][..], |status| &status.folders).iter();
    for former in known.filter(|folder| done.former_folders.contains(&folder.name)) {
        match folders.iter_mut().find(|folder| folder.name == former.name) {
            Some(folder) => folder.output.clone_from(&former.output),
            None => folders.push(former.clone()),
        }
    }
}

/// What the conditions and the phase say.
struct Verdict {
    phase: Phase,
    ready: bool,
    available: bool,
    reason: Reason,
    message: String,
    also: Option<&'static str>,
}

fn verdict(plan: &Plan<'_>, files: &[FileStatus], written: &Written, conflict: Option<&Trouble>) -> Verdict {
    let keyed = !files.is_empty() && files.iter().all(|file| file.file_key.is_some());
    let available = keyed && written.trouble.is_none();
    let verdict =
        |phase, ready, reason, message: String, also| Verdict { phase, ready, available, reason, message, also };
    match &plan.stand {
        Stand::Suspended => {
            let message = "suspended by spec.suspend: set it to false to go on";
            return verdict(Phase::Suspended, true, Reason::Suspended, message.to_owned(), None);
        }
        Stand::Rejected(trouble) => {
            return verdict(Phase::Failed, false, trouble.reason, trouble.message(), Some("Stalled"));
        }
        Stand::Open | Stand::Finished => {}
    }
    if let Some(conflict) = conflict {
        return verdict(Phase::Failed, false, conflict.reason, conflict.message(), Some("Stalled"));
    }
    if available {
        return verdict(Phase::Ready, true, Reason::Uploaded, "every file is uploaded".to_owned(), None);
    }
    let stalls = |file: &&FileStatus| reason(file).is_some_and(|reason| reason.class() == Class::Stalled);
    let open = || files.iter().filter(|file| file.file_key.is_none() && file.state != FileState::Expired);
    if let Some(file) = open().find(|file| !stalls(file)) {
        let phase = if open().any(|file| reason(file).is_none()) { Phase::Uploading } else { Phase::Pending };
        let reason = reason(file).unwrap_or(Reason::Uploading);
        return verdict(phase, false, reason, describe(plan, file, reason), Some("Reconciling"));
    }
    if let Some(file) = open().next() {
        let reason = reason(file).unwrap_or(Reason::Uploading);
        return verdict(Phase::Failed, false, reason, describe(plan, file, reason), Some("Stalled"));
    }
    let expired = files.iter().find(|file| file.state == FileState::Expired);
    if let Some(file) = expired.filter(|_| written.trouble.is_none()) {
        let all = files.iter().all(|file| file.state == FileState::Expired);
        let message = if all { messages::all_expired(plan.case.upload) } else { describe(plan, file, Reason::Expired) };
        return verdict(Phase::Expired, true, Reason::Expired, message, None);
    }
    let (reason, message) = match &written.trouble {
        Some(trouble) => (trouble.reason, trouble.message()),
        None => (Reason::Uploading, "the files are being looked at".to_owned()),
    };
    match reason.class() {
        Class::Stalled => verdict(Phase::Failed, false, reason, message, Some("Stalled")),
        _ => verdict(Phase::Pending, false, reason, message, Some("Reconciling")),
    }
}

/// A file's message, with its name where the failure is its own.
fn describe(plan: &Plan<'_>, file: &FileStatus, reason: Reason) -> String {
    let is_folder = plan.case.upload.spec.folders.iter().any(|folder| folder.name == file.name);
    let kind = if is_folder { "folder" } else { "file" };
    match (&file.message, reason.scope()) {
        (None, _) => "files are being uploaded".to_owned(),
        (Some(message), Scope::Resource) => message.clone(),
        (Some(message), Scope::File) => format!("{kind} {}: {message}", file.name),
    }
}

fn conditions(old: &[Condition], verdict: &Verdict, generation: i64, now: Timestamp) -> Vec<Condition> {
    let truth = |truth| if truth { "True" } else { "False" };
    let condition = |kind: &str, status: &str, reason: Reason, message: &str| {
        let before = old.iter().find(|condition| condition.type_ == kind && condition.status == status);
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_string(),
            message: message.to_owned(),
            observed_generation: Some(generation),
            // None is in the future: what follows some time after it would not, once our clock was set back.
            last_transition_time: Time(before.map_or(now, |condition| condition.last_transition_time.0.min(now))),
        }
    };
    let Verdict { ready, available, reason, message, also, .. } = verdict;
    let (availability, why) = match available {
        true => (Reason::Uploaded, "every file has a live key"),
        false => (*reason, message.as_str()),
    };
    let mut conditions = vec![
        condition("Ready", truth(*ready), *reason, message),
        condition("Available", truth(*available), availability, why),
    ];
    conditions.extend(also.map(|kind| condition(kind, "True", *reason, message)));
    conditions
}

fn reason(file: &FileStatus) -> Option<Reason> {
    file.reason.as_deref().and_then(Reason::parse)
}

/// Why keys that live cannot be renewed, if that is so: of the first such file, in words.
pub(crate) fn refresh_failure(status: &FileUploadStatus) -> Option<String> {
    let fails = |file: &&FileStatus| file.file_key.is_some() && reason(file).is_some_and(|reason| !is_wait(reason));
    let of_folder = |folder: &&FolderStatus| {
        let reason = folder.reason.as_deref().and_then(Reason::parse);
        folder.available_until.is_some() && reason.is_some_and(|reason| !is_wait(reason))
    };
    if let Some(folder) = status.folders.iter().find(of_folder) {
        let why = folder.message.as_deref().unwrap_or_default();
        let what = "cannot be uploaded again, while its old keys still live";
        return Some(format!("folder {} {what}: {why}", folder.name));
    }
    let file = status.files.iter().find(fails)?;
    let why = file.message.as_deref().unwrap_or_default();
    Some(format!("file {} cannot be uploaded again, while its old key still lives: {why}", file.name))
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
