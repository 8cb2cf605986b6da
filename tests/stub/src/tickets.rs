//! File keys and signed URLs: what a presign hands out and a put must present.
//!
//! URLs are signed by rusty-s3 and never checked by it: `signature` does that with another implementation. A
//! ticket remembers what was declared, so that a put can be told apart by file name and credential.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::SignedDuration;
use rusty_s3::S3Action as _;
use rusty_s3::actions::PutObject;
use rusty_s3::{Bucket, Credentials, UrlStyle};
use url::Url;

use crate::options::{ExternalS3, KeyShape, Options};

/// What one presign declared.
#[derive(Clone)]
pub(crate) struct Ticket {
    pub(crate) key: String,
    pub(crate) file_name: String,
    pub(crate) size: u64,
    pub(crate) content_type: String,
    pub(crate) credential: Option<String>,
}

/// Where tickets are written and found.
pub(crate) struct Desk {
    bucket: Bucket,
    credentials: Credentials,
    lifetime: Duration,
    shape: KeyShape,
    team: String,
    also_signs: Vec<String>,
    issued: AtomicU64,
    /// By the path of the signed URL: it must come back as it was given.
    tickets: Mutex<HashMap<String, Ticket>>,
}

impl Desk {
    pub(crate) fn new(options: &Options, store: &ExternalS3) -> anyhow::Result<Self> {
        let ExternalS3 { endpoint, bucket, region, access_key, secret_key } = store.clone();
        let bucket =
            Bucket::new(endpoint, UrlStyle::Path, bucket, region).context("the storage's URL cannot be used")?;
        Ok(Self {
            bucket,
            credentials: Credentials::new(access_key, secret_key),
            lifetime: options.url_lifetime,
            shape: options.key_shape,
            team: uuid(),
            also_signs: options.also_signs.clone(),
            issued: AtomicU64::new(0),
            tickets: Mutex::default(),
        })
    }

    pub(crate) fn new_key(&self, file_name: &str, content_type: &str) -> String {
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        let token = uuid();
        let with_mime = match self.shape {
            KeyShape::WithMime => true,
            KeyShape::Plain => false,
            KeyShape::Alternating => number.is_multiple_of(2),
        };
        let team = &self.team;
        if with_mime {
            let mime = BASE64_URL_SAFE_NO_PAD.encode(content_type);
            return format!("inputs/{team}/{token}/{mime}/{file_name}");
        }
        format!("inputs/{team}/{token}/{file_name}")
    }

    /// Signs `Content-Length`, `If-None-Match` and what the options name into a PUT URL and remembers the ticket.
    pub(crate) fn issue(&self, ticket: Ticket, expired: bool) -> Url {
        let size = ticket.size.to_string();
        let mut action = PutObject::new(&self.bucket, Some(&self.credentials), &ticket.key);
        action.headers_mut().insert("content-length", size);
        action.headers_mut().insert("if-none-match", "*");
        for name in &self.also_signs {
            let value = if name == "content-type" { ticket.content_type.clone() } else { uuid() };
            action.headers_mut().insert(name.clone(), value);
        }
        let now = crate::clock::now();
        let age = SignedDuration::try_from(self.lifetime).unwrap_or_default() + SignedDuration::from_mins(1);
        let signed_at = if expired { now.checked_sub(age).unwrap_or(now) } else { now };
        let url = action.sign_with_time(self.lifetime, &signed_at);
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner).insert(url.path().to_owned(), ticket);
        url
    }

    pub(crate) fn find(&self, path: &str) -> Option<Ticket> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }
}

/// A random UUID.
pub(crate) fn uuid() -> String {
    let hex = format!("{:032x}", fastrand::u128(..));
    format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}
