//! The soak from its first deed to its judgement.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use test_support::World;

use crate::deeds::{self, Deed};
use crate::memory::Memory;
use crate::stage::{self, Subject};
use crate::{Options, judge, say};

/// How often all is left alone until every FileUpload is Ready.
const CHECK: Duration = Duration::from_mins(1);
/// How long that may take. The longest wait between two tries is 5 minutes.
const HEALED: Duration = Duration::from_mins(6);
const END_OPERATOR: Duration = Duration::from_secs(40);
const RESTART_API_SERVER: Duration = Duration::from_secs(150);
/// The longest time between two deeds, in milliseconds.
const PAUSE: u64 = 1500;
/// For how long after its last start the operator's memory is not counted.
const WARM_UP: Duration = Duration::from_mins(3);

/// A deed that comes again and again.
struct Turn(Instant, Duration);

impl Turn {
    fn every(span: Duration) -> Self {
        Self(Instant::now() + span, span)
    }

    fn has_come(&mut self) -> bool {
        let has_come = Instant::now() >= self.0;
        if has_come {
            self.0 = Instant::now() + self.1;
        }
        has_come
    }
}

/// Soaks the operator for `span`.
pub(crate) async fn run(world: &mut World, span: Duration, options: &Options) -> anyhow::Result<()> {
    fastrand::seed(options.seed);
    // One that has just started knows no rights yet.
    world.expect_refusals();
    let history = world.history("FileUpload").await?;
    let mut subjects = stage::set(world).await?;
    heal(world, &mut subjects).await?;
    let (begun, mut log, mut memory) = (Instant::now(), Vec::new(), Memory::default());
    let (mut check, mut end) = (Turn::every(CHECK), Turn::every(END_OPERATOR));
    let mut restart = Turn::every(RESTART_API_SERVER);
    let mut alive_since = Instant::now();
    while begun.elapsed() < span {
        if end.has_come() && begun.elapsed() < span / 3 {
            log.push(deeds::end_operator(world).await?);
            alive_since = Instant::now();
        } else if restart.has_come() {
            log.push(deeds::restart_api_server(world).await?);
        } else if check.has_come() {
            let took = heal(world, &mut subjects).await?;
            say(&format!(
                "{:>4} min: {} deeds, {} objects, all Ready after {took:.1?}",
                begun.elapsed().as_secs() / 60,
                log.len(),
                world.stub.objects().len()
            ));
        } else {
            log.push(deeds::any(world, &mut subjects).await?);
            // The pace of what is done: somebody who types.
            tokio::time::sleep(Duration::from_millis(fastrand::u64(..PAUSE))).await;
        }
        if alive_since.elapsed() > WARM_UP && begun.elapsed() > span / 3 {
            memory.note(world.operator().await?.memory()?);
        }
    }
    heal(world, &mut subjects).await?;
    say(&format!("every one of {} FileUploads is Ready, and each key stands for the newest content", subjects.len()));
    say(&counted(&log));
    judge::objects(world, &history, &log)?;
    judge::memory(&memory, options.mib_per_hour)
}

/// No more faults, and none suspended: waits until each is Ready with its newest content, and says how long that took.
async fn heal(world: &World, subjects: &mut [Subject]) -> anyhow::Result<Duration> {
    world.stub.clear_faults();
    for subject in &mut *subjects {
        subject.suspend(world, false).await?;
    }
    let begun = Instant::now();
    let lacking = async || {
        let mut lacking = Vec::new();
        for subject in &*subjects {
            lacking.extend(subject.lacks(world).await?);
        }
        Ok((lacking.is_empty(), lacking))
    };
    world.wait_for(HEALED, "all to be Ready", lacking).await?;
    Ok(begun.elapsed())
}

fn counted(log: &[Deed]) -> String {
    let mut counts = BTreeMap::<_, usize>::new();
    for deed in log {
        *counts.entry(deed.what).or_default() += 1;
    }
    let counts: Vec<_> = counts.iter().map(|(what, count)| format!("{what} {count}×")).collect();
    format!("{} deeds: {}", log.len(), counts.join(", "))
}
