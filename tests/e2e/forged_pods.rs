//! Pods and Jobs that a tenant wrote with our labels: what they say makes nothing big and concerns nobody else.

use cyberun_stub::Options;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use test_support::{DEADLINE, Space, file, scenario_alone};

use crate::OPERATOR;

/// What the design allows the operator at its peak, in bytes.
const PEAK: u64 = 96 << 20;
const VERSION: &str = "fileupload-report/1";

/// The line of an upload of file 0.
fn line(head: usize, tail: usize, middle: &str) -> String {
    format!("+0 0 1 {} {head}.{tail} a/b {middle}\n", "A".repeat(43))
}

/// One file as a worker's argument.
fn argument(revision: &str) -> String {
    json!({"name": "a", "revision": revision, "path": "a", "fileName": "a"}).to_string()
}

/// A Pod of attempt 99 of this FileUpload that has ended with this report.
async fn forged(space: &Space, name: &str, uid: &str, args: &[String], report: &str) -> anyhow::Result<()> {
    let body = json!({
        "metadata": {
            "labels": {
                "app.kubernetes.io/managed-by": "fileupload-operator",
                "cyberun.cloud/fileupload": "victim",
                "cyberun.cloud/fileupload-uid": uid,
                "batch.kubernetes.io/job-name": name,
            },
            "annotations": {"cyberun.cloud/attempt": "99"},
        },
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "worker", "image": "none", "args": args, "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
            }}],
            "volumes": [{"name": "source", "persistentVolumeClaim": {"claimName": "none"}}],
        },
    });
    space.create("Pod", name, body).await?;
    let terminated = json!({"exitCode": 0, "reason": "Completed", "message": report,
        "startedAt": "2026-11-23T10:00:00Z", "finishedAt": "2026-11-23T10:00:00Z"});
    let status = json!({"status": {"phase": "Succeeded", "containerStatuses": [
        {"name": "worker", "image": "none", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": terminated}},
    ]}});
    space.api("Pod").patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await?;
    Ok(())
}

#[test]
fn forged_pods_make_nothing_big_and_keep_no_other_waiting_not_even_after_a_restart() -> anyhow::Result<()> {
    scenario_alone(OPERATOR, Options::default(), "forged Pods", async |world| {
        world.operator_everywhere(&[]).await?;
        let (tenant, _) = world.space("tenant").await?;
        tenant.default_account().await?;
        // Its ConfigMap is missing, so that the FileUpload stays open.
        tenant.file_upload("victim", json!({"files": [file("a", "none", "a")]})).await?;
        let looked_at = |upload: &Value| !upload["status"]["files"][0]["revision"].is_null();
        let look = async || {
            let upload = tenant.read("FileUpload", "victim").await?;
            Ok((looked_at(&upload), upload))
        };
        let victim = world.wait_for(DEADLINE, "the FileUpload to be looked at", look).await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (uid, revision) = (text(&victim["metadata"]["uid"]), text(&victim["status"]["files"][0]["revision"]));

        // Keys that double with each line.
        let mut doubling = format!("{VERSION}\n{}", line(0, 0, &"k".repeat(300)));
        (0..21).for_each(|doublings| doubling += &line(300 << doublings, 300 << doublings, ""));
        // Shares of which each is looked for, for as many files as fit.
        let mut many = vec!["--shards".to_owned(), "4000000000".to_owned()];
        many.extend(std::iter::repeat_n(argument(&revision), 5_000));
        // As many lines as fit, all of one file.
        let lines = format!("{VERSION}\n{}", "-0 FileNotFound -\n".repeat(220));
        // Numbers beyond all bounds.
        let odd = format!("{VERSION}\n+0 18446744073709551615 {} {} 0.0 a/b k\n", i64::MAX, "A".repeat(43));
        let one = [argument(&revision)];
        for (name, args, report) in [
            ("doubling", one.as_slice(), &doubling),
            ("many", &many, &lines),
            ("lines", &one, &lines),
            ("odd", &one, &odd),
        ] {
            forged(&tenant, name, &uid, args, report).await?;
        }

        for name in ["before", "after"] {
            let (other, _) = world.space(name).await?;
            other.is_served("one").await?;
            other.is_served("two").await?;
            let operator = world.operator().await?;
            let peak = operator.peak_memory()?;
            assert!(peak <= PEAK, "{} MiB at its peak", peak >> 20);
            operator.terminate().await?;
            operator.restart().await?;
        }
        // A key that no store has is the tenant's own lie to itself; a key of another resource is nobody's.
        let victim = tenant.read("FileUpload", "victim").await?;
        let longest = victim["status"]["files"][0]["fileKey"].as_str().map_or(0, str::len);
        assert!(longest <= 2048, "{victim}");
        Ok(())
    })
}

/// How many of each kind, and the characters of each: as large as etcd takes one, and in JSON more than [`PEAK`] together.
const LARGE: (usize, usize) = (16, 1_300_000);

/// What a Pod is made of that no scheduler takes. In JSON each of its characters is six.
fn idle(claim: &str, characters: usize) -> Value {
    json!({
        "schedulerName": "nobody",
        "restartPolicy": "Never",
        "automountServiceAccountToken": false,
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "worker", "image": "none", "args": ["<".repeat(characters)], "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
        }}],
        "volumes": [{"name": "source", "persistentVolumeClaim": {"claimName": claim}}],
    })
}

#[test]
fn pods_and_jobs_as_large_as_they_can_be_make_nothing_big_and_keep_no_other_waiting() -> anyhow::Result<()> {
    scenario_alone(OPERATOR, Options::default(), "large Pods and Jobs", async |world| {
        let (tenant, _) = world.space("tenant").await?;
        tenant.default_account().await?;
        let labels =
            json!({"app.kubernetes.io/managed-by": "fileupload-operator", "cyberun.cloud/fileupload-uid": "none"});
        for number in 0..LARGE.0 {
            let name = format!("large-{number:02}");
            tenant.create("Pod", &name, json!({"spec": idle(&name, LARGE.1)})).await?;
            let suspended = json!({"suspend": true, "template": {"spec": idle(&name, LARGE.1)}});
            tenant.create("Job", &name, json!({"metadata": {"labels": labels}, "spec": suspended})).await?;
        }
        world.operator_everywhere(&[]).await?;
        for name in ["before", "after"] {
            let (other, _) = world.space(name).await?;
            other.is_served("one").await?;
            let operator = world.operator().await?;
            let peak = operator.peak_memory()?;
            assert!(peak <= PEAK, "{} MiB at its peak", peak >> 20);
            operator.terminate().await?;
            operator.restart().await?;
        }
        Ok(())
    })
}

#[test]
fn a_job_with_a_moment_that_no_clock_holds_keeps_no_other_waiting() -> anyhow::Result<()> {
    scenario_alone(OPERATOR, Options::default(), "an odd Job", async |world| {
        let (tenant, _) = world.space("tenant").await?;
        let labels =
            json!({"app.kubernetes.io/managed-by": "fileupload-operator", "cyberun.cloud/fileupload-uid": "none"});
        let template = json!({"metadata": {"creationTimestamp": "9999-12-31T23:59:59Z"}, "spec": idle("none", 1)});
        let spec = json!({"suspend": true, "template": template});
        tenant.create("Job", "odd", json!({"metadata": {"labels": labels}, "spec": spec})).await?;
        world.operator_everywhere(&[]).await?;
        let (other, _) = world.space("other").await?;
        other.is_served("one").await
    })
}
