//! The sizes and spans of a transfer, in one place. `make bench` measured them; nothing here changes what is sent.

use std::time::Duration;

/// How transfers go about it. [`Tuning::default`] is what the program uses.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// Bodies up to this size are sent without asking first, in bytes.
    pub ask_above: u64,
    /// How long to wait for `100 Continue`.
    pub patience: Duration,
    /// How long a PUT may go without a byte moving. There is no limit on the whole.
    pub stall: Duration,
    /// How much of a file is read at once, and how much a connection is given at once, in bytes.
    pub chunk: usize,
    /// How much of a file is read at once where few are, in bytes: each chunk wakes two threads.
    pub wide_chunk: usize,
    /// How many files at the same time may be read in wide chunks. All others take less memory.
    pub wide: usize,
    /// How many chunks of one file are in memory: one is being read, the other is on its way.
    pub chunks: usize,
    /// How long an unused connection is kept. Storage servers keep them longer, so that a kept one is seldom dead.
    pub idle: Duration,
    /// Whether the body is hashed. Only a benchmark does without; [`super::Client::put`] then returns zeros.
    #[doc(hidden)]
    pub hash: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            ask_above: 64 * 1024,
            patience: Duration::from_secs(1),
            stall: Duration::from_mins(1),
            chunk: 128 * 1024,
            wide_chunk: 512 * 1024,
            wide: 4,
            chunks: 2,
            idle: Duration::from_secs(15),
            hash: true,
        }
    }
}
