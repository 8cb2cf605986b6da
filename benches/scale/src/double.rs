//! The double of Cyberun, in threads of its own: what it costs is not mixed up with the operator or the bench.

use std::time::Duration;

use cyberun_stub::{Options, Stub};
use tokio::runtime::{Builder, Runtime};

use crate::proc;

const THREAD: &str = "double";

/// The double and its threads.
pub(crate) struct Double {
    pub(crate) stub: Stub,
    _runtime: Runtime,
}

impl Double {
    /// Must be called, and the double dropped, outside of any other runtime.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name(THREAD).enable_all().build()?;
        let stub = runtime.block_on(Stub::start(Options::default()))?;
        Ok(Self { stub, _runtime: runtime })
    }

    /// Its CPU time so far.
    pub(crate) fn cpu() -> anyhow::Result<Duration> {
        proc::cpu_of_threads(THREAD)
    }
}
