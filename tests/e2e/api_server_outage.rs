//! An API server that does not answer, whose connections are lost, or that is restarted: all heals within a minute, and
//! nothing is sent twice.

use std::time::Duration;

use cyberun_stub::{Fault, Hold, Moment, Options, Rule, Step};
use serde_json::json;
use test_support::{DEADLINE, World, file, scenario_alone, state};

use crate::OPERATOR;

/// How long all may take to heal once the API server is there again.
const HEALED: Duration = Duration::from_mins(1);
/// Longer than any call may wait for its answer.
const OUTAGE: Duration = Duration::from_secs(40);
const EIGHT: usize = 8;

/// Eight resources whose files are on their way; the hold lets them arrive.
async fn under_way(world: &mut World) -> anyhow::Result<Hold> {
    let hold = Hold::new("on its way");
    world.stub.arm(Rule::always(Step::Put, Fault::hold(&hold).at(Moment::Received)));
    world.credential().await?;
    world.config_map("texts", &[("a.txt", "one")]).await?;
    world.operator_everywhere(&[]).await?;
    for number in 1..=EIGHT {
        let output = json!({"configMap": {"name": format!("u{number}-keys")}});
        let spec = json!({"files": [file("a", "texts", "a.txt")], "output": output});
        world.file_upload(&format!("u{number}"), spec).await?;
    }
    hold.reached(DEADLINE).await?;
    Ok(hold)
}

/// All is there within a minute, and each file was sent once; a new resource is served as well.
async fn heals(world: &World) -> anyhow::Result<()> {
    let all = async || {
        let uploads = world.list("FileUpload").await?;
        let available = uploads.iter().filter(|upload| state(upload, "Available") == "True").count();
        Ok((available == EIGHT, available))
    };
    world.wait_for(HEALED, "all to be Available", all).await?;
    let counted = [Step::Presign, Step::Put].map(|step| world.calls(step).len());
    assert_eq!(counted, [EIGHT, EIGHT], "presigns and puts");
    world.meanwhile("after").await
}

/// What is sent meanwhile arrives, and nobody can be told.
async fn outage(hold: &Hold) {
    hold.release();
    // The outage itself: nothing can be waited for where nothing is answered.
    tokio::time::sleep(OUTAGE).await;
}

#[test]
fn an_api_server_that_stands_still_for_a_while_loses_no_key() -> anyhow::Result<()> {
    scenario_alone(OPERATOR, Options::default(), "an API server that stands still", async |world| {
        let hold = under_way(world).await?;
        let server = world.api_server()?;
        server.stop()?;
        outage(&hold).await;
        server.go_on()?;
        heals(world).await
    })
}

#[test]
fn lost_connections_to_the_api_server_are_given_up_and_lose_no_key() -> anyhow::Result<()> {
    scenario_alone(OPERATOR, Options::default(), "lost connections", async |world| {
        world.wire().await?;
        let hold = under_way(world).await?;
        let wire = world.its_wire()?;
        wire.cut();
        outage(&hold).await;
        wire.reconnect();
        heals(world).await
    })
}

#[test]
fn connections_that_are_lost_for_good_while_others_get_through_lose_no_key() -> anyhow::Result<()> {
    scenario_alone(OPERATOR, Options::default(), "connections that are lost for good", async |world| {
        world.wire().await?;
        let hold = under_way(world).await?;
        let wire = world.its_wire()?;
        wire.cut();
        wire.reconnect();
        hold.release();
        heals(world).await
    })
}

#[test]
fn an_api_server_that_is_restarted_three_times_loses_no_key() -> anyhow::Result<()> {
    scenario_alone(OPERATOR, Options::default(), "an API server that is restarted", async |world| {
        // One that has just started knows no rights yet.
        world.expect_refusals();
        let hold = under_way(world).await?;
        let mut server = world.api_server()?;
        server.restart().await?;
        hold.release();
        server.restart().await?;
        server.restart().await?;
        heals(world).await
    })
}
