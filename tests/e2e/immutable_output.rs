//! An output that cannot be changed: it is made again for new keys, and no dead key stays in it.

use std::time::Duration;

use cyberun_stub::Options;
use serde_json::{Value, json};
use test_support::{
    History, World, file, key_of, once, reason, scenario, scenario_with, state, two_files, with_output,
};

use crate::OPERATOR;

/// Lets the API server make each new `ConfigMap` of the operator's immutable.
async fn outputs_are_immutable(world: &World) -> anyhow::Result<()> {
    let managed = "has(object.metadata.labels) && 'app.kubernetes.io/managed-by' in object.metadata.labels";
    let patch = format!("{managed} ? [JSONPatch{{op: 'add', path: '/immutable', value: true}}] : []");
    let probe = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "nobody"}}});
    world.mutate(("ConfigMap", "/configmaps"), &patch, probe, |made| made["immutable"] == true).await
}

/// The states of the output `keys`, one for each object that there was.
fn outputs(config_maps: &History) -> Vec<Value> {
    let mut outputs: Vec<Value> = Vec::new();
    for state in config_maps.states().into_iter().filter(|state| state["metadata"]["name"] == "keys") {
        if outputs.last().is_none_or(|last| last["metadata"]["uid"] != state["metadata"]["uid"]) {
            outputs.push(state);
        }
    }
    outputs
}

async fn says_what_the_status_says(world: &World, upload: &Value) -> anyhow::Result<()> {
    for name in ["a", "b"] {
        assert_eq!(world.entry("keys", name).await?.as_deref(), key_of(upload, name), "{name}");
    }
    Ok(())
}

#[test]
fn an_output_that_a_policy_makes_immutable_is_made_again_for_each_new_key() {
    scenario(OPERATOR, async |world| {
        outputs_are_immutable(world).await?;
        let (config_maps, uploads) = (world.history("ConfigMap").await?, world.history("FileUpload").await?);
        world.with_texts(&[("a.txt", "one"), ("c.txt", "three")]).await?;
        world.file_upload("two", two_files()).await?;
        let has_first = |output: &Value| output["data"]["a"].is_string();
        world.wait("ConfigMap", "keys", "the first key in the output", has_first).await?;
        world.config_map("more", &[("b.txt", "two")]).await?;
        let both = world.available("two").await?;
        says_what_the_status_says(world, &both).await?;
        assert!(world.entry("keys", "keys.json").await?.is_some());

        let list = json!([file("a", "texts", "a.txt"), file("b", "texts", "c.txt")]);
        world.patch("FileUpload", "two", json!({"spec": with_output(&list, "keys")})).await?;
        let changed = world.available("two").await?;
        says_what_the_status_says(world, &changed).await?;
        assert_ne!(key_of(&both, "b"), key_of(&changed, "b"));
        assert_eq!(world.puts_by_file(), once(&["a.txt", "b.txt", "c.txt"]));
        let made = outputs(&config_maps);
        assert!(made.iter().all(|output| output["immutable"] == true), "{made:#?}");
        // a; a and b; a alone, while the other is withdrawn; a and the new one.
        assert_eq!(made.len(), 4, "one for each content: {made:#?}");
        let denied = uploads.states().into_iter().find(|upload| reason(upload) == "AdmissionDenied");
        assert!(denied.is_none(), "what heals at once is no trouble: {denied:#?}");
        Ok(())
    });
}

/// The double deletes what it stores after this, and the operator withdraws a key this long before.
const RETENTION: Duration = Duration::from_secs(20);
const TERMS: [&str; 2] = [r#"retention="20s""#, r#"minimumLife="5s""#];

/// Two files whose keys are in the output, and are dead soon.
async fn two_of_short_life(world: &mut World) -> anyhow::Result<()> {
    world.credential().await?;
    world.config_map("texts", &[("a.txt", "one"), ("b.txt", "two")]).await?;
    world.operator_with(&TERMS).await?;
    let list = json!([file("a", "texts", "a.txt"), file("b", "texts", "b.txt")]);
    world.file_upload("two", with_output(&list, "keys")).await?;
    let upload = world.available("two").await?;
    says_what_the_status_says(world, &upload).await
}

/// Waits until the status says that both keys are over, which may end a second apart: by then the output has none, and the
/// store has them all.
async fn no_dead_key_is_left(world: &World) -> anyhow::Result<()> {
    let is_over = |upload: &Value| ["a", "b"].iter().all(|name| key_of(upload, name).is_none());
    let over = world.upload("two", "its keys are over", is_over).await?;
    let output = world.read("ConfigMap", "keys").await?;
    let is_left = |name: &&str| output["data"][*name].is_string();
    let left: Vec<_> = ["a", "b", "keys.json"].into_iter().filter(is_left).collect();
    assert!(left.is_empty(), "{left:?} can still be read: {output:#}");
    assert_eq!(state(&over, "Available"), "False");
    assert_eq!(world.stub.objects().len(), 2, "in time: the store has not deleted them yet");
    Ok(())
}

#[test]
fn a_dead_key_leaves_an_output_that_a_policy_makes_immutable() {
    scenario_with(OPERATOR, Options { retention: Some(RETENTION), ..Options::default() }, async |world| {
        outputs_are_immutable(world).await?;
        two_of_short_life(world).await?;
        no_dead_key_is_left(world).await
    });
}

#[test]
fn a_dead_key_leaves_an_output_whose_changes_a_policy_refuses() {
    scenario_with(OPERATOR, Options { retention: Some(RETENTION), ..Options::default() }, async |world| {
        world.forbid("frozen", ("UPDATE", "/configmaps"), "false", "nothing is changed here").await?;
        two_of_short_life(world).await?;
        no_dead_key_is_left(world).await
    });
}
