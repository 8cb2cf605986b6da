//! Judges the results: whatever is wrong here is a failure, however fast it was.
//!
//! Each key must be in the store (or, with the played kubelet, in a report), the file behind it the right one and stored
//! once, and the output must say the same.

use std::collections::BTreeMap;

use cyberun_stub::{Snapshot, Step, Stub};
use kube::ResourceExt as _;

use crate::bench::Bench;
use crate::clock::{Seen, is_of};
use crate::hands;
use crate::kubelet::OURS;
use crate::stage;

/// More of a kind are only counted.
const SHOWN: usize = 5;

/// What is wrong, as text; empty if all is right.
pub(crate) async fn judge(bench: &mut Bench<'_>, stub: &Stub) -> anyhow::Result<Vec<String>> {
    let outputs = outputs(bench).await?;
    let store = stub.snapshot();
    let mut wrong = Vec::new();
    let uploads = bench.clock.read(Clone::clone);
    for (id, seen) in &uploads {
        let wrongs = [of_time(seen), of_key(bench, &store, id, seen), of_output(&outputs, id, seen)];
        wrong.extend(wrongs.into_iter().flatten().map(|why| format!("FileUpload {id}: {why}")));
    }
    wrong.extend(surplus(&store, bench.options.uploads()));
    let refused = bench.mark()?.requests.refused;
    let forbidden = refused.iter().filter(|(what, _)| what.starts_with("403"));
    wrong.extend(forbidden.map(|(what, count)| format!("the chart's rights do not suffice: {what}, {count} times")));
    let pods = hands::count(&hands::everywhere(&bench.client, "Pod")).await?;
    let foreign = bench.options.foreign_pods;
    wrong.extend((pods < foreign).then(|| format!("only {pods} of {foreign} foreign Pods were there to the end")));
    let more = wrong.len().saturating_sub(SHOWN);
    wrong.truncate(SHOWN);
    wrong.extend((more > 0).then(|| format!("and {more} more")));
    Ok(wrong)
}

fn of_time(seen: &Seen) -> Option<String> {
    match (seen.available, seen.lost) {
        (None, _) => Some("it is not Available".to_owned()),
        (_, true) => Some("it was Available, then for a while not".to_owned()),
        _ => None,
    }
}

fn of_key(bench: &Bench<'_>, store: &Snapshot, id: &str, seen: &Seen) -> Option<String> {
    let [key] = seen.keys.as_slice() else { return Some(format!("it has {} keys for one file", seen.keys.len())) };
    if !is_of(id, stage::UPLOADS) {
        let reported = bench.kubelet.as_ref().map(|kubelet| kubelet.keys(id)).unwrap_or_default();
        return (!reported.contains(key)).then(|| "no worker reported its key".to_owned());
    }
    let (_, name) = id.split_once('/')?;
    let Some(object) = store.objects.get(key) else { return Some("the store has nothing under its key".to_owned()) };
    if object.file_name != format!("{name}.txt") {
        return Some(format!("its key is of another file, {}", object.file_name));
    }
    let is_right = object.sha256 == test_support::sha256(&stage::content(name, bench.options));
    (!is_right).then(|| "the file under its key holds something else".to_owned())
}

fn of_output(outputs: &BTreeMap<String, String>, id: &str, seen: &Seen) -> Option<String> {
    let output = outputs.get(&stage::output(id));
    (output != seen.keys.first()).then(|| format!("its output says {output:?}, its status {:?}", seen.keys))
}

/// By `NAMESPACE/NAME`, the key that each output holds.
async fn outputs(bench: &Bench<'_>) -> anyhow::Result<BTreeMap<String, String>> {
    let mut outputs = BTreeMap::new();
    let api = hands::everywhere(&bench.client, "ConfigMap");
    let keep = |mut output: kube::api::DynamicObject| {
        let id = format!("{}/{}", output.namespace().unwrap_or_default(), output.name_any());
        if let serde_json::Value::String(key) = output.data["data"][stage::FILE].take() {
            outputs.insert(id, key);
        }
    };
    hands::for_each(&api, OURS, keep).await?;
    Ok(outputs)
}

/// What was paid for more than once.
fn surplus(store: &Snapshot, uploads: usize) -> Option<String> {
    let stored = store.of(Step::Put).filter(|call| call.status() == Some(200)).count();
    let is_once = stored == uploads && store.objects.len() == uploads;
    let objects = store.objects.len();
    (!is_once).then(|| format!("{uploads} files were to be stored once each: {stored} puts, {objects} objects"))
}
