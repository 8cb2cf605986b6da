//! What one namespace does costs only that namespace: others are served at once, keys that die are gone in time.
//!
//! The operator serves all namespaces, as the chart has it, in a cluster that a test has for itself.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use anyhow::ensure;
use cyberun_stub::{Call, Credential, Fault, Hold, Options, Rule, Step};
use jiff::Timestamp;
use serde_json::{Value, json};
use test_support::{
    DEADLINE, History, Request, Space, World, file, files, key_of, on_claim, prompt, reason, scenario_alone, state,
    with_output,
};

use crate::OPERATOR;

const STATUS: (&str, &str) = ("UPDATE", "cyberun.cloud/fileuploads/status");
/// More than the operator ever works on at the same time in one namespace.
const TWELVE: usize = 12;

/// `FileUpload`s `u1`, `u2`, ... of so many files each, of a `ConfigMap` that is there already.
async fn uploads(space: &Space, count: usize, files_each: usize) -> anyhow::Result<()> {
    let list: Vec<_> = (1..=files_each).map(|number| file(&format!("f{number}"), "texts", "a.txt")).collect();
    for number in 1..=count {
        let output = json!({"configMap": {"name": format!("u{number}-keys")}});
        space.file_upload(&format!("u{number}"), json!({"files": list, "output": output})).await?;
    }
    Ok(())
}

/// A space with a `ConfigMap` `texts`, and its credential.
async fn space(world: &mut World, name: &str) -> anyhow::Result<(Space, Credential)> {
    let (space, credential) = world.space(name).await?;
    space.config_map("texts", &[("a.txt", "one")]).await?;
    Ok((space, credential))
}

/// How many calls of this step were made with a credential.
fn calls(world: &World, step: Step, credential: &Credential) -> usize {
    world.calls(step).iter().filter(|call| call.credential.as_deref() == Some(credential.label())).count()
}

/// Waits until the double has answered so many puts of a credential.
async fn stored(world: &World, credential: &Credential, count: usize) -> anyhow::Result<()> {
    let of = |call: &&cyberun_stub::Call| call.credential.as_deref() == Some(credential.label()) && call.end.is_some();
    world.stub.wait_for(|seen| seen.of(Step::Put).filter(of).count() >= count, DEADLINE).await
}

/// Another namespace is served three times in a row, each time at once.
async fn others_are_served(world: &mut World) -> anyhow::Result<()> {
    let (other, _) = world.space("other").await?;
    for name in ["first", "second", "third"] {
        other.is_served(name).await?;
    }
    Ok(())
}

/// Any status, or only one with keys.
const ANY: &str = "false";
const KEYS: &str = "!has(object.status.files) || object.status.files.all(file, !has(file.fileKey))";

/// A namespace with this much to do, where a status is written only if `allowed` is true of it; some were refused.
async fn frozen(world: &mut World, allowed: &str) -> anyhow::Result<(Space, Credential)> {
    world.operator_everywhere(&[]).await?;
    let (frozen, credential) = space(world, "frozen").await?;
    frozen.forbid("status", STATUS, allowed, "this namespace is frozen").await?;
    uploads(&frozen, TWELVE, 1).await?;
    let refused = |request: &Request| request.namespace == frozen.namespace && request.code == 422;
    let refusals = async || {
        let names: Option<BTreeSet<_>> =
            world.audit(&frozen.namespace, refused)?.map(|all| all.into_iter().map(|request| request.name).collect());
        Ok((names.as_ref().is_none_or(|names| names.len() >= 4), names))
    };
    // As many as a namespace may have under way.
    world.wait_for(DEADLINE, "refused statuses", refusals).await?;
    Ok((frozen, credential))
}

/// SIGTERM ends the operator in time, whatever it could not write.
async fn ends_in_time(world: &mut World) -> anyhow::Result<()> {
    let asked = Instant::now();
    let status = world.operator().await?.terminate().await?;
    let took = asked.elapsed();
    ensure!(status.success() && took <= Duration::from_secs(15), "{status} after {took:?}");
    Ok(())
}

#[test]
fn a_namespace_whose_statuses_may_not_be_written_keeps_no_other_waiting_and_no_end() -> anyhow::Result<()> {
    scenario_alone(OPERATOR, Options::default(), "a frozen namespace", async |world| {
        frozen(world, ANY).await?;
        others_are_served(world).await?;
        ends_in_time(world).await
    })
}

#[test]
fn a_namespace_whose_keys_may_not_be_written_keeps_no_other_waiting_and_no_end() -> anyhow::Result<()> {
    scenario_alone(OPERATOR, Options::default(), "a namespace without room for keys", async |world| {
        frozen(world, KEYS).await?;
        others_are_served(world).await?;
        ends_in_time(world).await
    })
}

/// All of the namespace is there in the end, and each file was sent once.
async fn thaws(world: &World, frozen: &Space, credential: &Credential) -> anyhow::Result<()> {
    frozen.permit("status").await?;
    let all = async || {
        let uploads = frozen.list("FileUpload").await?;
        let available = uploads.iter().filter(|upload| state(upload, "Available") == "True").count();
        Ok((available == TWELVE, available))
    };
    world.wait_for(DEADLINE * 2, "all of the namespace to be Available", all).await?;
    let counted = [Step::Presign, Step::Put].map(|step| calls(world, step, credential));
    assert_eq!(counted, [TWELVE, TWELVE], "presigns and puts");
    Ok(())
}

#[test]
fn what_was_sent_for_a_namespace_while_it_was_frozen_is_not_sent_again() -> anyhow::Result<()> {
    scenario_alone(OPERATOR, Options::default(), "a namespace that thaws", async |world| {
        let (frozen, credential) = frozen(world, KEYS).await?;
        stored(world, &credential, 1).await?;
        others_are_served(world).await?;
        thaws(world, &frozen, &credential).await
    })
}

#[test]
fn a_webhook_that_hangs_for_one_namespace_keeps_no_other_waiting() -> anyhow::Result<()> {
    scenario_alone(OPERATOR, Options::default(), "a webhook that hangs", async |world| {
        world.operator_everywhere(&[]).await?;
        let (slow, credential) = space(world, "slow").await?;
        let _webhook = slow.hanging_webhook(STATUS).await?;
        uploads(&slow, TWELVE, 1).await?;
        stored(world, &credential, 4).await?;
        others_are_served(world).await
    })
}

/// How long the double and the operator let keys live, and when they are withdrawn.
const RETENTION: Duration = Duration::from_secs(45);
const MINIMUM: Duration = Duration::from_secs(10);
const TERMS: [&str; 2] = [r#"retention="45s""#, r#"minimumLife="10s""#];

/// When a key that a state shows is to be withdrawn.
fn end_of(entry: &Value) -> anyhow::Result<SystemTime> {
    let expires: Timestamp = entry["expiresAt"].as_str().unwrap_or_default().parse()?;
    Ok(SystemTime::from(expires) - MINIMUM)
}

/// Each of these keys left status and output as soon as promised after its end.
async fn leave_in_time(uploads: &History, outputs: &History, before: &[Value]) -> anyhow::Result<()> {
    for upload in before {
        let name = upload["metadata"]["name"].as_str().unwrap_or_default();
        for entry in files(upload) {
            let (file, end) = (entry["name"].as_str().unwrap_or_default(), end_of(entry)?);
            let left = |state: &Value| state["metadata"]["name"] == name && key_of(state, file).is_none();
            let what = format!("key {file} of {name} to leave the status");
            prompt(&what, end, uploads.until(RETENTION, &what, left).await?)?;
            let gone =
                |state: &Value| state["metadata"]["name"] == format!("{name}-keys") && state["data"][file].is_null();
            let what = format!("key {file} of {name} to leave the output");
            prompt(&what, end, outputs.until(RETENTION, &what, gone).await?)?;
        }
    }
    Ok(())
}

#[test]
fn a_store_that_never_answers_one_namespace_keeps_no_other_waiting_and_no_dying_key_alive() -> anyhow::Result<()> {
    let options = Options { retention: Some(RETENTION), ..Options::default() };
    scenario_alone(OPERATOR, options, "a store that never answers", async |world| {
        world.operator_everywhere(&TERMS).await?;
        // Fifty keys that die at about the same time.
        let (dying, _) = space(world, "dying").await?;
        uploads(&dying, 10, 5).await?;
        let all = async || {
            let uploads = dying.list("FileUpload").await?;
            Ok((uploads.iter().all(|upload| state(upload, "Available") == "True"), uploads))
        };
        let before = world.wait_for(DEADLINE, "fifty keys", all).await?;
        let (statuses, outputs) = (dying.history("FileUpload").await?, dying.history("ConfigMap").await?);

        let (hung, credential) = space(world, "hung").await?;
        let hold = Hold::new("a store that never answers");
        world.stub.arm(Rule::always(Step::Put, Fault::hold(&hold)).for_credential(&credential));
        uploads(&hung, 10, 8).await?;
        hold.reached(DEADLINE).await?;
        others_are_served(world).await?;
        leave_in_time(&statuses, &outputs, &before).await?;
        assert!(calls(world, Step::Put, &credential) >= 4, "the store was asked");
        hold.release();
        Ok(())
    })
}

#[test]
fn a_deletion_that_hangs_keeps_no_dying_key_alive() -> anyhow::Result<()> {
    let options = Options { retention: Some(Duration::from_secs(30)), ..Options::default() };
    scenario_alone(OPERATOR, options, "a deletion that hangs", async |world| {
        world.credential().await?;
        world.config_map("texts", &[("a.txt", "one")]).await?;
        world.volume("data", &["ReadWriteMany"], &[("b.txt", b"two")]).await?;
        world.operator_everywhere(&[r#"retention="30s""#, TERMS[1]]).await?;
        let (statuses, outputs) = (world.history("FileUpload").await?, world.history("ConfigMap").await?);
        let list = json!([file("a", "texts", "a.txt"), on_claim("b", "data", "b.txt")]);
        world.file_upload("one", with_output(&list, "one-keys")).await?;
        // There is no node, so the worker waits.
        let has_both = |upload: &Value| key_of(upload, "a").is_some() && upload["status"]["jobs"].is_array();
        let mut before = world.upload("one", "a key and a worker", has_both).await?;
        let _webhook = world.hanging_webhook(("DELETE", "batch/jobs")).await?;
        world.patch("FileUpload", "one", json!({"spec": {"files": [list[0]]}})).await?;
        assert!(SystemTime::now() < end_of(&files(&before)[0])?, "the deletion began before the key died");
        before["status"]["files"] = json!([files(&before)[0]]);
        leave_in_time(&statuses, &outputs, &[before]).await?;
        assert_eq!(world.list("Job").await?.len(), 1, "the deletion still hangs");
        Ok(())
    })
}

#[test]
fn what_the_api_asks_one_to_wait_its_whole_namespace_waits_and_no_other() -> anyhow::Result<()> {
    scenario_alone(OPERATOR, Options::default(), "an API that asks to wait", async |world| {
        world.operator_everywhere(&[]).await?;
        let (slow, credential) = space(world, "slow").await?;
        world.stub.arm(Rule::once(Step::Presign, Fault::retry_after(429, 6)).for_credential(&credential));
        let of = |call: &&Call| call.credential.as_deref() == Some(credential.label());
        let one = json!({"files": [file("a", "texts", "a.txt")]});
        slow.file_upload("first", one.clone()).await?;
        let is_refused = |upload: &Value| reason(upload) == "RateLimited";
        slow.wait("FileUpload", "first", "RateLimited", is_refused).await?;
        slow.file_upload("second", one).await?;
        others_are_served(world).await?;
        stored(world, &credential, 2).await?;
        let calls = world.calls(Step::Presign);
        let begun: Vec<_> = calls.iter().filter(of).map(|call| call.started_at).collect();
        let waited = begun[1].duration_since(begun[0]).unsigned_abs();
        assert!(waited >= Duration::from_secs(6), "Retry-After said 6 s, the next call came after {waited:?}");
        assert_eq!(begun.len(), 3);
        Ok(())
    })
}
