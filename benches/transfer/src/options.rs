//! What the bench is told, by flags or, through make, by variables of the same names.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Measure uploads in pairs against other tools.
///
/// Run it by `make bench`. Tools that are not installed are left out and named.
#[derive(Parser)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// The program to measure
    #[arg(long, env = "FILEUPLOAD", default_value = "fileupload")]
    pub(crate) fileupload: PathBuf,
    /// Pairs per work and tool
    #[arg(long, env = "PAIRS", default_value_t = 5)]
    pub(crate) pairs: usize,
    /// Only works whose name contains one of these words, separated by commas
    #[arg(long, env = "WORKS", value_delimiter = ',')]
    pub(crate) works: Vec<String>,
    /// Only these tools, separated by commas
    #[arg(long, env = "TOOLS", value_delimiter = ',')]
    pub(crate) tools: Vec<String>,
    /// Files of the works with many files
    #[arg(long, env = "FILES", default_value_t = 10_000)]
    pub(crate) files: usize,
    /// MiB of the large file
    #[arg(long, env = "MIB", default_value_t = 1024)]
    pub(crate) mib: u64,
    /// Also write docs/performance.md and its drawing
    #[arg(long, env = "WRITE", num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) write: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// The store and the presign endpoint, as a process of its own; the bench starts it
    #[command(hide = true)]
    Sink(SinkOptions),
    /// One PUT without hashing; the bench starts it
    #[command(hide = true)]
    Put(BareOptions),
    /// A tool, and what it cost; the bench starts it
    #[command(hide = true)]
    Launch(LaunchOptions),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct LaunchOptions {
    /// The file for its standard output
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// The file for its standard error
    #[arg(long)]
    pub(crate) err: PathBuf,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct BareOptions {
    /// The file to put
    #[arg(long)]
    pub(crate) file: PathBuf,
    /// Where to
    #[arg(long)]
    pub(crate) url: String,
    /// The CA file that is trusted
    #[arg(long)]
    pub(crate) ca: PathBuf,
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SinkOptions {
    /// The folder that gets ca.pem
    #[arg(long)]
    pub(crate) folder: PathBuf,
    /// Milliseconds between the last byte of a PUT and its answer
    #[arg(long, default_value_t = 0)]
    pub(crate) answer_after: u64,
    /// Refuse each PUT with 412 before its body
    #[arg(long)]
    pub(crate) refuse: bool,
}
