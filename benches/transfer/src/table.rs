//! The table: one line per work and tool, then the goals. The same as text for stdout and as Markdown for the page.

use std::io::Write as _;

use crate::bench::{Done, Pairs, Run};
use crate::goals;
use crate::ratio::{Spread, short};

/// The head of the table.
pub(crate) const HEAD: [&str; 9] =
    ["work", "tool", "wall s", "CPU s", "peak MiB", "sink CPU s", "our wall ÷ its", "our CPU ÷ its", "our peak ÷ its"];

/// Each work: ours beside the first tool, then each tool with our ratios to it.
pub(crate) fn rows(done: &[Done]) -> Vec<[String; 9]> {
    let mut rows = Vec::new();
    for Done { work, pairs } in done {
        if let Some(first) = pairs.first() {
            rows.push(row(&work.name, work.ours.name(), &first.ours, None));
        }
        rows.extend(pairs.iter().map(|pairs| row("", pairs.tool.name(), &pairs.theirs, Some(pairs))));
    }
    rows
}

fn row(work: &str, tool: &str, runs: &[Run], pairs: Option<&Pairs>) -> [String; 9] {
    let of = |figure: fn(&Run) -> f64| text(Spread::of(runs.iter().map(figure)));
    let ratio = |figure: fn(&Run) -> f64| pairs.map_or(String::new(), |pairs| text(pairs.ratio(figure)));
    let median = |figure: fn(&Run) -> f64| {
        Spread::of(runs.iter().map(figure)).map_or(String::new(), |spread| short(spread.median))
    };
    [
        work.into(),
        tool.into(),
        of(|run| run.wall),
        of(|run| run.cpu),
        median(|run| run.peak),
        median(|run| run.sink),
        ratio(|run| run.wall),
        ratio(|run| run.cpu),
        ratio(|run| run.peak),
    ]
}

fn text(spread: Option<Spread>) -> String {
    spread.map_or(String::new(), |spread| spread.to_string())
}

/// Prints machine, table and goals.
pub(crate) fn print(machine: &[String], done: &[Done]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in machine {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "\nmedian (least–most) of the pairs; ratios are ours ÷ the tool's, pair by pair\n")?;
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines.extend(rows(done));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    for line in &lines {
        let cells: Vec<_> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    writeln!(out)?;
    for goal in goals::judge(done) {
        let verdict = if goal.is_reached { "ok" } else { "missed" };
        writeln!(out, "{:<52} {:<8} {:<22} {verdict}", goal.text, goal.bound, goal.value)?;
    }
    for Done { work, pairs } in done {
        let most = pairs.iter().flat_map(|pairs| &pairs.ours).map(|run| run.connections).max().unwrap_or_default();
        writeln!(out, "{}: fileupload made at most {most} connections", work.name)?;
    }
    Ok(())
}
