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
