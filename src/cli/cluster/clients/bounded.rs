//! Bounds of one call to the API server: its total time, and the size of its answer.
//!
//! Timeouts of a connection do not bound a call, because an answer may come byte by byte. So the whole answer is read
//! here. That suits calls, not watches.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use kube::client::Body;
use thiserror::Error;
use tower::{BoxError, Layer, Service};

/// The bounds of a call.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) time: Duration,
    pub(super) bytes: usize,
}

#[derive(Debug, Error)]
pub(super) enum BeyondBounds {
    #[error("the API server did not answer within {} ms", .0.as_millis())]
    Time(Duration),
    #[error("the API server's answer has more than {0} bytes")]
    Bytes(usize),
}

pub(super) struct BoundsLayer(pub(super) Bounds);

impl<S> Layer<S> for BoundsLayer {
    type Service = Bounded<S>;

    fn layer(&self, inner: S) -> Bounded<S> {
        Bounded { inner, bounds: self.0 }
    }
}

/// A service whose calls keep to their bounds.
pub(super) struct Bounded<S> {
    inner: S,
    bounds: Bounds,
}

impl<S, B> Service<Request<Body>> for Bounded<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (response, bounds) = (self.inner.call(request), self.bounds);
        let whole = async move { read(response.await.map_err(Into::into)?, bounds.bytes).await };
        Box::pin(
            async move { tokio::time::timeout(bounds.time, whole).await.map_err(|_| BeyondBounds::Time(bounds.time))? },
        )
    }
}

async fn read<B>(response: Response<B>, most: usize) -> Result<Response<Full<Bytes>>, BoxError>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (head, body) = response.into_parts();
    let bytes = match Limited::new(body, most).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(BeyondBounds::Bytes(most).into()),
        Err(error) => return Err(error),
    };
    Ok(Response::from_parts(head, Full::new(bytes)))
}
