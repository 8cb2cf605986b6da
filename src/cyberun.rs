//! The Cyberun API, as far as uploading needs it: one call that turns a file's name, size and type into a
//! [`Ticket`].
//!
//! It makes the call once and says what came of it; whether to call again is the caller's matter. It knows
//! nothing of storage and of Kubernetes. The API's rules: <https://docs.cyberun.cloud/api-reference>.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

pub use self::auth::{Credential, Invalid};
pub use self::error::{Error, Retry};
use self::lanes::Lanes;
pub use self::wire::File;
use crate::proxy::{Pool, Variables, pool};
use crate::reason::Reason;
use crate::redact::{PresignedUrl, cause, is_untrusted};

mod auth;
mod error;
mod headers;
mod lanes;
mod wire;

/// The API of the hosted platform.
pub const HOSTED: &str = "https://core.cyberun.cloud/api/v1";

const ANSWER: Duration = Duration::from_secs(30);
/// A presign answer is about 1 KiB; more than this is not one.
const LARGEST_ANSWER: usize = 64 * 1024;
const LARGEST_ERROR: usize = 4 * 1024;
/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_mins(1);
const CLIENT: &str = concat!("fileupload-operator/", env!("CARGO_PKG_VERSION"));
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// How long the body of an error may take in all.
const ERROR_BODY: Duration = Duration::from_secs(5);

/// Permission to put one object: where to, with which headers, and the key it will have.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// The opaque reference for workflows, valid once the object is stored.
    pub file_key: String,
    /// Where to put the bytes.
    pub url: PresignedUrl,
    /// The headers of the PUT: those that were given, and those that the URL signs besides.
    pub headers: HeaderMap,
}

/// A client of one deployment's API.
#[derive(Clone, Debug)]
pub struct Client {
    http: Pool<Full<Bytes>>,
    lanes: Arc<Lanes>,
    presign: Uri,
    allow_http: bool,
}

/// Why an API URL is not used.
#[derive(Debug, thiserror::Error)]
pub enum BadUrl {
    /// Not an absolute http(s) URL without query or credentials.
    #[error("the API URL must be an absolute URL such as {HOSTED}, without user, query or fragment")]
    Malformed,
    /// `http:` without leave.
    #[error("the API URL must be https, as a credential goes there (http only with --allow-http)")]
    Unencrypted,
    /// The environment names a proxy that cannot be used.
    #[error("{0}")]
    Proxy(String),
}

/// The URL of an API (with its `/api/v1`), if it can be used; `http:` only with `allow_http`.
pub fn base_url(text: &str, allow_http: bool) -> Result<Url, BadUrl> {
    let base = Url::parse(text.trim()).map_err(|_| BadUrl::Malformed)?;
    let plain =
        base.username().is_empty() && base.password().is_none() && base.query().is_none() && base.fragment().is_none();
    if !matches!(base.scheme(), "http" | "https") || !base.has_host() || !plain {
        return Err(BadUrl::Malformed);
    }
    if base.scheme() == "http" && !allow_http { Err(BadUrl::Unencrypted) } else { Ok(base) }
}

impl Client {
    /// A client of the API at `base`, as [`base_url`] reads it.
    pub fn new(base: &str, allow_http: bool, tls: rustls::ClientConfig) -> Result<Self, BadUrl> {
        let base = base_url(base, allow_http)?;
        let presign = format!("{}/r/files/presign", base.as_str().trim_end_matches('/'));
        let presign: Uri = presign.parse().map_err(|_| BadUrl::Malformed)?;
        // A proxy that cannot be used is said before the first call.
        Variables::read().toward(&presign).map_err(|error| BadUrl::Proxy(error.to_string()))?;
        Ok(Self { http: pool(tls, IDLE, ANSWER), lanes: Arc::default(), presign, allow_http })
    }

    /// Asks once for leave to upload `file`.
    pub async fn presign(&self, credential: &Credential, file: &File<'_>) -> Result<Ticket, Error> {
        let end = Instant::now() + ANSWER;
        let _lane = self.lanes.take().await;
        let answer = timeout_at(end, self.http.request(self.request(credential, file))).await;
        let answer = answer.map_err(|_| self.late())?.map_err(|error| self.unreachable(&error, error.is_connect()))?;
        let (parts, mut answer) = answer.into_parts();
        let (status, mut body) = (parts.status, Vec::new());
        if !status.is_success() {
            let read = timeout(ERROR_BODY, read(&mut answer, LARGEST_ERROR, &mut body)).await;
            if !matches!(read, Ok(Ok(_))) {
                // Part of a message would be another part each time.
                body.clear();
            }
            return Err(Error::of_answer(status, &parts.headers, &credential.scrub(&String::from_utf8_lossy(&body))));
        }
        let whole = timeout_at(end, read(&mut answer, LARGEST_ANSWER, &mut body)).await;
        let whole = whole.map_err(|_| self.late())?.map_err(|error| self.unreachable(&error, false))?;
        if !whole {
            return Err(unusable(status, "more than 64 KiB, which is no presign answer"));
        }
        let ticket = wire::ticket(&body).map_err(|what| unusable(status, &what))?;
        self.ready(ticket, file).map_err(|what| unusable(status, &what))
    }

    fn request(&self, credential: &Credential, file: &File<'_>) -> Request<Full<Bytes>> {
        // Two texts and a number can be written in any case.
        let mut request = Request::new(Full::from(serde_json::to_vec(file).unwrap_or_default()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.presign.clone();
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(CLIENT));
        headers.insert(ACCEPT, JSON);
        headers.insert(CONTENT_TYPE, JSON);
        if let Some(authorization) = credential.authorization() {
            headers.insert(AUTHORIZATION, authorization);
        }
        // It was checked to be a header's value.
        if let Some(team) = credential.team().and_then(|team| HeaderValue::try_from(team).ok()) {
            headers.insert("x-team-id", team);
        }
        request
    }

    /// The ticket with all headers of its PUT. What cannot be carried out exactly as it was signed is refused.
    fn ready(&self, Ticket { file_key, url, headers }: Ticket, file: &File<'_>) -> Result<Ticket, String> {
        if !url.is_https() && !self.allow_http {
            return Err("an upload_url that is not https".into());
        }
        let headers = headers::complete(&url, headers, file)?;
        Ok(Ticket { file_key, url, headers })
    }

    fn host(&self) -> &str {
        self.presign.host().unwrap_or_default()
    }

    fn late(&self) -> Error {
        let (host, span) = (self.host(), ANSWER.as_secs());
        Error::unreachable(format!("the Cyberun API at {host} did not answer within {span} s"), false)
    }

    fn unreachable(&self, error: &(dyn std::error::Error + 'static), is_connect: bool) -> Error {
        let (host, cause) = (self.host(), cause(error));
        let message = if is_connect {
            format!("cannot connect to the Cyberun API at {host}: {cause}")
        } else {
            format!("the connection to the Cyberun API at {host} broke off: {cause}")
        };
        Error::unreachable(message, is_untrusted(error))
    }
}

fn unusable(status: StatusCode, what: &str) -> Error {
    Error::new(Reason::InvalidResponse, format!("the Cyberun API answered {} with {what}", status.as_u16()))
}

/// Reads at most `limit` bytes of the body, and says whether that was all of it.
async fn read(answer: &mut Incoming, limit: usize, body: &mut Vec<u8>) -> Result<bool, hyper::Error> {
    while let Some(frame) = answer.frame().await {
        let Ok(chunk) = frame?.into_data() else { continue };
        let room = limit - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Ok(false);
        }
    }
    Ok(true)
}
