//! A volume whose content wants the worker to send what is not in it: its token, its pod, its node, another claim.
//!
//! Each attempt ends in a named and the store holds neither the token nor a word from outside. A pod sees its
//! volume at `/source` and its token at `/credentials`, so links out of the one into the other are no mere theory.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use test_support::{DEADLINE, World, files, key_of, on_claim, tells, with_pods, write};

use crate::OPERATOR;

/// What lies beside the volume, on this host and in another claim.
const CANARY: &str = "canary-5b7e0c1f-of-somebody-else";

/// Links by name and target: each exists in the worker's pod, or would if the link were followed there.
const LINKS: [(&str, &str); 16] = [
    ("relative", "../credentials/CYBERUN_API_KEY"),
    ("far", "../../../../../../../../credentials/CYBERUN_API_KEY"),
    ("absolute", "/credentials/CYBERUN_API_KEY"),
    ("of-itself", "/source/good.txt"),
    ("account", "/var/run/secrets/kubernetes.io/serviceaccount/token"),
    ("report", "/dev/termination-log"),
    ("up", ".."),
    ("chained", "up/credentials/CYBERUN_API_KEY"),
    ("twice", "chained"),
    ("proc-self", "/proc/self/root/credentials/CYBERUN_API_KEY"),
    ("proc-one", "/proc/1/root/credentials/CYBERUN_API_KEY"),
    ("proc-relative", "../proc/self/root/credentials/CYBERUN_API_KEY"),
    ("environment", "/proc/self/environ"),
    ("descriptor", "/proc/self/fd/0"),
    ("host", "/etc/hostname"),
    ("resolver", "../etc/resolv.conf"),
];

/// Nothing at the store holds a token or what lies beside the volume, whole or beheaded.
fn nothing_leaked(world: &World, token: &str) -> anyhow::Result<()> {
    for object in world.stub.objects().into_values() {
        let bytes = object.bytes.context("too large to be looked into")?;
        for secret in [CANARY, token, "nameserver", "fileupload-report"] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            ensure!(!found, "{} holds {:?}", object.file_name, &secret[..4]);
        }
    }
    Ok(())
}

#[test]
fn no_link_leads_out_of_a_volume() -> anyhow::Result<()> {
    with_pods(OPERATOR, "links out of a volume", async |world| {
        let token = world.credential().await?.token().to_owned();
        let folder = world.volume("data", &["ReadWriteOnce"], &[("good.txt", b"good"), ("d/e.txt", b"deep")]).await?;
        let other = world.volume("other", &["ReadWriteOnce"], &[("secret.txt", CANARY.as_bytes())]).await?;
        for (name, target) in LINKS {
            symlink(target, folder.join(name))?;
        }
        symlink("../other/secret.txt", folder.join("neighbour"))?;
        symlink(other.join("secret.txt"), folder.join("neighbour-by-host"))?;
        world.operator().await?;
        let more = ["neighbour", "neighbour-by-host"];
        let list: Vec<_> =
            LINKS.iter().map(|(name, _)| *name).chain(more).map(|name| on_claim(name, "data", name)).collect();
        let beyond = ["up/credentials/CYBERUN_API_KEY", "d/e.txt/x", "proc-self/x"];
        let beyond =
            beyond.iter().enumerate().map(|(number, path)| on_claim(&format!("beyond-{number}"), "data", path));
        let all: Vec<_> = list.into_iter().chain(beyond).chain([on_claim("good", "data", "good.txt")]).collect();
        world.file_upload("hostile", json!({"files": all})).await?;

        for (name, target) in LINKS {
            let entry = world.told("hostile", name, "PathEscapes").await?;
            let leads = if target.starts_with('/') { "is absolute" } else { "leads out of the volume" };
            tells(&entry, "Failed", &[name, leads]);
        }
        for name in more.iter().chain(&["beyond-0", "beyond-2"]) {
            world.told("hostile", name, "PathEscapes").await?;
        }
        tells(&world.told("hostile", "beyond-1", "FileNotFound").await?, "Pending", &["d/e.txt is not a folder"]);
        let upload = world.read("FileUpload", "hostile").await?;
        assert!(key_of(&upload, "good").is_some(), "the good one is not held back: {:#}", upload["status"]);
        assert_eq!(world.stub.calls().len(), 2, "a presign and a put: the good one's");
        nothing_leaked(world, &token)?;

        // Mended, and asked for anew: what the worker of the old spec still has to say no longer counts.
        for name in LINKS.iter().map(|(name, _)| *name).chain(more) {
            fs::remove_file(folder.join(name))?;
            write(&folder, name, name.as_bytes())?;
        }
        let list: Vec<_> = LINKS.iter().map(|(name, _)| *name).chain(more).collect();
        let files: Vec<_> = list.iter().map(|name| on_claim(name, "data", name)).collect();
        world.patch("FileUpload", "hostile", json!({"spec": {"files": files}})).await?;
        let upload = world.available("hostile").await?;
        assert_eq!(world.stored_keys(&upload)?.len(), list.len());
        Ok(())
    })
}

#[test]
fn a_path_that_climbs_is_refused_by_the_api_server() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a path that climbs", async |world| {
        for path in ["../x", "a/../../x", "a/..", "..", "/credentials/CYBERUN_API_KEY", "a/", "/"] {
            let refused = world.file_upload("climbs", json!({"files": [on_claim("a", "data", path)]})).await;
            let Err(complaint) = refused else { anyhow::bail!("{path} was let in") };
            assert!(format!("{complaint:#}").contains("path"), "{path}: {complaint:#}");
        }
        world.file_upload("dots", json!({"files": [on_claim("a", "data", "..a/b../...")]})).await
    })
}

/// Swaps a path between a good file and a link to the token, as fast as it goes, until told to stop.
fn swap(folder: &Path, stop: &AtomicBool) -> anyhow::Result<usize> {
    let (path, next) = (folder.join("swapped"), folder.join("next"));
    let mut rounds = 0;
    while !stop.load(Ordering::Relaxed) {
        symlink("../credentials/CYBERUN_API_KEY", &next)?;
        fs::rename(&next, &path)?;
        fs::hard_link(folder.join("good.txt"), &next)?;
        fs::rename(&next, &path)?;
        rounds += 1;
    }
    Ok(rounds)
}

#[test]
fn a_link_that_comes_and_goes_gives_the_good_file_or_a_reason_and_never_the_token() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a link that comes and goes", async |world| {
        let token = world.credential().await?.token().to_owned();
        let files_there: [(&str, &[u8]); 2] = [("good.txt", b"good"), ("swapped", b"good")];
        let folder = world.volume("data", &["ReadWriteOnce"], &files_there).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let (place, until) = (folder.clone(), Arc::clone(&stop));
        let swapper = tokio::task::spawn_blocking(move || swap(&place, &until));
        world.operator().await?;
        let list: Vec<_> = (0..28).map(|number| on_claim(&format!("f{number:02}"), "data", "swapped")).collect();
        world.file_upload("race", json!({"files": list})).await?;
        let answered = |upload: &Value| {
            let said = |file: &Value| file["fileKey"].is_string() || file["reason"].is_string();
            files(upload).len() == 28 && files(upload).iter().all(said)
        };
        let look = async || world.read("FileUpload", "race").await.map(|upload| (answered(&upload), upload));
        let upload = world.wait_for(DEADLINE * 2, "an answer for each file", look).await;
        stop.store(true, Ordering::Relaxed);
        assert!(swapper.await?? > 1000, "it was swapped often enough");
        for file in files(&upload?) {
            let reason = file["reason"].as_str().unwrap_or("Uploaded");
            assert!(["Uploaded", "PathEscapes", "SourceChanged", "FileNotFound"].contains(&reason), "{file:#}");
        }
        nothing_leaked(world, &token)?;
        world.jobs(0).await?;
        write(&folder, "swapped", b"good")?;
        world.patch("FileUpload", "race", json!({"spec": {"suspend": false}})).await?;
        let upload = world.available("race").await?;
        assert_eq!(world.stored_keys(&upload)?.len(), 28);
        nothing_leaked(world, &token)
    })
}

#[test]
fn a_pipe_that_nobody_writes_to_blocks_nothing_and_a_hard_link_belongs_to_the_volume() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a pipe and a hard link", async |world| {
        world.credential().await?;
        let folder = world.volume("data", &["ReadWriteOnce"], &[("good.txt", b"good")]).await?;
        write(world.folder.path(), "outside.txt", b"linked in by whoever may write to both")?;
        fs::hard_link(world.folder.path().join("outside.txt"), folder.join("hard"))?;
        let pipe = folder.join("pipe");
        ensure!(Command::new("mkfifo").arg("--mode=666").arg(&pipe).status()?.success(), "no pipe can be made");
        world.operator().await?;
        let list = ["pipe", "hard", "good.txt"].map(|path| on_claim(path.trim_end_matches(".txt"), "data", path));
        world.file_upload("three", json!({"files": list})).await?;
        world.says("three", ("NotAFile", "Stalled"), &["pipe", "is a named pipe"]).await?;
        world.jobs(0).await?;
        fs::remove_file(&pipe)?;
        write(&folder, "pipe", b"no pipe")?;
        world.patch("FileUpload", "three", json!({"spec": {"suspend": false}})).await?;
        let hard = b"linked in by whoever may write to both".as_slice();
        world.stored("three", &[("pipe", b"no pipe"), ("hard", hard), ("good", b"good")]).await?;
        Ok(())
    })
}
