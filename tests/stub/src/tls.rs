//! A certificate authority that lives as long as its stub.
//!
//! One server certificate serves both ports. Nothing is written to disk and no process-wide crypto provider is
//! installed: the code under test may install its own.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::TlsAcceptor;

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
    /// A new authority, and a certificate for loopback and these names.
    pub fn new(bind: IpAddr, advertise: Option<&str>) -> anyhow::Result<Self> {
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "cyberun-stub CA");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

        let mut names = vec!["127.0.0.1".into(), "localhost".into(), HOST_SEEN_FROM_PODS.into(), bind.to_string()];
        names.extend(advertise.map(ToOwned::to_owned));
        names.sort();
        names.dedup();
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), ca_pem: authority.pem() })
    }
}
