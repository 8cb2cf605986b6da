//! `/livez`, `/readyz` and `/metrics`, served by a thread of their own.
//!
//! The thread has its own runtime, so that probes do not wait for the operator's work and a busy operator is not
//! restarted. A slow or silent client loses its connection, and the number of connections is limited. [`Health`] and
//! [`Metrics`] decide the answers.

use std::io;
use std::net::TcpListener as Listener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tracing::{debug, warn};

use super::{Health, Metrics};

/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(5);
/// How long a connection may last in all: it carries one request.
const CONNECTION: Duration = Duration::from_secs(15);
/// Connections that are served at the same time.
const CONNECTIONS: usize = 128;
/// Before connections are accepted again after an error, such as too many open files.
const AFTER_ERROR: Duration = Duration::from_millis(200);
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Begins to serve; the future resolves only if serving ends, with the cause.
///
/// Errors: the thread or its runtime cannot be made.
pub(crate) fn serve(
    listener: Listener,
    metrics: Metrics,
    health: Health,
) -> io::Result<impl Future<Output = io::Error> + use<>> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ended, end) = oneshot::channel::<io::Error>();
    std::thread::Builder::new().name("probes".to_owned()).spawn(move || {
        let error = runtime.block_on(accept(listener, router(metrics, health)));
        let _ = ended.send(error);
    })?;
    Ok(async { end.await.unwrap_or_else(|_| io::Error::other("the thread that answers probes panicked")) })
}

fn router(metrics: Metrics, health: Health) -> Router {
    let alive = health.clone();
    let live = move || async move {
        match alive.check_alive() {
            Ok(()) => (StatusCode::OK, "ok".to_owned()),
            Err(hangs) => (StatusCode::SERVICE_UNAVAILABLE, hangs),
        }
    };
    let ready = move || async move {
        match health.check_ready() {
            Ok(text) => (StatusCode::OK, text),
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why.to_owned()),
        }
    };
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(move || async move { ([(CONTENT_TYPE, OPENMETRICS)], metrics.render()) }))
}

/// Accepts connections until the listener is of no use.
async fn accept(listener: Listener, router: Router) -> io::Error {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return error,
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = match Arc::clone(&places).acquire_owned().await {
            Ok(place) => place,
            Err(error) => return io::Error::other(error),
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    answer(stream, router).await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection for probes");
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}

async fn answer(stream: TcpStream, router: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(false);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match tokio::time::timeout(CONNECTION, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a probe's connection failed"),
        Err(_) => debug!("a probe's connection lasted too long"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream as Stream};
    use std::time::Instant;

    use super::*;

    fn started(health: &Health) -> SocketAddr {
        let listener = Listener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(serve(listener, Metrics::default(), health.clone()).unwrap());
        address
    }

    /// What is answered to this text, until the connection is closed.
    fn said(address: SocketAddr, request: &str) -> String {
        let mut stream = Stream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(address: SocketAddr, path: &str) -> String {
        said(address, &format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n"))
    }

    #[test]
    fn probes_are_answered_though_no_runtime_of_the_operator_runs() {
        let health = Health::expecting(1);
        let address = started(&health);
        assert!(get(address, "/livez").starts_with("HTTP/1.1 200"));
        assert!(get(address, "/readyz").starts_with("HTTP/1.1 503"));
        health.lists_complete();
        assert!(health.watch_fails("pods", "forbidden", false));
        let ready = get(address, "/readyz");
        assert!(ready.starts_with("HTTP/1.1 200") && ready.ends_with("degraded: pods: forbidden"), "{ready}");
        let metrics = get(address, "/metrics");
        assert!(metrics.contains(OPENMETRICS) && metrics.ends_with("# EOF\n"), "{metrics}");
        assert!(get(address, "/elsewhere").starts_with("HTTP/1.1 404"));
    }

    #[test]
    fn a_client_that_says_nothing_loses_its_connection_and_keeps_nobody_waiting() {
        let address = started(&Health::default());
        let silent: Vec<_> = (0..CONNECTIONS).map(|_| Stream::connect(address).unwrap()).collect();
        let begun = Instant::now();
        assert!(get(address, "/livez").starts_with("HTTP/1.1 200"));
        assert!(begun.elapsed() < HEAD * 2, "{:?}", begun.elapsed());
        drop(silent);
    }

    #[tokio::test]
    async fn a_listener_that_is_of_no_use_ends_it_with_the_cause() {
        let socket = std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let ended = serve(Listener::from(socket), Metrics::default(), Health::default()).unwrap();
        tokio::time::timeout(Duration::from_secs(10), ended).await.unwrap();
    }
}
