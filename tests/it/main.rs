//! The crate from outside: over real sockets against the double of Cyberun, and as a process.
//!
//! `api_answers`, `batch`, `delivery`, `path_escape`, `path_opening`, `put_requests` and `storage_codes` use the library, most others the program;
//! `seaweedfs` runs it against a store that is none of ours. `layers` reads the source itself, `chart_files`, `examples` and `links`
//! read what users read. What tests share is in `support`. Nothing here needs Kubernetes; that is `tests/e2e`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails; clippy spares only test functions"
)]

mod api_answers;
mod batch;
mod chart_files;
mod cli;
mod credentials;
mod delivery;
mod examples;
mod explain_command;
mod fault_matrix;
mod folder_worker;
mod golden_plans;
mod keys_dir;
mod layers;
mod links;
mod path_escape;
mod path_opening;
mod printed_secrets;
mod proxy;
mod put_requests;
mod reasons;
mod refresh_command;
mod refused_body;
mod renewal;
mod seaweedfs;
mod sidecar;
mod sidecar_folder;
mod sidecar_folder_life;
mod storage_codes;
mod support;
mod terminal;
mod tls;
mod upload_many;
mod upload_recursive;
mod wait_command;
mod worker;
