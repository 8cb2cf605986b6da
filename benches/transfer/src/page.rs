//! The page: writes the figures between two marks of `docs/performance.md` and the drawing beside it.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;

use crate::bench::Done;
use crate::{chart, goals, table};

const BEGIN: &str = "<!-- figures: written by make bench WRITE=true -->";
const END: &str = "<!-- end of figures -->";

/// Replaces the figures. All else of the page is written by people.
pub(crate) fn write(machine: &[String], done: &[Done]) -> anyhow::Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let page = docs.join("performance.md");
    let text = std::fs::read_to_string(&page).with_context(|| page.display().to_string())?;
    std::fs::write(&page, replaced(&text, &figures(machine, done))?)?;
    Ok(std::fs::write(docs.join("performance.svg"), chart::draw(done))?)
}

fn replaced(text: &str, figures: &str) -> anyhow::Result<String> {
    let (before, rest) = text.split_once(BEGIN).context("the page has no mark where figures begin")?;
    let (_, after) = rest.split_once(END).context("the page has no mark where figures end")?;
    Ok(format!("{before}{BEGIN}\n\n{figures}\n{END}{after}"))
}

fn figures(machine: &[String], done: &[Done]) -> String {
    let mut text = machine.iter().fold(String::new(), |text, line| text + "- " + line + "\n");
    let _ = writeln!(text, "\n| {} |\n|{}", table::HEAD.join(" | "), "---|".repeat(table::HEAD.len()));
    for row in table::rows(done) {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    let _ = writeln!(text, "\n| goal | bound | measured | |\n|---|---|---|---|");
    for goal in goals::judge(done) {
        let verdict = if goal.is_reached { "reached" } else { "**missed**" };
        let _ = writeln!(text, "| {} | {} | {} | {verdict} |", goal.text, goal.bound, goal.value);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let page = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        assert_eq!(replaced(&page, "new").unwrap(), format!("before\n{BEGIN}\n\nnew\n{END}\nafter\n"));
        assert!(replaced("no marks", "new").is_err());
    }
}
