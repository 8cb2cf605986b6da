//! What an image can get wrong: it cannot be pulled, cannot be started, says nothing, or says what nobody knows.
//!
//! The operator is given another worker image than its own; the image is mended by becoming the right one.

use cyberun_stub::Step;
use serde_json::json;
use test_support::{DEADLINE, World, with_pods};

use crate::OPERATOR;

const FILES: [&str; 2] = ["a", "b"];

async fn two(world: &mut World, image: &str, others: &[&str]) -> anyhow::Result<()> {
    world.shared_claim("data", &FILES).await?;
    let own = format!("extraArgs=[\"--worker-image={image}\"]");
    let values: Vec<_> = others.iter().copied().chain([own.as_str()]).collect();
    world.operator_with(&values).await?;
    world.upload_from("data", "two", &FILES, json!({})).await
}

/// The image is the right one by now: each file is sent, once.
async fn mended(world: &World) -> anyhow::Result<()> {
    world.heals("two").await?;
    world.tidied().await?;
    assert_eq!((world.calls(Step::Presign).len(), world.calls(Step::Put).len()), (2, 2));
    Ok(())
}

/// A reference of the test's own.
fn reference(world: &World) -> String {
    format!("registry.invalid/{}:1", world.namespace)
}

#[test]
fn an_image_that_cannot_be_pulled_is_named_with_what_pulling_it_may_need() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let image = reference(world);
        let jobs = world.history("Job").await?;
        two(world, &image, &["workers.imagePullSecrets=[{\"name\":\"registry\"}]"]).await?;
        let cannot = format!("image {image} cannot be pulled for the worker in namespace {}", world.namespace);
        let words = [cannot.as_str(), "--worker-image", "pull Secret in this namespace", "--worker-pull-secret"];
        world.says("two", ("ImagePullFailed", "Reconciling"), &words).await?;
        assert_eq!(world.stub.calls().len(), 0);
        world.cluster.mend_image(&image)?;
        mended(world).await?;
        assert_eq!(jobs.names().len(), 1, "the kubelet itself tries again");
        Ok(())
    })
}

#[test]
fn an_image_that_cannot_be_started_is_named() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let image = reference(world);
        world.cluster.script_image(&image, None)?;
        two(world, &image, &[]).await?;
        let words = ["file a", "the worker's container cannot be started", "executable file not found"];
        world.says("two", ("WorkerFailed", "Reconciling"), &words).await?;
        world.cluster.mend_image(&image)?;
        mended(world).await
    })
}

#[test]
fn an_image_that_reports_nothing_is_tried_again_with_growing_waits() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let image = reference(world);
        world.cluster.script_image(&image, Some("exit 0"))?;
        let (uploads, jobs) = (world.history("FileUpload").await?, world.history("Job").await?);
        two(world, &image, &[]).await?;
        let words = ["file a", "without a report that can be read", "--worker-image"];
        world.says("two", ("ReportMissing", "Reconciling"), &words).await?;
        let third = async || Ok((jobs.names().len() >= 3, jobs.names()));
        world.wait_for(DEADLINE, "a third Job", third).await?;
        world.cluster.mend_image(&image)?;
        mended(world).await?;
        uploads.said("ReportMissing", &words)?;
        Ok(())
    })
}

#[test]
fn a_worker_that_crashes_leaves_the_end_of_its_log() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let image = reference(world);
        world.cluster.script_image(&image, Some("echo first; echo no room for 65532 files; exit 3"))?;
        two(world, &image, &[]).await?;
        let words = ["file a", "exit code 3", "its log ends", "no room for 65532 files"];
        world.says("two", ("WorkerFailed", "Reconciling"), &words).await?;
        world.cluster.mend_image(&image)?;
        mended(world).await
    })
}

#[test]
fn a_report_of_another_version_stalls_until_the_spec_changes() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let image = reference(world);
        world.cluster.script_image(&image, Some("echo fileupload-report/9 > /dev/termination-log"))?;
        let jobs = world.history("Job").await?;
        two(world, &image, &[]).await?;
        let words = ["file a", "a report that this operator cannot read", "of the same version"];
        world.says("two", ("ReportUnsupported", "Stalled"), &words).await?;
        world.tidied().await?;
        world.cluster.mend_image(&image)?;
        world.had_its_chance().await?;
        assert_eq!(jobs.names().len(), 1, "nobody can tell that the image is another");
        world.patch("FileUpload", "two", json!({"spec": {"output": {"configMap": {"name": "keys"}}}})).await?;
        mended(world).await
    })
}
