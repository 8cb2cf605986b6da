//! `docs/cli.md`: the long help of every command, word for word as `--help` prints it.

use std::fmt::Write;

use clap::CommandFactory;

use super::super::Arguments;

const HEAD: &str = "# The command line

There is one program, `fileupload`, for Linux. Exit codes: 0 done, 1 failed, 2 usage. Data goes to stdout, everything
else to stderr. `wait` and `refresh --wait` also end with 3 (a person must act) and 4 (timed out). An environment variable that is empty counts as not set. Proxies are those of
[HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY](operations.md#proxies-and-certificates). A link named
`kubectl-fileupload` on the PATH makes it a kubectl plugin: `kubectl fileupload explain …`.
";

const JSON: &str = "
## The fields of `explain -o json`

Of a FileUpload; a field that does not apply is null or an empty list. Fields may be added, and none is renamed.

| field | meaning |
|---|---|
| `namespace`, `name` | which FileUpload |
| `phase`, `filesUploaded`, `filesTotal`, `nextAttemptAt`, `availableUntil` | as in its status |
| `available` | whether every file has a live key, and the output has it |
| `observed` | whether an operator has looked at the current spec |
| `reason`, `cause`, `fix`, `next` | why it is not Available, or why a renewal fails; how to fix it; what happens next |
| `also[]` | other failures: `file` (the name of a file or a folder), `reason`, `cause` |
| `expires` | the key that expires first: `file` (the name of a file or a folder), `at` (of a folder when its keys are withdrawn), `isOnly` (no other has a key), `renewed` (it is renewed before) |
| `deleting`, `requested` | whether it is being deleted; whether a fresh upload is requested and not done |
| `unread[]` | what could not be read: `kind`, `why` |

Of a reason: `reason`, `class`, `scope`, `meaning`, `cause`, `fix`, `next`. Without an argument: a list of these.
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
    page += JSON;
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
