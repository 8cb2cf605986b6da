//! `make bench-scale`: the operator at scale, on a real API server without nodes.
//!
//! ```text
//! options ▶ stage (what is there before) ▶ subject (the operator) ▶ load (create, watch, judge) ▶ rest, idle ▶ floor ▶ table
//! ```
//!
//! It starts the operator as a process under the chart's own account, gives it work, and reads what that cost from the
//! kernel (CPU, memory), from the audit log (requests) and from a watch (times). Missed goals are only marked; wrong
//! results (a key that is missing, made up, or paid for twice) are failures. It never looks into the operator.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use self::options::Options;
use self::table::Table;

mod bench;
mod clock;
mod double;
mod floor;
mod foreign;
mod hands;
mod judge;
mod kubelet;
mod load;
mod options;
mod proc;
mod report;
mod requests;
mod stage;
mod subject;
mod table;

fn main() -> ExitCode {
    let options = Options::parse();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut table = Table::default();
    let result = bench::run(&options, &mut table);
    let mut out = std::io::stdout();
    // Also what was measured before something went wrong.
    let _ = writeln!(out, "\n{table}");
    match result.map(|wrong| wrong.join("\n")) {
        Ok(wrong) if wrong.is_empty() => ExitCode::SUCCESS,
        Ok(wrong) => {
            say(&format!("WRONG RESULTS\n{wrong}"));
            ExitCode::FAILURE
        }
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
