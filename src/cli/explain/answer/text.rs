//! An explanation as lines: one has the state, one the cause, one the fix; each other thing has a line of its own.
//!
//! Text from others is shown without control characters.

use super::{Expiry, Explanation, moment};

impl Explanation {
    /// All of it.
    pub(in super::super::super) fn text(&self) -> String {
        let mut lines = vec![self.headline(), format!("Cause: {}", self.cause), format!("Fix: {}", self.fix)];
        lines.extend(self.next.iter().map(|next| format!("Next: {next}")));
        lines.extend(self.also.iter().map(|other| format!("Also: {}: {}", other.reason, other.cause)));
        lines.extend(self.expires.iter().map(|expiry| self.keys(expiry)));
        if self.deleting {
            lines.push("Also: It is being deleted.".to_owned());
        }
        if self.requested {
            lines.push("Also: A fresh upload was requested, and is not done yet.".to_owned());
        }
        lines.extend(self.unread.iter().map(|unread| {
            let (kind, namespace) = (unread.kind, &self.namespace);
            format!("Not read: {kind} of namespace {namespace}, so this answer may be out of date: {}", unread.why)
        }));
        lines.into_iter().map(|line| line.replace(char::is_control, " ") + "\n").collect()
    }

    fn headline(&self) -> String {
        let (namespace, name) = (&self.namespace, &self.name);
        let Some(phase) = &self.phase else {
            return format!("{namespace}/{name}: no operator has looked at it yet");
        };
        let available = match &self.unavailable {
            _ if self.available => "Available".to_owned(),
            Some(reason) => format!("not Available ({reason})"),
            None => "not Available".to_owned(),
        };
        let stale = if self.observed { "" } else { ", but no operator has looked at its current spec yet" };
        let (uploaded, total) = (self.files_uploaded, self.files_total);
        format!("{namespace}/{name}: {phase}, {uploaded}/{total} files uploaded, {available}{stale}")
    }

    fn keys(&self, expiry: &Expiry) -> String {
        let which = match (expiry.is_folder, expiry.is_only) {
            (false, true) => format!("The key of file {} expires", expiry.file),
            (false, false) => format!("The key of file {} is the first to expire,", expiry.file),
            (true, true) => format!("The keys of folder {} are withdrawn", expiry.file),
            (true, false) => format!("The keys of folder {} are the first to be withdrawn,", expiry.file),
        };
        let they_are = if expiry.is_folder { "they are" } else { "it is" };
        let then = if expiry.renewed {
            format!("{they_are} renewed before that")
        } else {
            let refresh = format!("fileupload refresh --namespace {} {}", self.namespace, self.name);
            format!("{they_are} not renewed without spec.refreshPolicy: BeforeExpiry or {refresh}")
        };
        format!("Keys: {which} at {}; {then}.", moment(expiry.at.0, self.now))
    }
}
