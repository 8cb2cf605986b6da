//! Which proxy a connection takes, by `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` of the environment.
//!
//! This is the only place that knows the rule. The clients of the API, of storage and of the API server all ask here, so
//! that one variable means the same to each. What hyper-util does not know of `NO_PROXY` (ports, `*.name`, spaces) is
//! put into words that it knows.

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

pub(crate) use self::connect::Connector;
pub(crate) use self::pool::{Pool, pool};
use crate::redact::Secret;

mod connect;
mod pool;

/// Where SOCKS proxies listen if their URL does not say.
const SOCKS_PORT: u16 = 1080;

/// A variable that names no usable proxy. Its value is not quoted, because it may hold a password.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} is not the URL of a proxy: write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT, with \
     percent-encoding in a user or password"
)]
pub(crate) struct Unusable(&'static str);

/// The variables, each in upper or lower case. An empty one counts as not set.
#[derive(Clone, Default)]
pub(crate) struct Variables {
    https: Option<String>,
    http: Option<String>,
    all: Option<String>,
    no: Option<String>,
}

impl Variables {
    /// Reads the environment.
    pub(crate) fn read() -> Self {
        Self {
            https: variable("HTTPS_PROXY"),
            http: variable("HTTP_PROXY"),
            all: variable("ALL_PROXY"),
            no: variable("NO_PROXY"),
        }
    }

    /// The proxy on the way to `target`; none if `NO_PROXY` excludes it.
    pub(crate) fn toward(&self, target: &Uri) -> Result<Option<Proxy>, Unusable> {
        let (name, own) = match target.scheme_str() {
            Some("https") => ("HTTPS_PROXY", &self.https),
            Some("http") => ("HTTP_PROXY", &self.http),
            _ => return Ok(None),
        };
        let own = own.as_ref().map(|url| (name, url));
        match own.or_else(|| self.all.as_ref().map(|url| ("ALL_PROXY", url))) {
            Some((name, url)) if !self.excludes(target) => Proxy::parse(url).map(Some).ok_or(Unusable(name)),
            _ => Ok(None),
        }
    }

    fn excludes(&self, target: &Uri) -> bool {
        let no = entries(self.no.as_deref().unwrap_or_default(), port(target));
        Matcher::builder().all("http://proxy").no(no).build().intercept(target).is_none()
    }

    /// What gives another process the same proxies.
    pub(crate) fn of_workers(self) -> impl Iterator<Item = (&'static str, String)> {
        let [https, http] = [self.https, self.http].map(|own| own.or_else(|| self.all.clone()));
        let variables = [("HTTPS_PROXY", https), ("HTTP_PROXY", http), ("NO_PROXY", self.no)];
        variables.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

#[expect(clippy::disallowed_methods, reason = "lower case counts too, and clap knows one name for a value")]
fn variable(name: &str) -> Option<String> {
    let set = |name: &str| std::env::var(name).ok().map(|value| value.trim().to_owned());
    let set = |name: &str| set(name).filter(|value| !value.is_empty());
    set(name).or_else(|| set(&name.to_ascii_lowercase()))
}

fn port(target: &Uri) -> u16 {
    target.port_u16().unwrap_or(if target.scheme_str() == Some("http") { 80 } else { 443 })
}

/// The entries of a `NO_PROXY` that count for a port, as hyper-util reads them.
fn entries(list: &str, port: u16) -> String {
    let known = list.split(|c: char| c == ',' || c.is_whitespace()).filter_map(|entry| {
        let (host, only) = split_port(entry);
        only.is_none_or(|only| only == port).then_some(match host {
            // To hyper-util it means every name, but no address.
            "*" => "*,0.0.0.0/0,::/0",
            _ => host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host),
        })
    });
    known.collect::<Vec<_>>().join(",")
}

/// `host`, `host:port`, `[address]` or `[address]:port`; other colons belong to an IPv6 address.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    if let Some((address, rest)) = entry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (address, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    let split = entry.split_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    split.map_or((entry, None), |(host, port)| (host, Some(port)))
}

/// A proxy: where it is, and who we are there.
#[derive(Clone)]
pub(crate) struct Proxy {
    url: Secret,
    parts: Intercept,
}

impl Proxy {
    /// Reads the URL of a proxy. Without a scheme it speaks HTTP.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        // The proxy resolves names, as for Go's programs; only some libraries make a difference.
        let url = url.strip_prefix("socks5://").map(|rest| format!("socks5h://{rest}")).unwrap_or(url);
        // Any target: whether the proxy serves it is not asked here.
        let parts = Matcher::builder().all(&url).build().intercept(&Uri::from_static("https://any"))?;
        let proxy = Self { url: Secret::new(&url), parts };
        matches!(proxy.scheme(), "http" | "https" | "socks5h").then_some(proxy)
    }

    /// The URL with its password. Only for what connects to the proxy.
    pub(crate) fn expose_url(&self) -> &str {
        self.url.expose_secret()
    }

    fn scheme(&self) -> &str {
        self.parts.uri().scheme_str().unwrap_or_default()
    }

    fn is_socks(&self) -> bool {
        self.scheme() == "socks5h"
    }

    fn host(&self) -> &str {
        self.parts.uri().host().unwrap_or_default()
    }

    /// Where it listens.
    fn address(&self) -> Uri {
        let uri = self.parts.uri().clone();
        match uri.port() {
            None if self.is_socks() => connect::at(&uri, SOCKS_PORT),
            _ => uri,
        }
    }

    /// User and password as an HTTP proxy wants them.
    fn header(&self) -> Option<&HeaderValue> {
        self.parts.basic_auth()
    }

    /// User and password as a SOCKS proxy wants them.
    fn user(&self) -> Option<(&str, &str)> {
        self.parts.raw_auth()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn https(proxy: &str, no: &str) -> Variables {
        Variables { https: Some(proxy.into()), no: Some(no.into()), ..Variables::default() }
    }

    fn host(variables: &Variables, target: &str) -> Option<String> {
        let proxy = variables.toward(&target.parse().unwrap()).unwrap()?;
        Some(format!("{}://{}", proxy.scheme(), proxy.address().authority().unwrap()))
    }

    #[test]
    fn no_proxy_is_read_in_all_its_usual_forms() {
        const NAME: &str = "https://s3.corp.example";
        for (no, target, excluded) in [
            ("s3.corp.example", NAME, true),
            ("corp.example", NAME, true),
            ("CORP.example", NAME, true),
            (".corp.example", NAME, true),
            ("*.corp.example", NAME, true),
            ("p.example", NAME, false),
            ("*p.example", NAME, false),
            ("*.other.example", NAME, false),
            ("*", NAME, true),
            ("*", "https://10.1.2.3", true),
            ("*", "https://[2001:db8::1]:6443", true),
            ("s3.corp.example:443", NAME, true),
            ("*.corp.example:443", NAME, true),
            ("s3.corp.example:8443", NAME, false),
            ("s3.corp.example:8443", "https://s3.corp.example:8443/x", true),
            ("10.1.2.3", "https://10.1.2.3:6443", true),
            ("10.1.2.3:6443", "https://10.1.2.3:6443", true),
            ("10.1.2.3:6443", "https://10.1.2.3", false),
            ("10.0.0.0/8", "https://10.1.2.3", true),
            ("10.0.0.0/8", "https://11.1.2.3", false),
            ("2001:db8::1", "https://[2001:db8::1]", true),
            ("[2001:db8::1]", "https://[2001:db8::1]", true),
            ("[2001:db8::1]:6443", "https://[2001:db8::1]:6443", true),
            ("[2001:db8::1]:6443", "https://[2001:db8::1]", false),
            ("2001:db8::/32", "https://[2001:db8::1]", true),
            ("localhost,", NAME, false),
            (",", NAME, false),
            ("localhost, corp.example", NAME, true),
            ("localhost corp.example", NAME, true),
            ("localhost\t corp.example ,", NAME, true),
        ] {
            let taken = host(&https("http://proxy.example:3128", no), target);
            assert_eq!(taken.is_none(), excluded, "NO_PROXY={no:?} for {target}");
        }
    }

    #[test]
    fn a_proxy_is_written_with_or_without_a_scheme_a_port_and_a_user() {
        for (url, expected) in [
            ("http://proxy.example:3128", "http://proxy.example:3128"),
            ("https://proxy.example", "https://proxy.example"),
            ("proxy.example:3128", "http://proxy.example:3128"),
            ("127.0.0.1:3128", "http://127.0.0.1:3128"),
            ("proxy.example", "http://proxy.example"),
            ("me:p%40ss@proxy.example:3128", "http://proxy.example:3128"),
            ("socks5://proxy.example", "socks5h://proxy.example:1080"),
            ("socks5h://me:secret@[::1]:9", "socks5h://[::1]:9"),
        ] {
            assert_eq!(host(&https(url, ""), "https://a.example").as_deref(), Some(expected), "{url}");
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_told_by_its_variable_and_without_its_password() {
        for url in ["ftp://proxy.example", "socks4://proxy.example", "http://me:hunter2@@ x", "http://"] {
            let error = https(url, "").toward(&Uri::from_static("https://a.example")).err().unwrap().to_string();
            assert!(
                error.starts_with("HTTPS_PROXY is not the URL of a proxy") && !error.contains("hunter2"),
                "{error}"
            );
            assert!(host(&https(url, "a.example"), "https://a.example").is_none(), "it is not needed");
        }
    }

    #[test]
    fn each_scheme_has_its_variable_and_all_proxy_stands_in() {
        let variables = Variables { all: Some("all.example".into()), ..https("own.example", "") };
        assert_eq!(host(&variables, "https://a.example").as_deref(), Some("http://own.example"));
        assert_eq!(host(&variables, "http://a.example").as_deref(), Some("http://all.example"));
        let given: Vec<_> = variables.of_workers().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(given, ["HTTPS_PROXY=own.example", "HTTP_PROXY=all.example", "NO_PROXY="]);
        assert_eq!(host(&Variables::default(), "https://a.example"), None);
    }
}
