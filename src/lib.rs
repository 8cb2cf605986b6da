//! x
pub mod backoff;
pub mod cyberun;
pub mod delivery;
pub mod reason;
pub mod redact;
pub mod transfer;
