//! `fileupload-operator` uploads files to Cyberun and keeps each one's `file_key`.
//!
//! ```text
//! FileUpload ─observe▶ Facts ─plan▶ Plan ─perform▶ Done ─settle▶ Settled ─publish▶ API server
//!                                     ├─ Send    (ConfigMap)  a task of the operator ▶ delivery ▶ result ▶ Facts
//!                                     └─ Launch  (volume)     Job ▶ worker ▶ delivery ▶ report ▶ Facts
//! ```
//!
//! What to do is decided in `plan`, which is pure. How a file becomes a key is the matter of [`delivery`], the same for
//! the operator and the command line: [`cyberun`] gets a presigned URL, [`transfer`] puts the bytes there. [`outcome`] is
//! the one success and the one failure, [`reason`] the one vocabulary.
//!
//! To read on: `resource/file_upload` → `plan` → `controller` → [`delivery`] → [`transfer`] → `worker`. A test keeps the
//! modules to the layers that CONTRIBUTING.md names.

#[cfg(not(target_os = "linux"))]
compile_error!("fileupload runs on Linux only: build it there, or in a Linux container");

mod backoff;
pub mod cli;
mod clock;
mod controller;
pub mod cyberun;
pub mod delivery;
mod key_life;
mod keys;
pub mod outcome;
mod plan;
mod proxy;
pub mod reason;
pub mod redact;
pub mod report;
pub mod resource;
mod sidecar;
mod telemetry;
pub mod transfer;
mod worker;
