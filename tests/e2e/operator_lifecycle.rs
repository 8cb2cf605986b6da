//! The operator as a program: how it starts, is asked after itself, and ends.

use anyhow::Context as _;
use cyberun_stub::{Fault, Hold, Moment, Step};
use serde_json::{Value, json};
use test_support::{DEADLINE, file, kubectl, scenario};

use crate::OPERATOR;

fn one() -> Value {
    json!({"files": [file("a", "texts", "a.txt")]})
}

#[test]
fn sigterm_lets_an_upload_finish_and_writes_its_key() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        world.config_map("texts", &[("a.txt", "first")]).await?;
        let hold = Hold::new("on its way");
        world.stub.fault(Step::Put, Fault::hold(&hold).at(Moment::Accepted));
        world.operator().await?;
        world.file_upload("one", one()).await?;
        hold.reached(DEADLINE).await?;
        world.operator().await?.ask_to_end().await?;
        let heard = async || {
            let log = world.operator.as_ref().map(test_support::Operator::log).unwrap_or_default();
            Ok((log.contains("stopping after what is under way"), log))
        };
        world.wait_for(DEADLINE, "the signal to be heard", heard).await?;
        hold.release();
        let status = world.operator().await?.ended().await?;
        assert!(status.success(), "{status}");
        let upload = world.available("one").await?;
        assert_eq!(world.stored_keys(&upload)?.len(), 1);
        assert_eq!(world.calls(Step::Put).len(), 1);
        Ok(())
    });
}

#[test]
fn sigterm_ends_an_idle_operator_with_exit_code_0() {
    scenario(OPERATOR, async |world| {
        let status = world.operator().await?.terminate().await?;
        assert_eq!(status.code(), Some(0));
        Ok(())
    });
}

#[test]
fn a_restart_of_the_operator_uploads_nothing_again_and_writes_nothing() {
    scenario(OPERATOR, async |world| {
        world.with_texts(&[("a.txt", "first")]).await?;
        world.file_upload("one", one()).await?;
        let before = world.available("one").await?;
        world.operator().await?.terminate().await?;
        world.operator().await?.restart().await?;
        // Another resource goes the whole road behind it.
        world.file_upload("behind", one()).await?;
        world.available("behind").await?;
        let after = world.read("FileUpload", "one").await?;
        assert_eq!(after["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"]);
        assert_eq!(world.calls(Step::Put).len(), 2);
        Ok(())
    });
}

#[test]
fn it_answers_for_its_health_and_counts_what_it_did() {
    scenario(OPERATOR, async |world| {
        world.with_texts(&[("a.txt", "first")]).await?;
        world.file_upload("one", one()).await?;
        world.available("one").await?;
        let operator = world.operator().await?;
        for path in ["/livez", "/readyz"] {
            assert_eq!(operator.get(path).await?, (200, "ok".to_owned()), "{path}");
        }
        let expected = [
            "fileupload_attempts_total{reason=\"Uploaded\"} 1",
            "fileupload_uploaded_bytes_total 5",
            "fileupload_calls_total{deployment=\"\",call=\"presign\",outcome=\"ok\"} 1",
            "fileupload_calls_total{deployment=\"\",call=\"put\",outcome=\"ok\"} 1",
            "fileupload_wait_seconds_count{kind=\"send\"} 1",
            "fileupload_resources{phase=\"Ready\"} 1",
            "fileupload_resources{phase=\"Failed\"} 0",
        ];
        let expiry =
            format!("fileupload_earliest_expiry_timestamp_seconds{{resource_namespace=\"{}\"}} ", world.namespace);
        let operator = world.operator.as_ref().context("no operator")?;
        let look = async || {
            let (status, metrics) = operator.get("/metrics").await?;
            let has = |line: &&str| metrics.lines().any(|found| found == *line);
            let is_whole = expected.iter().all(has) && metrics.contains(&expiry) && metrics.ends_with("# EOF\n");
            Ok((status == 200 && is_whole, metrics))
        };
        // What is counted of all resources is counted every 5 s.
        world.wait_for(DEADLINE, "all of it in the metrics", look).await.map(drop)
    });
}

#[test]
fn every_line_of_its_log_is_json() {
    scenario(OPERATOR, async |world| {
        world.secret("cyberun", &[("CYBERUN_API_KEY", "sk-00000000000000000000000000000000")]).await?;
        world.config_map("texts", &[("a.txt", "first")]).await?;
        world.operator().await?;
        world.file_upload("one", one()).await?;
        let rejected = |upload: &Value| test_support::reason(upload) == "CredentialsRejected";
        world.upload("one", "CredentialsRejected", rejected).await?;
        let operator = world.operator().await?;
        operator.terminate().await?;
        let log = operator.log();
        for line in log.lines() {
            let entry: Value = serde_json::from_str(line)?;
            assert!(entry["timestamp"].is_string() && entry["level"].is_string(), "{line}");
        }
        let told = log.lines().filter(|line| line.contains("CredentialsRejected")).count();
        assert_eq!(told, 1, "a failure is logged once:\n{log}");
        Ok(())
    });
}

#[test]
fn each_turn_of_the_story_is_one_event() {
    scenario(OPERATOR, async |world| {
        world.config_map("texts", &[("a.txt", "first")]).await?;
        world.operator().await?;
        world.file_upload("one", one()).await?;
        let missing = |upload: &Value| test_support::reason(upload) == "SecretNotFound";
        world.upload("one", "SecretNotFound", missing).await?;
        world.had_its_chance().await?;
        world.credential().await?;
        world.available("one").await?;
        let told = async || {
            let events = world.list("Event").await?;
            let of = |reason: &str| events.iter().filter(|event| event["reason"] == reason).count();
            Ok((of("SecretNotFound") == 1 && of("Uploaded") == 1, events))
        };
        let events = world.wait_for(DEADLINE, "an event of each turn", told).await?;
        for event in events {
            let warns = event["reason"] == "SecretNotFound";
            assert_eq!(event["type"], if warns { "Warning" } else { "Normal" });
            assert!(event["series"].is_null(), "repeated: {event:#}");
        }
        Ok(())
    });
}

#[test]
fn the_chart_for_some_namespaces_gives_rights_in_those_alone() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        world.config_map("texts", &[("a.txt", "first")]).await?;
        // An account of its own, so that the rights for all namespaces do not help it.
        let (namespace, account) = (world.namespace.clone(), "narrow");
        let values = [
            format!("watchNamespaces=[\"{namespace}\"]"),
            format!("fullnameOverride=\"{account}\""),
            "crds.install=false".to_owned(),
            "rbac.aggregateToUserRoles=false".to_owned(),
            "rbac.secretNames=[\"cyberun\"]".to_owned(),
        ];
        let values = values.each_ref().map(String::as_str);
        let manifests = world.cluster.chart_in(&namespace, &values)?;
        assert!(!manifests.contains("kind: ClusterRole"), "{manifests}");
        kubectl(world.cluster, ["apply", "--filename", "-"], &manifests)?;
        world.granted_by(&manifests).await?;
        world.operator_as(&namespace, account).await?;
        let mut spec = one();
        spec["output"] = json!({"configMap": {"name": "keys"}});
        world.file_upload("one", spec).await?;
        let upload = world.available("one").await?;
        assert_eq!(world.stored_keys(&upload)?.len(), 1);
        let forbidden = world.requests()?.unwrap_or_default().into_iter().find(|request| request.code == 403);
        assert!(forbidden.is_none(), "{forbidden:?}");
        world.patch("FileUpload", "one", json!({"spec": {"output": null}})).await?;
        world.wait("ConfigMap", "keys", "the output is gone", Value::is_null).await?;
        Ok(())
    });
}
