//! A double of the Cyberun upload API and of the S3 storage behind it.
//!
//! [`Stub::start`] opens two ports in this process: the API (`POST /api/v1/r/files/presign`, and
//! `POST /api/v1/r/workflows/slug/{slug}/run` to use a key) and the storage (`PUT` on the URL the API signed). It follows the public documentation, and where that leaves something open it is
//! the stricter one: exactly three request fields, no header on the PUT that was not signed and concerns the store,
//! the signature really checked. It never depends on the code under test.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use cyberun_stub::{Fault, Hold, Kind, Moment, Options, Rule, Step, Stub};
//! # async fn test() -> anyhow::Result<()> {
//! let stub = Stub::start(Options { tls: true, ..Options::default() }).await?;
//! let credential = stub.credential(Kind::Integration);
//! // Give the client under test `stub.api_url()`, `stub.ca_pem()` and `credential.token()`.
//!
//! stub.fault(Step::Presign, Fault::retry_after(429, 2));          // the next presign
//! stub.fault(Step::Put, Fault::reset().at(Moment::Body(65536)));  // the next put, after 64 KiB
//! stub.arm(Rule::always(Step::Put, Fault::status(503)).for_file("photo.png"));
//!
//! let hold = Hold::new("stored, not answered");
//! stub.fault(Step::Put, Fault::hold(&hold).at(Moment::Committed));
//! hold.reached(Duration::from_secs(10)).await?;                   // kill the client here
//! hold.release();
//!
//! stub.wait_for(|seen| seen.objects.len() == 1, Duration::from_secs(10)).await?;
//! assert!(stub.calls().iter().all(|call| call.status() != Some(401)));
//! # Ok(()) }
//! ```
//!
//! The road of a call: `server` accepts, `wire` watches the socket, `presign`, `storage` or `run` judges, `act` carries out an
//! armed fault at each [`Moment`], `record` keeps what was seen. The binary `cyberun-stub` is the same with a control
//! API for scripts, described in the module `control`.
//!
//! Known differences from the real thing: error bodies of the API are a guess, as their schema is not documented; S3
//! ignores `X-Team-ID` and answers 501 to a chunked body where the stub says 400; an `ETag` is not an MD5.

mod act;
mod answer;
mod clock;
mod control;
mod credentials;
mod faults;
mod hold;
mod options;
mod presign;
mod record;
mod rules;
mod run;
mod server;
mod signature;
mod state;
mod storage;
mod stub;
mod tickets;
mod tls;
mod wire;

pub use credentials::{Credential, Kind};
pub use faults::{Act, Answer, Defect, Fault, Field, GateShape, Moment};
pub use hold::Hold;
pub use options::{Certificate, ExternalS3, KeyShape, Options, UploadHeaders};
pub use record::{Call, End, Object, Snapshot, Step};
pub use rules::Rule;
pub use stub::Stub;
pub use tls::Tls;
