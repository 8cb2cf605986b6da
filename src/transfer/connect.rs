//! Connections to storage: pooled, HTTP/1.1 only, through the proxy of the environment where one is named.
//!
//! Nothing is retried or redirected here, and no header is added: what was signed is what is sent.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tower_service::Service;

use super::body::Body;

/// How long a connection may take to be made; a proxy's part of it included.
const CONNECT: Duration = Duration::from_secs(10);
/// Shorter than storage servers keep idle connections, so that a pooled one is seldom dead.
const IDLE: Duration = Duration::from_secs(15);

pub(super) type Pool = hyper_util::client::legacy::Client<HttpsConnector<Connector>, Body>;

/// A pool of connections that trusts what `tls` trusts.
pub(super) fn pool(tls: rustls::ClientConfig) -> Pool {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    let connector = Connector { tcp, proxies: Arc::new(Matcher::from_env()) };
    let https =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(connector);
    hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .retry_canceled_requests(false)
        .build(https)
}

/// Connects directly, or through a tunnel where the environment names a proxy for the address.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    proxies: Arc<Matcher>,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let mut tcp = self.tcp.clone();
        let Some(proxy) = self.proxies.intercept(&address) else {
            return Box::pin(async move { Ok(tcp.call(address).await?) });
        };
        let mut tunnel = Tunnel::new(proxy.uri().clone(), tcp);
        if let Some(auth) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(auth.clone());
        }
        Box::pin(async move {
            let made = tokio::time::timeout(CONNECT, tunnel.call(address)).await;
            Ok(made.map_err(|_| "the proxy did not answer in time")??)
        })
    }
}
