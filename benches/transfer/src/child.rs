//! A tool's run as the kernel accounts it: wall time from exec to exit, CPU time and peak memory.
//!
//! The kernel counts to the peak of a process what its parent had in memory when it started it. So each tool is started by a
//! process that has done nothing else, [`launch`], and not by this bench with all its results.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use wait4::Wait4 as _;

use crate::options::LaunchOptions;

/// What one run cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    /// In MiB. No tool is shown below the size of its launcher, which is some 3 MiB.
    pub(crate) peak: f64,
}

/// What a launcher says of its tool.
#[derive(Deserialize, Serialize)]
struct Ended {
    /// `None` after a signal.
    code: Option<i32>,
    wall: Duration,
    cpu: Duration,
    /// In bytes.
    peak: u64,
}

/// Runs the command to its end; its output goes to files in `folder`. An exit code other than `expected` is an error.
pub(crate) fn run(command: &Command, expected: i32, folder: &Path) -> anyhow::Result<(Cost, String)> {
    let (out, err) = (folder.join("stdout"), folder.join("stderr"));
    let name = command.get_program().to_string_lossy();
    let mut launcher = Command::new(std::env::current_exe()?);
    launcher.arg("launch").arg("--out").arg(&out).arg("--err").arg(&err).arg("--").arg(command.get_program());
    launcher.args(command.get_args());
    for (variable, value) in command.get_envs() {
        match value {
            Some(value) => launcher.env(variable, value),
            None => launcher.env_remove(variable),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        launcher.current_dir(folder);
    }
    let answer = launcher.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let ended: Ended = serde_json::from_slice(&answer.stdout).with_context(|| format!("cannot start {name}"))?;
    let said = String::from_utf8_lossy(&std::fs::read(&err)?).into_owned();
    if ended.code != Some(expected) {
        let last: Vec<_> = said.lines().rev().take(5).collect();
        let how = ended.code.map_or_else(|| "by a signal".to_owned(), |code| format!("with exit code {code}"));
        bail!("{name} ended {how}: {}", last.join(" / "));
    }
    #[expect(clippy::cast_precision_loss, reason = "no peak comes near 2^52 bytes")]
    let peak = ended.peak as f64 / f64::from(1 << 20);
    Ok((Cost { wall: ended.wall, cpu: ended.cpu, peak }, said))
}

/// Runs a tool to its end and says what it cost.
pub(crate) fn launch(options: &LaunchOptions) -> anyhow::Result<()> {
    let (program, arguments) = options.command.split_first().context("no program")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command.stdout(File::create(&options.out)?).stderr(File::create(&options.err)?);
    let begun = Instant::now();
    let ended = command.spawn()?.wait4()?;
    let (wall, usage) = (begun.elapsed(), ended.rusage);
    let ended = Ended { code: ended.status.code(), wall, cpu: usage.utime + usage.stime, peak: usage.maxrss };
    Ok(std::io::stdout().write_all(&serde_json::to_vec(&ended)?)?)
}
