//! Checks the query signature of a request to the storage.
//!
//! The check is s3s's, which shares no code with rusty-s3, the signer. s3s is given the request's head and an empty
//! body, so it never reads a byte; its refusal, S3's own XML, is passed on as it is. A signed header that is missing
//! or changed is a signature mismatch to it, as to S3.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri, request};
use http_body_util::BodyExt as _;
use s3s::auth::SimpleAuth;
use s3s::route::S3Route;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3, S3Request, S3Response, S3Result};

use crate::answer::{self, Refusal};
use crate::options::ExternalS3;

pub(crate) struct Verifier(S3Service);

impl Verifier {
    pub(crate) fn new(store: &ExternalS3) -> Self {
        let mut builder = S3ServiceBuilder::new(NoOperations);
        builder.set_auth(SimpleAuth::from_single(store.access_key.clone(), store.secret_key.clone()));
        builder.set_route(Verified);
        Self(builder.build())
    }

    /// `Err` is the refusal to send.
    pub(crate) async fn check(&self, head: &request::Parts) -> Result<(), Refusal> {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = head.uri.clone();
        *request.version_mut() = head.version;
        *request.headers_mut() = head.headers.clone();
        match self.0.call(request).await {
            Ok(verdict) if verdict.status().is_success() => Ok(()),
            Ok(refusal) => Err(passed_on(refusal).await),
            Err(_) => Err(answer::xml_error(http::StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "s3s failed")),
        }
    }
}

async fn passed_on(refusal: http::Response<Body>) -> Refusal {
    let (head, body) = refusal.into_parts();
    let xml = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    http::Response::from_parts(head, answer::whole(xml)).into()
}

/// s3s asks for an implementation of S3; every operation keeps its default, "not implemented".
struct NoOperations;

impl S3 for NoOperations {}

/// Stands where s3s goes on once the signature is good.
struct Verified;

#[async_trait::async_trait]
impl S3Route for Verified {
    fn is_match(&self, _: &Method, _: &Uri, _: &HeaderMap, _: &mut http::Extensions) -> bool {
        true
    }

    async fn call(&self, _: S3Request<Body>) -> S3Result<S3Response<Body>> {
        Ok(S3Response::new(Body::from(Bytes::new())))
    }
}
