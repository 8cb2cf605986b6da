//! The operator in a real Kubernetes, as users see it: one file a subject, a namespace each.
//!
//! `make test` runs these, or `tests/cluster/run cargo test --test e2e`. The harness is `tests/support`: it starts the
//! operator as the chart has it and reads what it does as plain JSON, from the outside.

mod admission;
mod anew;
mod change;
mod changing;
mod chart;
mod conflict;
mod consume;
mod crash;
mod explain;
mod files;
mod fixes;
mod hands;
mod happy;
mod hostile;
mod judgement;
mod left_to_workers;
mod life;
mod lifecycle;
mod many;
mod midway;
mod output;
mod person;
mod pods;
mod queue;
mod quiet;
mod reasons;
mod refresh;
mod rotation;
mod sidecar;
mod volumes;
mod worker_crash;
mod worker_ends;
mod worker_image;
mod worker_remote;
mod worker_rest;
mod worker_trouble;
mod workers;

/// The program under test.
const OPERATOR: &str = env!("CARGO_BIN_EXE_fileupload");
