//! The one clock: everything else is given the time.

use jiff::Timestamp;

/// The present moment, to the second, as Kubernetes writes times.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// The present moment as exactly as the clock knows it, for what is sorted by time.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn exact() -> Timestamp {
    Timestamp::now()
}

/// The present moment as no other is written: RFC 3339 with all digits that the clock has.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn unique() -> String {
    format!("{:.9}", Timestamp::now())
}
