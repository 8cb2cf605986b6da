//! Values that must not be printed, and text from elsewhere that must be cleaned before it is.
//!
//! [`Secret`] and [`PresignedUrl`] hide themselves in `Debug` and `Display`; each has one loudly named
//! accessor. [`quote`] turns a text that another system sent into one stable line without URLs, tokens,
//! ids or times, fit for a status message. Nothing here logs or reads anything.

use std::fmt;

use http::Uri;

mod certificate;

/// A credential. `Debug` and `Display` never show it.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value, without the white space around it that editors and `echo` leave.
    pub fn new(value: &str) -> Self {
        Self(value.trim().to_owned())
    }

    /// The value itself. Only for the header that carries it.
    pub fn expose_secret(&self) -> &str {
        &self.0
    }
}

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
        let query = self.0.query().unwrap_or_default();
        url::form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name.eq_ignore_ascii_case("X-Amz-SignedHeaders"))
            .map(|(_, value)| value.split(';').filter(|name| !name.is_empty()).map(str::to_ascii_lowercase).collect())
            .unwrap_or_default()
    }
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

/// Makes one stable, harmless line of a text that another system sent.
///
/// White space is folded; words that hold a URL, a token, a signature, or that look like an id, a number
/// of many digits or a time become `…`, so that the same failure always reads the same; at most 200
/// characters are kept.
pub fn quote(text: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        let word = if is_telling(word) { "…" } else { word };
        if !(word == "…" && words.last() == Some(&"…")) {
            words.push(word);
        }
    }
    let line = words.join(" ");
    match line.char_indices().nth(QUOTE) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line,
    }
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
        let secret = Secret::new(" sk-12345\n");
        assert_eq!(format!("{secret} {secret:?}"), "… Secret(…)");
        assert_eq!(secret.expose_secret(), "sk-12345");
    }

    #[test]
    fn a_presigned_url_shows_only_where_it_leads() {
        let url = PresignedUrl::parse(SIGNED).unwrap();
        assert_eq!(format!("{url}"), "https://s3.example.com:9000/…");
        assert!(!format!("{url:?}").contains("deadbeef"));
        assert_eq!(url.signed_headers(), ["content-length", "host", "if-none-match"]);
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
}
