//! The life of a key: it is renewed in time or withdrawn in time, and nobody ever reads one that the store has deleted.
//!
//! The double deletes what it stores after seconds, and the operator is told so: what takes a day elsewhere is seen here
//! as it happens.

use std::time::Duration;

use cyberun_stub::{Fault, Options, Step};
use serde_json::{Value, json};
use test_support::{
    DEADLINE, History, World, condition, file, files, key_of, reason, scenario_with, state, with_pods_and,
};

use crate::OPERATOR;

/// What the double and the operator are told: keys live so long, and are withdrawn so long before their end.
const RETENTION: Duration = Duration::from_secs(20);
const TERMS: [&str; 2] = [r#"retention="20s""#, r#"minimumLife="5s""#];

fn short() -> Options {
    Options { retention: Some(RETENTION), ..Options::default() }
}

fn spec(policy: &str) -> Value {
    let list = json!([file("a", "texts", "a.txt"), file("b", "texts", "b.txt")]);
    json!({"files": list, "output": {"configMap": {"name": "keys"}}, "refreshPolicy": policy})
}

/// Two files, uploaded, and every state of the resource and of its output from then on.
async fn uploaded(world: &mut World, policy: &str) -> anyhow::Result<(History, History)> {
    world.credential().await?;
    world.config_map("texts", &[("a.txt", "one"), ("b.txt", "two")]).await?;
    world.operator_with(&TERMS).await?;
    let histories = (world.history("FileUpload").await?, world.history("ConfigMap").await?);
    world.file_upload("two", spec(policy)).await?;
    world.available("two").await?;
    Ok(histories)
}

/// The keys that a state of the output has, and those that a state of the resource has.
fn keys(uploads: &History, outputs: &History) -> Vec<String> {
    let upload = uploads.states().pop().unwrap_or_default();
    let output = outputs.states().into_iter().rfind(|state| state["metadata"]["name"] == "keys").unwrap_or_default();
    let in_status = files(&upload).iter().map(|file| &file["fileKey"]);
    let in_output = ["a", "b"].map(|name| &output["data"][name]);
    in_status.chain(in_output).filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Looks again and again, until it is over, whether the store still has every key that can be read.
async fn none_is_dead(
    world: &World,
    (uploads, outputs): &(History, History),
    within: Duration,
    what: &str,
    is_over: impl Fn() -> bool,
) -> anyhow::Result<()> {
    let look = async || {
        let (keys, objects) = (keys(uploads, outputs), world.stub.objects());
        let dead: Vec<_> = keys.iter().filter(|key| !objects.contains_key(*key)).collect();
        anyhow::ensure!(dead.is_empty(), "the store has deleted {dead:?}, which can still be read");
        Ok((is_over(), ()))
    };
    world.wait_for(within, what, look).await.map(drop)
}

/// The different keys that a file had, in order.
fn keys_of(uploads: &History, name: &str) -> Vec<String> {
    let mut keys: Vec<String> =
        uploads.states().iter().filter_map(|state| key_of(state, name).map(str::to_owned)).collect();
    keys.dedup();
    keys
}

/// How often an event with this reason was said.
async fn said(world: &World, reason: &str) -> anyhow::Result<usize> {
    let events = world.list("Event").await?;
    Ok(events.iter().filter(|event| event["reason"] == reason && event["regarding"]["kind"] == "FileUpload").count())
}

#[test]
fn a_key_is_renewed_before_it_dies_three_times_in_a_row_and_nobody_reads_a_dead_one() {
    scenario_with(OPERATOR, short(), async |world| {
        let histories = uploaded(world, "BeforeExpiry").await?;
        let (uploads, outputs) = &histories;
        let from = uploads.states().len();
        let three = || ["a", "b"].iter().all(|name| keys_of(uploads, name).len() >= 4);
        none_is_dead(world, &histories, RETENTION * 4, "three renewals", three).await?;
        for state_of in uploads.states().iter().skip(from) {
            let said = (state(state_of, "Ready"), reason(state_of), state(state_of, "Available"));
            assert_eq!(said, ("True", "Uploaded", "True"), "it is Available all the time");
        }
        let held = outputs.states().iter().filter(|state| state["data"]["keys.json"].is_string()).count();
        assert!(held >= 4, "each time the output had all keys, {held}");
        let puts = world.calls(Step::Put).len();
        assert_eq!(world.calls(Step::Presign).len(), puts, "one call a key");
        let renewals = keys_of(uploads, "a").len() + keys_of(uploads, "b").len();
        assert!(puts <= renewals + 2, "{puts} puts for {renewals} keys");
        assert_eq!(said(world, "RefreshFailed").await?, 0);
        Ok(())
    });
}

#[test]
fn with_never_a_key_expires_on_time_and_leaves_status_and_output() {
    scenario_with(OPERATOR, short(), async |world| {
        let histories = uploaded(world, "Never").await?;
        let (uploads, _) = &histories;
        let before = uploads.states().pop().unwrap_or_default();
        let is_expired = || uploads.states().last().is_some_and(|upload| upload["status"]["phase"] == "Expired");
        none_is_dead(world, &histories, RETENTION * 2, "Expired", is_expired).await?;
        assert_eq!(world.stub.objects().len(), 2, "withdrawn before the store deletes them");

        let expired = world.read("FileUpload", "two").await?;
        assert_eq!((state(&expired, "Ready"), reason(&expired)), ("True", "Expired"));
        assert_eq!(
            (state(&expired, "Available"), condition(&expired, "Available")["reason"].as_str()),
            ("False", Some("Expired"))
        );
        assert_eq!((state(&expired, "Reconciling"), state(&expired, "Stalled")), ("", ""));
        for (then, now) in files(&before).iter().zip(files(&expired)) {
            assert_eq!((now["state"].as_str(), &now["fileKey"]), (Some("Expired"), &Value::Null));
            assert_eq!((&now["uploadedAt"], &now["expiresAt"]), (&then["uploadedAt"], &then["expiresAt"]));
        }
        assert_eq!(expired["status"]["summary"], "0/2");
        assert_eq!(world.read("ConfigMap", "keys").await?["data"], Value::Null, "the output is there, and empty");
        let told = async || said(world, "Expired").await.map(|times| (times == 1, times));
        world.wait_for(DEADLINE, "the event", told).await?;

        // What nobody asks for is not uploaded again; what somebody asks for is.
        world.stub.wait_for(|seen| seen.objects.is_empty(), RETENTION).await?;
        assert_eq!(world.calls(Step::Put).len(), 2);
        world.patch("FileUpload", "two", json!({"spec": {"refreshPolicy": "BeforeExpiry"}})).await?;
        let renewed = world.available("two").await?;
        assert_eq!(world.stored_keys(&renewed)?.len(), 2);
        Ok(())
    });
}

#[test]
fn a_renewal_that_fails_takes_no_live_key_away_and_is_said_once() {
    scenario_with(OPERATOR, short(), async |world| {
        let histories = uploaded(world, "BeforeExpiry").await?;
        let (uploads, _) = &histories;
        world.stub.fault_always(Step::Presign, Fault::status(503));
        let fails = || {
            uploads
                .states()
                .last()
                .is_some_and(|upload| files(upload).iter().any(|file| file["reason"] == "ApiUnavailable"))
        };
        none_is_dead(world, &histories, RETENTION, "a failed renewal", fails).await?;
        let failing = world.read("FileUpload", "two").await?;
        assert_eq!((state(&failing, "Ready"), state(&failing, "Available")), ("True", "True"));
        assert!(key_of(&failing, "a").is_some() && failing["status"]["nextAttemptAt"].is_string(), "{failing:#}");
        let told = async || said(world, "RefreshFailed").await.map(|times| (times == 1, times));
        world.wait_for(DEADLINE, "the event", told).await?;

        // No renewal comes in time: only then the keys go, and why is said.
        let gone = || uploads.states().last().is_some_and(|upload| state(upload, "Available") == "False");
        none_is_dead(world, &histories, RETENTION, "the end of the keys", gone).await?;
        let over = uploads.states().pop().unwrap_or_default();
        assert_eq!((reason(&over), key_of(&over, "a"), state(&over, "Reconciling")), ("ApiUnavailable", None, "True"));
        world.stub.clear_faults();
        let healed = world.available("two").await?;
        assert_eq!(world.stored_keys(&healed)?.len(), 2);
        assert_eq!(said(world, "RefreshFailed").await?, 1, "once");
        Ok(())
    });
}

#[test]
fn a_credential_that_was_revoked_costs_one_call_and_its_successor_renews_the_keys() {
    // Longer, as a changed Secret is noticed within 15 seconds.
    let retention = Duration::from_mins(2);
    scenario_with(OPERATOR, Options { retention: Some(retention), ..Options::default() }, async |world| {
        let credential = world.credential().await?;
        world.config_map("texts", &[("a.txt", "one"), ("b.txt", "two")]).await?;
        world.operator_with(&[r#"retention="120s""#, r#"minimumLife="10s""#]).await?;
        let histories = (world.history("FileUpload").await?, world.history("ConfigMap").await?);
        let (uploads, _) = &histories;
        world.file_upload("two", spec("BeforeExpiry")).await?;
        let before = world.available("two").await?;
        world.stub.revoke(credential.token());
        let refused =
            || uploads.states().last().is_some_and(|upload| files(upload)[0]["reason"] == "CredentialsRejected");
        none_is_dead(world, &histories, retention, "a refused renewal", refused).await?;
        world.had_its_chance().await?;
        assert_eq!(world.calls(Step::Presign).len(), 3, "one call finds out");
        assert_eq!(said(world, "RefreshFailed").await?, 1);

        let next = world.stub.mint(cyberun_stub::Kind::Integration);
        world.secret("cyberun", &[("CYBERUN_API_KEY", next.token())]).await?;
        let renewed = || ["a", "b"].iter().all(|name| keys_of(uploads, name).len() == 2);
        none_is_dead(world, &histories, retention, "new keys", renewed).await?;
        let after = world.read("FileUpload", "two").await?;
        assert_ne!(key_of(&after, "a"), key_of(&before, "a"));
        assert!(files(&after).iter().all(|file| file["reason"].is_null()), "{after:#}");
        let states = uploads.states();
        let mut since_available = states
            .iter()
            .filter(|upload| upload["metadata"]["name"] == "two")
            .skip_while(|upload| state(upload, "Available") != "True");
        let gap = since_available.find(|upload| state(upload, "Available") != "True");
        assert!(gap.is_none(), "the old keys were good all the time: {gap:#?}");
        Ok(())
    });
}

#[test]
fn a_key_dies_while_its_resource_is_suspended_and_is_made_anew_when_it_goes_on() {
    scenario_with(OPERATOR, short(), async |world| {
        let histories = uploaded(world, "BeforeExpiry").await?;
        let (uploads, _) = &histories;
        world.patch("FileUpload", "two", json!({"spec": {"suspend": true}})).await?;
        let gone = || uploads.states().last().is_some_and(|upload| state(upload, "Available") == "False");
        none_is_dead(world, &histories, RETENTION * 2, "the end of the keys", gone).await?;
        let over = uploads.states().pop().unwrap_or_default();
        assert_eq!(
            (state(&over, "Ready"), reason(&over), over["status"]["phase"].as_str()),
            ("True", "Suspended", Some("Suspended"))
        );
        assert_eq!(world.calls(Step::Put).len(), 2, "nothing is sent");
        world.patch("FileUpload", "two", json!({"spec": {"suspend": false}})).await?;
        let upload = world.available("two").await?;
        assert_eq!(world.stored_keys(&upload)?.len(), 2);
        Ok(())
    });
}

#[test]
fn a_file_of_a_volume_is_renewed_by_a_worker_while_its_old_key_lives() -> anyhow::Result<()> {
    // Long enough for a worker to start on a busy machine.
    let retention = Duration::from_secs(80);
    with_pods_and(OPERATOR, Options { retention: Some(retention), ..Options::default() }, "workers", async |world| {
        world.shared_claim("data", &["a", "b"]).await?;
        world.operator_with(&[r#"retention="80s""#, r#"minimumLife="15s""#]).await?;
        let histories = (world.history("FileUpload").await?, world.history("ConfigMap").await?);
        let (uploads, _) = &histories;
        let jobs = world.history("Job").await?;
        let fields = json!({"refreshPolicy": "BeforeExpiry", "output": {"configMap": {"name": "keys"}}});
        world.upload_from("data", "two", &["a", "b"], fields).await?;
        world.available("two").await?;
        let renewed = || ["a", "b"].iter().all(|name| keys_of(uploads, name).len() == 2);
        none_is_dead(world, &histories, retention, "new keys", renewed).await?;
        assert_eq!((jobs.names().len(), world.calls(Step::Put).len()), (2, 4), "one worker for both");
        let states = uploads.states();
        let mut since = states.iter().skip_while(|upload| state(upload, "Available") != "True");
        assert!(since.all(|upload| state(upload, "Available") == "True"), "it is Available all the time");
        world.jobs(0).await?;
        Ok(())
    })
}
