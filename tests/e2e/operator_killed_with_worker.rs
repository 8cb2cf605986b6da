//! The operator is killed by SIGKILL at each step of a worker's life: one live key a file, and nothing is sent twice.
//!
//! Each test holds the operator at its step by refusing what it does next, and kills it once that was refused: what
//! the API server has then is exactly what it would have if the operator had died before that request.

use cyberun_stub::{Hold, Step};
use serde_json::{Value, json};
use test_support::{DEADLINE, World, reason, with_pods};

use crate::OPERATOR;

const FILES: [&str; 3] = ["a", "b", "c"];
const STATUS: (&str, &str) = ("UPDATE", "cyberun.cloud/fileuploads/status");

/// Three files for one worker: the first passes, the others are held.
async fn three(world: &mut World) -> anyhow::Result<Hold> {
    world.shared_claim("data", &FILES).await?;
    let hold = world.hold_puts(1, 2);
    world.operator().await?;
    world.upload_from("data", "three", &FILES, json!({"output": {"configMap": {"name": "keys"}}})).await?;
    Ok(hold)
}

async fn kill(world: &mut World) -> anyhow::Result<()> {
    world.operator().await?.kill_9().await
}

async fn restart(world: &mut World) -> anyhow::Result<()> {
    world.operator().await?.restart().await
}

/// Every file has one key, which the output has too; nothing was sent twice and nothing is left over.
async fn all_there(world: &World) -> anyhow::Result<Vec<String>> {
    let keys = world.heals("three").await?;
    for (name, key) in FILES.iter().zip(&keys) {
        assert_eq!(world.entry("keys", name).await?.as_ref(), Some(key));
    }
    world.tidied().await?;
    assert_eq!(world.calls(Step::Put).len(), 3, "no file is sent twice");
    assert_eq!((world.calls(Step::Presign).len(), world.stub.objects().len()), (3, 3), "no object is left over");
    Ok(keys)
}

/// Waits until the worker's Job has ended.
async fn ended(world: &World) -> anyhow::Result<()> {
    let look = async || {
        let jobs = world.list("Job").await?;
        let done = |job: &Value| job["status"]["completionTime"].is_string();
        Ok((jobs.len() == 1 && jobs.iter().all(done), jobs.len()))
    };
    world.wait_for(DEADLINE, "the worker to end", look).await?;
    Ok(())
}

#[test]
fn killed_before_the_job_is_created() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        world.forbid("jobs", ("CREATE", "batch/jobs"), "false", "no Jobs today").await?;
        let jobs = world.history("Job").await?;
        let hold = three(world).await?;
        world.says("three", ("AdmissionDenied", "Reconciling"), &["the worker's Job", "no Jobs today"]).await?;
        kill(world).await?;
        hold.release();
        world.permit("jobs").await?;
        assert_eq!((world.stub.calls().len(), jobs.names().len()), (0, 0), "nothing was begun");
        restart(world).await?;
        all_there(world).await?;
        assert_eq!(jobs.names().len(), 1);
        Ok(())
    })
}

#[test]
fn killed_when_the_job_is_created_but_not_in_the_status() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let unnamed = "!has(object.status.jobs) || object.status.jobs.size() == 0";
        world.forbid("status", STATUS, unnamed, "no Jobs in the status").await?;
        let jobs = world.history("Job").await?;
        let hold = three(world).await?;
        world.puts_stand(1, 2).await?;
        world.was_refused("patch", "fileuploads/status").await?;
        kill(world).await?;
        assert!(world.read("FileUpload", "three").await?["status"]["jobs"].is_null(), "the status names no Job");
        hold.release();
        ended(world).await?;
        world.permit("status").await?;
        restart(world).await?;
        all_there(world).await?;
        assert_eq!(jobs.names().len(), 1, "the Job that nobody had written down is found again");
        Ok(())
    })
}

#[test]
fn killed_while_the_worker_runs() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let jobs = world.history("Job").await?;
        let hold = three(world).await?;
        world.puts_stand(1, 2).await?;
        world.upload("three", "its Job in the status", |upload| upload["status"]["jobs"][0].is_object()).await?;
        kill(world).await?;
        restart(world).await?;
        let again = world.upload("three", "being uploaded", |upload| reason(upload) == "Uploading").await?;
        assert_eq!(again["status"]["jobs"][0]["name"], json!(jobs.names()[0]));
        hold.release();
        all_there(world).await?;
        assert_eq!(jobs.names().len(), 1, "the worker is none of the operator's business until it ends");
        Ok(())
    })
}

#[test]
fn killed_while_the_worker_runs_and_back_when_it_has_ended() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let jobs = world.history("Job").await?;
        let hold = three(world).await?;
        world.puts_stand(1, 2).await?;
        world.upload("three", "its Job in the status", |upload| upload["status"]["jobs"][0].is_object()).await?;
        kill(world).await?;
        hold.release();
        ended(world).await?;
        restart(world).await?;
        all_there(world).await?;
        assert_eq!(jobs.names().len(), 1);
        Ok(())
    })
}

#[test]
fn killed_when_the_worker_has_ended_but_the_status_has_no_key() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let keyless = "!has(object.status.files) || object.status.files.all(file, !has(file.fileKey))";
        world.forbid("status", STATUS, keyless, "no keys in the status").await?;
        let jobs = world.history("Job").await?;
        let hold = three(world).await?;
        world.puts_stand(1, 2).await?;
        hold.release();
        ended(world).await?;
        world.was_refused("patch", "fileuploads/status").await?;
        kill(world).await?;
        let before = world.read("FileUpload", "three").await?;
        assert_eq!(before["status"]["filesUploaded"], 0, "the report is in no status");
        world.permit("status").await?;
        restart(world).await?;
        all_there(world).await?;
        assert_eq!(jobs.names().len(), 1);
        Ok(())
    })
}

#[test]
fn killed_when_the_status_has_the_keys_but_the_job_is_not_deleted() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        world.forbid("jobs", ("DELETE", "batch/jobs"), "false", "Jobs stay").await?;
        let jobs = world.history("Job").await?;
        let hold = three(world).await?;
        hold.release();
        let before = world.heals("three").await?;
        world.was_refused("delete", "jobs").await?;
        kill(world).await?;
        world.jobs(1).await?;
        world.permit("jobs").await?;
        restart(world).await?;
        assert_eq!(all_there(world).await?, before);
        assert_eq!(jobs.names().len(), 1);
        Ok(())
    })
}

#[test]
fn killed_and_its_job_deleted_meanwhile_costs_what_was_not_yet_in_the_status() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let jobs = world.history("Job").await?;
        let hold = three(world).await?;
        world.puts_stand(1, 2).await?;
        world.upload("three", "its Job in the status", |upload| upload["status"]["jobs"][0].is_object()).await?;
        kill(world).await?;
        hold.release();
        ended(world).await?;
        world.delete_job(&jobs.names()[0])?;
        world.tidied().await?;
        let states = world.history("FileUpload").await?;
        restart(world).await?;
        world.heals("three").await?;
        states.said("ReportMissing", &["the worker's Job and its Pods are gone"])?;
        assert_eq!(world.stub.objects().len(), 6, "all three were in no status: that is the bound");
        assert_eq!(jobs.names().len(), 2);
        Ok(())
    })
}
