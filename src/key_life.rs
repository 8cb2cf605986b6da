//! The life of a key: when it expires, when it is withdrawn and when it is renewed.
//!
//! Cyberun deletes an upload after its retention, without notice. So a key is withdrawn some time before that, and
//! renewed while it still lives. All moments follow from the time of the upload and from [`Terms`], in the same way for
//! the operator and the sidecar. Pure: the time and the randomness are given.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::backoff;

/// The part of a key's life after which it is renewed; jitter adds to it.
const RENEWAL_AGE: f64 = 2.0 / 3.0;
/// The largest part of a key's life that jitter adds.
const RENEWAL_JITTER: f64 = 1.0 / 12.0;
/// The part of a key's life after which it is renewed together with another key.
const COMPANY_AGE: f64 = 0.6;

/// How long a deployment keeps an upload, and how much of that a key must have left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Terms {
    /// How long the deployment keeps an upload.
    pub retention: Duration,
    /// How long before its expiry a key is withdrawn: the time that a consumer has to use it.
    pub minimum_life: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self { retention: Duration::from_hours(24), minimum_life: Duration::from_hours(1) }
    }
}

impl Terms {
    /// When the deployment deletes what was uploaded at `uploaded_at`.
    pub(crate) fn expires_at(&self, uploaded_at: Timestamp) -> Timestamp {
        after(uploaded_at, self.retention)
    }

    /// When the key of what was uploaded at `uploaded_at` is withdrawn.
    pub(crate) fn withdrawn_at(&self, uploaded_at: Timestamp) -> Timestamp {
        after(uploaded_at, self.live())
    }

    /// When the key of what was uploaded at `uploaded_at` is renewed.
    pub(crate) fn renewed_at(&self, uploaded_at: Timestamp, seed: u64) -> Timestamp {
        after(uploaded_at, self.renewal_age(seed))
    }

    /// How long a key lives: until it is withdrawn.
    pub(crate) fn live(&self) -> Duration {
        self.retention.saturating_sub(self.minimum_life)
    }

    /// The age at which a key is renewed: two thirds of its life, and up to a twelfth more by `seed`, so that not all
    /// keys are renewed at the same moment.
    pub(crate) fn renewal_age(&self, seed: u64) -> Duration {
        self.live().mul_f64(RENEWAL_AGE + RENEWAL_JITTER * backoff::fraction(seed))
    }

    /// The age from which a key is renewed together with one that is due, so that one worker does for both.
    pub(crate) fn company_age(&self) -> Duration {
        self.live().mul_f64(COMPANY_AGE)
    }
}

/// So long after a moment; beyond the calendar is its end.
pub(crate) fn after(moment: Timestamp, span: Duration) -> Timestamp {
    SignedDuration::try_from(span).ok().and_then(|span| moment.checked_add(span).ok()).unwrap_or(Timestamp::MAX)
}

/// So long before a moment; beyond the calendar is its beginning.
pub(crate) fn before(moment: Timestamp, span: Duration) -> Timestamp {
    SignedDuration::try_from(span).ok().and_then(|span| moment.checked_sub(span).ok()).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn terms(retention: u64, minimum_life: u64) -> Terms {
        Terms { retention: Duration::from_secs(retention), minimum_life: Duration::from_secs(minimum_life) }
    }

    fn uploaded_at() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_key_expires_after_the_retention_and_is_withdrawn_the_minimum_life_before() {
        for (terms, expires, withdrawn) in [
            (Terms::default(), 24 * HOUR, 23 * HOUR),
            (terms(12, 3), 12, 9),
            (terms(12, 0), 12, 12),
            (terms(3, 12), 3, 0),
        ] {
            let age = |moment: Timestamp| u64::try_from(moment.duration_since(uploaded_at()).as_secs()).unwrap();
            let ages = (age(terms.expires_at(uploaded_at())), age(terms.withdrawn_at(uploaded_at())));
            assert_eq!(ages, (expires, withdrawn), "{terms:?}");
            assert_eq!(terms.live(), Duration::from_secs(withdrawn), "{terms:?}");
        }
    }

    #[test]
    fn what_is_kept_beyond_the_calendar_never_expires() {
        for endless in [terms(u64::MAX, 0), terms(i64::MAX.unsigned_abs(), 0)] {
            assert_eq!(endless.expires_at(uploaded_at()), Timestamp::MAX);
            assert_eq!(endless.withdrawn_at(uploaded_at()), Timestamp::MAX);
            assert_eq!(endless.renewed_at(uploaded_at(), 1), Timestamp::MAX);
        }
    }

    #[test]
    fn keys_are_renewed_between_two_thirds_and_three_quarters_of_their_lives_each_at_its_own_moment() {
        for terms in [Terms::default(), terms(12, 3), terms(365 * 24 * HOUR, HOUR)] {
            let part = |seed| terms.renewal_age(seed).as_secs_f64() / terms.live().as_secs_f64();
            let parts: Vec<f64> = (0..100).map(part).collect();
            assert!(parts.iter().all(|part| (0.6666..0.7501).contains(part)), "{parts:?}");
            let early = parts.iter().filter(|part| **part < 17.0 / 24.0).count();
            assert!((30..70).contains(&early), "{parts:?}");
            let renewed_at = terms.renewed_at(uploaded_at(), 7);
            assert_eq!(Duration::try_from(renewed_at.duration_since(uploaded_at())).unwrap(), terms.renewal_age(7));
            assert!(renewed_at < terms.withdrawn_at(uploaded_at()));
        }
    }

    #[test]
    fn a_key_goes_along_with_another_at_six_tenths_of_its_life_which_is_before_its_own_renewal() {
        assert_eq!(Terms::default().company_age(), Duration::from_secs(23 * HOUR * 6 / 10));
        assert!((0..100).all(|seed| Terms::default().company_age() < Terms::default().renewal_age(seed)));
        assert_eq!(terms(3, 12).company_age(), Duration::ZERO);
    }
}
