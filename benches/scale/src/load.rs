//! One load: FileUploads are created, the watch tells when the last is Available, and what that cost is read.

use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::Value;
use tokio::time::sleep;

use crate::bench::{Bench, Mark};
use crate::clock::is_of;
use crate::hands;
use crate::say;

/// How long nothing may become Available before the rest is given up.
const STALLED: Duration = Duration::from_mins(2);
/// How long the last requests after the last Available are waited for.
const SETTLING: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(500);

/// What a load took.
pub(crate) struct Load {
    pub(crate) count: usize,
    /// From the first that was created to the last that was created.
    pub(crate) creating: Duration,
    /// From the first that was created to the last that was Available.
    pub(crate) whole: Duration,
    /// From create to Available, shortest first.
    pub(crate) latencies: Vec<Duration>,
    /// From before the load until nothing more was asked for.
    pub(crate) before: Mark,
    pub(crate) after: Mark,
}

impl Load {
    /// The latency that this share of all does not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.latencies.len() * percent).div_ceil(100);
        self.latencies.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }
}

/// Creates FileUploads whose names begin so, and then perhaps one more, and waits until all are Available.
pub(crate) async fn run(
    bench: &mut Bench<'_>,
    prefix: &str,
    uploads: impl Iterator<Item = Value>,
    last: Option<Value>,
) -> anyhow::Result<Load> {
    let before = bench.mark()?;
    let uploads: Vec<_> = uploads.collect();
    let count = uploads.len() + usize::from(last.is_some());
    hands::create_all(&bench.client, "FileUpload", uploads.into_iter(), bench.options.concurrency).await?;
    if let Some(last) = last {
        say(&format!("all but one are created, {} are Available", bench.clock.count(prefix).1));
        hands::create(&bench.client, "FileUpload", last).await?;
    }
    say(&format!("{count} FileUploads are created"));
    wait(bench, prefix, count).await?;
    let after = settle(bench).await?;
    let mut load = read(bench, prefix, before, after);
    load.latencies.sort_unstable();
    Ok(load)
}

async fn wait(bench: &mut Bench<'_>, prefix: &str, count: usize) -> anyhow::Result<()> {
    let (mut most, mut since, mut told) = (0, Instant::now(), Instant::now());
    loop {
        let (_, available) = bench.clock.count(prefix);
        if available >= count {
            return Ok(());
        }
        bench.check()?;
        if available > most {
            (most, since) = (available, Instant::now());
        }
        if told.elapsed() > Duration::from_secs(10) {
            say(&format!("{available} of {count} are Available"));
            told = Instant::now();
        }
        if since.elapsed() > STALLED {
            bail!("{available} of {count} are Available, and no more for {STALLED:?}:\n{}", unfinished(bench, prefix));
        }
        // Until the last is Available, or nothing happens any more; the times are the watch's.
        sleep(LOOK).await;
    }
}

fn unfinished(bench: &Bench<'_>, prefix: &str) -> String {
    let lines = bench.clock.read(|all| {
        let unfinished = all.iter().filter(|(id, seen)| is_of(id, prefix) && seen.available.is_none());
        unfinished.take(5).map(|(id, seen)| format!("{id}: {}", seen.reason)).collect::<Vec<_>>()
    });
    format!("{}\nthe operator's log ends so:\n{}", lines.join("\n"), bench.subject.last_log())
}

/// Waits until the operator asks for nothing more, for a while.
async fn settle(bench: &mut Bench<'_>) -> anyhow::Result<Mark> {
    let until = Instant::now() + SETTLING;
    let mut mark = bench.mark()?;
    loop {
        // The interval at which the counts are compared: they rest once two are the same.
        sleep(LOOK * 2).await;
        let next = bench.mark()?;
        let is_calm = next.requests.total() == mark.requests.total();
        mark = next;
        if is_calm || Instant::now() > until {
            return Ok(mark);
        }
    }
}

fn read(bench: &Bench<'_>, prefix: &str, before: Mark, after: Mark) -> Load {
    bench.clock.read(|all| {
        let seen = || all.iter().filter(|(id, _)| is_of(id, prefix)).map(|(_, seen)| seen);
        let first = seen().map(|seen| seen.created).min();
        let span = |last: Option<Instant>| match (first, last) {
            (Some(first), Some(last)) => last.saturating_duration_since(first),
            _ => Duration::ZERO,
        };
        Load {
            count: seen().count(),
            creating: span(seen().map(|seen| seen.created).max()),
            whole: span(seen().filter_map(|seen| seen.available).max()),
            latencies: seen()
                .filter_map(|seen| Some(seen.available?.saturating_duration_since(seen.created)))
                .collect(),
            before,
            after,
        }
    })
}
