//! What a stub is told when it starts.
//!
//! `Options::default()` is a hosted-like deployment on loopback: plain HTTP, one-hour URLs, filled
//! `upload_headers`, no size limit, nothing deleted. It never reads the environment, so several stubs of one
//! test process cannot disturb each other.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use url::Url;

/// How a stub behaves for its whole life; a [`Fault`](crate::Fault) changes it for one call.
#[derive(Clone, Debug)]
pub struct Options {
    /// Serve both ports over TLS, with a CA of the stub's own.
    pub tls: bool,
    /// The address both ports listen on.
    pub bind: IpAddr,
    /// The host written into URLs, for a `bind` that clients cannot dial; default: `bind`, or loopback for `0.0.0.0`.
    pub advertise: Option<String>,
    /// The API's port; 0 picks a free one.
    pub api_port: u16,
    /// The storage's port; 0 picks a free one.
    pub s3_port: u16,
    /// What the presign answer's `upload_headers` holds.
    pub upload_headers: UploadHeaders,
    /// Which of the two documented shapes a `file_key` has.
    pub key_shape: KeyShape,
    /// How long a signed URL is good for; whole seconds.
    pub url_lifetime: Duration,
    /// Objects are deleted this long after they are stored.
    pub retention: Option<Duration>,
    /// A larger `file_size` is refused with 413.
    pub max_size: Option<u64>,
    /// Sign URLs for this store instead of the stub's own.
    pub external_s3: Option<ExternalS3>,
    /// Headers that URLs sign besides the documented ones, and that `upload_headers` does not hold: `content-type` over
    /// what was declared, others over a value that nobody is told.
    pub also_signs: Vec<String>,
    /// With TLS, what is wrong with the certificate.
    pub certificate: Certificate,
}

/// The certificate of both ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Certificate {
    /// Issued by the stub's authority, for its addresses.
    #[default]
    Good,
    /// As `Good`, and expired.
    Expired,
    /// As `Good`, and not valid yet.
    NotYetValid,
    /// Issued by the stub's authority, for other.example.
    OtherName,
    /// Issued by the stub's authority, with a common name alone.
    CommonNameOnly,
    /// The authority's own certificate.
    Authority,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tls: false,
            bind: Ipv4Addr::LOCALHOST.into(),
            advertise: None,
            api_port: 0,
            s3_port: 0,
            upload_headers: UploadHeaders::Filled,
            key_shape: KeyShape::Alternating,
            url_lifetime: Duration::from_hours(1),
            retention: None,
            max_size: None,
            external_s3: None,
            also_signs: Vec::new(),
            certificate: Certificate::Good,
        }
    }
}

/// The two examples of `upload_headers` in Cyberun's documentation; both headers are signed either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadHeaders {
    /// `{}`: a client learns the headers from `X-Amz-SignedHeaders` alone.
    Empty,
    /// `Content-Length` and `If-None-Match`.
    Filled,
}

/// The two examples of `file_key` in Cyberun's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyShape {
    /// `inputs/TEAM/TOKEN/BASE64-OF-MIME/NAME`
    WithMime,
    /// `inputs/TEAM/TOKEN/NAME`
    Plain,
    /// One, then the other.
    Alternating,
}

/// An S3-compatible store that runs elsewhere.
#[derive(Clone, Debug)]
pub struct ExternalS3 {
    /// Its base URL; buckets are addressed path-style.
    pub endpoint: Url,
    /// The bucket uploads go to; it must exist.
    pub bucket: String,
    /// The region to sign for.
    pub region: String,
    /// The access key to sign with.
    pub access_key: String,
    /// The secret key to sign with.
    pub secret_key: String,
}
