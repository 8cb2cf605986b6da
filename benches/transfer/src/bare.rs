//! The transfer alone, without hashing: one PUT by the library that the program is made of. No command of the program does this.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use fileupload_operator::redact::PresignedUrl;
use fileupload_operator::transfer::{Client, Source, Tuning};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, IF_NONE_MATCH};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::options::BareOptions;

/// Puts the file, on one thread as the program does.
pub(crate) fn run(options: &BareOptions) -> anyhow::Result<()> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&options.ca)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let client = Client::with(
        tls.with_root_certificates(roots).with_no_client_auth(),
        Tuning { hash: false, ..Tuning::default() },
    );
    let url = PresignedUrl::parse(&options.url).context("no URL")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let opened = Arc::new(Source::file(&options.file).settled().open().await?);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, opened.size().into());
        headers.insert(IF_NONE_MATCH, http::HeaderValue::from_static("*"));
        match client.put(&url, &headers, &opened, &Arc::default()).await {
            Ok(_) => Ok(()),
            Err(error) => bail!(error),
        }
    })
}
