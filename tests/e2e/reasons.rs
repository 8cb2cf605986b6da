//! Each thing that can be wrong has its reason and its words, heals by itself, and costs no call too many.
//!
//! A test breaks one thing, reads what the `FileUpload` says, lets the operator look again while nothing changes, mends
//! it and counts the calls at the double.

use std::time::{Duration, Instant};

use cyberun_stub::{Fault, GateShape, Kind, Step};
use serde_json::{Value, json};
use test_support::{World, file, files, message, scenario};

use crate::OPERATOR;

/// Two files, so that a failure which is every file's is seen to cost one call.
async fn two_files(world: &mut World) -> anyhow::Result<()> {
    world.config_map("texts", &[("a.txt", "first"), ("b.txt", "second")]).await?;
    world.operator().await?;
    ask(world).await
}

async fn ask(world: &World) -> anyhow::Result<()> {
    let list = json!([file("a", "texts", "a.txt"), file("b", "texts", "b.txt")]);
    world.file_upload("two", json!({"files": list})).await
}

/// Waits until both files are there, soon enough, and counts the presigns of the whole test.
async fn heals(world: &World, presigns: usize) -> anyhow::Result<()> {
    let mended = Instant::now();
    let upload = world.available("two").await?;
    assert!(mended.elapsed() < Duration::from_secs(20), "it took {:?}", mended.elapsed());
    assert_eq!(world.stored_keys(&upload)?.len(), 2);
    assert!(files(&upload).iter().all(|file| file["reason"].is_null()), "nothing is said of what is over");
    assert_eq!(world.calls(Step::Presign).len(), presigns, "presigns in all");
    assert_eq!(world.calls(Step::Put).len(), 2, "puts in all");
    Ok(())
}

/// A Secret that no call may be made with; then the right one.
async fn refused_unsent(world: &mut World, values: &[(&str, &str)], words: &[&str]) -> anyhow::Result<()> {
    world.secret("cyberun", values).await?;
    two_files(world).await?;
    world.says("two", ("CredentialsInvalid", "Stalled"), words).await?;
    world.had_its_chance().await?;
    assert_eq!(world.stub.calls().len(), 0, "no call is made with it");
    world.credential().await?;
    heals(world, 2).await
}

#[test]
fn a_wrong_token_is_rejected_once_and_not_tried_again_until_the_secret_changes() {
    scenario(OPERATOR, async |world| {
        world.secret("cyberun", &[("CYBERUN_API_KEY", "sk-00000000000000000000000000000000")]).await?;
        two_files(world).await?;
        let words = ["Secret cyberun", "401", "invalid bearer token", "CYBERUN_API_KEY"];
        world.says("two", ("CredentialsRejected", "Stalled"), &words).await?;
        assert_eq!(world.calls(Step::Presign).len(), 1, "one call for two files");
        world.had_its_chance().await?;
        assert_eq!(world.calls(Step::Presign).len(), 1, "nothing changed, nothing is tried");
        world.credential().await?;
        heals(world, 3).await
    });
}

#[test]
fn a_revoked_token_is_told_from_a_wrong_one() {
    scenario(OPERATOR, async |world| {
        let revoked = world.credential().await?;
        world.stub.revoke(revoked.token());
        two_files(world).await?;
        world
            .says("two", ("CredentialsRejected", "Stalled"), &["Secret cyberun", "401", "the token was revoked"])
            .await?;
        world.had_its_chance().await?;
        assert_eq!(world.calls(Step::Presign).len(), 1);
        let token = world.stub.mint(Kind::Device).token().to_owned();
        world.secret("cyberun", &[("CYBERUN_API_KEY", &token)]).await?;
        heals(world, 3).await
    });
}

#[test]
fn a_service_account_token_is_never_sent() {
    scenario(OPERATOR, async |world| {
        let namespace = world.namespace.clone();
        world.wait("ServiceAccount", "default", "the namespace's account", Value::is_object).await?;
        let token = world.service_account_token(&namespace, "default").await?;
        let values = [("CYBERUN_API_KEY", token.as_str()), ("CYBERUN_TEAM_ID", "team")];
        refused_unsent(world, &values, &["Secret cyberun", "service-account token"]).await
    });
}

#[test]
fn an_agent_key_is_never_sent() {
    scenario(OPERATOR, async |world| {
        let token = world.stub.credential(Kind::Agent).token().to_owned();
        refused_unsent(world, &[("CYBERUN_API_KEY", &token)], &["Secret cyberun", "ak-"]).await
    });
}

#[test]
fn a_user_token_without_a_team_is_never_sent() {
    scenario(OPERATOR, async |world| {
        let token = world.stub.credential(Kind::User).token().to_owned();
        refused_unsent(world, &[("CYBERUN_API_KEY", &token)], &["Secret cyberun", "JWT", "CYBERUN_TEAM_ID"]).await
    });
}

#[test]
fn a_user_token_works_once_its_team_is_there() {
    scenario(OPERATOR, async |world| {
        let user = world.stub.credential(Kind::User);
        world.secret("cyberun", &[("CYBERUN_API_KEY", user.token())]).await?;
        two_files(world).await?;
        world.says("two", ("CredentialsInvalid", "Stalled"), &["team"]).await?;
        let team = user.team().unwrap_or_default();
        world.secret("cyberun", &[("CYBERUN_API_KEY", user.token()), ("CYBERUN_TEAM_ID", team)]).await?;
        heals(world, 2).await
    });
}

#[test]
fn a_secret_without_the_key_is_told_from_no_secret() {
    scenario(OPERATOR, async |world| {
        refused_unsent(world, &[("API_KEY", "elsewhere")], &["Secret cyberun", "no key CYBERUN_API_KEY"]).await
    });
}

#[test]
fn a_missing_secret_is_waited_for() {
    scenario(OPERATOR, async |world| {
        two_files(world).await?;
        world.says("two", ("SecretNotFound", "Reconciling"), &["Secret cyberun", "does not exist"]).await?;
        world.had_its_chance().await?;
        assert_eq!(world.stub.calls().len(), 0);
        world.credential().await?;
        heals(world, 2).await
    });
}

#[test]
fn a_missing_config_map_is_waited_for() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        world.operator().await?;
        ask(world).await?;
        world
            .says("two", ("ConfigMapNotFound", "Reconciling"), &["file a", "ConfigMap texts", "does not exist"])
            .await?;
        assert_eq!(world.stub.calls().len(), 0);
        world.config_map("texts", &[("a.txt", "first"), ("b.txt", "second")]).await?;
        heals(world, 2).await
    });
}

#[test]
fn a_missing_key_is_waited_for_and_holds_no_other_file_back() {
    scenario(OPERATOR, async |world| {
        world.with_texts(&[("a.txt", "first")]).await?;
        ask(world).await?;
        let words = ["file b", "ConfigMap texts", "no key b.txt"];
        let upload = world.says("two", ("ConfigMapKeyNotFound", "Reconciling"), &words).await?;
        assert_eq!(upload["status"]["summary"], "1/2");
        world.patch("ConfigMap", "texts", json!({"data": {"b.txt": "second"}})).await?;
        heals(world, 2).await
    });
}

#[test]
fn an_api_that_asks_to_slow_down_is_given_the_time_it_asks_for() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        world.stub.fault(Step::Presign, Fault::retry_after(429, 4));
        two_files(world).await?;
        world.says("two", ("RateLimited", "Reconciling"), &["429", "slow down"]).await?;
        assert_eq!(world.calls(Step::Presign).len(), 1, "one call for two files");
        heals(world, 3).await?;
        let calls = world.calls(Step::Presign);
        let waited = calls[1].started_at.duration_since(calls[0].started_at);
        assert!(waited.unsigned_abs() >= Duration::from_secs(4), "Retry-After said 4 s, it waited {waited}");
        Ok(())
    });
}

#[test]
fn an_api_that_is_down_is_tried_again_until_it_is_up() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        world.stub.pause_api().await;
        two_files(world).await?;
        let upload = world.says("two", ("ApiUnavailable", "Reconciling"), &["Cyberun API"]).await?;
        let first = upload["status"]["attempts"].as_i64();
        let more = |upload: &Value| upload["status"]["attempts"].as_i64() > first;
        let again = world.upload("two", "another attempt", more).await?;
        assert_eq!(message(&again), message(&upload), "the message is stable");
        world.stub.resume_api()?;
        heals(world, 2).await
    });
}

#[test]
fn an_unlicensed_feature_is_not_asked_for_again_until_the_secret_changes() {
    scenario(OPERATOR, async |world| {
        let unlicensed = unlicensed(world).await?;
        world.had_its_chance().await?;
        assert_eq!(world.calls(Step::Presign).len(), 1, "nothing changed, nothing is tried");
        world.stub.clear_faults();
        world.had_its_chance().await?;
        assert_eq!(world.calls(Step::Presign).len(), 1, "nobody can tell that the license was extended");
        let token = world.stub.mint(Kind::Integration).token().to_owned();
        assert_ne!(token, unlicensed);
        world.secret("cyberun", &[("CYBERUN_API_KEY", &token)]).await?;
        heals(world, 3).await
    });
}

#[test]
fn an_unlicensed_feature_is_asked_for_again_when_the_spec_changes() {
    scenario(OPERATOR, async |world| {
        unlicensed(world).await?;
        world.stub.clear_faults();
        world.patch("FileUpload", "two", json!({"spec": {"output": {"configMap": {"name": "keys"}}}})).await?;
        heals(world, 3).await
    });
}

async fn unlicensed(world: &mut World) -> anyhow::Result<String> {
    let credential = world.credential().await?;
    world.stub.fault_always(Step::Presign, Fault::feature_gate(GateShape::Nested));
    two_files(world).await?;
    world.says("two", ("FeatureNotLicensed", "Stalled"), &["403", "feature not licensed", "file_upload"]).await?;
    assert_eq!(world.calls(Step::Presign).len(), 1, "one call for two files");
    Ok(credential.token().to_owned())
}

#[test]
fn a_refused_permission_is_told_from_a_missing_license() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        world.stub.fault(Step::Presign, Fault::permission_denied());
        two_files(world).await?;
        world.says("two", ("CredentialsRejected", "Stalled"), &["Secret cyberun", "403", "permission denied"]).await?;
        world.had_its_chance().await?;
        assert_eq!(world.calls(Step::Presign).len(), 1);
        let token = world.stub.mint(Kind::Integration).token().to_owned();
        world.secret("cyberun", &[("CYBERUN_API_KEY", &token)]).await?;
        heals(world, 3).await
    });
}
