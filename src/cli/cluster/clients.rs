//! API clients: the operator's two, one for watches and one for every other call, and that of a command.
//!
//! kube's own client waits forever if an answer never comes, for example when the API server's host dies or a load
//! balancer silently drops a connection. Here each call ends within 30 s, a silent watch within 35 s, and an
//! unacknowledged connection within 20 s, so that the operator recovers within a minute. Nothing is retried here: the
//! requeue and the backoff of the watches do that; a command, which a person waits for, repeats what the API server is
//! too busy for. No body is logged. kube handles tokens, exec plugins and certificates, `proxy` the proxies.

mod bounded;
#[cfg(test)]
mod tests;

use std::time::Duration;

use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::{Client, Config, Error};
use tower::retry::RetryLayer;
use tower::{BoxError, ServiceBuilder};

use self::bounded::{Bounds, BoundsLayer};
use crate::controller::Clients;
use crate::proxy::{Connector, Proxy};

/// A watch asks for 30 s. One that says nothing for longer than that is given up.
const WATCH_SILENCE: Duration = Duration::from_secs(35);
/// How long a call may take in all, its connection included.
const CALL: Duration = Duration::from_secs(30);
/// A watch of a command is the API server's to end, after less than this.
const COMMAND_SILENCE: Duration = Duration::from_mins(5);
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
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);
/// A silent connection is asked after this time, and then so often, whether the other end is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TRIES: u32 = 2;

/// Both clients of the cluster of `config`.
pub(super) fn new(config: &Config) -> kube::Result<Clients> {
    let bounds = Bounds { time: CALL, bytes: ANSWER_BYTES };
    Ok(Clients {
        watches: client(config, Patience { silence: WATCH_SILENCE, ..PATIENCE }, Calls::Any)?,
        calls: client(config, PATIENCE, Calls::Bounded(bounds))?,
    })
}

/// The client of a command.
pub(super) fn of_command(config: &Config) -> kube::Result<Client> {
    client(config, Patience { silence: COMMAND_SILENCE, ..PATIENCE }, Calls::Repeated)
}

/// What a client does with calls.
#[derive(Clone, Copy)]
enum Calls {
    Any,
    Bounded(Bounds),
    Repeated,
}

/// Connections that detect a dead peer.
fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEP_ALIVE));
    tcp.set_keepalive_interval(Some(KEEP_ALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(KEEP_ALIVE_TRIES));
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    tcp
}

/// A client that reaches the cluster as `config` says, through its proxy if it names one.
fn client(config: &Config, patience: Patience, calls: Calls) -> kube::Result<Client> {
    let unusable = |url: &http::Uri| Error::ProxyProtocolUnsupported { proxy_url: Box::new(url.clone()) };
    let proxy = config.proxy_url.as_ref().map(|url| Proxy::parse(&url.to_string()).ok_or_else(|| unusable(url)));
    let proxy = proxy.transpose()?;
    // As kubectl does: the authorities that vouch for the cluster vouch for an HTTPS proxy.
    let connector = Connector::new(tcp(), config.rustls_client_config()?, move |_| Ok(proxy.clone()));
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
    let repeated = matches!(calls, Calls::Repeated).then(|| RetryLayer::new(RetryPolicy::server_retry()));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(repeated)
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    let namespace = config.default_namespace.clone();
    Ok(match calls {
        Calls::Bounded(bounds) => ClientBuilder::new(service, namespace).with_layer(&BoundsLayer(bounds)).build(),
        Calls::Any | Calls::Repeated => Client::new(service, namespace),
    })
}
