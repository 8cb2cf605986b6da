//! A folder's Pods are killed and its writes are refused in each phase: nothing is lost, and nothing is sent twice but what
//! was under way.

use cyberun_stub::Step;
use serde_json::json;
use test_support::{DEADLINE, Signal, World, with_pods};

use crate::OPERATOR;

/// A first worker sends fewer than forty of them, and two shares the others.
const FILES: u8 = 80;
/// Files that a worker sends at the same time.
const AT_ONCE: usize = 4;
const STATUS: (&str, &str) = ("UPDATE", "cyberun.cloud/fileuploads/status");
const WRITTEN: (&str, &str) = ("patch", "fileuploads/status");
const MAPS: (&str, &str) = ("CREATE", "configmaps");
const MAP_WRITTEN: (&str, &str) = ("create", "configmaps");

async fn begun(world: &mut World) -> anyhow::Result<()> {
    world.frames((0..FILES).map(|number| (format!("{number:02}.png"), vec![number]))).await?;
    world.operator().await?;
    world.render(&json!({})).await
}

/// All have one key each. Returns how many puts were never answered.
async fn all_there(world: &World) -> anyhow::Result<usize> {
    world.has_rendered().await?;
    assert_eq!(world.keys_of_frames().await?.map(|keys| keys.len()), Some(FILES.into()));
    world.tidied().await?;
    let puts = world.calls(Step::Put);
    let cut = puts.iter().filter(|put| put.status().is_none()).count();
    assert_eq!((puts.len() - cut, world.stub.objects().len()), (FILES.into(), FILES.into()), "nothing is sent twice");
    Ok(cut)
}

/// Kills the Pods that are at work, so many, once so many files are sent.
async fn killed_after(world: &mut World, sent: usize, pods: usize) -> anyhow::Result<()> {
    let hold = world.hold_puts(sent, pods * AT_ONCE);
    begun(world).await?;
    hold.reached(DEADLINE * 2).await?;
    world.puts_stand(sent, pods * AT_ONCE).await?;
    let uploads = world.history("FileUpload").await?;
    let look = async || {
        let mut running = world.list("Pod").await?;
        running.retain(|pod| pod["status"]["phase"] == "Running");
        Ok((running.len() == pods, running))
    };
    let running = world.wait_for(DEADLINE, "those Pods alone to run", look).await?;
    for pod in running {
        world.signal(pod["metadata"]["name"].as_str().unwrap_or_default(), Signal::KILL).await?;
    }
    assert_eq!(all_there(world).await?, pods * AT_ONCE, "what was under way, and nothing else");
    uploads.said("WorkerFailed", &["folder frames", "the worker was killed (exit code 137)"])?;
    Ok(())
}

#[test]
fn the_first_pod_that_is_killed_costs_what_was_under_way() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| killed_after(world, 10, 1).await)
}

#[test]
fn pods_of_shares_that_are_killed_cost_what_was_under_way() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| killed_after(world, 40, 2).await)
}

/// What the operator wants to write is refused until it has tried.
async fn refused(
    world: &mut World,
    what: (&str, &str),
    allowed: &str,
    (verb, resource): (&str, &str),
) -> anyhow::Result<()> {
    world.forbid("writes", what, allowed, "not now").await?;
    begun(world).await?;
    world.was_refused(verb, resource).await?;
    world.permit("writes").await?;
    assert_eq!(all_there(world).await?, 0);
    Ok(())
}

#[test]
fn a_status_refused_after_the_first_report_costs_nothing() -> anyhow::Result<()> {
    let allowed = "!has(object.status.filesUploaded) || object.status.filesUploaded == 0";
    with_pods(OPERATOR, "workers", async |world| refused(world, STATUS, allowed, WRITTEN).await)
}

#[test]
fn a_status_refused_after_the_last_report_costs_nothing() -> anyhow::Result<()> {
    let allowed = "!has(object.status.filesUploaded) || object.status.filesUploaded < 80";
    with_pods(OPERATOR, "workers", async |world| refused(world, STATUS, allowed, WRITTEN).await)
}

#[test]
fn keys_so_far_that_are_refused_cost_nothing() -> anyhow::Result<()> {
    let allowed = "object.metadata.name != 'keys-frames-part'";
    with_pods(OPERATOR, "workers", async |world| refused(world, MAPS, allowed, MAP_WRITTEN).await)
}

#[test]
fn complete_keys_that_are_refused_cost_nothing() -> anyhow::Result<()> {
    let allowed = "object.metadata.name != 'keys-frames'";
    with_pods(OPERATOR, "workers", async |world| refused(world, MAPS, allowed, MAP_WRITTEN).await)
}

#[test]
fn keys_so_far_that_somebody_made_immutable_are_made_again() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        begun(world).await?;
        world.has_rendered().await?;
        let old = world.keys_of_frames().await?.unwrap_or_default();
        world.patch("ConfigMap", "keys-frames-part", json!({"immutable": true})).await?;
        world.request("render", json!("again")).await?;
        world.has_handled("again").await?;
        world.has_rendered().await?;
        let new = world.keys_of_frames().await?.unwrap_or_default();
        assert!(new.len() == old.len() && new.iter().all(|(path, key)| key["fileKey"] != old[path]["fileKey"]));
        Ok(())
    })
}
