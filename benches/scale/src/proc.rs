//! CPU and memory of processes and threads, as the kernel counts them in `/proc`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};

/// The CPU time of a process since its start, in user and system mode.
pub(crate) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (state, cpu) = read_stat(&stat).context("a stat that cannot be read")?;
    if state == "Z" {
        bail!("the process has ended");
    }
    Ok(cpu)
}

/// The CPU time of this process's threads of this name that still run.
pub(crate) fn cpu_of_threads(name: &str) -> anyhow::Result<Duration> {
    let mut sum = Duration::ZERO;
    for task in fs::read_dir("/proc/self/task")? {
        sum += cpu_of_thread(&task?.path(), name).unwrap_or_default();
    }
    Ok(sum)
}

/// None for a thread of another name, or that is gone by now.
fn cpu_of_thread(task: &Path, name: &str) -> Option<Duration> {
    let comm = fs::read_to_string(task.join("comm")).ok()?;
    let stat = fs::read_to_string(task.join("stat")).ok()?;
    (comm.trim_end() == name).then(|| read_stat(&stat).map(|(_, cpu)| cpu))?
}

/// State and CPU time. The name before them may hold anything, also blanks and brackets.
fn read_stat(stat: &str) -> Option<(&str, Duration)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<_> = rest.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Some((fields.first()?, Duration::from_millis((ticks(11)? + ticks(12)?) * 1000 / per_second)))
}

/// Memory of a process, in MiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Resident now.
    pub(crate) resident: f64,
    /// The most that was ever resident.
    pub(crate) peak: f64,
}

/// The memory of a process.
pub(crate) fn memory(pid: u32) -> anyhow::Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u32>().ok());
        kib.map(|kib| f64::from(kib) / 1024.0).with_context(|| format!("no {name} in the status of process {pid}"))
    };
    Ok(Memory { resident: of("VmRSS:")?, peak: of("VmHWM:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_brackets_and_blanks() {
        let stat = "12 (a) b) S 1 12 12 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 1 0";
        let per_second = rustix::param::clock_ticks_per_second();
        assert_eq!(read_stat(stat), Some(("S", Duration::from_millis(200 * 1000 / per_second))));
    }

    #[test]
    fn this_process_has_cpu_and_memory() -> anyhow::Result<()> {
        let pid = std::process::id();
        cpu(pid)?;
        let memory = memory(pid)?;
        assert!(memory.resident > 0.0 && memory.peak >= memory.resident, "{memory:?}");
        Ok(())
    }
}
