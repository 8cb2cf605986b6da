//! The goals, each a bound on a figure of one work beside one tool.

use crate::bench::{Done, Run};
use crate::ratio::{Spread, short};
use crate::tools::Tool;

/// A goal and what was measured.
pub(crate) struct Goal {
    pub(crate) text: String,
    pub(crate) bound: String,
    pub(crate) value: String,
    pub(crate) is_reached: bool,
}

struct Rule {
    work: &'static str,
    tool: Tool,
    text: &'static str,
    at_most: bool,
    bound: f64,
    figure: Figure,
}

#[derive(Clone, Copy)]
enum Figure {
    /// Ours ÷ theirs.
    Ratio(fn(&Run) -> f64),
    /// Theirs ÷ ours: how many times as fast.
    Speed,
    /// Ours alone; the number of files is given.
    Ours(fn(&Run, f64) -> f64),
}

use Figure::{Ours, Ratio, Speed};

impl Rule {
    /// Number and size of the files.
    fn size(&self) -> (usize, u64) {
        match self.work {
            "many" | "slow" => (10_000, 4096),
            "one" => (1, 4096),
            _ => (1, 1 << 30),
        }
    }
}

const fn rule(work: &'static str, tool: Tool, text: &'static str, at_most: bool, bound: f64, figure: Figure) -> Rule {
    Rule { work, tool, text, at_most, bound, figure }
}

const RULES: &[Rule] = &[
    rule("large", Tool::Curl, "1 GiB with SHA-256: wall ÷ curl's", true, 0.75, Ratio(|run| run.wall)),
    rule("large", Tool::Curl, "1 GiB with SHA-256: CPU ÷ curl's", true, 0.95, Ratio(|run| run.cpu)),
    rule("large", Tool::Curl, "1 GiB: peak memory, MiB", true, 8.0, Ours(|run, _| run.peak)),
    rule("bare", Tool::Curl, "1 GiB, not hashed: CPU ÷ curl's", true, 0.65, Ratio(|run| run.cpu)),
    rule("many", Tool::Curl, "10,000 files with presign: speed ÷ curl -Z without", false, 1.5, Speed),
    rule("many", Tool::S5cmd, "10,000 files with presign: speed ÷ s5cmd", false, 8.0, Speed),
    rule("many", Tool::Curl, "10,000 files: CPU per file, µs", true, 70.0, Ours(|run, files| run.cpu * 1e6 / files)),
    rule("many", Tool::Curl, "10,000 files: peak memory, MiB", true, 16.0, Ours(|run, _| run.peak)),
    rule("slow", Tool::Curl, "answers in 30 ms: files per second", false, 3500.0, Ours(|run, files| files / run.wall)),
    rule("slow", Tool::Curl, "answers in 30 ms: cores", true, 0.3, Ours(|run, _| run.cpu / run.wall)),
    rule("slow", Tool::Curl, "answers in 30 ms: peak memory, MiB", true, 24.0, Ours(|run, _| run.peak)),
    rule("one", Tool::Curl, "one 4 KiB file with presign: wall ÷ curl's", true, 0.5, Ratio(|run| run.wall)),
    #[expect(clippy::cast_precision_loss, reason = "a count of bytes to be 0")]
    rule("refused", Tool::Curl, "refused 1 GiB: body bytes", true, 0.0, Ours(|run, _| run.after_refusal as f64)),
];

/// The goals of what was measured.
pub(crate) fn judge(done: &[Done]) -> Vec<Goal> {
    RULES.iter().filter_map(|rule| goal(rule, done)).collect()
}

fn goal(rule: &Rule, done: &[Done]) -> Option<Goal> {
    // Goals are of these sizes; FILES and MIB may have set others.
    let is_full = |done: &&Done| (done.work.count, done.work.size) == rule.size();
    let work = done.iter().find(|done| done.work.id == rule.work).filter(is_full)?;
    let pairs = work.pairs.iter().find(|pairs| pairs.tool == rule.tool)?;
    #[expect(clippy::cast_precision_loss, reason = "few files")]
    let files = work.work.count as f64;
    let spread = match rule.figure {
        Ratio(figure) => pairs.ratio(figure),
        Speed => pairs.ratio(|run| 1.0 / run.wall),
        Ours(figure) => Spread::of(pairs.ours.iter().map(|run| figure(run, files))),
    }?;
    let is_reached = if rule.at_most { spread.median <= rule.bound } else { spread.median >= rule.bound };
    let sign = if rule.at_most { "≤" } else { "≥" };
    let (text, bound, value) = (rule.text.to_owned(), format!("{sign} {}", short(rule.bound)), spread.to_string());
    Some(Goal { text, bound, value, is_reached })
}
