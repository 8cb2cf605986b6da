//! The headers of a PUT: what `upload_headers` may hold, and what the URL signs besides.
//!
//! A ticket leaves here with every header that its PUT needs, to be sent as it is. What cannot be carried out exactly as
//! it was signed is refused before a byte is sent: a header that belongs to the connection or names another host, a length
//! that is not the file's, a signed header whose value nobody gives.

use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::File;
use crate::redact::{PresignedUrl, quote};

/// What the connection or this client alone sets; with every `Proxy-*`.
const OURS: [HeaderName; 8] =
    [AUTHORIZATION, CONNECTION, EXPECT, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, HeaderName::from_static("keep-alive")];

/// `given` and what the URL signs besides; the error says what the PUT cannot do.
pub(super) fn complete(url: &PresignedUrl, mut given: HeaderMap, file: &File<'_>) -> Result<HeaderMap, String> {
    if let Some(name) = given.keys().find(|name| OURS.contains(name) || name.as_str().starts_with("proxy-")) {
        return Err(format!("an upload header {name}, which no presigned PUT may have"));
    }
    // It is sent in any case.
    if given.remove(HOST).is_some_and(|host| !names(&host, url)) {
        return Err("an upload header host that is not the host of the upload_url".into());
    }
    if given.get(CONTENT_LENGTH).is_some_and(|length| length_of(length) != Some(file.file_size)) {
        return Err("a Content-Length that is not the size it was asked for".into());
    }
    // Framing needs the length in any case, and hyper leaves it out for an empty body.
    given.insert(CONTENT_LENGTH, HeaderValue::from(file.file_size));
    for name in url.signed_headers() {
        if name == HOST.as_str() || given.contains_key(&name) {
            continue;
        }
        let value = match name.as_str() {
            "if-none-match" => Some(HeaderValue::from_static("*")),
            "content-type" => HeaderValue::try_from(file.content_type).ok(),
            _ => None,
        };
        let missing = || format!("an upload_url that signs {} and gives no value", shown(&name));
        let name = HeaderName::try_from(&name).map_err(|_| missing())?;
        given.insert(name, value.ok_or_else(missing)?);
    }
    Ok(given)
}

/// Digits alone: `+5` is no length, though Rust reads it.
fn length_of(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?.trim();
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Whether a `Host` is that of the URL, whose default port may be written or not.
fn names(host: &HeaderValue, url: &PresignedUrl) -> bool {
    let default = if url.is_https() { ":443" } else { ":80" };
    let bare = |host: &str| {
        let host = host.trim().to_ascii_lowercase();
        host.strip_suffix(default).map_or(host.clone(), str::to_owned)
    };
    host.to_str().is_ok_and(|host| bare(host) == bare(url.host()))
}

/// A header's name, which is not secret; what cannot be one is cleaned.
fn shown(name: &str) -> String {
    let is_name = name.len() <= 64 && HeaderName::try_from(name).is_ok();
    if is_name { name.to_owned() } else { format!("{:?}", quote(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: File<'_> = File { file_name: "a.txt", file_size: 5, content_type: "text/plain" };

    fn completed(signed: &str, given: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let url = format!("https://s3.example.com/b/k?X-Amz-SignedHeaders={signed}&X-Amz-Signature=0");
        let given = given
            .iter()
            .map(|(name, value)| (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap()));
        let headers = complete(&PresignedUrl::parse(&url).unwrap(), given.collect(), &FILE)?;
        let mut lines: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        Ok(lines)
    }

    #[test]
    fn what_the_url_signs_is_supplied_where_its_value_is_known() {
        assert_eq!(completed("", &[]).unwrap(), ["content-length: 5"]);
        assert_eq!(
            completed("content-length%3Bcontent-type%3BHost%3Bif-none-match", &[]).unwrap(),
            ["content-length: 5", "content-type: text/plain", "if-none-match: *"]
        );
        let given = [("content-type", "image/png"), ("if-none-match", "other"), ("x-amz-meta-team", "a")];
        assert_eq!(
            completed("content-type;host;if-none-match;x-amz-meta-team", &given).unwrap(),
            ["content-length: 5", "content-type: image/png", "if-none-match: other", "x-amz-meta-team: a"]
        );
        for (signed, said) in [
            ("host;x-amz-meta-team", "signs x-amz-meta-team and gives no value"),
            ("content-md5;host", "signs content-md5 and gives no value"),
            ("expect;host", "signs expect and gives no value"),
            ("host;a%20b", "signs \"a b\" and gives no value"),
        ] {
            let refusal = completed(signed, &[]).unwrap_err();
            assert!(refusal.contains(said), "{refusal}");
        }
    }

    #[test]
    fn what_only_the_connection_or_this_client_may_set_is_refused() {
        for name in [
            "Authorization",
            "Connection",
            "Expect",
            "Keep-Alive",
            "Proxy-Authorization",
            "Proxy-Connection",
            "TE",
            "Trailer",
            "Transfer-Encoding",
            "Upgrade",
        ] {
            let refusal = completed("host", &[(name, "x")]).unwrap_err();
            assert!(refusal.contains(&name.to_ascii_lowercase()), "{refusal}");
        }
    }

    #[test]
    fn a_host_may_only_be_the_one_of_the_url() {
        for host in ["s3.example.com", "S3.example.com:443"] {
            assert_eq!(completed("host", &[("Host", host)]).unwrap(), ["content-length: 5"], "{host}");
        }
        for host in ["s3.example.com:444", "elsewhere.example", "", "s3.example.com.evil"] {
            assert!(completed("host", &[("Host", host)]).is_err(), "{host}");
        }
    }

    #[test]
    fn a_length_is_digits_and_the_file_s() {
        for length in ["5", " 5", "05"] {
            assert_eq!(completed("content-length", &[("Content-Length", length)]).unwrap(), ["content-length: 5"]);
        }
        for length in ["+5", "-5", "6", "", "5.0", "5, 5", "0x5", "99999999999999999999"] {
            assert!(completed("content-length", &[("Content-Length", length)]).is_err(), "{length}");
        }
    }
}
