//! The `fileupload` program: parse, run, exit code. What it does lives in the library.

use std::process::ExitCode;

use clap::Parser;
use fileupload_operator::cli::Arguments;

fn main() -> ExitCode {
    Arguments::parse().run()
}
