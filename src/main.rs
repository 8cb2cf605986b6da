//! The `fileupload` program: parse, run, exit code. What it does lives in the library.

use std::process::ExitCode;

use fileupload_operator::cli::Arguments;

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    Arguments::typed(std::env::args_os()).run()
}
