//! What probes are told: `/readyz` is 200 while every key is in the folder, `/livez` always.
//!
//! Nobody listens before the first time that every key is there: a TCP probe would pass early otherwise, whatever
//! `/readyz` says. The port is ours from the beginning, so that one that is taken is told before anything is sent.

use std::io;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tracing::info;

use crate::keys::Keys;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 128;

/// Answers once there are `all` keys; ends only with what went wrong.
pub(super) async fn answer(socket: TcpSocket, mut keys: watch::Receiver<Keys>, all: usize) -> io::Error {
    // Its sender outlives this, so that it cannot fail.
    let _ = keys.wait_for(|keys| keys.len() == all).await;
    let listener = match socket.listen(BACKLOG) {
        Ok(listener) => listener,
        Err(error) => return error,
    };
    info!("every key is there; probes are answered from now on");
    let ready = move || {
        let answer = match all - keys.borrow().len() {
            0 => (StatusCode::OK, "ok"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "a key's life is over"),
        };
        std::future::ready(answer)
    };
    let router = Router::new().route("/livez", get(|| async { "ok" })).route("/readyz", get(ready));
    match axum::serve(listener, router).await {
        Ok(()) => io::Error::other("the server has ended"),
        Err(error) => error,
    }
}
