//! Whom a courier trusts: the system's certificate authorities, and those of a bundle that it is given.
//!
//! The bundle comes as text, since a worker's pod cannot mount what the operator reads. Either may be missing, not
//! both; a bundle of which nothing can be used is refused, rather than left out and missed at the first call. One odd
//! certificate among good ones is left out, as in the system's own store.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tracing::warn;

use crate::cyberun;
use crate::redact::BYTE_ORDER_MARK;

/// Why there is no courier.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The API URL is not usable.
    #[error(transparent)]
    Url(#[from] cyberun::BadUrl),
    /// No certificate authority is trusted.
    #[error(
        "no trusted certificate was found: install the system's CA certificates, or name a PEM file in SSL_CERT_FILE{0}"
    )]
    NoRoots(String),
    /// The bundle that was given besides cannot be used.
    #[error("the bundle of CA certificates {0}")]
    Bundle(&'static str),
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
}

/// TLS as the client of servers that the system or `ca_pem` vouches for.
pub(super) fn tls(ca_pem: Option<&str>) -> Result<rustls::ClientConfig, SetupError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if let Some(pem) = ca_pem {
        trust(&mut roots, pem)?;
    }
    if roots.is_empty() {
        let first = found.errors.first().map(|error| format!(" ({error})"));
        return Err(SetupError::NoRoots(first.unwrap_or_default()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Whether certificates of authorities are in a bundle.
pub fn check_bundle(pem: &str) -> Result<(), SetupError> {
    trust(&mut RootCertStore::empty(), pem)
}

fn trust(roots: &mut RootCertStore, pem: &str) -> Result<(), SetupError> {
    // A line that begins with one would not count as the first of a certificate, which would be left out in silence.
    let pem = pem.replace(BYTE_ORDER_MARK, "");
    let sections: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let all = sections.len();
    if all == 0 {
        return Err(SetupError::Bundle("holds no certificate"));
    }
    match roots.add_parsable_certificates(sections.into_iter().flatten()) {
        (0, 0) => Err(SetupError::Bundle("is not PEM")),
        (0, _) => Err(SetupError::Bundle("holds nothing that is a CA certificate")),
        (good, _) => {
            if good < all {
                warn!(skipped = all - good, "skipped what is no CA certificate in the bundle");
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(pem: &str) -> String {
        tls(Some(pem)).map(drop).unwrap_err().to_string()
    }

    #[test]
    fn a_bundle_that_cannot_be_used_says_why() {
        assert!(refusal("").contains("holds no certificate"));
        assert!(refusal("no PEM").contains("holds no certificate"));
        assert!(
            refusal("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").contains("holds no certificate")
        );
        assert!(refusal("-----BEGIN CERTIFICATE-----\nAAAA").contains("is not PEM"));
        let other = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(refusal(other).contains("nothing that is a CA certificate"));
    }
}
