//! `make bench`: uploads by `fileupload` and by other tools, in interleaved pairs, over TLS on this machine.
//!
//! ```text
//! options ▶ stage (files, tools) ▶ per work: sink (own process) ▶ check (one run, SHA-256) ▶ pairs ▶ table, page
//! ```
//!
//! Only ratios of one pair are judged, because the machine decides the rest. A file that is missing, cut or different at the
//! sink fails the bench; a missed goal does not. It never looks into the program that it measures.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use self::options::{Command, Options};

mod bare;
mod bench;
mod chart;
mod child;
mod goals;
mod machine;
mod options;
mod page;
mod ratio;
mod sink;
mod stage;
mod store;
mod table;
mod tools;
mod works;

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match &options.command {
        Some(Command::Sink(options)) => sink::run(options),
        Some(Command::Put(options)) => bare::run(options),
        Some(Command::Launch(options)) => child::launch(options),
        None => bench::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("the bench failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Tells the person who waits how far it is.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
