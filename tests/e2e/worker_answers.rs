//! What Cyberun and its storage answer to a worker: each answer has its reason, once for all files where it is
//! everybody's, and costs no call too many.

use std::time::Duration;

use cyberun_stub::{Fault, GateShape, Kind, Options, Rule, Step};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use test_support::{PATIENCE, World, files, reason, with_pods, with_pods_and};

use crate::OPERATOR;

const FILES: [&str; 5] = ["a", "b", "c", "d", "e"];

async fn five(world: &mut World, spec: Value) -> anyhow::Result<()> {
    world.shared_claim("data", &FILES).await?;
    world.operator().await?;
    world.upload_from("data", "five", &FILES, spec).await
}

/// Each file has its key after so many presigns and puts.
async fn mended(world: &World, presigns: usize, puts: usize) -> anyhow::Result<()> {
    world.heals("five").await?;
    world.tidied().await?;
    assert_eq!((world.calls(Step::Presign).len(), world.calls(Step::Put).len()), (presigns, puts));
    Ok(())
}

async fn another_token(world: &mut World) -> anyhow::Result<()> {
    let token = world.stub.mint(Kind::Integration).token().to_owned();
    world.secret("cyberun", &[("CYBERUN_API_KEY", &token)]).await
}

#[test]
fn a_worker_with_a_rejected_token_asks_once_for_all_files() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let jobs = world.history("Job").await?;
        let token = world.credential().await?.token().to_owned();
        world.stub.revoke(&token);
        five(world, json!({})).await?;
        let words = ["Secret cyberun", "401", "the token was revoked", "CYBERUN_API_KEY"];
        let upload = world.says("five", ("CredentialsRejected", "Stalled"), &words).await?;
        assert!(files(&upload).iter().all(|file| file["reason"] == "CredentialsRejected"));
        world.had_its_chance().await?;
        assert_eq!((world.calls(Step::Presign).len(), jobs.names().len()), (1, 1), "one call, and not again");
        another_token(world).await?;
        mended(world, 6, 5).await
    })
}

#[test]
fn a_worker_without_a_license_asks_once_for_all_files() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        world.stub.fault_always(Step::Presign, Fault::feature_gate(GateShape::Nested));
        five(world, json!({})).await?;
        world.says("five", ("FeatureNotLicensed", "Stalled"), &["403", "feature not licensed", "file_upload"]).await?;
        world.had_its_chance().await?;
        assert_eq!(world.calls(Step::Presign).len(), 1);
        world.stub.clear_faults();
        another_token(world).await?;
        mended(world, 6, 5).await
    })
}

#[test]
fn a_worker_waits_as_long_as_it_is_asked_to() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let jobs = world.history("Job").await?;
        world.stub.fault(Step::Presign, Fault::retry_after(429, 4));
        five(world, json!({})).await?;
        mended(world, 6, 5).await?;
        let calls = world.calls(Step::Presign);
        let waited = calls[1].started_at.duration_since(calls[0].started_at).unsigned_abs();
        assert!(waited >= Duration::from_secs(4), "Retry-After said 4 s, it waited {waited:?}");
        assert_eq!(jobs.names().len(), 1, "the worker itself waits for a short while");
        Ok(())
    })
}

#[test]
fn a_long_wait_that_was_asked_for_is_the_operators() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        world.stub.fault(Step::Presign, Fault::retry_after(429, 300));
        five(world, json!({})).await?;
        world.says("five", ("RateLimited", "Reconciling"), &["429", "slow down"]).await?;
        world.tidied().await?;
        let upload = world.read("FileUpload", "five").await?;
        let next: Timestamp = upload["status"]["nextAttemptAt"].as_str().unwrap_or_default().parse()?;
        let asked = world.calls(Step::Presign)[0].started_at;
        assert!(next.duration_since(asked) >= SignedDuration::from_secs(300), "not before {next}");
        assert_eq!(world.calls(Step::Presign).len(), 1);
        world.patch("FileUpload", "five", json!({"spec": {"output": {"configMap": {"name": "keys"}}}})).await?;
        mended(world, 6, 5).await
    })
}

#[test]
fn a_worker_that_cannot_reach_the_api_says_so_in_the_end() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        world.stub.pause_api().await;
        five(world, json!({})).await?;
        world.says("five", ("ApiUnavailable", "Reconciling"), &["Cyberun API"]).await?;
        world.stub.resume_api()?;
        mended(world, 5, 5).await
    })
}

#[test]
fn a_file_that_the_storage_does_not_take_holds_no_other_back() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        world.stub.arm(Rule::always(Step::Put, Fault::status(503)).for_file("c.txt"));
        five(world, json!({})).await?;
        let upload = world.says("five", ("StorageUnavailable", "Reconciling"), &["file c", "503"]).await?;
        assert_eq!(upload["status"]["summary"], "4/5");
        world.stub.clear_faults();
        world.heals("five").await?;
        world.tidied().await?;
        let of =
            |name: &str| world.calls(Step::Put).iter().filter(|call| call.file_name.as_deref() == Some(name)).count();
        assert_eq!(["a.txt", "b.txt", "d.txt", "e.txt"].map(of), [1, 1, 1, 1], "the others are sent once");
        Ok(())
    })
}

#[test]
fn an_answer_that_is_none_is_every_files() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        world.stub.fault_always(Step::Presign, Fault::malformed_json());
        five(world, json!({})).await?;
        let upload = world.says("five", ("InvalidResponse", "Reconciling"), &["Cyberun API"]).await?;
        assert!(files(&upload).iter().all(|file| file["reason"] == "InvalidResponse"));
        assert_eq!(world.calls(Step::Put).len(), 0);
        world.stub.clear_faults();
        world.heals("five").await?;
        world.tidied().await
    })
}

#[test]
fn what_is_refused_of_one_file_is_that_files_alone() -> anyhow::Result<()> {
    let options = Options { max_size: Some(10), ..Options::default() };
    with_pods_and(OPERATOR, options, "workers", async |world| {
        let jobs = world.history("Job").await?;
        let uploads = world.history("FileUpload").await?;
        // `this is NAME` has nine bytes where the name has one.
        world.shared_claim("data", &["a", "large", "b", "c"]).await?;
        world
            .stub
            .arm(Rule::always(Step::Presign, Fault::json(422, &json!({"detail": "no such type"}))).for_file("b.txt"));
        world.operator().await?;
        world.upload_from("data", "five", &["a", "large", "b", "c"], json!({})).await?;
        let upload = world.says("five", ("TooLarge", "Stalled"), &["file large", "413"]).await?;
        let reasons: Vec<_> = files(&upload).iter().map(|file| file["reason"].clone()).collect();
        assert_eq!(reasons, [Value::Null, "TooLarge".into(), "RequestRejected".into(), Value::Null]);
        let words = files(&upload)[2]["message"].as_str().unwrap_or_default();
        assert!(words.contains("422") && words.contains("no such type"), "{words}");
        world.tidied().await?;
        world.had_its_chance().await?;
        assert_eq!((jobs.names().len(), world.calls(Step::Presign).len()), (1, 4), "it rests");
        assert!(uploads.states().iter().all(|state| reason(state) != "WorkerFailed"), "the worker did its work");
        Ok(())
    })
}

#[test]
fn a_worker_that_takes_too_long_is_ended_and_what_it_did_is_kept() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        world.shared_claim("data", &FILES).await?;
        let hold = world.hold_puts(1, 4);
        let uploads = world.history("FileUpload").await?;
        world.operator_with(&["workers.deadlineSeconds=10"]).await?;
        world.upload_from("data", "five", &FILES, json!({})).await?;
        world.puts_stand(1, 4).await?;
        let named = async || Ok((uploads.states().iter().any(|state| reason(state) == "WorkerTimedOut"), ()));
        // It is asked to end, and killed 30 s later as it does not.
        world.wait_for(PATIENCE, "WorkerTimedOut", named).await?;
        hold.release();
        world.heals("five").await?;
        let named = uploads.said("WorkerTimedOut", &["the worker did not end within the time that a Job has"])?;
        assert_eq!(named["status"]["summary"], "1/5", "what it did is kept");
        assert_eq!((world.calls(Step::Put).len(), world.stub.objects().len()), (9, 5));
        world.tidied().await
    })
}
