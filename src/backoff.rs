//! How long to wait before trying again: pure functions, with the randomness given.
//!
//! | what is retried | tries | delay |
//! |---|---|---|
//! | a resource, by the controller | without end | as long again as the trouble has lasted: 1 s to 5 min, ± 20 % |
//! | a file, by a laptop, job or worker | bounded by [`crate::delivery::Limits`] | 1 s doubling to 5 min, ± 20 % |
//!
//! A longer `Retry-After` wins, up to an hour. Nothing here sleeps or reads a clock.

use std::time::{Duration, SystemTime};

/// The first delay.
const FIRST: Duration = Duration::from_secs(1);
/// The longest delay that is ours.
pub(crate) const LONGEST: Duration = Duration::from_mins(5);
/// The longest `Retry-After` that is honoured: a mistyped header must not park a file for days.
pub(crate) const LONGEST_ASKED: Duration = Duration::from_hours(1);

/// The delay after `failures` failures in a row (at least one), spread by ± 20 % with `seed`.
pub(crate) fn delay(failures: u32, seed: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let base = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    base.mul_f64(0.8 + 0.4 * fraction(seed))
}

/// The delay after a failure for which the other side may have asked for a longer one.
pub(crate) fn delay_asked(failures: u32, seed: u64, asked: Option<Duration>) -> Duration {
    delay(failures, seed).max(asked.unwrap_or_default().min(LONGEST_ASKED))
}

/// The delay after a trouble that has lasted for so long, spread by ± 20 % with `seed`: as long again.
pub(crate) fn as_long_again(lasted: Duration, seed: u64, asked: Option<Duration>) -> Duration {
    let delay = lasted.clamp(FIRST, LONGEST).mul_f64(0.8 + 0.4 * fraction(seed));
    delay.max(asked.unwrap_or_default().min(LONGEST_ASKED))
}

/// Maps a seed onto `0.0..1.0`, well mixed (the finalizer of `SplitMix64`).
pub(crate) fn fraction(seed: u64) -> f64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let top = u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(u32::MAX);
    f64::from(top) / f64::from(u32::MAX)
}

/// Reads `Retry-After` (RFC 9110 §10.2.3): seconds, or a date relative to the answer's own `Date`.
///
/// `None` if it is missing or unreadable, or if it is a date and the answer bears none of its own: the
/// two clocks need not agree.
pub(crate) fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok()).map(str::trim);
    let value = text(http::header::RETRY_AFTER)?;
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date: fn(&str) -> Option<SystemTime> = |text| httpdate::parse_http_date(text).ok();
    let then = date(value)?;
    let now = text(http::header::DATE).and_then(date)?;
    Some(then.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn delays_double_from_one_second_to_five_minutes() {
        for (failures, middle) in [(1, 1.0), (2, 2.0), (5, 16.0), (9, 256.0), (10, 300.0), (4_000_000, 300.0)] {
            for seed in 0..200 {
                let delay = delay(failures, seed).as_secs_f64();
                assert!(delay >= middle * 0.8 && delay <= middle * 1.2, "{failures} {seed} {delay}");
            }
        }
    }

    #[test]
    fn a_trouble_is_met_again_after_as_long_as_it_has_lasted() {
        for (lasted, middle) in [(0, 1.0), (1, 1.0), (8, 8.0), (200, 200.0), (90_000, 300.0)] {
            for seed in 0..200 {
                let delay = as_long_again(Duration::from_secs(lasted), seed, None).as_secs_f64();
                assert!(delay >= middle * 0.8 && delay <= middle * 1.2, "{lasted} {seed} {delay}");
            }
        }
        assert_eq!(as_long_again(Duration::ZERO, 0, Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(as_long_again(Duration::ZERO, 0, Some(Duration::from_hours(99))), Duration::from_hours(1));
    }

    #[test]
    fn seeds_spread_the_delays() {
        let early = (0..1000).filter(|&seed| fraction(seed) < 0.5).count();
        assert!((400..600).contains(&early), "{early}");
    }

    #[test]
    fn a_longer_retry_after_wins_up_to_an_hour() {
        assert_eq!(delay_asked(1, 0, Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert!(delay_asked(9, 0, Some(Duration::from_secs(7))) > Duration::from_secs(200));
        assert_eq!(delay_asked(1, 0, Some(Duration::from_hours(99))), Duration::from_hours(1));
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let later = "Sun, 06 Nov 1994 08:50:07 GMT";
        let cases: [(&[_], Option<u64>); 6] = [
            (&[("retry-after", "120")], Some(120)),
            (&[("retry-after", later), ("date", date)], Some(30)),
            (&[("retry-after", date), ("date", later)], Some(0)),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "-1")], None),
            (&[], None),
        ];
        for (pairs, expected) in cases {
            assert_eq!(retry_after(&headers(pairs)), expected.map(Duration::from_secs), "{pairs:?}");
        }
    }
}
