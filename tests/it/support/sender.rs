//! A courier, a credential and a stub that belong together.
//!
//! It says nothing of what ought to happen; tests count the calls at the stub.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use cyberun_stub::{Call, Kind, Options, Step, Stub};
use fileupload_operator::cyberun::Credential;
use fileupload_operator::delivery::{Batch, Candidate, Courier, Delivery, Hooks, Limits, Parcel, Window};
use fileupload_operator::outcome::{Trouble, Upload};
use fileupload_operator::redact::Secret;
use fileupload_operator::transfer::Source;
use tokio_util::sync::CancellationToken;

pub(crate) struct Sender {
    pub(crate) stub: Stub,
    pub(crate) courier: Courier,
    pub(crate) credential: Credential,
}

impl Sender {
    pub(crate) async fn new() -> Self {
        Self::with(Options::default(), Kind::Integration).await
    }

    pub(crate) async fn with(options: Options, kind: Kind) -> Self {
        let stub = Stub::start(options).await.unwrap();
        let courier = Courier::new(stub.api_url().as_str(), true, None).unwrap();
        Self::of(stub, courier, kind)
    }

    /// With a courier that is set up already.
    pub(crate) fn of(stub: Stub, courier: Courier, kind: Kind) -> Self {
        let known = stub.credential(kind);
        let credential = Credential::parse(Secret::new(known.token()), known.team()).unwrap();
        Self { stub, courier, credential }
    }

    /// One attempt to deliver these bytes.
    pub(crate) async fn send(&self, content: impl Into<Bytes>) -> Result<Upload, Trouble> {
        self.attempt(Source::bytes(content)).await
    }

    /// One attempt to deliver this file.
    pub(crate) async fn send_file(&self, path: PathBuf) -> Result<Upload, Trouble> {
        self.attempt(Source::file(path)).await
    }

    async fn attempt(&self, source: Source) -> Result<Upload, Trouble> {
        self.courier.attempt(&self.credential, &parcel(source)).await
    }

    /// One attempt to deliver these bytes, if the ticket passes.
    pub(crate) async fn send_if(
        &self,
        content: &'static str,
        admit: impl FnMut(&Candidate<'_>) -> bool,
    ) -> Result<Upload, Trouble> {
        self.courier.attempt_if(&self.credential, &parcel(Source::bytes(content)), admit).await
    }

    /// Attempts within these limits; returns also the failures that were followed by another.
    pub(crate) async fn deliver(&self, limits: Limits) -> (Result<Upload, Trouble>, Vec<Trouble>) {
        let mut retried = Vec::new();
        let on_retry = |trouble: &Trouble, _| retried.push(trouble.clone());
        let hooks = Hooks { admit: |_: &Candidate<'_>| true, on_retry };
        let (batch, parcel) = (self.batch(), parcel(Source::bytes("hello")));
        let place = batch.place(&parcel.source).await.unwrap();
        let result = match place.deliver(&self.credential, &parcel, limits, hooks).await {
            Delivery::Stored(upload) => Ok(upload),
            Delivery::Failed(trouble) => Err(trouble),
            Delivery::NotSent(last) => panic!("not sent: {last:?}"),
        };
        (result, retried)
    }

    /// A batch of a small window that nobody stops.
    pub(crate) fn batch(&self) -> Batch<'_> {
        Batch::new(&self.courier, CancellationToken::new(), Window::small())
    }

    /// How many presigns and PUTs the stub saw.
    pub(crate) fn counted(&self) -> (usize, usize) {
        let count = |step| self.stub.snapshot().of(step).count();
        (count(Step::Presign), count(Step::Put))
    }

    /// The PUTs the stub saw, in order.
    pub(crate) fn puts(&self) -> Vec<Call> {
        self.stub.snapshot().of(Step::Put).cloned().collect()
    }
}

fn parcel(source: Source) -> Parcel {
    Parcel { source, file_name: "photo.png".into(), content_type: None, sent: Arc::default() }
}

/// Files named by their index.
pub(crate) fn parcels(count: usize) -> Vec<Parcel> {
    let parcel = |index: usize| Parcel {
        source: Source::bytes(format!("content {index}")),
        file_name: index.to_string(),
        content_type: None,
        sent: Arc::default(),
    };
    (0..count).map(parcel).collect()
}
