//! The stub judged by hand-made requests: it must accept what is right and refuse each thing that is wrong.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails; clippy spares only test functions"
)]

mod client;
mod faults;
mod presign;
mod process;
mod put;
mod run;
mod server;
