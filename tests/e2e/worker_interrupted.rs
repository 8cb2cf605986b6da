//! A worker is ended by whatever ends pods: what it had sent is kept, the reason is named, and it goes on by itself.
//!
//! Of seven files one is sent, four are under way and two have not begun when the end comes. A worker that is asked to
//! end finishes what is under way; one that is killed cannot, and only that is sent twice.

use cyberun_stub::{Hold, Step};
use serde_json::{Value, json};
use test_support::{DEADLINE, History, Signal, World, files, once, reason, with_pods};

use crate::OPERATOR;

const FILES: [&str; 7] = ["f1", "f2", "f3", "f4", "f5", "f6", "f7"];
/// As many as a worker sends at the same time.
const UNDER_WAY: usize = 4;

/// A worker in the middle of its work.
struct Middle {
    hold: Hold,
    pod: String,
    jobs: History,
    uploads: History,
}

async fn middle(world: &mut World, spec: Value) -> anyhow::Result<Middle> {
    world.shared_claim("data", &FILES).await?;
    let hold = world.hold_puts(1, UNDER_WAY);
    world.operator().await?;
    let (jobs, uploads) = (world.history("Job").await?, world.history("FileUpload").await?);
    world.upload_from("data", "seven", &FILES, spec).await?;
    world.puts_stand(1, UNDER_WAY).await?;
    let pod = world.worker().await?;
    world.reported(&pod, 1).await?;
    Ok(Middle { hold, pod, jobs, uploads })
}

impl Middle {
    /// Waits until the worker knows that it is to end.
    async fn is_told(&self, world: &World) -> anyhow::Result<()> {
        let told = async || world.pod_log(&self.pod).map(|log| (log.contains("stopping after what is under way"), log));
        world.wait_for(DEADLINE, "the worker to be asked to end", told).await.map(drop)
    }

    /// Waits until the worker knows that it is to end, then lets the puts go on.
    async fn asked_to_end(&self, world: &World) -> anyhow::Result<()> {
        self.is_told(world).await?;
        self.hold.release();
        Ok(())
    }

    /// All is there in the end, after these words, and so many puts were made.
    async fn goes_on(&self, world: &World, words: &str, all_puts: usize) -> anyhow::Result<()> {
        // Which began first nobody knows for sure: the others were held.
        let calls = world.calls(Step::Put);
        let first = calls.iter().filter(|call| call.ended_at.is_some()).min_by_key(|call| call.ended_at);
        let first = first.and_then(|call| call.file_key.clone());
        let keys = world.heals("seven").await?;
        world.tidied().await?;
        let named = self.uploads.said("WorkerFailed", &["file ", words])?;
        let kept: Vec<_> = files(&named).iter().filter_map(|file| file["fileKey"].as_str()).collect();
        assert_eq!(kept.len(), 7 - (all_puts - 1 - UNDER_WAY), "what was done is in the status that names the reason");
        assert!(first.is_some_and(|first| kept.contains(&first.as_str())), "the key of the put that passed is kept");
        assert!(kept.iter().all(|key| keys.iter().any(|other| other == key)), "what was done is kept");
        assert_eq!((world.calls(Step::Put).len(), world.calls(Step::Presign).len()), (all_puts, all_puts));
        assert_eq!(world.stub.objects().len(), 7, "nothing is left over");
        assert_eq!(self.jobs.names().len(), 2, "one more Job for what was left");
        Ok(())
    }
}

/// Nothing is sent twice by a worker that may finish what is under way.
const GENTLY: usize = 7;
/// What was under way is sent twice.
const KILLED: usize = 7 + UNDER_WAY;

#[test]
fn a_worker_whose_pod_is_deleted_finishes_what_is_under_way() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let middle = middle(world, json!({})).await?;
        world.delete("Pod", &middle.pod).await?;
        middle.asked_to_end(world).await?;
        middle.goes_on(world, "the worker's Pod was deleted before it had sent every file", GENTLY).await
    })
}

#[test]
fn a_worker_that_is_evicted_finishes_what_is_under_way() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let middle = middle(world, json!({})).await?;
        world.evict(&middle.pod).await?;
        middle.asked_to_end(world).await?;
        middle.goes_on(world, "the worker was evicted by request", GENTLY).await
    })
}

#[test]
fn a_worker_that_gets_sigterm_finishes_what_is_under_way() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let middle = middle(world, json!({})).await?;
        world.signal(&middle.pod, Signal::TERM).await?;
        middle.asked_to_end(world).await?;
        middle.goes_on(world, "the worker was asked to end before it had sent every file", GENTLY).await
    })
}

#[test]
fn a_worker_whose_job_is_deleted_finishes_what_is_under_way() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let middle = middle(world, json!({})).await?;
        world.delete_job(&middle.jobs.names()[0])?;
        middle.asked_to_end(world).await?;
        middle.goes_on(world, "was deleted before it", GENTLY).await
    })
}

#[test]
fn a_worker_that_is_killed_has_reported_what_it_had_done() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let middle = middle(world, json!({})).await?;
        world.signal(&middle.pod, Signal::KILL).await?;
        middle.goes_on(world, "the worker was killed (exit code 137)", KILLED).await
    })
}

#[test]
fn a_worker_that_runs_out_of_memory_has_reported_what_it_had_done() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let middle = middle(world, json!({})).await?;
        world.starve(&middle.pod).await?;
        let words = "the worker used more memory than it may and was killed: raise spec.worker.resources.limits.memory";
        middle.goes_on(world, words, KILLED).await
    })
}

/// Another controller, such as Kueue, holds a Job back.
async fn suspend(world: &World, job: &str, suspend: bool) -> anyhow::Result<()> {
    world.patch("Job", job, json!({"spec": {"suspend": suspend}})).await
}

/// All is there in the end, each file was sent once, and no failure was ever told.
async fn all_once(world: &World, middle: &Middle) -> anyhow::Result<()> {
    world.heals("seven").await?;
    world.tidied().await?;
    let names: Vec<_> = FILES.iter().map(|name| format!("{name}.txt")).collect();
    assert_eq!(world.puts_by_file(), once(&names.iter().map(String::as_str).collect::<Vec<_>>()));
    assert_eq!((world.calls(Step::Presign).len(), world.stub.objects().len()), (GENTLY, 7));
    let failed: Vec<_> = middle.uploads.states().into_iter().filter(|state| reason(state) == "WorkerFailed").collect();
    assert!(failed.is_empty(), "a worker that is held back is no failure: {failed:#?}");
    assert_eq!(middle.jobs.names().len(), 2, "one more Job for what was left");
    Ok(())
}

#[test]
fn a_worker_whose_job_a_queue_takes_back_goes_on_with_the_rest_once_that_is_admitted() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let middle = middle(world, json!({})).await?;
        // A queue holds each new Job back until it admits it.
        let held = "[JSONPatch{op: 'add', path: '/spec/suspend', value: true}]";
        let idle = json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "none"}]}}}});
        world.mutate(("Job", "batch/jobs"), held, idle, |job| job["spec"]["suspend"] == true).await?;
        suspend(world, &middle.jobs.names()[0], true).await?;
        middle.asked_to_end(world).await?;
        let words = ["the Job of the worker on PersistentVolumeClaim data is suspended by another controller", "Kueue"];
        let waits = world.says("seven", ("WorkerPending", "Reconciling"), &words).await?;
        let kept = files(&waits).iter().filter(|file| file["fileKey"].is_string()).count();
        assert_eq!(kept, 1 + UNDER_WAY, "what was done is in the status meanwhile");
        suspend(world, &middle.jobs.names()[1], false).await?;
        all_once(world, &middle).await
    })
}

#[test]
fn a_worker_whose_job_is_suspended_and_resumed_at_once_sends_nothing_twice() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let middle = middle(world, json!({})).await?;
        let pods = world.history("Pod").await?;
        let job = middle.jobs.names().remove(0);
        suspend(world, &job, true).await?;
        middle.is_told(world).await?;
        suspend(world, &job, false).await?;
        world.had_its_chance().await?;
        middle.hold.release();
        all_once(world, &middle).await?;
        let of_job = pods.names().into_iter().filter(|name| name.starts_with(&job)).collect::<Vec<_>>();
        assert_eq!(of_job, [middle.pod], "the resumed Job got no second Pod");
        Ok(())
    })
}
