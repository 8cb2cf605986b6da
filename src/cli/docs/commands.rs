//! `docs/cli.md`: the long help of every command, word for word as `--help` prints it.

use std::fmt::Write;

use clap::CommandFactory;

use super::super::Arguments;

const HEAD: &str = "# The command line

There is one program, `fileupload`, for Linux. Exit codes: 0 done, 1 failed, 2 usage. Data goes to stdout, everything
else to stderr. An environment variable that is empty counts as not set. Proxies are those of
[HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY](operations.md#proxies-and-certificates). A link named
`kubectl-fileupload` on the PATH makes it a kubectl plugin: `kubectl fileupload explain …`.
";

/// The width of the help, independent of the terminal.
const WIDTH: usize = 100;

pub(super) fn page() -> String {
    let mut program = Arguments::command().term_width(WIDTH).disable_help_subcommand(true);
    program.build();
    let mut page = HEAD.to_owned();
    section(&mut page, &program);
    let visible = program.get_subcommands().filter(|command| !command.is_hide_set());
    visible.for_each(|command| section(&mut page, command));
    page
}

fn section(page: &mut String, command: &clap::Command) {
    // The page must not contain values of the environment.
    let mut command = command.clone().mut_args(|argument| argument.hide_env_values(true));
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    let help = command.render_long_help().to_string();
    let lines: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
    let _ = write!(page, "\n## {name}\n\n```text\n{}\n```\n", lines.join("\n"));
}
