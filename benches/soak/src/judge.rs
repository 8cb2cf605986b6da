//! Whether what is left is as it should be: objects that no status ever named, and the slope of the operator's memory.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use cyberun_stub::{Call, Step};
use jiff::SignedDuration;
use test_support::{History, World, files};

use crate::deeds::Deed;
use crate::memory::Memory;
use crate::say;

/// How far a deed may be from the upload whose key it cost: a worker ends, and its report is read, some time later.
const NEAR: SignedDuration = SignedDuration::from_secs(20);

/// Counts the objects whose keys were in no status, each with a deed that explains it.
pub(crate) fn objects(world: &World, history: &History, log: &[Deed]) -> anyhow::Result<()> {
    let seen = world.stub.snapshot();
    let states = history.states();
    let told: BTreeSet<&str> = states.iter().flat_map(files).filter_map(|file| file["fileKey"].as_str()).collect();
    let puts: BTreeMap<_, _> = seen.of(Step::Put).filter_map(|put| Some((put.file_key.clone()?, put))).collect();
    let mut explained = BTreeMap::<_, usize>::new();
    let mut unexplained = Vec::new();
    for key in seen.objects.keys().filter(|key| !told.contains(key.as_str())) {
        let put = puts.get(key).context("an object that nobody put")?;
        match log.iter().find(|deed| explains(deed, put)) {
            Some(deed) => *explained.entry(deed.what).or_default() += 1,
            None => unexplained.push(format!("{} at {}", put.file_name.as_deref().unwrap_or_default(), put.started_at)),
        }
    }
    let surplus: usize = explained.values().sum();
    say(&format!("{} objects, of which {surplus} are in no status, after: {explained:?}", seen.objects.len()));
    ensure!(unexplained.is_empty(), "objects that are in no status, and no deed explains it: {unexplained:#?}");
    Ok(())
}

fn explains(deed: &Deed, put: &Call) -> bool {
    let file = put.file_name.as_deref().unwrap_or_default();
    let is_of = deed.of.as_ref().is_none_or(|name| file.starts_with(&format!("{name}-")));
    let ended = put.ended_at.unwrap_or(put.started_at);
    deed.may_cost && is_of && deed.begun <= ended + NEAR && deed.ended >= put.started_at - NEAR
}

/// Fails if memory grows faster than that after the warm-up, or cannot be judged.
pub(crate) fn memory(memory: &Memory, mib_per_hour: f64) -> anyhow::Result<()> {
    let (slope, words) = memory.slope()?;
    say(&format!("memory: {slope:+.2} MiB per hour (at most {mib_per_hour}); {words}"));
    ensure!(slope <= mib_per_hour, "the operator's memory grows by {slope:.2} MiB per hour");
    Ok(())
}
