//! What is said of a `FileUpload`: its state, its cause, the fix and what happens next. Pure, so that each case is a test.
//!
//! It is made once and shown as text or as JSON. A message often ends with the fix for its very case: that is then the
//! fix, and cause and fix are said once each. Otherwise the fix is the reason's.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Serialize;

use super::super::request;
use super::look::Unread;
use crate::reason::Reason;
use crate::resource::{Condition, FileStatus, FileUpload, FileUploadStatus, FolderStatus};

mod text;

/// The words with which the fix at the end of a message begins.
const STEPS: [&str; 27] = [
    "add", "ask", "check", "choose", "correct", "create", "delete", "fix", "free", "give", "have", "install", "leave",
    "look", "make", "name", "put", "raise", "remove", "rename", "restore", "run", "see", "set", "use", "wait", "write",
];

/// What to say about a `FileUpload`.
pub(in super::super) struct Answer<'a> {
    pub(in super::super) upload: &'a FileUpload,
    /// Its state now.
    pub(in super::super) status: Option<&'a FileUploadStatus>,
    pub(in super::super) unread: &'a [Unread],
    pub(in super::super) now: Timestamp,
}

/// What is said. Its fields are the output of `-o json`, which programs read.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the JSON")]
pub(in super::super) struct Explanation {
    namespace: String,
    name: String,
    phase: Option<String>,
    available: bool,
    /// Whether an operator has looked at the current spec.
    observed: bool,
    files_uploaded: i64,
    files_total: i64,
    /// Why it is not Available; else why it is not Ready, or why a refresh fails.
    reason: Option<String>,
    cause: String,
    fix: String,
    next: Option<String>,
    next_attempt_at: Option<Time>,
    available_until: Option<Time>,
    /// Other causes, of single files and folders.
    also: Vec<Other>,
    /// The key that expires first.
    expires: Option<Expiry>,
    deleting: bool,
    /// Whether a fresh upload is requested and not done.
    requested: bool,
    unread: Vec<NotRead>,
    #[serde(skip)]
    unavailable: Option<String>,
    #[serde(skip)]
    now: Timestamp,
}

/// What a file or folder fails for, if that is not the cause of all.
#[derive(Debug, Serialize)]
struct Other {
    file: String,
    reason: String,
    cause: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Expiry {
    /// The name of a file or a folder.
    file: String,
    /// When the key expires; when the keys are withdrawn, if it is a folder.
    at: Time,
    #[serde(skip)]
    is_folder: bool,
    is_only: bool,
    renewed: bool,
}

#[derive(Debug, Serialize)]
struct NotRead {
    kind: &'static str,
    why: String,
}

/// What decides its state.
struct Cause {
    reason: String,
    message: Option<String>,
    /// The files or the folder that it is said of.
    files: Vec<String>,
}

impl Answer<'_> {
    /// All that is said.
    pub(in super::super) fn explanation(&self) -> Explanation {
        let metadata = &self.upload.metadata;
        let observed = self.status.filter(|status| Some(status.observed_generation) == metadata.generation);
        let available = self.status.and_then(|status| request::condition(status, "Available"));
        let mut said = Explanation {
            namespace: metadata.namespace.clone().unwrap_or_else(|| "default".to_owned()),
            name: metadata.name.clone().unwrap_or_default(),
            phase: self
                .status
                .map(|status| status.phase.map_or_else(|| "Unknown".to_owned(), |phase| format!("{phase:?}"))),
            available: available.is_some_and(|available| available.status == "True"),
            observed: observed.is_some(),
            files_uploaded: self.status.map_or(0, |status| status.files_uploaded),
            files_total: self.status.map_or(0, |status| status.files_total),
            reason: None,
            cause: "No operator is running, it serves other namespaces, or it has just started.".to_owned(),
            fix: String::new(),
            next: None,
            next_attempt_at: observed.and_then(|status| status.next_attempt_at.clone()),
            available_until: observed.and_then(|status| status.available_until.clone()),
            also: Vec::new(),
            expires: observed.and_then(|status| self.expiry(status)),
            deleting: metadata.deletion_timestamp.is_some(),
            requested: self.status.map_or_else(
                || request::is_pending(self.upload, &FileUploadStatus::default()),
                |status| request::is_pending(self.upload, status),
            ),
            unread: self
                .unread
                .iter()
                .map(|unread| NotRead { kind: unread.kind, why: sentence(&unread.why) })
                .collect(),
            unavailable: available.map(|available| available.reason.clone()),
            now: self.now,
        };
        match observed {
            Some(status) => self.explain(status, &mut said),
            None => {
                said.fix = format!(
                    "Check that a Pod of the operator is ready (kubectl get pods --all-namespaces --selector \
                     app.kubernetes.io/name=fileupload-operator) and that its --namespace, if set, names {}.",
                    said.namespace
                );
            }
        }
        said
    }

    fn explain(&self, status: &FileUploadStatus, said: &mut Explanation) {
        let cause = cause(status);
        let known = Reason::parse(&cause.reason);
        let why = cause.message.as_deref().or(known.map(Reason::cause)).unwrap_or("no cause is known");
        let (why, own_fix) = without_fix(why);
        let update =
            || format!("Update fileupload to the version of the operator: this one does not know {}", cause.reason);
        let fix = own_fix.map_or_else(|| known.map_or_else(update, |reason| reason.fix().to_owned()), str::to_owned);
        said.cause = sentence(why);
        said.fix = sentence(&with_names(&fix, said));
        said.next = known.and_then(|reason| self.next(status, reason));
        said.also = others(status, &cause);
        said.reason = Some(cause.reason);
    }

    /// What happens next.
    fn next(&self, status: &FileUploadStatus, reason: Reason) -> Option<String> {
        match &status.next_attempt_at {
            Some(Time(at)) if *at > self.now => Some(format!("It is tried again at {}.", moment(*at, self.now))),
            Some(Time(at)) => {
                let fix = "if this does not change, check that the operator is running";
                Some(format!("It was due to be tried again at {at}: {fix}."))
            }
            None => (reason != Reason::Uploaded).then(|| reason.next().to_owned()),
        }
    }

    /// Which keys end first, and when.
    fn expiry(&self, status: &FileUploadStatus) -> Option<Expiry> {
        let files = status.files.iter().filter(|entry| entry.file_key.is_some());
        let files = files.filter_map(|entry| Some((entry.expires_at.clone()?, &entry.name, false)));
        let folders = status.folders.iter();
        let folders = folders.filter_map(|entry| Some((entry.available_until.clone()?, &entry.name, true)));
        let ends: Vec<_> = files.chain(folders).collect();
        let (at, name, is_folder) = ends.iter().min_by_key(|(at, ..)| at.0)?;
        let (file, renewed) = ((*name).clone(), self.upload.spec.renews());
        Some(Expiry { file, at: at.clone(), is_folder: *is_folder, is_only: ends.len() == 1, renewed })
    }
}

/// Why it is not Available; else why it is not Ready, or why a refresh fails; else that all is well.
fn cause(status: &FileUploadStatus) -> Cause {
    let of = |condition: &Condition| Cause {
        reason: condition.reason.clone(),
        message: Some(condition.message.clone()).filter(|message| !message.is_empty()),
        files: decisive(status, &condition.reason),
    };
    let said = |kind: &str| request::condition(status, kind);
    let (ready, available) = (said("Ready"), said("Available"));
    if let Some(unavailable) =
        available.filter(|available| available.status != "True").or(ready.filter(|_| available.is_none()))
    {
        return of(unavailable);
    }
    let rests = ready.filter(|ready| ready.reason != Reason::Uploaded.as_str());
    let failing = || status.files.iter().find(|entry| entry.reason.is_some());
    let failing_folder = || status.folders.iter().find(|folder| folder.reason.is_some());
    let failing = || failing().map(|entry| of_file(status, entry)).or_else(|| failing_folder().map(of_folder));
    rests.map(of).or_else(failing).unwrap_or(Cause {
        reason: Reason::Uploaded.to_string(),
        message: None,
        files: Vec::new(),
    })
}

/// The files of which a condition with this reason tells: the first of them, and those that say the same; else the first
/// folder.
fn decisive(status: &FileUploadStatus, reason: &str) -> Vec<String> {
    let first = status.files.iter().find(|entry| entry.file_key.is_none() && entry.reason.as_deref() == Some(reason));
    let is_cause =
        |folder: &&FolderStatus| folder.available_until.is_none() && folder.reason.as_deref() == Some(reason);
    let folder = || status.folders.iter().find(is_cause).map(|folder| vec![folder.name.clone()]);
    first.map(|first| alike(status, first)).or_else(folder).unwrap_or_default()
}

/// The files that fail for the same reason in the same words.
fn alike(status: &FileUploadStatus, first: &FileStatus) -> Vec<String> {
    let same = |entry: &&FileStatus| entry.reason == first.reason && entry.message == first.message;
    status.files.iter().filter(same).map(|entry| entry.name.clone()).collect()
}

fn of_file(status: &FileUploadStatus, entry: &FileStatus) -> Cause {
    let reason = entry.reason.clone().unwrap_or_default();
    let message = entry.message.clone().or(Reason::parse(&reason).map(|reason| reason.cause().to_owned()));
    let message = message.map(|message| match &entry.file_key {
        Some(_) => format!("file {} keeps its key, but could not be uploaded again: {message}", entry.name),
        None => format!("file {}: {message}", entry.name),
    });
    Cause { reason, message, files: alike(status, entry) }
}

fn of_folder(folder: &FolderStatus) -> Cause {
    let (name, said) = (&folder.name, folder.message.clone().unwrap_or_default());
    let message = match &folder.available_until {
        Some(_) => format!("folder {name} keeps its keys, but could not be uploaded again: {said}"),
        None => format!("folder {name}: {said}"),
    };
    Cause { reason: folder.reason.clone().unwrap_or_default(), message: Some(message), files: vec![name.clone()] }
}

/// The files and folders that fail for another cause.
fn others(status: &FileUploadStatus, said: &Cause) -> Vec<Other> {
    let other = |entry: &&FileStatus| entry.reason.is_some() && !said.files.contains(&entry.name);
    let told = |entry: &FileStatus| {
        let cause = of_file(status, entry);
        let text = sentence(&cause.message.unwrap_or_else(|| entry.name.clone()));
        Other { file: entry.name.clone(), reason: cause.reason, cause: text }
    };
    let other_folder = |folder: &&FolderStatus| folder.reason.is_some() && !said.files.contains(&folder.name);
    let told_folder = |folder: &FolderStatus| {
        let Cause { reason, message, .. } = of_folder(folder);
        Other { file: folder.name.clone(), reason, cause: sentence(&message.unwrap_or_default()) }
    };
    let folders = status.folders.iter().filter(other_folder).map(told_folder);
    status.files.iter().filter(other).map(told).chain(folders).collect()
}

/// A message without the fix at its end, and that fix. Nothing is lost: only the line differs on which it is shown.
fn without_fix(message: &str) -> (&str, Option<&str>) {
    let parts = message.rsplit_once(": ");
    let is_step = |text: &str| text.split_whitespace().next().is_some_and(|word| STEPS.contains(&word));
    match parts.filter(|(_, last)| is_step(last)) {
        Some((why, fix)) => (why, Some(fix)),
        None => (message, None),
    }
}

/// A fix that can be copied.
fn with_names(fix: &str, said: &Explanation) -> String {
    let (namespace, name) = (&said.namespace, &said.name);
    let full = format!("refresh --namespace {namespace} {name}");
    fix.replace("refresh NAME", &full).replace(&format!("refresh {name}"), &full)
}

/// A moment, and how far away it is.
fn moment(at: Timestamp, now: Timestamp) -> String {
    let seconds = at.as_second() - now.as_second();
    let (count, unit) = match seconds.abs() {
        0..120 => (seconds, "s"),
        120..7200 => (seconds / 60, "min"),
        7200..172_800 => (seconds / 3600, "h"),
        _ => (seconds / 86400, "days"),
    };
    if seconds < 0 { format!("{at} ({} {unit} ago)", -count) } else { format!("{at} (in {count} {unit})") }
}

fn sentence(text: &str) -> String {
    let text = text.trim_end();
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let end = if text.ends_with(['.', '…', '!', '?']) { "" } else { "." };
    format!("{first}{}{end}", letters.as_str())
}

#[cfg(test)]
mod tests;
