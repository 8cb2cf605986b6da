//! What has arrived at the sink since it was last asked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One file.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Arrived {
    pub(crate) length: u64,
    /// Of a whole PUT, while the bench asks for it.
    pub(crate) sha256: Option<String>,
    /// How often it was stored.
    pub(crate) times: usize,
}

/// The sum of requests since the last time.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Tally {
    /// By name: the last segment of the key.
    pub(crate) files: BTreeMap<String, Arrived>,
    pub(crate) presigns: usize,
    pub(crate) refused: usize,
    /// Bytes of bodies that came although the request was refused.
    pub(crate) after_refusal: u64,
    pub(crate) connections: usize,
    /// What the sink could not serve, in words.
    pub(crate) strange: Vec<String>,
    /// The sink's own CPU time since it began, in nanoseconds.
    pub(crate) cpu: u64,
}

impl Tally {
    pub(crate) fn store(&mut self, name: &str, length: u64, sha256: Option<String>) {
        let file = self.files.entry(name.to_owned()).or_default();
        *file = Arrived { length, sha256, times: file.times + 1 };
    }

    /// A part of a multipart upload; the parts of a file add up.
    pub(crate) fn store_part(&mut self, name: &str, length: u64) {
        let file = self.files.entry(name.to_owned()).or_default();
        file.length += length;
        file.times = 1;
    }
}

/// The CPU time of this process's only busy thread, in nanoseconds.
pub(crate) fn own_cpu() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    stat.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or_default()
}
