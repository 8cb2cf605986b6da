//! `directUploads: false`: workers send the files of `ConfigMap`s too, and the operator has no right on Secrets.

use cyberun_stub::Step;
use serde_json::json;
use test_support::{Request, World, file, reason, with_pods};

use crate::OPERATOR;

const WITHOUT: [&str; 1] = ["directUploads=false"];

fn two() -> serde_json::Value {
    json!({"files": [file("a", "texts", "a.txt"), file("b", "texts", "b.txt")]})
}

/// Nobody sees what a worker reads change: it is looked at again after a while, and not at once.
async fn backs_off(world: &World) -> anyhow::Result<()> {
    world.upload("two", "a next attempt", |upload| upload["status"]["nextAttemptAt"].is_string()).await?;
    Ok(())
}

/// The operator has never asked for a Secret.
fn asked_for_no_secret(world: &World) -> anyhow::Result<()> {
    let Some(requests) = world.requests()? else { return Ok(()) };
    assert!(!requests.is_empty(), "its requests are logged");
    let of_secrets: Vec<&Request> = requests.iter().filter(|request| request.resource == "secrets").collect();
    assert!(of_secrets.is_empty(), "{of_secrets:#?}");
    Ok(())
}

#[test]
fn files_of_a_config_map_go_by_a_worker_and_the_operator_has_no_right_on_secrets() -> anyhow::Result<()> {
    with_pods(OPERATOR, "files of a ConfigMap by a worker", async |world| {
        world.credential().await?;
        world.config_map("texts", &[("a.txt", "first"), ("b.txt", "second")]).await?;
        let manifests = world.cluster.chart_in(&world.namespace, &WITHOUT)?;
        let grants = |kind: &str| manifests.contains(&format!("resources: [{kind}]"));
        assert!(grants("configmaps") && !grants("secrets"), "{manifests}");
        world.operator_with(&WITHOUT).await?;
        world.file_upload("two", two()).await?;
        world.stored("two", &[("a", b"first"), ("b", b"second")]).await?;
        let mut sent = world.calls(Step::Put).iter().filter_map(|call| call.file_name.clone()).collect::<Vec<_>>();
        sent.sort_unstable(); // both are under way at the same time
        assert_eq!(sent, ["a.txt", "b.txt"]);
        asked_for_no_secret(world)
    })
}

#[test]
fn a_key_that_a_mounted_config_map_lacks_is_named_and_heals() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a missing key of a mounted ConfigMap", async |world| {
        world.credential().await?;
        world.config_map("texts", &[("a.txt", "first")]).await?;
        world.operator_with(&WITHOUT).await?;
        world.file_upload("two", two()).await?;
        let words = ["ConfigMap texts", "no key b.txt", "data or binaryData"];
        let upload = world.says("two", ("ConfigMapKeyNotFound", "Reconciling"), &words).await?;
        assert_eq!(upload["status"]["summary"], "1/2", "it holds no other file back");
        backs_off(world).await?;
        world.patch("ConfigMap", "texts", json!({"data": {"b.txt": "second"}})).await?;
        world.stored("two", &[("a", b"first"), ("b", b"second")]).await?;
        asked_for_no_secret(world)
    })
}

#[test]
fn a_missing_secret_keeps_a_worker_from_starting_is_named_and_heals() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a missing Secret of a worker", async |world| {
        world.config_map("texts", &[("a.txt", "first"), ("b.txt", "second")]).await?;
        world.operator_with(&WITHOUT).await?;
        world.file_upload("two", two()).await?;
        let words = ["Secret cyberun", "does not exist in this namespace", "CYBERUN_API_KEY"];
        world.says("two", ("SecretNotFound", "Reconciling"), &words).await?;
        assert_eq!(world.stub.calls().len(), 0);
        world.credential().await?;
        world.stored("two", &[("a", b"first"), ("b", b"second")]).await?;
        asked_for_no_secret(world)
    })
}

#[test]
fn a_token_that_a_worker_finds_rejected_costs_one_call_and_heals_with_the_secret() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a rejected token of a worker", async |world| {
        world.secret("cyberun", &[("CYBERUN_API_KEY", "sk-00000000000000000000000000000000")]).await?;
        world.config_map("texts", &[("a.txt", "first"), ("b.txt", "second")]).await?;
        world.operator_with(&WITHOUT).await?;
        world.file_upload("two", two()).await?;
        let words = ["Secret cyberun", "401", "invalid bearer token", "CYBERUN_API_KEY"];
        world.says("two", ("CredentialsRejected", "Stalled"), &words).await?;
        backs_off(world).await?;
        world.credential().await?;
        let upload = world.available("two").await?;
        assert_eq!((world.stored_keys(&upload)?.len(), reason(&upload)), (2, "Uploaded"));
        let calls = world.calls(Step::Presign);
        let refused = calls.iter().filter(|call| call.status() == Some(401)).count();
        let attempts = upload["status"]["attempts"].as_u64().unwrap_or_default();
        assert_eq!(refused as u64, attempts - 1, "one call for two files at each attempt but the last");
        assert_eq!(calls.len() - refused, 2, "each file is sent once");
        asked_for_no_secret(world)
    })
}
