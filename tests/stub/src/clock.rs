//! The one place that reads the clock.
//!
//! The stub judges expiry and stamps its records by real time, as the real thing does; it has no other notion of now.

use jiff::Timestamp;

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
