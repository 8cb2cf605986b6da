//! Only so many workers run at a time, those who wait are served in their order, and none starves.
//!
//! The bounds are lowered by the chart's values and every put is held, so that who runs and who waits stands still.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use cyberun_stub::{Call, Fault, Hold, Rule, Step};
use serde_json::{Value, json};
use test_support::{DEADLINE, History, World, message, reason, with_pods};

use crate::OPERATOR;

const SIX: [&str; 6] = ["r1", "r2", "r3", "r4", "r5", "r6"];

/// The most pods of workers that ran at the same time.
fn most_pods(pods: &History) -> usize {
    let mut running = BTreeMap::new();
    let mut most = 0;
    for pod in pods.states().iter().filter(|pod| pod["metadata"]["labels"]["batch.kubernetes.io/job-name"].is_string())
    {
        let runs = pod["status"]["containerStatuses"][0]["state"]["running"].is_object();
        running.insert(pod["metadata"]["uid"].to_string(), runs);
        most = most.max(running.values().filter(|runs| **runs).count());
    }
    most
}

/// The most puts that were under way at the same time.
fn most_puts(calls: &[Call]) -> usize {
    let at = |moment| {
        let under_way = |call: &&Call| call.started_at <= moment && call.ended_at.is_none_or(|end| end > moment);
        calls.iter().filter(under_way).count()
    };
    calls.iter().map(|call| at(call.started_at)).max().unwrap_or_default()
}

/// The metric `fileupload_workers` of this state.
async fn workers(world: &mut World, state: &str) -> anyhow::Result<usize> {
    let (_, metrics) = world.operator().await?.get("/metrics").await?;
    let line = format!("fileupload_workers{{state=\"{state}\"}} ");
    let value = metrics.lines().find_map(|metric| metric.strip_prefix(&line)).context("no such metric")?;
    Ok(value.parse()?)
}

async fn queued(world: &World, upload: &str, claim: &str) -> anyhow::Result<()> {
    let upload = world.upload(upload, "Queued", |upload| reason(upload) == "Queued").await?;
    let words = format!("waiting for a worker slot on PersistentVolumeClaim {claim}");
    assert!(message(&upload).contains(&words), "{}", message(&upload));
    Ok(())
}

/// Holds the put of a file of this name.
fn hold(world: &World, name: &str) -> Hold {
    let hold = Hold::new(name);
    world.stub.arm(Rule::once(Step::Put, Fault::hold(&hold)).for_file(&format!("{name}.txt")));
    hold
}

#[test]
fn two_of_six_in_one_namespace_run_at_a_time_in_the_order_in_which_they_came() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        world.shared_claim("data", &SIX).await?;
        let (pods, jobs) = (world.history("Pod").await?, world.history("Job").await?);
        let holds = SIX.map(|name| hold(world, name));
        world.operator_with(&["workers.maxPerNamespace=2"]).await?;
        for (at, name) in SIX.iter().enumerate() {
            world.upload_from("data", name, &[name], json!({})).await?;
            if at < 2 { world.puts_stand(0, at + 1).await? } else { queued(world, name, "data").await? }
        }
        let until = std::time::Instant::now() + DEADLINE;
        while (workers(world, "running").await?, workers(world, "queued").await?) != (2, 4) {
            anyhow::ensure!(
                std::time::Instant::now() < until,
                "the metrics do not show two workers and four that wait"
            );
            tokio::task::yield_now().await;
        }
        for (at, hold) in holds.iter().enumerate() {
            hold.release();
            let left = (SIX.len() - at - 1).min(2);
            world.puts_stand(at + 1, left).await?;
            let in_order: Vec<_> = SIX.iter().take(at + 1 + left).map(|name| format!("{name}.txt")).collect();
            let begun = async || {
                let begun = world.calls(Step::Put).into_iter().map(|call| call.file_name.unwrap_or_default());
                let begun: Vec<_> = begun.collect();
                Ok((begun == in_order, begun))
            };
            world.wait_for(DEADLINE, "first come, first served", begun).await?;
        }
        for name in SIX {
            world.heals(name).await?;
        }
        world.tidied().await?;
        assert_eq!((most_pods(&pods), most_puts(&world.calls(Step::Put))), (2, 2));
        assert_eq!((jobs.names().len(), world.calls(Step::Put).len()), (6, 6));
        Ok(())
    })
}

#[test]
fn a_hundred_files_do_not_starve_one() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let pods = world.history("Pod").await?;
        let names: Vec<_> = (0..100).map(|number| format!("f{number:02}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        world.shared_claim("large", &names).await?;
        world.shared_claim("small", &["small"]).await?;
        let hold = Hold::new("large");
        world.stub.arm(Rule::once(Step::Put, Fault::delay(Duration::ZERO)).for_file("small.txt"));
        world.stub.arm(Rule::always(Step::Put, Fault::hold(&hold)));
        world.operator_with(&["workers.max=5"]).await?;
        world.upload_from("large", "large", &names, json!({})).await?;
        let shares = async || Ok((most_pods(&pods) == 4, most_pods(&pods)));
        world.wait_for(DEADLINE, "four workers", shares).await?;
        world.upload_from("small", "small", &["small"], json!({})).await?;
        world.heals("small").await?;
        let large: Value = world.read("FileUpload", "large").await?;
        assert_eq!(large["status"]["summary"], "0/100", "it is still held");
        hold.release();
        world.heals("large").await?;
        world.tidied().await?;
        assert_eq!((world.calls(Step::Put).len(), most_pods(&pods)), (101, 5));
        Ok(())
    })
}
