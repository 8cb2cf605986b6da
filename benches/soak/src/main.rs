//! `make soak`: faults, kills and restarts at random, and in the end every key stands for the newest content.
//!
//! ```text
//! options ▶ stage (FileUploads of ConfigMaps and a volume) ▶ deeds at random ▶ checks each minute ▶ judge (objects, memory)
//! ```
//!
//! The operator is killed during the first third alone, because its memory can be followed only while it lives.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

mod deeds;
mod faults;
mod judge;
mod memory;
mod run;
mod stage;

/// Soak the operator in faults.
///
/// Run it by `make soak`: it needs the cluster of `tests/cluster/run`, with nodes.
#[derive(Parser)]
struct Options {
    /// How long, in minutes
    #[arg(long, env = "MINUTES", default_value_t = 30, value_parser = clap::value_parser!(u64).range(6..=600))]
    minutes: u64,
    /// What makes the same deeds come in the same order
    #[arg(long, env = "SEED", default_value_t = fastrand::u64(0..1_000_000))]
    seed: u64,
    /// The most that memory may grow after the warm-up, in MiB per hour
    #[arg(long, env = "MIB_PER_HOUR", default_value_t = 4.0)]
    mib_per_hour: f64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    say(&format!("seed {}: SEED={0} makes the same deeds come in the same order", options.seed));
    let span = Duration::from_secs(options.minutes * 60);
    // Named as a test is, because its namespace is named after it.
    let soak = std::thread::Builder::new()
        .name("soak".into())
        .spawn(move || test_support::with_pods("", "a soak", async |world| run::run(world, span, &options).await));
    match soak.map(std::thread::JoinHandle::join) {
        Ok(Ok(Ok(()))) => ExitCode::SUCCESS,
        Ok(Ok(Err(error))) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
        // It has printed why.
        Ok(Err(_)) | Err(_) => ExitCode::FAILURE,
    }
}

/// Tells the person who waits how far it is.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
