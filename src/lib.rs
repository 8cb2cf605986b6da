//! x
pub mod backoff;
pub mod cli;
pub mod clock;
pub mod controller;
pub mod cyberun;
pub mod delivery;
pub mod plan;
pub mod reason;
pub mod redact;
pub mod resource;
pub mod telemetry;
pub mod transfer;
