//! Two operators that share a Lease: one works, and the other takes over.

use std::time::Duration;

use cyberun_stub::{Fault, Hold, Moment, Options, Rule, Step};
use serde_json::{Value, json};
use test_support::{DEADLINE, Operator, World, file, key_of, scenario_alone, state};

use crate::OPERATOR;

/// As the chart has it, under the name that its Role grants.
const ELECTS: [&str; 3] =
    ["fullnameOverride=\"fileupload-operator\"", "leaderElection.enabled=true", "nameOverride=\"\""];
/// Within what an orderly end, and a death, is to be got over.
const AFTER_END: Duration = Duration::from_secs(5);
/// A Lease of 15 s that was seen up to 2 s before, and a look each 2 s.
const AFTER_DEATH: Duration = Duration::from_secs(20);

async fn upload(world: &World, name: &str) -> anyhow::Result<()> {
    world.file_upload(name, json!({"files": [file("a", "texts", "a.txt")]})).await
}

/// Waits that long until it is Available.
async fn available(world: &World, name: &str, within: Duration) -> anyhow::Result<Value> {
    let look = async || {
        let upload = world.read("FileUpload", name).await?;
        Ok((state(&upload, "Available") == "True", upload))
    };
    world.wait_for(within, &format!("{name} to be Available"), look).await
}

async fn leads(operator: &Operator) -> anyhow::Result<bool> {
    Ok(operator.get("/metrics").await?.1.lines().any(|line| line == "fileupload_leader 1"))
}

/// The first leads, and the other stands by, ready.
async fn both(world: &mut World) -> anyhow::Result<Operator> {
    world.credential().await?;
    world.config_map("texts", &[("a.txt", "one")]).await?;
    world.operator_everywhere(&ELECTS).await?;
    upload(world, "first").await?;
    world.available("first").await?;
    let other = world.another_operator(&ELECTS).await?;
    assert_eq!((other.get("/readyz").await?.0, leads(&other).await?), (200, false), "a standby is ready");
    assert!(leads(world.operator().await?).await?);
    Ok(other)
}

#[test]
fn one_that_ends_gives_the_lease_up_and_the_other_works_within_5_s() -> anyhow::Result<()> {
    scenario_alone(OPERATOR, Options::default(), "an operator that ends", async |world| {
        let other = both(world).await?;
        let ended = world.operator().await?.terminate().await?;
        assert!(ended.success(), "{ended}");
        upload(world, "second").await?;
        available(world, "second", AFTER_END).await?;
        assert!(leads(&other).await?);
        assert_eq!(world.calls(Step::Put).len(), 2, "what was there is not sent again");
        Ok(())
    })
}

#[test]
fn one_that_is_killed_is_replaced_within_the_time_of_its_lease() -> anyhow::Result<()> {
    scenario_alone(OPERATOR, Options::default(), "an operator that is killed", async |world| {
        let other = both(world).await?;
        world.operator().await?.kill_9().await?;
        upload(world, "second").await?;
        available(world, "second", AFTER_DEATH).await?;
        assert!(leads(&other).await?);
        assert_eq!(world.calls(Step::Put).len(), 2, "what was there is not sent again");
        Ok(())
    })
}

#[test]
fn one_that_cannot_renew_its_lease_ends_before_another_may_have_it() -> anyhow::Result<()> {
    scenario_alone(OPERATOR, Options::default(), "an operator that cannot renew", async |world| {
        world.wire().await?;
        world.credential().await?;
        world.operator_everywhere(&ELECTS).await?;
        world.its_wire()?.cut();
        let ended = world.operator().await?.ended().await?;
        assert_eq!(ended.code(), Some(1));
        let log = world.operator().await?.log();
        assert!(log.contains("the lease was lost: it could not be renewed in time"), "{log}");
        Ok(())
    })
}

#[test]
fn ten_changes_of_the_leader_under_load_leave_one_live_key_for_each_file() -> anyhow::Result<()> {
    const CHANGES: usize = 10;
    scenario_alone(OPERATOR, Options::default(), "ten failovers", async |world| {
        let other = both(world).await?;
        let mut standby = Some(other);
        let mut under_way = 0;
        for change in 0..CHANGES {
            let name = format!("upload-{change}");
            let hold = Hold::new(&name);
            world.stub.arm(Rule::once(Step::Put, Fault::hold(&hold).at(Moment::Committed)));
            upload(world, &name).await?;
            hold.reached(DEADLINE).await?;
            // Every other one is killed while its file is stored, and not yet in a status.
            let is_killed = change % 2 == 1;
            under_way += usize::from(is_killed);
            if !is_killed {
                hold.release();
            }
            let leader = world.operator().await?;
            if is_killed {
                leader.kill_9().await?;
                hold.release();
            } else {
                assert!(leader.terminate().await?.success());
            }
            available(world, &name, AFTER_DEATH).await?;
            world.operator().await?.restart().await?;
            let other = standby.take().into_iter().next();
            let Some(other) = other else { anyhow::bail!("no standby") };
            standby = Some(world.exchange_operator(other)?);
        }
        let uploads = world.list("FileUpload").await?;
        assert_eq!(uploads.len(), CHANGES + 1);
        let objects = world.stub.objects();
        for upload in &uploads {
            assert!(objects.contains_key(key_of(upload, "a").unwrap_or_default()), "{:#}", upload["status"]);
        }
        let most = uploads.len() + under_way;
        assert!(objects.len() <= most, "{} objects of {} files, {under_way} under way", objects.len(), uploads.len());
        Ok(())
    })
}
