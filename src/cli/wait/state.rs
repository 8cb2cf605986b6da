//! What the state of a `FileUpload` means for who waits for it, and the line that says so. Pure.

use std::fmt;

use super::super::request;
use crate::reason::Reason;
use crate::resource::FileUpload;

/// What a state means for who waits.
#[derive(Debug, PartialEq)]
pub(super) enum State {
    /// Every key is there.
    Available,
    /// It is waited for: why it is not Available.
    Pending(String),
    /// A person must act: why.
    Over(String),
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Available => formatter.write_str("Available"),
            Self::Pending(why) | Self::Over(why) => formatter.write_str(why),
        }
    }
}

/// The state of `upload`.
pub(super) fn of(upload: &FileUpload) -> State {
    let pending = |why: &str| State::Pending(why.to_owned());
    if upload.metadata.deletion_timestamp.is_some() {
        return pending("is being deleted");
    }
    let Some(status) = request::current_status(upload) else {
        let is_new = upload.status.as_ref().is_none_or(|status| status.observed_generation < 0);
        return pending(if is_new {
            "no operator has looked at it yet"
        } else {
            "no operator has looked at its current spec yet"
        });
    };
    if request::holds(status, "Available") {
        return State::Available;
    }
    let Some(available) = request::condition(status, "Available") else { return pending("its state is not known") };
    let (reason, message) = (&available.reason, &available.message);
    let why = if message.is_empty() { reason.clone() } else { format!("{reason}: {message}") };
    let has_expired = Reason::parse(reason) == Some(Reason::Expired) && !request::is_pending(upload, status);
    if request::is_stalled(upload, status) || has_expired { State::Over(why) } else { State::Pending(why) }
}

#[cfg(test)]
mod tests;
