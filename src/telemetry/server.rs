//! `/livez`, `/readyz` and `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::net::TcpListener;

use super::Metrics;

/// Ready once every part that was expected has reported.
#[derive(Clone, Default)]
pub struct Readiness(Arc<AtomicUsize>);

impl Readiness {
    /// Not ready until `parts` reports have come.
    pub fn expecting(parts: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(parts)))
    }

    /// Reports one part.
    pub fn report(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    fn answer(&self) -> (StatusCode, &'static str) {
        match self.0.load(Ordering::Relaxed) {
            0 => (StatusCode::OK, "ok"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "the first lists are not complete"),
        }
    }
}

/// Serves until the listener fails.
pub async fn serve(listener: TcpListener, metrics: Metrics, readiness: Readiness) -> std::io::Result<()> {
    let kind = [(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    let router = Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(move || async move { readiness.answer() }))
        .route("/metrics", get(move || async move { (kind, metrics.render()) }));
    axum::serve(listener, router).await
}
