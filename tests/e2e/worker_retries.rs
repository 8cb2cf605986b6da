//! A worker that cannot succeed is not made again and again: what stalls rests, what may pass is tried ever less.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use test_support::{DEADLINE, History, age, with_pods};

use crate::OPERATOR;

/// When each Job was made and, but for one that runs, when its worker ended.
fn times(jobs: &History, pods: &History) -> Vec<(Timestamp, Option<Timestamp>)> {
    let time = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
    let (jobs_seen, pods_seen) = (jobs.states(), pods.states());
    let of_job = |name: String| {
        let job = jobs_seen.iter().find(|job| job["metadata"]["name"] == name);
        let ended = pods_seen.iter().filter(|pod| pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] == name);
        let mut ended =
            ended.filter_map(|pod| time(&pod["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"]));
        (job.and_then(|job| time(&job["metadata"]["creationTimestamp"])).unwrap_or_default(), ended.next_back())
    };
    jobs.names().into_iter().map(of_job).collect()
}

#[test]
fn a_file_that_may_not_be_read_is_tried_once_until_the_spec_changes() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        world.shared_claim("data", &["secret"]).await?;
        let path = world.folder.path().join("volumes/data/secret.txt");
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        let jobs = world.history("Job").await?;
        world.operator().await?;
        world.upload_from("data", "one", &["secret"], json!({})).await?;
        world.says("one", ("PermissionDenied", "Stalled"), &["file secret", "0600", "65532"]).await?;
        world.tidied().await?;
        world.had_its_chance().await?;
        assert_eq!((jobs.names().len(), world.stub.calls().len()), (1, 0), "it rests");
        fs::set_permissions(&path, Permissions::from_mode(0o644))?;
        world.patch("FileUpload", "one", json!({"spec": {"output": {"configMap": {"name": "keys"}}}})).await?;
        world.heals("one").await?;
        assert_eq!(jobs.names().len(), 2);
        Ok(())
    })
}

#[test]
fn a_file_that_is_not_there_is_looked_for_ever_less() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        world.shared_claim("data", &["other"]).await?;
        let (jobs, pods) = (world.history("Job").await?, world.history("Pod").await?);
        world.operator().await?;
        world.upload_from("data", "one", &["late"], json!({})).await?;
        world.says("one", ("FileNotFound", "Reconciling"), &["file late", "late.txt", "other.txt"]).await?;
        let fourth = async || Ok((jobs.names().len() >= 4, jobs.names()));
        world.wait_for(DEADLINE * 2, "a fourth Job", fourth).await?;
        let times = times(&jobs, &pods);
        let wait = |pair: &[(Timestamp, Option<Timestamp>)]| pair[1].0.duration_since(pair[0].1.unwrap_or_default());
        let waits: Vec<_> = times.windows(2).map(wait).collect();
        // 1, 2 and 4 s, each less a fifth; the API server writes whole seconds.
        let least = [0, 1, 2].map(SignedDuration::from_secs);
        assert!(waits.len() == 3 && waits.iter().zip(least).all(|(wait, least)| *wait >= least), "{waits:?}");
        assert!(waits.iter().all(|wait| *wait < SignedDuration::from_mins(1)), "each worker has ended: {waits:?}");
        assert_eq!(world.stub.calls().len(), 0, "nobody is asked for a file that is not there");
        let late = world.folder.path().join("volumes/data/late.txt");
        fs::write(&late, "here it is")?;
        age(&late)?;
        world.heals("one").await?;
        assert_eq!(world.stub.calls().len(), 2);
        Ok(())
    })
}
