//! Files that change, come and go while they are read: a key stands for content that was there at one moment.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use cyberun_stub::{Fault, Hold, Moment, Rule, Step};
use serde_json::json;
use test_support::{DEADLINE, World, files, key_of, on_claim, sha256, tells, with_pods, write};

use crate::OPERATOR;

/// More than lies on the way between worker and store, so that a held body is only partly read.
const SIZE: usize = 24 << 20;

/// Holds the first PUT of each file in the middle of its body.
fn held(world: &World, names: &[&str]) -> Vec<Hold> {
    let hold = |name: &&str| {
        let hold = Hold::new(name);
        world.stub.arm(Rule::once(Step::Put, Fault::hold(&hold).at(Moment::Body(64 << 10))).for_file(name));
        hold
    };
    names.iter().map(hold).collect()
}

async fn worker_log(world: &World) -> anyhow::Result<String> {
    let pods = world.list("Pod").await?;
    let pod = pods.iter().find(|pod| pod["metadata"]["labels"]["batch.kubernetes.io/job-name"].is_string());
    let name = pod.and_then(|pod| pod["metadata"]["name"].as_str()).context("no worker")?.to_owned();
    let look = async || world.pod_log(&name).map(|log| (log.matches("SourceChanged").count() >= 4, log));
    world.wait_for(DEADLINE, "the worker to see four changes", look).await
}

#[test]
fn a_file_that_changes_while_it_is_sent_gets_the_key_of_its_new_content() -> anyhow::Result<()> {
    with_pods(OPERATOR, "files that change", async |world| {
        world.credential().await?;
        let names = ["written", "shrunk", "grown", "replaced"];
        let old = vec![b'o'; SIZE];
        let folder = world.volume("data", &["ReadWriteOnce"], &names.map(|name| (name, old.as_slice()))).await?;
        let holds = held(world, &names);
        world.operator().await?;
        let list =
            [on_claim("first", "data", "first")].into_iter().chain(names.map(|name| on_claim(name, "data", name)));
        write(&folder, "first", b"it goes alone")?;
        let worker = json!({"resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "100m"}}});
        world.file_upload("changes", json!({"files": list.collect::<Vec<_>>(), "worker": worker})).await?;
        for hold in &holds {
            hold.reached(DEADLINE).await?;
        }
        let open = |name: &str| File::options().read(true).write(true).open(folder.join(name));
        open("written")?.write_all_at(b"new", SIZE as u64 / 2)?;
        open("shrunk")?.set_len(1000)?;
        File::options().append(true).open(folder.join("grown"))?.write_all(b"and more")?;
        write(&folder, "next", b"another file")?;
        fs::rename(folder.join("next"), folder.join("replaced"))?;
        holds.iter().for_each(Hold::release);
        worker_log(world).await?;

        let upload = world.available("changes").await?;
        let objects = world.stub.objects();
        for name in names {
            let key = key_of(&upload, name).context("no key")?;
            assert_eq!(objects[key].sha256, sha256(&fs::read(folder.join(name))?), "{name} as it is now");
        }
        assert_eq!(world.calls(Step::Presign).len(), 9, "the first, and two of each other");
        assert_eq!(objects.len(), 5, "what was cut off is not stored");
        Ok(())
    })
}

#[test]
fn a_file_deleted_while_it_is_sent_is_not_found_and_comes_back_with_its_new_content() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a file that goes", async |world| {
        world.credential().await?;
        let folder = world.volume("data", &["ReadWriteOnce"], &[("gone", &vec![b'o'; SIZE])]).await?;
        let holds = held(world, &["gone"]);
        world.operator().await?;
        world.file_upload("one", json!({"files": [on_claim("gone", "data", "gone")]})).await?;
        holds[0].reached(DEADLINE).await?;
        fs::remove_file(folder.join("gone"))?;
        holds[0].release();
        world.says("one", ("FileNotFound", "Reconciling"), &["gone", "which is empty"]).await?;
        assert!(world.stub.objects().is_empty(), "nothing of it is stored");
        write(&folder, "gone", b"back")?;
        let upload = world.available("one").await?;
        let key = key_of(&upload, "gone").context("no key")?;
        assert_eq!(world.stub.objects()[key].sha256, sha256(b"back"));
        assert_eq!(world.calls(Step::Presign).len(), 2);
        Ok(())
    })
}

#[test]
fn a_file_that_is_not_there_yet_is_told_with_what_is_and_is_sent_when_it_appears() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a file to come", async |world| {
        world.credential().await?;
        let there = ["b.png", "a.png", "c.png", "d.png", "e.png", "f.png"].map(|name| format!("renders/{name}"));
        let there: Vec<_> = there.iter().map(|path| (path.as_str(), b"".as_slice())).collect();
        let folder = world.volume("data", &["ReadWriteOnce"], &there).await?;
        world.operator().await?;
        world.file_upload("one", json!({"files": [on_claim("final", "data", "renders/final/x.png")]})).await?;
        let listed = "holds a.png, b.png, c.png, d.png, e.png, …";
        let words =
            ["renders/final/x.png", "no such file", "relative to the volume's root", "its folder renders/", listed];
        let upload = world.says("one", ("FileNotFound", "Reconciling"), &words).await?;
        tells(&files(&upload)[0], "Pending", &words);
        world.upload("one", "a next attempt", |upload| upload["status"]["nextAttemptAt"].is_string()).await?;
        assert_eq!(world.stub.calls().len(), 0, "what is not there costs no call");
        write(&folder, "renders/final/x.png", b"rendered")?;
        world.stored("one", &[("final", b"rendered")]).await?;
        Ok(())
    })
}

/// Adds lines at a pace that leaves no second without one, as a slow program writes; the last completes the file.
fn write_slowly(path: &Path, lines: usize) -> anyhow::Result<()> {
    let mut file = File::options().append(true).create(true).open(path)?;
    for line in 0..lines {
        writeln!(file, "line {line}")?;
        std::thread::sleep(Duration::from_millis(700));
    }
    Ok(())
}

#[test]
fn a_file_that_is_being_written_is_left_to_settle() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a file that is being written", async |world| {
        let folder = world.with_data(&["ReadWriteOnce"], &[("old", b"settled"), ("fresh", b"")]).await?;
        let path = folder.join("fresh");
        write_slowly(&path, 1)?;
        let list = json!([on_claim("old", "data", "old"), on_claim("fresh", "data", "fresh")]);
        world.file_upload("two", json!({"files": list})).await?;
        // The settled one is not kept waiting, and shows that the worker has looked.
        world.stub.wait_for(|seen| seen.objects.len() == 1, DEADLINE).await?;
        tokio::task::spawn_blocking(move || write_slowly(&path, 8)).await??;
        assert_eq!(world.calls(Step::Presign).len(), 1, "not begun while it is written");
        let complete = fs::read(folder.join("fresh"))?;
        world.stored("two", &[("old", b"settled"), ("fresh", &complete)]).await?;
        Ok(())
    })
}
