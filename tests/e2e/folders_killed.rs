//! The operator is killed by SIGKILL between a folder's report, its keys so far and its status: nothing is lost, and
//! nothing is sent twice.
//!
//! What the operator does next is refused, and it is killed once that was refused, as for single files.

use cyberun_stub::Step;
use serde_json::json;
use test_support::{DEADLINE, World, with_pods};

use crate::OPERATOR;

/// Forty files, for a first worker and two shares.
async fn forty(world: &mut World) -> anyhow::Result<()> {
    world.frames((0..40).map(|number| (format!("{number:02}.png"), vec![number]))).await?;
    world.operator().await?;
    world.render(&json!({})).await
}

/// Waits until the API server has refused the operator this.
async fn refused(world: &World, verb: &str, resource: &str) -> anyhow::Result<()> {
    let look = async || {
        let requests = world.requests()?;
        let is_it = |request: &&test_support::Request| {
            request.verb == verb && request.resource == resource && request.code == 422
        };
        let count = requests.map(|requests| requests.iter().filter(is_it).count());
        Ok((count != Some(0), count))
    };
    world.wait_for(DEADLINE * 2, &format!("a refused {verb} of {resource}"), look).await?;
    Ok(())
}

/// All forty have one key each, and nothing was sent twice.
async fn all_there(world: &World) -> anyhow::Result<()> {
    world.has_rendered().await?;
    assert_eq!(world.keys_of_frames().await?.map(|keys| keys.len()), Some(40));
    world.tidied().await?;
    assert_eq!((world.calls(Step::Put).len(), world.stub.objects().len()), (40, 40), "nothing is sent twice");
    Ok(())
}

#[test]
fn killed_before_the_keys_have_what_was_reported() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        world.forbid("maps", ("CREATE", "configmaps"), "false", "no ConfigMaps today").await?;
        forty(world).await?;
        refused(world, "create", "configmaps").await?;
        world.operator().await?.kill_9().await?;
        world.permit("maps").await?;
        world.operator().await?.restart().await?;
        all_there(world).await
    })
}

#[test]
fn killed_before_the_status_has_what_the_keys_have() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        forty(world).await?;
        let part = async || world.read("ConfigMap", "keys-frames-part").await.map(|map| (!map.is_null(), ()));
        world.wait_for(DEADLINE * 2, "the keys so far", part).await?;
        world.operator().await?.kill_9().await?;
        world.operator().await?.restart().await?;
        all_there(world).await
    })
}
