//! The answer in words: the state of a `FileUpload`, its cause, and the fix. Pure, so that each case is a test.
//!
//! One line has the state, one the cause, one the fix; each other thing has a line of its own. Text from others is
//! shown without control characters.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::look::Unread;
use crate::reason::{Class, Reason};
use crate::resource::{ANNOTATION_REQUESTED_AT, Condition, FileStatus, FileUpload, FileUploadStatus};

/// What to say about a `FileUpload`.
pub(in super::super) struct Answer<'a> {
    pub(in super::super) upload: &'a FileUpload,
    /// Its state now.
    pub(in super::super) status: Option<&'a FileUploadStatus>,
    pub(in super::super) unread: &'a [Unread],
    pub(in super::super) now: Timestamp,
}

/// What decides its state.
struct Cause {
    reason: String,
    message: Option<String>,
}

impl Answer<'_> {
    /// All of it.
    pub(in super::super) fn text(&self) -> String {
        let mut lines = vec![self.headline()];
        match self.status.filter(|_| self.is_looked_at()) {
            None => lines.extend(self.unobserved()),
            Some(status) => {
                let cause = cause(status);
                lines.extend(self.because(&cause));
                lines.extend(self.next(status, &cause));
                lines.extend(others(status, &cause));
                lines.extend(self.expiry(status));
            }
        }
        lines.extend(self.besides());
        lines.into_iter().map(|line| line.replace(char::is_control, " ") + "\n").collect()
    }

    fn is_looked_at(&self) -> bool {
        self.status.is_some_and(|status| Some(status.observed_generation) == self.upload.metadata.generation)
    }

    fn name(&self) -> (&str, &str) {
        let metadata = &self.upload.metadata;
        (metadata.namespace.as_deref().unwrap_or("default"), metadata.name.as_deref().unwrap_or_default())
    }

    fn headline(&self) -> String {
        let (namespace, name) = self.name();
        let Some(status) = self.status else {
            return format!("{namespace}/{name}: no operator has looked at it yet");
        };
        let phase = status.phase.map_or_else(|| "Unknown".to_owned(), |phase| format!("{phase:?}"));
        let available = match condition(status, "Available") {
            Some(available) if available.status == "True" => "Available".to_owned(),
            Some(available) => format!("not Available ({})", available.reason),
            None => "not Available".to_owned(),
        };
        let stale = if self.is_looked_at() { "" } else { ", but no operator has looked at its current spec yet" };
        let (uploaded, total) = (status.files_uploaded, status.files_total);
        format!("{namespace}/{name}: {phase}, {uploaded}/{total} files uploaded, {available}{stale}")
    }

    fn unobserved(&self) -> [String; 2] {
        let (namespace, _) = self.name();
        [
            "Cause: No operator is running, it serves other namespaces, or it has just started.".to_owned(),
            format!(
                "Fix: Check that a Pod of the operator is ready (kubectl get pods --all-namespaces --selector \
                 app.kubernetes.io/name=fileupload-operator) and that its --namespace, if set, names {namespace}."
            ),
        ]
    }

    fn because(&self, cause: &Cause) -> [String; 2] {
        let known = Reason::parse(&cause.reason);
        let why = cause.message.as_deref().or(known.map(Reason::cause)).unwrap_or("no cause is known");
        let fix = known.map_or_else(
            || format!("Update fileupload to the version of the operator: this one does not know {}", cause.reason),
            |reason| self.with_names(reason.fix()),
        );
        [format!("Cause: {}", sentence(why)), format!("Fix: {}", sentence(&fix))]
    }

    /// A fix that can be copied.
    fn with_names(&self, fix: &str) -> String {
        let (namespace, name) = self.name();
        fix.replace("refresh NAME", &format!("refresh --namespace {namespace} {name}"))
    }

    /// When it is tried again.
    fn next(&self, status: &FileUploadStatus, cause: &Cause) -> Option<String> {
        let class = Reason::parse(&cause.reason)?.class();
        let next = match &status.next_attempt_at {
            Some(Time(at)) if *at > self.now => format!("It is tried again at {}.", self.moment(*at)),
            Some(Time(at)) => {
                let fix = "if this does not change, check that the operator is running";
                format!("It was due to be tried again at {at}: {fix}.")
            }
            None if class == Class::Done => return None,
            None => class.again().to_owned(),
        };
        Some(format!("Next: {next}"))
    }

    /// When the first key expires.
    fn expiry(&self, status: &FileUploadStatus) -> Option<String> {
        let keyed = || status.files.iter().filter(|entry| entry.file_key.is_some());
        let ends = keyed().filter_map(|entry| Some((entry.expires_at.as_ref()?.0, entry)));
        let (end, first) = ends.min_by_key(|(end, _)| *end)?;
        let which = if keyed().count() == 1 { "expires" } else { "is the first to expire," };
        let then = if self.upload.spec.renews() {
            "it is renewed before that".to_owned()
        } else {
            self.with_names("it is not renewed without spec.refreshPolicy: BeforeExpiry or fileupload refresh NAME")
        };
        Some(format!("Keys: The key of file {} {which} at {}; {then}.", first.name, self.moment(end)))
    }

    /// What else to know.
    fn besides(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.upload.metadata.deletion_timestamp.is_some() {
            lines.push("Also: It is being deleted.".to_owned());
        }
        let asked = self.upload.metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION_REQUESTED_AT));
        if asked.is_some_and(|asked| {
            Some(asked) != self.status.and_then(|status| status.last_handled_requested_at.as_ref())
        }) {
            lines.push("Also: A fresh upload was requested, and no operator has started it yet.".to_owned());
        }
        let (namespace, _) = self.name();
        lines.extend(self.unread.iter().map(|unread| {
            let (kind, why) = (unread.kind, sentence(&unread.why));
            format!("Not read: {kind} of namespace {namespace}, so this answer may be out of date: {why}")
        }));
        lines
    }

    fn moment(&self, at: Timestamp) -> String {
        let seconds = at.as_second() - self.now.as_second();
        let (count, unit) = match seconds.abs() {
            0..120 => (seconds, "s"),
            120..7200 => (seconds / 60, "min"),
            7200..172_800 => (seconds / 3600, "h"),
            _ => (seconds / 86400, "days"),
        };
        if seconds < 0 { format!("{at} ({} {unit} ago)", -count) } else { format!("{at} (in {count} {unit})") }
    }
}

/// Why it is not Available; else why it is not Ready, or why a refresh fails; else that all is well.
fn cause(status: &FileUploadStatus) -> Cause {
    let of = |condition: &Condition| Cause {
        reason: condition.reason.clone(),
        message: Some(condition.message.clone()).filter(|message| !message.is_empty()),
    };
    let said = |kind: &str| condition(status, kind);
    let (ready, available) = (said("Ready"), said("Available"));
    if let Some(unavailable) =
        available.filter(|available| available.status != "True").or(ready.filter(|_| available.is_none()))
    {
        return of(unavailable);
    }
    let rests = ready.filter(|ready| ready.reason != Reason::Uploaded.as_str());
    let failing = || status.files.iter().find(|entry| entry.reason.is_some());
    rests
        .map(of)
        .or_else(|| failing().map(of_file))
        .unwrap_or(Cause { reason: Reason::Uploaded.to_string(), message: None })
}

fn of_file(entry: &FileStatus) -> Cause {
    let reason = entry.reason.clone().unwrap_or_default();
    let message = entry.message.clone().or(Reason::parse(&reason).map(|reason| reason.cause().to_owned()));
    Cause { reason, message: message.map(|message| describe(entry, &message)) }
}

fn describe(entry: &FileStatus, message: &str) -> String {
    if entry.file_key.is_some() {
        return format!("file {} keeps its key, but could not be uploaded again: {message}", entry.name);
    }
    format!("file {}: {message}", entry.name)
}

/// The files that fail for another cause, a line each.
fn others(status: &FileUploadStatus, said: &Cause) -> Vec<String> {
    let told = said.message.as_deref().unwrap_or_default();
    let is_told = |message: &str| !message.is_empty() && told.ends_with(message);
    let other = |entry: &&FileStatus| {
        let same = entry.reason.as_ref() == Some(&said.reason) && is_told(entry.message.as_deref().unwrap_or_default());
        entry.reason.is_some() && !same
    };
    let line = |entry: &FileStatus| {
        let cause = of_file(entry);
        format!("Also: {}: {}", cause.reason, sentence(&cause.message.unwrap_or_else(|| entry.name.clone())))
    };
    status.files.iter().filter(other).map(line).collect()
}

fn condition<'a>(status: &'a FileUploadStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.type_ == kind)
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
