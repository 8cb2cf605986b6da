//! The works: what is uploaded, to which store, by which tools.

use crate::tools::{OTHERS, Tool};

/// Which CA certificates the tools trust.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Trust {
    /// The sink's alone.
    One,
    /// The sink's and the system's whole bundle.
    System,
}

/// One work.
pub(crate) struct Work {
    /// Its name in the table, and in `--works`.
    pub(crate) name: String,
    /// The name that goals are found by.
    pub(crate) id: &'static str,
    pub(crate) count: usize,
    pub(crate) size: u64,
    /// Arguments of the sink.
    pub(crate) sink: &'static [&'static str],
    /// What is measured.
    pub(crate) ours: Tool,
    /// What it is compared with.
    pub(crate) tools: Vec<Tool>,
    pub(crate) side_by_side: usize,
    /// Runs whose sum is one figure of a pair: what takes milliseconds is measured many times.
    pub(crate) runs: usize,
    pub(crate) trust: Trust,
    /// Each PUT is refused.
    pub(crate) refused: bool,
}

/// All works, in the order of the table.
pub(crate) fn all(files: usize, mib: u64) -> Vec<Work> {
    let work = |id, name: String| Work {
        name,
        id,
        count: 1,
        size: 4096,
        sink: &[],
        ours: Tool::Fileupload,
        tools: vec![Tool::Curl],
        side_by_side: 50,
        runs: 1,
        trust: Trust::One,
        refused: false,
    };
    let large = mib << 20;
    vec![
        Work { size: large, tools: OTHERS.to_vec(), ..work("large", format!("{mib} MiB")) },
        Work { size: large, ours: Tool::Unhashed, ..work("bare", format!("{mib} MiB, not hashed (bench only)")) },
        Work { count: files, tools: OTHERS.to_vec(), ..work("many", format!("{files} × 4 KiB")) },
        Work {
            count: files,
            sink: &["--answer-after", "30"],
            side_by_side: 128,
            ..work("slow", format!("{files} × 4 KiB, answers in 30 ms"))
        },
        Work { runs: 20, ..work("one", "4 KiB, one CA".into()) },
        Work { runs: 20, trust: Trust::System, ..work("bundle", "4 KiB, the system's CAs".into()) },
        Work {
            size: large,
            sink: &["--refuse"],
            refused: true,
            ..work("refused", format!("{mib} MiB refused with 412"))
        },
    ]
}
