//! The figures, as one table: name, value, unit, goal, and whether it is reached.

use std::fmt;

/// A bound on a figure.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    AtMost(f64),
    Below(f64),
    AtLeast(f64),
}

impl Goal {
    fn is_reached(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::Below(bound) => value < bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, bound) = match self {
            Self::AtMost(bound) => ("≤", bound),
            Self::Below(bound) => ("<", bound),
            Self::AtLeast(bound) => ("≥", bound),
        };
        write!(f, "{sign} {}", short(*bound))
    }
}

struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    goal: Option<Goal>,
}

/// Rows in the order in which they were measured, under headings.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Result<Row, String>>,
}

impl Table {
    /// Begins a part.
    pub(crate) fn heading(&mut self, text: impl Into<String>) {
        self.rows.push(Err(text.into()));
    }

    /// A figure without a goal.
    pub(crate) fn row(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.rows.push(Ok(Row { name: name.into(), value, unit, goal: None }));
    }

    /// A figure with a goal.
    pub(crate) fn goal(&mut self, name: impl Into<String>, value: f64, unit: &'static str, goal: Goal) {
        self.rows.push(Ok(Row { name: name.into(), value, unit, goal: Some(goal) }));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<52} {:>10} {:<8} {:<10}", "name", "value", "unit", "goal")?;
        for row in &self.rows {
            match row {
                Err(heading) => writeln!(f, "-- {heading}")?,
                Ok(Row { name, value, unit, goal }) => {
                    write!(f, "{name:<52} {:>10} {unit:<8}", short(*value))?;
                    if let Some(goal) = goal {
                        let verdict = if goal.is_reached(*value) { "ok" } else { "missed" };
                        write!(f, " {:<10} {verdict}", goal.to_string())?;
                    }
                    writeln!(f)?;
                }
            }
        }
        Ok(())
    }
}

/// As many digits as tell something.
fn short(value: f64) -> String {
    match value.abs() {
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A count as a figure.
#[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^52")]
pub(crate) fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_judged_and_a_figure_without_one_is_not() {
        let mut table = Table::default();
        table.goal("requests", 5.01, "", Goal::AtMost(5.0));
        table.goal("rate", 80.0, "/s", Goal::AtLeast(80.0));
        table.row("peak", 64.25, "MiB");
        let text = table.to_string();
        let verdicts: Vec<_> = text.lines().skip(1).filter_map(|line| line.split_whitespace().last()).collect();
        assert_eq!(verdicts, ["missed", "ok", "MiB"]);
    }
}
