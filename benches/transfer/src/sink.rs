//! The other side: a presign endpoint and a store, each with a TLS port of its own, in one process with one thread.
//!
//! The store takes presigned and signed PUTs and multipart uploads, checks no signature, and keeps no content: only the
//! name, length and, on demand, SHA-256 of what arrived. The bench asks on stdin and is answered on stdout, so that no
//! request of the bench is among those that are counted.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use self::connection::{Connection, Shared};
use crate::options::SinkOptions;

mod connection;
mod head;
mod routes;
mod tally;

pub(crate) use self::tally::Tally;

/// Serves until stdin ends.
pub(crate) fn run(options: &SinkOptions) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let acceptor = acceptor(options)?;
    runtime.block_on(async {
        let (api, store) = (TcpListener::bind(local()).await?, TcpListener::bind(local()).await?);
        let shared = Arc::new(Shared::new(options.clone(), store.local_addr()?));
        answer(&format!("{} {}", api.local_addr()?, store.local_addr()?))?;
        tokio::spawn(accept(api, acceptor.clone(), Arc::clone(&shared)));
        tokio::spawn(accept(store, acceptor, Arc::clone(&shared)));
        let (asks, mut asked) = mpsc::unbounded_channel();
        // A thread of its own, so that the serving one is the only busy one.
        std::thread::spawn(move || std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| asks.send(line)));
        while let Some(line) = asked.recv().await {
            answer(&serde_json::to_string(&shared.take(line == "hash"))?)?;
        }
        anyhow::Ok(())
    })
}

fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn answer(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    loop {
        let Ok((tcp, _)) = listener.accept().await else { continue };
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            let _ = tcp.set_nodelay(true);
            if let Ok(tls) = acceptor.accept(tcp).await {
                // A connection that breaks off leaves a file missing, which the tally shows.
                let _ = Connection::new(tls, shared).serve().await;
            }
        });
    }
}

/// A certificate for loopback from an authority that ends with this process.
fn acceptor(options: &SinkOptions) -> anyhow::Result<TlsAcceptor> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "bench CA");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let params = CertificateParams::new(vec!["127.0.0.1".into(), "localhost".into()])?;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &authority)?.der().clone();
    std::fs::write(options.folder.join("ca.pem"), authority.pem())?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivatePkcs8KeyDer::from(key.serialize_der()).into())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
