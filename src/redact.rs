//! Values that must not be printed, and text from elsewhere that must be cleaned before it is.
//!
//! [`Secret`] and [`PresignedUrl`] hide themselves in `Debug` and `Display`; each has one loudly named
//! accessor. [`quote`] turns a text that another system sent into one stable line without URLs, tokens,
//! ids or times, fit for a status message. Nothing here logs or reads anything.

use std::borrow::Cow;
use std::fmt;

use http::Uri;

mod certificate;

/// A credential. `Debug` and `Display` never show it.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value, without what editors and `echo` leave around it.
    pub fn new(value: &str) -> Self {
        Self(bare(value).to_owned())
    }

    /// The value itself. Only for the header that carries it.
    pub fn expose_secret(&self) -> &str {
        &self.0
    }
}

/// A value without white space and byte-order marks around it: Windows' editors and shells write such marks.
pub fn bare(value: &str) -> &str {
    value.trim_matches(|c: char| c.is_whitespace() || c == BYTE_ORDER_MARK)
}

/// What some programs write before a text.
pub const BYTE_ORDER_MARK: char = '\u{feff}';

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("…")
    }
}

/// A signed URL. Its query gives the right to write, so only its scheme and host are shown.
///
/// The text is kept as it came: decoding and encoding again would change what was signed.
#[derive(Clone, Eq, PartialEq)]
pub struct PresignedUrl(Uri);

impl PresignedUrl {
    /// Parses an absolute `http` or `https` URL; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let known = matches!(uri.scheme_str(), Some("http" | "https"));
        (known && uri.host().is_some_and(|host| !host.is_empty())).then_some(Self(uri))
    }

    /// The URL with its signature. Only for the request that uses it.
    pub fn expose_signed(&self) -> &Uri {
        &self.0
    }

    /// Whether the URL is encrypted in transit.
    pub fn is_https(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// The host and port it points to, which is not secret.
    pub fn host(&self) -> &str {
        self.0.authority().map_or("", |authority| match authority.as_str().rsplit_once('@') {
            Some((_, host)) => host,
            None => authority.as_str(),
        })
    }

    /// The header names that the signature covers, in lower case (`X-Amz-SignedHeaders`).
    pub fn signed_headers(&self) -> Vec<String> {
        let is_it = |pair: &&str| {
            let name = pair.split('=').next().unwrap_or_default();
            decoded(name).0.eq_ignore_ascii_case("X-Amz-SignedHeaders")
        };
        // Of the other values none is decoded, as some are long.
        let pair = self.0.query().unwrap_or_default().split('&').find(is_it).unwrap_or_default();
        decoded(pair).1.split(';').filter(|name| !name.is_empty()).map(str::to_ascii_lowercase).collect()
    }
}

/// A name and a value of a query.
fn decoded(pair: &str) -> (Cow<'_, str>, Cow<'_, str>) {
    url::form_urlencoded::parse(pair.as_bytes()).next().unwrap_or_default()
}

impl fmt::Debug for PresignedUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PresignedUrl({self})")
    }
}

impl fmt::Display for PresignedUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}/…", self.0.scheme_str().unwrap_or("https"), self.host())
    }
}

/// Whether a call failed because the server's certificate is not accepted: that is no outage, and does not pass soon.
pub fn is_untrusted(error: &(dyn std::error::Error + 'static)) -> bool {
    certificate::fault(error).is_some()
}

/// The innermost cause of an error, which names what happened; the outer ones repeat the URL.
pub fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    certificate::fault(error).unwrap_or_else(|| {
        let mut innermost: &dyn std::error::Error = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        let cause = quote(&innermost.to_string());
        match REMEDIES.iter().find(|(part, _)| cause.contains(part)) {
            Some((_, remedy)) => format!("{cause}: {remedy}"),
            None => cause,
        }
    })
}

/// What to do about causes that libraries name in few words.
const REMEDIES: [(&str, &str); 2] = [
    ("tunnel error: proxy authorization required", "put the user and password into the proxy's URL"),
    ("tunnel error: unsuccessful", "the proxy refuses to connect to this host"),
];

/// The longest quotation, in characters.
const QUOTE: usize = 200;
/// The longest quotation of a rule: what matters may stand at its end, after what other rules say.
const LONG_QUOTE: usize = 1200;
/// The longest quotation of the end of a log.
const END_QUOTE: usize = 300;
/// The kubelet keeps so many bytes of a log's end, and so may cut it within a word.
const KEPT_OF_LOG: usize = 2048;

/// Makes one stable, harmless line of a text that another system sent.
///
/// White space is folded; words that hold a URL, a token, a signature, or that look like an id or a time become `…`, so
/// that the same failure always reads the same. Plain numbers and quantities stay: a person may need them. At most 200
/// characters are kept.
pub fn quote(text: &str) -> String {
    beginning(cleaned(text), QUOTE)
}

/// The same for a text that says which rule refuses something, of which more is kept.
pub fn quote_rule(text: &str) -> String {
    beginning(cleaned(text), LONG_QUOTE)
}

/// The same for a log, of which the end is kept; of lines that are JSON, as our own are, the message and the error.
pub fn quote_log(text: &str) -> String {
    let is_cut = text.len() >= KEPT_OF_LOG;
    let whole = if is_cut { text.split_once(char::is_whitespace).map_or("", |(_, rest)| rest) } else { text };
    let in_words = |line: &str| {
        let Ok(fields) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(line) else {
            return line.to_owned();
        };
        let words = ["message", "error"].iter().filter_map(|field| fields.get(*field)?.as_str());
        words.collect::<Vec<_>>().join(": ")
    };
    let line = cleaned(&whole.lines().map(in_words).collect::<Vec<_>>().join("\n"));
    match line.char_indices().rev().nth(END_QUOTE - 1) {
        Some((start, _)) if start > 0 => format!("…{}", line[start..].trim_start()),
        _ => line,
    }
}

fn beginning(line: String, most: usize) -> String {
    match line.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line,
    }
}

fn cleaned(text: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    let mut before = "";
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        let shown = if is_telling(word) && (!is_number(word) || names_a_secret(before)) { "…" } else { word };
        if !(shown == "…" && words.last() == Some(&"…")) {
            words.push(shown);
        }
        before = word;
    }
    words.join(" ")
}

/// Whether a word is plainly numbers: `65532`, `[1000720000,`, `1000720000/10000`, `limits.memory=134217728`.
fn is_number(word: &str) -> bool {
    let bare = |text: &str| text.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned();
    bare(word).split(',').all(|part| {
        let (name, value) = part.rsplit_once(['=', ':']).unwrap_or(("", part));
        let value = bare(value);
        let (low, high) = value.split_once(['-', '/']).unwrap_or((&value, "0"));
        !is_telling(name) && !names_a_secret(name) && is_quantity(low) && is_quantity(high)
    })
}

/// Whether this is a number, perhaps with a unit. Longer ones are ids.
fn is_quantity(text: &str) -> bool {
    const UNITS: [&str; 18] =
        ["", "m", "k", "M", "G", "T", "P", "Ki", "Mi", "Gi", "Ti", "Pi", "B", "kB", "MB", "GB", "s", "ms"];
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_digits = |text: &str| (1..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    is_digits(whole) && is_digits(fraction) && UNITS.contains(&&text[number.len()..])
}

/// Whether what follows such a name may be a secret, even if it is a number.
fn names_a_secret(name: &str) -> bool {
    const NAMES: [&str; 8] = ["token", "key", "secret", "passw", "auth", "bearer", "signature", "credential"];
    let lower = name.to_ascii_lowercase();
    NAMES.iter().any(|secret| lower.contains(secret))
}

fn is_telling(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let bare = lower.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let digits = bare.bytes().filter(u8::is_ascii_digit).count();
    let clock = bare.contains(':') && digits >= 4;
    let id = bare.len() >= 8 && digits >= 2 && bare.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-' || b == b':');
    lower.contains("://")
        || lower.contains("x-amz-")
        || ["sk-", "dk-", "ak-", "eyj"].iter().any(|prefix| has_token(&lower, prefix))
        || digits >= 5
        || clock
        || id
}

/// Whether `prefix` begins a word within `lower` and is followed by enough to be a credential.
fn has_token(lower: &str, prefix: &str) -> bool {
    lower.match_indices(prefix).any(|(at, _)| {
        let begins = !lower[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
        begins && lower.len() - at >= prefix.len() + 4
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNED: &str = "https://user@s3.example.com:9000/b/k%20x?X-Amz-SignedHeaders=content-length%3Bhost%3BIf-None-Match&X-Amz-Signature=deadbeef";

    #[test]
    fn a_secret_shows_itself_to_nobody() {
        let secret = Secret::new("\u{feff} sk-12345\r\n");
        assert_eq!(format!("{secret} {secret:?}"), "… Secret(…)");
        assert_eq!(secret.expose_secret(), "sk-12345");
    }

    #[test]
    fn a_presigned_url_shows_only_where_it_leads() {
        let url = PresignedUrl::parse(SIGNED).unwrap();
        assert_eq!(format!("{url}"), "https://s3.example.com:9000/…");
        assert!(!format!("{url:?}").contains("deadbeef"));
        assert_eq!(url.signed_headers(), ["content-length", "host", "if-none-match"]);
        let odd =
            PresignedUrl::parse("https://h/k?a&=&x-amz-signed%48eaders=%48ost%3B;A&X-Amz-SignedHeaders=b").unwrap();
        assert_eq!(odd.signed_headers(), ["host", "a"]);
        assert_eq!(url.expose_signed().path(), "/b/k%20x", "not encoded again");
    }

    #[test]
    fn what_is_no_http_url_is_refused() {
        for text in ["", "/path", "ftp://host/x", "https://", "not a url", "file:///etc/passwd"] {
            assert!(PresignedUrl::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_quotation_keeps_the_words_and_loses_what_varies() {
        let cases = [
            ("invalid  API\nkey", "invalid API key"),
            ("key sk-abcd1234 is unknown", "key … is unknown"),
            ("token=eyJhbGciOi.x.y refused", "… refused"),
            ("see https://a.example/?x=1 for more", "see … for more"),
            ("request 3f2b8c1e-0a4d-4c1e-9a55-aa11bb22cc33 failed", "request … failed"),
            ("at 2026-11-23T10:11:12Z or 10:11:12", "at … or …"),
            ("risk-averse tasks", "risk-averse tasks"),
            ("limit is 500 MB", "limit is 500 MB"),
        ];
        for (text, expected) in cases {
            assert_eq!(quote(text), expected);
        }
        assert!(quote(&"wörd ".repeat(100)).chars().count() <= QUOTE + 1);
    }

    #[test]
    fn numbers_that_a_person_needs_stay_in_a_quotation() {
        for text in [
            ".containers[0].runAsUser: Invalid value: 65532: must be in the ranges: [1000720000, 1000729999]",
            "openshift.io/sa.scc.uid-range: 1000720000/10000",
            "requested: limits.memory=134217728,pods=1, used: limits.memory=0, limited: limits.memory=100000000",
            "maximum memory usage per Container is 134217728, but limit is 256Mi, not 12345.5Mi",
        ] {
            assert_eq!(quote(text), text);
        }
        for text in ["20261123-1011-12", "10.96.12.34", "127.0.0.1:65532", "12345678901234567", "0x12345", "1234567e"] {
            assert_eq!(quote(text), "…", "{text}");
        }
    }

    #[test]
    fn no_quotation_holds_a_token_or_a_signed_url() {
        let cut_token = format!("{} {}", "4567890", "w ".repeat(KEPT_OF_LOG));
        let texts = [
            (format!("PUT {SIGNED} failed"), "deadbeef"),
            ("s3.example.com/b?X-Amz-Signature=deadbeef&X-Amz-Date=1".to_owned(), "deadbeef"),
            ("Authorization: Bearer sk-1234567890".to_owned(), "567890"),
            ("dk-12345678 and ak-12345678".to_owned(), "5678"),
            ("token: 1234567890, api_key=1234567890".to_owned(), "567890"),
            ("bearer 1234567890".to_owned(), "567890"),
            ("X-Api-Key 1234567890".to_owned(), "567890"),
            ("{\"token\":1234567890}".to_owned(), "567890"),
            ("cookie eyJhbGciOi.12345.x".to_owned(), "12345"),
            (cut_token, "4567890"),
        ];
        for (text, secret) in &texts {
            let quotations = [quote(text), quote_rule(text), quote_log(text)];
            for (kind, quotation) in quotations.iter().enumerate().filter(|(kind, _)| *kind == 2 || text.len() < 200) {
                assert!(!quotation.contains(secret), "{kind}: {quotation}");
            }
        }
    }

    #[test]
    fn of_a_rule_more_is_quoted_and_of_a_log_the_end() {
        let long = format!("{}the end", "word ".repeat(100));
        assert!(!quote(&long).contains("the end"));
        assert_eq!(quote_rule(&long), long);
        assert!(quote_log(&long).starts_with('…') && quote_log(&long).ends_with("the end"));
        assert_eq!(quote_log("one line\n"), "one line");
        let json = "{\"timestamp\":\"2026-11-23T10:00:02Z\",\"message\":\"no\",\"error\":\"why\"}\n";
        assert_eq!(quote_log(&json.repeat(2)), "no: why no: why");
        assert!(quote_rule(&"wörd ".repeat(1000)).chars().count() <= LONG_QUOTE + 1);
        assert!(quote_log(&"wörd ".repeat(1000)).chars().count() <= END_QUOTE + 1);
    }
}
