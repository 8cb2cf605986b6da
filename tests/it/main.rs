//! The crate from outside: over real sockets against the double of Cyberun, and as a process.
//!
//! `delivery`, `batch`, `wire`, `api`, `beneath` and `hostile` use the library, `cli`, `credentials`, `refusal`, `tls`,
//! `worker`, `sidecar` and `renewal` the program, and `seaweedfs` the program against a store that is none of ours.
//! `layers` reads the source itself, `examples` and `links` read what users read.
//! Nothing here needs Kubernetes; that is `tests/e2e`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails; clippy spares only test functions"
)]

mod api;
mod batch;
mod beneath;
mod beside;
mod cli;
mod credentials;
mod delivery;
mod examples;
mod explain;
mod files;
mod hostile;
mod keys_dir;
mod layers;
mod links;
mod plan;
mod process;
mod proxy;
mod reasons;
mod refresh;
mod refusal;
mod renewal;
mod seaweedfs;
mod secrets;
mod sender;
mod sidecar;
mod terminal;
mod thread;
mod tls;
mod volume;
mod watch;
mod weed;
mod wire;
mod work;
mod worker;
