//! What the tests of workers share: files on a claim, what a worker has reported so far, and what the status says.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use cyberun_stub::{Fault, Hold, Options, Rule, Step};
use serde_json::{Value, json};
use test_support::{
    DEADLINE, History, Operator, World, condition, files, kubectl, message, nodes, not_tried, reason, scenario_with,
    state,
};

use crate::OPERATOR;

/// Starts anew what must first be given up by the cluster take longer than other things.
pub(crate) const PATIENCE: Duration = DEADLINE.saturating_mul(2);

/// Runs a test whose workers run, or says that it is not tried.
pub(crate) fn with_workers(body: impl AsyncFnOnce(&mut World) -> anyhow::Result<()>) -> anyhow::Result<()> {
    with_options(Options::default(), body)
}

/// As [`with_workers`], with a double that starts with these options.
pub(crate) fn with_options(
    options: Options,
    body: impl AsyncFnOnce(&mut World) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if nodes() == 0 {
        return not_tried("workers: no node runs here (TEST_NODES=0), run make test as root");
    }
    scenario_with(OPERATOR, options, body);
    Ok(())
}

/// An entry of `spec.files` from a claim.
pub(crate) fn on_claim(name: &str, claim: &str) -> Value {
    let volume = json!({"claimName": claim, "path": format!("{name}.txt")});
    json!({"name": name, "source": {"persistentVolumeClaim": volume}})
}

/// A shared claim with a file `NAME.txt` of each name, and the credential. Nobody has touched the files of late, so
/// that they need not settle.
pub(crate) async fn claim(world: &mut World, claim: &str, names: &[&str]) -> anyhow::Result<()> {
    if world.read("Secret", "cyberun").await?.is_null() {
        world.credential().await?;
    }
    let content: Vec<_> = names.iter().map(|name| (format!("{name}.txt"), format!("this is {name}"))).collect();
    let content: Vec<_> = content.iter().map(|(path, text)| (path.as_str(), text.as_bytes())).collect();
    let folder = world.volume(claim, &["ReadWriteMany"], &content).await?;
    names.iter().try_for_each(|name| settled(&folder.join(format!("{name}.txt"))))
}

/// Lets a file look as if nobody had touched it for an hour.
pub(crate) fn settled(file: &Path) -> anyhow::Result<()> {
    Ok(File::open(file)?.set_modified(SystemTime::now() - Duration::from_hours(1))?)
}

/// A `FileUpload` of files on a claim, with further fields of its spec.
pub(crate) async fn ask(
    world: &World,
    upload: &str,
    claim: &str,
    names: &[&str],
    mut spec: Value,
) -> anyhow::Result<()> {
    spec["files"] = names.iter().map(|name| on_claim(name, claim)).collect();
    world.file_upload(upload, spec).await
}

/// One put passes, as many more as said are held.
pub(crate) fn hold_puts(world: &World, passing: usize, waiting: usize) -> Hold {
    let hold = Hold::new("puts");
    for _ in 0..passing {
        world.stub.arm(Rule::once(Step::Put, Fault::delay(Duration::ZERO)));
    }
    for _ in 0..waiting {
        world.stub.arm(Rule::once(Step::Put, Fault::hold(&hold)));
    }
    hold
}

/// Waits until so many puts were answered and so many are under way; the others have not begun.
pub(crate) async fn puts(world: &World, answered: usize, under_way: usize) -> anyhow::Result<()> {
    let stands = move |seen: &cyberun_stub::Snapshot| {
        let done = seen.of(Step::Put).filter(|call| call.end.is_some()).count();
        (done, seen.of(Step::Put).count() - done) == (answered, under_way)
    };
    world.stub.wait_for(stands, DEADLINE).await
}

/// The name of the one pod whose worker runs, once there is one.
pub(crate) async fn worker(world: &World) -> anyhow::Result<String> {
    let pods = async || {
        let mut pods = world.list("Pod").await?;
        let runs = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["running"].is_object();
        pods.retain(|pod| pod["metadata"]["labels"]["batch.kubernetes.io/job-name"].is_string() && runs(pod));
        Ok((pods.len() == 1, pods))
    };
    let pods = world.wait_for(DEADLINE, "a worker to run", pods).await?;
    pods[0]["metadata"]["name"].as_str().map(str::to_owned).context("a pod without a name")
}

/// Waits until the worker in a pod has reported so many uploads: what it has reported is kept, whatever becomes of it.
pub(crate) async fn reported(world: &World, pod: &str, uploads: usize) -> anyhow::Result<()> {
    let process = world.process_of(pod).await?.as_raw_nonzero();
    let path = format!("/proc/{process}/root/dev/termination-log");
    let report = async || {
        let report = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        Ok((report.lines().filter(|line| line.starts_with('+')).count() == uploads, report))
    };
    world.wait_for(DEADLINE, &format!("{uploads} reported uploads"), report).await?;
    Ok(())
}

/// Waits for the reason, and checks that everything else in the status agrees with its class.
pub(crate) async fn says(
    world: &World,
    upload: &str,
    expected: &str,
    also: &str,
    words: &[&str],
) -> anyhow::Result<Value> {
    let holds = |object: &Value| {
        object["status"]["observedGeneration"] == object["metadata"]["generation"] && reason(object) == expected
    };
    let look = async || world.read("FileUpload", upload).await.map(|object| (holds(&object), object));
    let object = world.wait_for(PATIENCE, &format!("FileUpload {upload}: {expected}"), look).await?;
    agrees(&object, expected, also, words);
    Ok(object)
}

/// The first state of a `FileUpload` that gave this reason, even if it was over at once.
pub(crate) fn said(history: &History, expected: &str, words: &[&str]) -> anyhow::Result<Value> {
    let states = history.states();
    let state = states.iter().find(|state| reason(state) == expected);
    let reasons = || states.iter().map(|state| format!("{}: {}", reason(state), message(state))).collect::<Vec<_>>();
    let state = state.with_context(|| format!("{expected} was never said, but {:#?}", reasons()))?;
    agrees(state, expected, "Reconciling", words);
    Ok(state.clone())
}

fn agrees(object: &Value, expected: &str, also: &str, words: &[&str]) {
    let (absent, phase) = if also == "Stalled" { ("Reconciling", "Failed") } else { ("Stalled", "Pending") };
    assert_eq!((state(object, "Ready"), state(object, "Available")), ("False", "False"));
    assert_eq!((state(object, also), state(object, absent)), ("True", ""), "{:#}", object["status"]);
    assert_eq!(object["status"]["phase"], phase, "{:#}", object["status"]);
    assert_eq!(condition(object, also)["reason"], expected);
    for word in words {
        assert!(message(object).contains(word), "{word:?} is not in: {}", message(object));
    }
}

/// Waits until every file has its key, and nothing is said of what is over; returns the keys, which differ and are
/// in the store.
pub(crate) async fn heals(world: &World, upload: &str) -> anyhow::Result<Vec<String>> {
    let look = async || {
        let object = world.read("FileUpload", upload).await?;
        let observed = object["status"]["observedGeneration"] == object["metadata"]["generation"];
        Ok((observed && state(&object, "Available") == "True", object))
    };
    let object = world.wait_for(PATIENCE, &format!("FileUpload {upload}: Available"), look).await?;
    assert!(files(&object).iter().all(|file| file["reason"].is_null()), "nothing is said of what is over");
    let keys = world.stored_keys(&object)?;
    let mut different = keys.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), keys.len(), "each file has a key of its own");
    Ok(keys)
}

/// Waits until the resource's Jobs are gone with their pods, as they are once their report is in the status.
pub(crate) async fn tidied(world: &World) -> anyhow::Result<()> {
    world.jobs(0).await?;
    let pods = async || {
        let mut pods = world.list("Pod").await?;
        pods.retain(|pod| pod["metadata"]["labels"]["batch.kubernetes.io/job-name"].is_string());
        Ok((pods.is_empty(), pods.len()))
    };
    world.wait_for(PATIENCE, "no pod of a worker", pods).await?;
    Ok(())
}

/// Deletes a Job as people do: its pods go with it.
pub(crate) fn delete_job(world: &World, job: &str) -> anyhow::Result<()> {
    let namespace = format!("--namespace={}", world.namespace);
    kubectl(world.cluster, ["delete", "job", job, &namespace, "--wait=false"], "")?;
    Ok(())
}

/// The operator that runs.
pub(crate) fn operator(world: &mut World) -> anyhow::Result<&mut Operator> {
    world.operator.as_mut().context("no operator was started")
}
