//! Connections that go directly or by way of a proxy: HTTP, HTTPS or SOCKS5.
//!
//! The way to the target is plain TCP in any case; TLS with the target is made over it by the caller.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::{Proxy, Unusable, port};

/// The timeout of the way through a proxy, the connection to it included.
const CONNECT: Duration = Duration::from_secs(10);

type BoxError = Box<dyn Error + Send + Sync>;
type Route = dyn Fn(&Uri) -> Result<Option<Proxy>, Unusable> + Send + Sync;
/// Plain, or TLS with the proxy.
type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Connects directly, or by way of the proxy that is named for the address.
#[derive(Clone)]
pub(crate) struct Connector {
    tcp: HttpConnector,
    to_proxy: Arc<rustls::ClientConfig>,
    route: Arc<Route>,
}

impl Connector {
    /// Connects by `tcp`; `to_proxy` says which HTTPS proxies are trusted, and `route` which proxy is taken.
    pub(crate) fn new(
        tcp: HttpConnector,
        to_proxy: rustls::ClientConfig,
        route: impl Fn(&Uri) -> Result<Option<Proxy>, Unusable> + Send + Sync + 'static,
    ) -> Self {
        Self { tcp, to_proxy: Arc::new(to_proxy), route: Arc::new(route) }
    }

    async fn through(self, proxy: &Proxy, target: Uri) -> Result<Stream, BoxError> {
        // Where none is named, tunnels take 443.
        let target = at(&target, port(&target));
        if proxy.is_socks() {
            let mut socks = SocksV5::new(proxy.address(), self.tcp);
            if let Some((user, password)) = proxy.user() {
                socks = socks.with_auth(user.to_owned(), password.to_owned());
            }
            return Ok(MaybeHttpsStream::Http(socks.call(target).await?));
        }
        let mut tunnel = Tunnel::new(proxy.address(), HttpsConnector::from((self.tcp, self.to_proxy)));
        if let Some(header) = proxy.header() {
            tunnel = tunnel.with_auth(header.clone());
        }
        Ok(tunnel.call(target).await?)
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let mut connector = self.clone();
        Box::pin(async move {
            let Some(proxy) = (connector.route)(&target)? else {
                return Ok(MaybeHttpsStream::Http(connector.tcp.call(target).await?));
            };
            let made = tokio::time::timeout(CONNECT, connector.through(&proxy, target)).await;
            made.unwrap_or_else(|_| Err("it did not answer in time".into())).map_err(|error| {
                let mut cause: &dyn Error = error.as_ref();
                while let Some(source) = cause.source() {
                    cause = source;
                }
                // Without the proxy's name "connection refused" would be read as the target's.
                format!("the proxy {}: {cause}", proxy.host()).into()
            })
        })
    }
}

/// The address with this port.
pub(super) fn at(address: &Uri, port: u16) -> Uri {
    let mut parts = address.clone().into_parts();
    parts.authority = format!("{}:{port}", address.host().unwrap_or_default()).parse().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| address.clone())
}
