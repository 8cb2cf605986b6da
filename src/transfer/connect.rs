//! Connections to storage: pooled, HTTP/1.1 only, through the proxy of the environment where one is named.
//!
//! Nothing is retried or redirected here, and no header is added: what was signed is what is sent.

use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::body::Body;
use crate::proxy::{Connector, Variables};

/// How long a direct connection may take to be made.
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
    let proxies = Variables::read();
    let connector = Connector::new(tcp, tls.clone(), move |address| proxies.toward(address));
    let https =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(connector);
    hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .retry_canceled_requests(false)
        .build(https)
}
