//! The operator's two API clients: one for watches, one for every other call.
//!
//! kube's own client waits forever if an answer never comes, for example when the API server's host dies or a load
//! balancer silently drops a connection. Here each call ends within 30 s, a silent watch within 35 s, and an
//! unacknowledged connection within 20 s, so that the operator recovers within a minute. Nothing is retried here: the
//! requeue and the backoff of the watches do that. No body is logged. kube handles tokens, exec plugins, certificates
//! and proxies.

mod bounded;
#[cfg(test)]
mod tests;

use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, Write};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::{Client, Config, Error};
use tower::{BoxError, Service, ServiceBuilder};

use self::bounded::{Bounds, BoundsLayer};
use crate::controller::Clients;

/// A watch asks for 30 s. One that says nothing for longer than that is given up.
const WATCH_SILENCE: Duration = Duration::from_secs(35);
/// How long a call may take in all, its connection included.
const CALL: Duration = Duration::from_secs(30);
/// The largest answer to a call. An object of the API server has at most 3 MiB.
const ANSWER_BYTES: usize = 8 << 20;

/// How long each part of a conversation may take.
#[derive(Clone, Copy)]
struct Patience {
    /// Until a connection is made, with TLS and the proxy's part.
    connect: Duration,
    /// Until something comes back after the last byte was sent or came.
    silence: Duration,
    /// How long an unused connection is kept.
    idle: Duration,
}

const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(10),
    silence: CALL,
    // Shorter than an outage that matters: after it few dead connections are left to be tried.
    idle: Duration::from_secs(10),
};
/// Unused connections that are kept.
const IDLE_CONNECTIONS: usize = 64;
/// How long the other end may leave sent bytes unacknowledged.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);
/// A silent connection is asked after this time, and then so often, whether the other end is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TRIES: u32 = 2;

/// Both clients of the cluster of `config`.
pub(super) fn new(config: &Config) -> kube::Result<Clients> {
    let bounds = Bounds { time: CALL, bytes: ANSWER_BYTES };
    Ok(Clients {
        watches: client(config, Patience { silence: WATCH_SILENCE, ..PATIENCE }, None)?,
        calls: client(config, PATIENCE, Some(bounds))?,
    })
}

/// A client that reaches the cluster as `config` says, through its proxy where it names one.
fn client(config: &Config, patience: Patience, bounds: Option<Bounds>) -> kube::Result<Client> {
    let Some(proxy) = &config.proxy_url else { return client_over(tcp(), config, patience, bounds) };
    match proxy.scheme_str() {
        Some("http") => client_over(tunnel(proxy, tcp()), config, patience, bounds),
        Some("https") => {
            let to_proxy = config.rustls_https_connector_with_connector(tcp())?;
            client_over(tunnel(proxy, to_proxy), config, patience, bounds)
        }
        Some("socks5") => client_over(SocksV5::new(proxy.clone(), tcp()), config, patience, bounds),
        _ => Err(Error::ProxyProtocolUnsupported { proxy_url: Box::new(proxy.clone()) }),
    }
}

/// Connections that detect a dead peer.
fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEP_ALIVE));
    tcp.set_keepalive_interval(Some(KEEP_ALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(KEEP_ALIVE_TRIES));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    tcp
}

/// A tunnel through a proxy, with the user and password of its URL.
fn tunnel<C>(proxy: &Uri, connector: C) -> Tunnel<C> {
    let tunnel = Tunnel::new(proxy.clone(), connector);
    // Any address: whether the proxy serves this one has been decided already.
    let intercepted = Matcher::builder().all(proxy.to_string()).build().intercept(&Uri::from_static("https://cluster"));
    match intercepted.as_ref().and_then(|proxy| proxy.basic_auth()) {
        Some(auth) => tunnel.with_auth(auth.clone()),
        None => tunnel,
    }
}

fn client_over<C>(connector: C, config: &Config, patience: Patience, bounds: Option<Bounds>) -> kube::Result<Client>
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Connection + Read + Write + Send + Unpin + 'static,
    C::Future: Send + 'static,
    C::Error: std::error::Error + Send + Sync + 'static,
{
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(connector)?);
    connector.set_connect_timeout(Some(patience.connect));
    connector.set_read_timeout(Some(patience.silence));
    connector.set_write_timeout(Some(patience.silence));
    connector.set_reset_reader_on_write(true);
    let http: legacy::Client<_, Body> = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(patience.idle)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    let namespace = config.default_namespace.clone();
    Ok(match bounds {
        Some(bounds) => ClientBuilder::new(service, namespace).with_layer(&BoundsLayer(bounds)).build(),
        None => Client::new(service, namespace),
    })
}
