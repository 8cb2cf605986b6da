//! A tool's run as the kernel accounts it: wall time from exec to exit, CPU time and peak memory.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use wait4::Wait4 as _;

/// What one run cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    /// In MiB. The kernel counts what the process had before exec, too, so no tool is shown below this bench's own size.
    pub(crate) peak: f64,
}

/// Runs the command to its end; its output goes to files in `folder`. An exit code other than `expected` is an error.
pub(crate) fn run(mut command: Command, expected: i32, folder: &Path) -> anyhow::Result<(Cost, String)> {
    let (out, err) = (folder.join("stdout"), folder.join("stderr"));
    command.stdin(Stdio::null()).stdout(File::create(&out)?).stderr(File::create(&err)?);
    let name = command.get_program().to_string_lossy().into_owned();
    let begun = Instant::now();
    let ended = command.spawn().with_context(|| format!("cannot start {name}"))?.wait4()?;
    let wall = begun.elapsed();
    let said = String::from_utf8_lossy(&std::fs::read(&err)?).into_owned();
    if ended.status.code() != Some(expected) {
        let last: Vec<_> = said.lines().rev().take(5).collect();
        bail!("{name} ended with {}: {}", ended.status, last.join(" / "));
    }
    #[expect(clippy::cast_precision_loss, reason = "no peak comes near 2^52 bytes")]
    let peak = ended.rusage.maxrss as f64 / f64::from(1 << 20);
    Ok((Cost { wall, cpu: ended.rusage.utime + ended.rusage.stime, peak }, said))
}
