//! `fileupload-operator` uploads files to Cyberun and keeps each one's `file_key`.
//!
//! ```text
//! FileUpload ─observe▶ Observed ─plan▶ Plan ─perform▶ Outcome ─plan::status▶ Status ─publish▶ API server
//! ```
//!
//! What to do is decided in [`plan`], which is pure. How a file becomes a key is the matter of [`delivery`],
//! the same for the operator and the command line: [`cyberun`] gets a presigned URL, [`transfer`] puts the
//! bytes there. [`reason`] holds the one vocabulary of states and failures.
//!
//! To read on: [`resource`] → [`plan`] → [`controller`] → [`delivery`] → [`transfer`] → [`worker`]. A test keeps the
//! modules to the layers that CONTRIBUTING.md names.

pub mod backoff;
pub mod cli;
pub mod clock;
pub mod controller;
pub mod cyberun;
pub mod delivery;
pub mod key_life;
pub mod keys;
pub mod outcome;
pub mod plan;
pub mod reason;
pub mod redact;
pub mod report;
pub mod resource;
pub mod sidecar;
pub mod telemetry;
pub mod transfer;
pub mod worker;
