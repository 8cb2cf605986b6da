//! x
pub mod backoff;
pub mod cli;
pub mod clock;
pub mod controller;
pub mod cyberun;
pub mod delivery;
pub mod reason;
pub mod plan;
pub mod redact;
pub mod resource;
pub mod telemetry;
pub mod transfer;
