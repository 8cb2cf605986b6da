//! How old a moment is that was written down, whatever was done to the clocks since.
//!
//! The clock of another machine may be a little ahead of ours. What is further ahead was written before a clock was set
//! back: it counts as long ago, so that nothing waits until the clock has caught up.

use std::time::Duration;

use jiff::Timestamp;

/// Clocks may differ by this, which is also the longest time between two looks.
pub(super) const LARGEST_LEAD: Duration = Duration::from_mins(5);

/// How long ago `moment` was.
pub(super) fn age(moment: Timestamp, now: Timestamp) -> Duration {
    let age = now.duration_since(moment);
    match Duration::try_from(age) {
        Ok(age) => age,
        Err(_) if age.unsigned_abs() <= LARGEST_LEAD => Duration::ZERO,
        Err(_) => Duration::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_little_ahead_is_new_and_what_is_far_ahead_is_old() {
        let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        for (moment, expected) in [
            ("2026-11-23T09:59:00Z", Duration::from_mins(1)),
            ("2026-11-23T10:00:00Z", Duration::ZERO),
            ("2026-11-23T10:05:00Z", Duration::ZERO),
            ("2026-11-23T10:05:01Z", Duration::MAX),
            ("9999-12-30T22:00:00Z", Duration::MAX),
        ] {
            assert_eq!(age(moment.parse().unwrap(), now), expected, "{moment}");
        }
    }
}
