//! Containers that the cluster puts into the worker's pod: they keep neither a key nor a Job, and cut no report.
//!
//! The API server adds them to each pod of the namespace before the worker's own container, as the webhook of a mesh or
//! of a log agent does.

use cyberun_stub::Step;
use serde_json::{Value, json};
use test_support::{DEADLINE, World, key_of, on_claim, once, tells, with_pods, write};

use crate::OPERATOR;

/// A container that does not end by itself, and that does not hear SIGTERM.
const ENDLESS: &str = "exec busybox sleep 1000";
/// The most bytes that a pod's containers may say at their end, all together.
const OF_POD: usize = 12 * 1024;

fn worker(pod: &Value) -> &Value {
    let statuses = pod["status"]["containerStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
    statuses.iter().find(|status| status["name"] == "worker").unwrap_or(&Value::Null)
}

#[test]
fn a_container_that_never_ends_keeps_neither_the_key_nor_the_job_nor_the_next_attempt() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a container beside the worker", async |world| {
        world.shared_claim("data", &["a"]).await?;
        world.inject(&["agent"], ENDLESS).await?;
        let (jobs, pods) = (world.history("Job").await?, world.history("Pod").await?);
        world.operator().await?;
        world.upload_from("data", "two", &["a", "b"], json!({})).await?;
        let missing = world.told("two", "b", "FileNotFound").await?;
        tells(&missing, "Pending", &["b.txt"]);
        let upload = world.read("FileUpload", "two").await?;
        assert!(key_of(&upload, "a").is_some(), "the key comes with the other file's failure: {:#}", upload["status"]);
        write(&world.folder.path().join("volumes/data"), "b.txt", b"this is b")?;
        world.heals("two").await?;
        world.tidied().await?;

        assert_eq!(world.puts_by_file(), once(&["a.txt", "b.txt"]));
        assert_eq!(world.stub.objects().len(), 2);
        let outlived = |pod: &Value| {
            let agent = &pod["status"]["containerStatuses"][0];
            worker(pod)["state"]["terminated"].is_object()
                && (&agent["name"], agent["state"]["running"].is_object()) == (&json!("agent"), true)
        };
        for job in jobs.names() {
            let of_job = |pod: &Value| pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] == job.as_str();
            assert!(pods.states().iter().any(|pod| of_job(pod) && outlived(pod)), "the agent of {job} ran on");
        }
        Ok(())
    })
}

/// Files with keys, then files that are missing, whose long paths fill the report.
const KEPT: usize = 14;
const MISSING: usize = 14;

fn path(number: usize) -> String {
    let folder = if number < KEPT { "there" } else { &"missing-".repeat(30) };
    format!("{folder}/f{number:02}.txt")
}

fn name(number: usize) -> String {
    format!("f{number:02}")
}

/// An upload `many` of all of them, in a pod with so many containers besides the worker's.
async fn beside(world: &mut World, containers: usize) -> anyhow::Result<()> {
    world.credential().await?;
    let there: Vec<_> = (0..KEPT).map(|number| (path(number), name(number))).collect();
    let there: Vec<_> = there.iter().map(|(path, text)| (path.as_str(), text.as_bytes())).collect();
    world.volume("data", &["ReadWriteMany"], &there).await?;
    let names: Vec<_> = (0..containers).map(|number| format!("agent-{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    world.inject(&names, "echo done > /dev/termination-log").await?;
    world.operator().await?;
    let list: Vec<_> = (0..KEPT + MISSING).map(|number| on_claim(&name(number), "data", &path(number))).collect();
    world.file_upload("many", json!({"files": list})).await
}

/// Waits until every file that is there has its key and the others are said to be missing.
async fn all_told(world: &World) -> anyhow::Result<()> {
    let told = |upload: &Value| {
        let files = test_support::files(upload);
        (0..KEPT).all(|number| key_of(upload, &name(number)).is_some())
            && files.iter().skip(KEPT).all(|file| file["reason"] == "FileNotFound")
    };
    world.upload("many", "every file is told of", told).await.map(drop)
}

/// The files that are missing come: all have their keys.
async fn all_come(world: &World) -> anyhow::Result<()> {
    for number in KEPT..KEPT + MISSING {
        write(&world.folder.path().join("volumes/data"), &path(number), name(number).as_bytes())?;
    }
    let keys = world.heals("many").await?;
    assert_eq!((keys.len(), world.stub.objects().len() - keys.len()), (KEPT + MISSING, again(world)));
    world.tidied().await
}

/// How many files were put more often than once, in all.
fn again(world: &World) -> usize {
    world.calls(Step::Put).len() - world.puts_by_file().len()
}

/// What the first worker left, in bytes, as the kubelet keeps it.
async fn first_report(world: &World, pods: &test_support::History) -> anyhow::Result<String> {
    let look = async || {
        let states = pods.states();
        let mut said = states.iter().filter_map(|pod| worker(pod)["state"]["terminated"]["message"].as_str());
        let said = said.next().map(str::to_owned);
        Ok((said.is_some(), said))
    };
    Ok(world.wait_for(DEADLINE, "a report", look).await?.unwrap_or_default())
}

/// The names of the files whose keys are in these lines: 43 characters of the digest, then the file's number.
fn uploaded(lines: &str) -> anyhow::Result<Vec<String>> {
    let told = lines.lines().filter_map(|line| line.strip_prefix(['+', '='])?.get(43..)?.split(' ').next());
    told.map(|number| Ok(format!("{}.txt", name(number.parse()?)))).collect()
}

#[test]
fn a_full_report_is_whole_in_a_pod_of_four_containers() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a pod of four containers", async |world| {
        let pods = world.history("Pod").await?;
        beside(world, 3).await?;
        all_told(world).await?;
        let report = first_report(world, &pods).await?;
        assert!((2500..=OF_POD / 4).contains(&report.len()), "{} bytes are no full report", report.len());
        assert!(report.ends_with('\n'), "it was cut: {report}");
        let told = report.lines().filter(|line| line.starts_with(['+', '=', '-'])).count();
        // In which order the files end decides how short their keys are written.
        let is_full = report.lines().any(|line| line == "full");
        assert!(told == KEPT + MISSING || is_full && told + 2 >= KEPT + MISSING, "a line for each file: {report}");
        all_come(world).await?;
        assert_eq!(again(world), 0, "each file is sent once: {:?}", world.puts_by_file());
        Ok(())
    })
}

#[test]
fn a_report_that_is_cut_among_six_containers_loses_no_line_before_the_cut() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a pod of six containers", async |world| {
        let (pods, uploads) = (world.history("Pod").await?, world.history("FileUpload").await?);
        beside(world, 5).await?;
        let all_kept = |upload: &Value| (0..KEPT).all(|number| key_of(upload, &name(number)).is_some());
        world.upload("many", "every file that is there has its key", all_kept).await?;
        let report = first_report(world, &pods).await?;
        assert_eq!(report.len(), OF_POD / 6, "the kubelet keeps a sixth: {report}");
        let kept = uploaded(report.rsplit_once('\n').map_or("", |(whole, _)| whole))?;
        all_come(world).await?;
        // The reports of those that come may be cut too.
        let puts = world.puts_by_file();
        assert!(again(world) >= KEPT - kept.len(), "what was lost is sent once more: {puts:?}");
        for name in kept {
            assert_eq!(puts[&name], 1, "what was told is not: {puts:?}");
        }
        let failed = uploads.states().into_iter().find(|upload| upload.to_string().contains("WorkerFailed"));
        assert!(failed.is_none(), "the worker did not fail: {failed:#?}");
        Ok(())
    })
}
