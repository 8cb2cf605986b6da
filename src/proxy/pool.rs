//! Kept connections to the API and to storage: HTTP/1.1 only, through the proxy of the environment where one is named.
//!
//! Nothing is retried or redirected here, and no header is added: what was signed is what is sent.

use std::time::Duration;

use http_body::Body;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::{Connector, Variables};

/// How long a direct connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// A client that sends bodies of this type.
pub(crate) type Pool<B> = Client<HttpsConnector<Connector>, B>;

/// A pool of connections that trusts what `tls` trusts and closes those that are unused for `idle`.
///
/// The kernel closes a connection whose peer acknowledges no byte for `silence`. Without this limit the connection stays
/// open after its request was dropped, because TLS does not close before the peer has taken all that was written.
pub(crate) fn pool<B: Body<Data: Send> + Send>(
    tls: rustls::ClientConfig,
    idle: Duration,
    silence: Duration,
) -> Pool<B> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.set_tcp_user_timeout(Some(silence));
    let proxies = Variables::read();
    let connector = Connector::new(tcp, tls.clone(), move |address| proxies.toward(address));
    let https =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(connector);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(idle)
        .retry_canceled_requests(false)
        .build(https)
}
