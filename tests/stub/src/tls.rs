//! A certificate authority that lives as long as its stub.
//!
//! One server certificate serves both ports. Nothing is written to disk and no process-wide crypto provider is
//! installed: the code under test may install its own.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::TlsAcceptor;

use crate::options::{Certificate, Options};

/// The address end-to-end clusters reach the host by.
const HOST_SEEN_FROM_PODS: &str = "10.99.0.254";

/// A server's side of TLS, and the authority that vouches for it.
#[derive(Clone)]
pub struct Tls {
    /// Accepts connections.
    pub acceptor: TlsAcceptor,
    /// The authority, as PEM.
    pub ca_pem: String,
}

impl Tls {
    /// A new authority, and the certificate that the options ask for, for loopback and the names that they have.
    pub fn new(options: &Options) -> anyhow::Result<Self> {
        let mut authority = CertificateParams::new(names(options))?;
        authority.distinguished_name.push(DnType::CommonName, "cyberun-stub CA");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let authority_key = key.serialize_der();
        let authority = CertifiedIssuer::self_signed(authority, key)?;

        let mut params = match options.certificate {
            Certificate::OtherName => CertificateParams::new(vec!["other.example".into()])?,
            Certificate::CommonNameOnly => CertificateParams::default(),
            _ => CertificateParams::new(names(options))?,
        };
        match options.certificate {
            Certificate::Expired => params.not_after = rcgen::date_time_ymd(2020, 1, 1),
            Certificate::NotYetValid => params.not_before = rcgen::date_time_ymd(4000, 1, 1),
            Certificate::CommonNameOnly => params.distinguished_name.push(DnType::CommonName, options.bind.to_string()),
            _ => {}
        }
        let key = KeyPair::generate()?;
        let (certificate, key) = match options.certificate {
            Certificate::Authority => (authority.der().clone(), authority_key),
            _ => (params.signed_by(&key, &authority)?.der().clone(), key.serialize_der()),
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], PrivatePkcs8KeyDer::from(key).into())?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), ca_pem: authority.pem() })
    }
}

fn names(options: &Options) -> Vec<String> {
    let bind = options.bind.to_string();
    let mut names = vec!["127.0.0.1".into(), "localhost".into(), HOST_SEEN_FROM_PODS.into(), bind];
    names.extend(options.advertise.clone());
    names.sort();
    names.dedup();
    names
}
