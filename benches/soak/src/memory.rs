//! The operator's memory over time, and its slope.

use std::time::Instant;

use anyhow::ensure;

/// Fewer measurements say nothing.
const LEAST: usize = 60;

/// When, in hours since the first, and how many MiB.
#[derive(Default)]
pub(crate) struct Memory {
    begun: Option<Instant>,
    points: Vec<(f64, f64)>,
}

impl Memory {
    #[expect(clippy::cast_precision_loss, reason = "bytes of memory are far below 2^52")]
    pub(crate) fn note(&mut self, bytes: u64) {
        let hours = self.begun.get_or_insert_with(Instant::now).elapsed().as_secs_f64() / 3600.0;
        self.points.push((hours, bytes as f64 / f64::from(1 << 20)));
    }

    /// Its slope in MiB per hour by least squares, and its mean, first and last in words.
    #[expect(clippy::cast_precision_loss, reason = "there are a few thousand points")]
    pub(crate) fn slope(&self) -> anyhow::Result<(f64, String)> {
        let count = self.points.len();
        ensure!(count >= LEAST, "memory was measured {count} times, and {LEAST} are needed: MINUTES is too small");
        let mean = |of: fn(&(f64, f64)) -> f64| self.points.iter().map(of).sum::<f64>() / count as f64;
        let (hours, mib) = (mean(|point| point.0), mean(|point| point.1));
        let (mut both, mut square) = (0.0, 0.0);
        for (at, size) in &self.points {
            both += (at - hours) * (size - mib);
            square += (at - hours).powi(2);
        }
        ensure!(square > 0.0, "all measurements are of one moment");
        let (first, last) = (self.points[0].1, self.points[count - 1].1);
        Ok((both / square, format!("{count} measurements, {first:.1} MiB first, {mib:.1} on average, {last:.1} last")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_that_of_the_line_and_too_few_points_are_none() {
        let line = |count: i32| (0..count).map(|at| (f64::from(at) / 100.0, 20.0 + f64::from(at) * 0.05)).collect();
        let memory = Memory { begun: None, points: line(100) };
        assert!((memory.slope().unwrap().0 - 5.0).abs() < 1e-6);
        assert!(Memory { begun: None, points: line(59) }.slope().is_err());
    }
}
