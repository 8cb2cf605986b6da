//! The `fileupload` program: parse, run, exit code. What it does lives in the library.

use std::process::ExitCode;

use fileupload_operator::cli::Arguments;

fn main() -> ExitCode {
    Arguments::typed(std::env::args_os()).run()
}
