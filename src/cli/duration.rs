//! A length of time as it is written on the command line: `90`, `90s`, `15m`, `24h`, `1d`, `1h30m`.
//!
//! A bare number is seconds and a day has 24 hours. There is no negative or empty length: what takes one waits for it
//! or adds it to a time.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};

const FIX: &str = "write it like 90s, 15m, 24h, 1d or 1h30m";

/// Reads a length of time greater than zero; the error says what to write instead.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let seconds = text.parse::<i64>().ok().map(|seconds| Span::new().try_seconds(seconds));
    let span = seconds.unwrap_or_else(|| text.parse::<Span>());
    // Months and years have no length of their own, so that jiff refuses them here.
    let length = span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
    let length = length.map_err(|_| format!("{text:?} is no length of time: {FIX}"))?;
    Duration::try_from(length)
        .ok()
        .filter(|length| !length.is_zero())
        .ok_or_else(|| format!("{text:?} is not more than zero: {FIX}"))
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
            ("-5", "not more than zero"),
            ("-1h", "not more than zero"),
            ("1h ago", "not more than zero"),
            ("", "no length of time"),
            ("soon", "no length of time"),
            ("1mo", "no length of time"),
            ("1y", "no length of time"),
            ("1x", "no length of time"),
            ("1h30", "no length of time"),
            ("99999999999999999999", "no length of time"),
            ("9223372036854775807", "no length of time"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(problem) && error.contains(&format!("{text:?}")), "{text}: {error}");
            assert!(error.contains("24h"), "{error}");
        }
    }
}
