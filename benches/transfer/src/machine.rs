//! What the figures were taken on: processor, kernel, tools.

use std::fs;
use std::path::Path;

use crate::tools::{OTHERS, Tool};

/// Lines for people.
pub(crate) fn describe(fileupload: &Path) -> Vec<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim()));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut lines = vec![format!("{} · {cores} cores · Linux {}", model.unwrap_or("unknown processor"), kernel.trim())];
    let has = |feature: &str| cpu.split_whitespace().any(|word| word == feature);
    let features: Vec<_> =
        ["sha_ni", "aes", "vaes", "avx2", "avx512f", "sha2"].into_iter().filter(|name| has(name)).collect();
    lines.push(format!("processor features: {}", features.join(" ")));
    for tool in [Tool::Fileupload].into_iter().chain(OTHERS) {
        let version = tool.version(fileupload).unwrap_or_else(|| "not installed, left out".into());
        lines.push(format!("{}: {version}", tool.name()));
    }
    lines
}
