//! A duration on the command line: `90`, `90s`, `15m`, `24h`, `1d`, `1h30m`.
//!
//! A bare number is seconds, and a day has 24 hours. A duration is never negative, because it is waited for or added to
//! a time.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};

const FIX: &str = "write it like 90s, 15m, 24h, 1d or 1h30m";

/// Reads a duration greater than zero. The error says what to write instead.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let length = parse_or_zero(text)?;
    if length.is_zero() { Err(format!("{text:?} is not more than zero: {FIX}")) } else { Ok(length) }
}

/// Reads a duration that may be zero.
pub(super) fn parse_or_zero(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let seconds = text.parse::<i64>().ok().map(|seconds| Span::new().try_seconds(seconds));
    let span = seconds.unwrap_or_else(|| text.parse::<Span>());
    // Months and years have no fixed length, so jiff rejects them here.
    let length = span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
    let length = length.map_err(|_| format!("{text:?} is not a duration: {FIX}"))?;
    Duration::try_from(length).map_err(|_| format!("{text:?} is less than zero: {FIX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_is_seconds_and_a_day_has_24_hours() {
        for (text, seconds) in [
            ("90", 90),
            (" 90 ", 90),
            ("90s", 90),
            ("15m", 900),
            ("24h", 86400),
            ("1d", 86400),
            ("1h30m", 5400),
            ("1d 2h", 93600),
            ("P1DT1H", 90000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_length_greater_than_zero_is_refused_with_what_to_write() {
        for (text, problem) in [
            ("0", "not more than zero"),
            ("0h", "not more than zero"),
            ("-5", "less than zero"),
            ("-1h", "less than zero"),
            ("1h ago", "less than zero"),
            ("", "not a duration"),
            ("soon", "not a duration"),
            ("1mo", "not a duration"),
            ("1y", "not a duration"),
            ("1x", "not a duration"),
            ("1h30", "not a duration"),
            ("99999999999999999999", "not a duration"),
            ("9223372036854775807", "not a duration"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(problem) && error.contains(&format!("{text:?}")), "{text}: {error}");
            assert!(error.contains("24h"), "{error}");
        }
    }
}
