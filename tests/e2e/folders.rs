//! Whole folders: hundreds of files whose names nobody lists, few Pods, and all keys where a Job can read them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use anyhow::Context as _;
use cyberun_stub::{Call, KeyShape, Options, Step};
use serde_json::json;
use test_support::{DEADLINE, World, age, rendered, sha256, state, with_pods, with_pods_and, write};

use crate::OPERATOR;

/// The content of a frame: 4 to 200 KiB.
fn frame(number: usize) -> Vec<u8> {
    let size = (4 + number * 7919 % 197) << 10;
    (0..size).map(|at| u8::try_from((at * 31 + number) % 251).unwrap_or_default()).collect()
}

fn name(number: usize) -> String {
    format!("frame_{number:04}.png")
}

/// So many frames.
async fn frames(world: &mut World, number: usize) -> anyhow::Result<()> {
    world.frames((0..number).map(|number| (name(number), frame(number)))).await
}

#[test]
fn four_hundred_frames_take_few_pods_and_all_have_their_keys() -> anyhow::Result<()> {
    // The platform has one shape of keys, and the longer one here.
    let options = Options { key_shape: KeyShape::WithMime, ..Options::default() };
    with_pods_and(OPERATOR, options, "workers", async |world| {
        frames(world, 400).await?;
        write(&world.folder.path().join("volumes/data"), "out/frames/notes.txt", b"not a frame")?;
        let pods = world.history("Pod").await?;
        world.operator().await?;
        let begun = Instant::now();
        world.render(&json!({"maxFiles": 400, "include": ["**/*.png"]})).await?;
        let status = world.has_rendered().await?;
        let taken = begun.elapsed();
        let pods: Vec<_> = pods.names().into_iter().filter(|name| name.starts_with("render-")).collect();
        eprintln!("400 frames: {} Pods, {:.1} s from apply to Available", pods.len(), taken.as_secs_f64());
        assert!(pods.len() <= 14, "{pods:?}");
        let keys = world.keys_of_frames().await?.unwrap_or_default();
        assert_eq!(keys.len(), 400);
        for number in 0..400 {
            assert_eq!(keys[&name(number)]["sha256"], json!(sha256(&frame(number))), "{number}");
        }
        assert_eq!((world.calls(Step::Put).len(), world.stub.objects().len()), (400, 400), "nothing is sent twice");
        assert_eq!((&status["summary"], &status["filesTotal"]), (&json!("400/400"), &json!(400)));
        let folder = &status["folders"][0];
        assert_eq!(
            (&folder["state"], &folder["files"], &folder["uploaded"]),
            (&json!("Uploaded"), &json!(400), &json!(400))
        );
        assert!(serde_json::to_string(&status)?.len() < 3000, "{status}");
        world.tidied().await?;
        Ok(())
    })
}

#[test]
fn one_frame_that_may_not_be_read_is_named_and_the_others_keep_their_keys() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        frames(world, 60).await?;
        let secret = world.folder.path().join("volumes/data/out/frames").join(name(7));
        fs::set_permissions(&secret, Permissions::from_mode(0o600))?;
        world.operator().await?;
        world.render(&json!({})).await?;
        let words = ["folder frames", &name(7), "0600"];
        let upload = world.says("render", ("PermissionDenied", "Stalled"), &words).await?;
        let folder = &upload["status"]["folders"][0];
        assert_eq!((&folder["files"], &folder["uploaded"]), (&json!(60), &json!(59)), "{folder}");
        assert_eq!(folder["failures"].as_array().map(Vec::len), Some(1));
        assert_eq!(folder["failures"][0]["path"], json!(name(7)));
        assert_eq!(world.keys_of_frames().await?, None, "the keys are complete or absent");
        world.tidied().await?;
        assert_eq!(world.stub.objects().len(), 59);
        fs::set_permissions(&secret, Permissions::from_mode(0o644))?;
        world.request("render", json!("now")).await?;
        world.has_rendered().await?;
        assert_eq!(world.keys_of_frames().await?.map(|keys| keys.len()), Some(60));
        Ok(())
    })
}

#[test]
fn a_folder_with_more_than_may_be_is_refused_with_the_number() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        frames(world, 5).await?;
        world.operator().await?;
        world.render(&json!({"maxFiles": 4})).await?;
        let words = ["folder frames", "5 files match", "maxFiles is 4"];
        world.says("render", ("TooManyFiles", "Stalled"), &words).await?;
        assert_eq!(world.stub.calls().len(), 0);
        world.patch("FileUpload", "render", json!({"spec": rendered(&json!({"maxFiles": 5}))})).await?;
        world.has_rendered().await?;
        assert_eq!(world.keys_of_frames().await?.map(|keys| keys.len()), Some(5));
        Ok(())
    })
}

#[test]
fn a_folder_of_a_hundred_thousand_files_is_refused_within_the_workers_memory() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        frames(world, 1).await?;
        let folder = world.folder.path().join("volumes/data/out/frames");
        for number in 1..100_000 {
            fs::File::create(folder.join(format!("{number}.png")))?;
        }
        world.operator().await?;
        let begun = Instant::now();
        world.render(&json!({})).await?;
        world.says("render", ("TooManyFiles", "Stalled"), &["100000 files match", "maxFiles is 2000"]).await?;
        eprintln!("100,000 files: refused {:.1} s after apply", begun.elapsed().as_secs_f64());
        assert_eq!(world.stub.calls().len(), 0);
        Ok(())
    })
}

#[test]
fn a_folder_is_waited_for_until_it_has_enough_files() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        frames(world, 2).await?;
        world.operator().await?;
        world.render(&json!({"minFiles": 3})).await?;
        let words = ["folder frames", "2 files match", "minFiles is 3"];
        world.says("render", ("FileNotFound", "Reconciling"), &words).await?;
        write(&world.folder.path().join("volumes/data"), "out/frames/frame_0002.png", b"the third")?;
        world.has_rendered().await?;
        assert_eq!(world.keys_of_frames().await?.map(|keys| keys.len()), Some(3));
        Ok(())
    })
}

#[test]
fn a_folder_that_grows_and_shrinks_ends_with_what_is_there() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        frames(world, 40).await?;
        let folder = world.folder.path().join("volumes/data");
        let hold = world.hold_puts(10, 1);
        world.operator().await?;
        world.render(&json!({})).await?;
        hold.reached(DEADLINE * 2).await?;
        write(&folder, "out/frames/late/one.png", b"late")?;
        write(&folder, &format!("out/frames/{}", name(3)), b"another")?;
        let sent = |call: &Call| call.end.is_some() && call.file_name != Some(name(3));
        let sent = world.calls(Step::Put).into_iter().find(sent).and_then(|call| call.file_name);
        let gone = sent.context("a file that has its key")?;
        fs::remove_file(folder.join("out/frames").join(&gone))?;
        hold.release();
        world.has_rendered().await?;
        let keys = world.keys_of_frames().await?.unwrap_or_default();
        assert_eq!(keys.len(), 40);
        assert_eq!(keys["late/one.png"]["sha256"], json!(sha256(b"late")));
        assert_eq!(keys[&name(3)]["sha256"], json!(sha256(b"another")));
        assert!(!keys.contains_key(&gone));
        Ok(())
    })
}

#[test]
fn a_refreshed_folder_keeps_its_keys_until_all_are_new() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        frames(world, 35).await?;
        world.operator().await?;
        world.render(&json!({})).await?;
        world.has_rendered().await?;
        let old = world.keys_of_frames().await?.unwrap_or_default();
        world.tidied().await?;
        let (maps, uploads) = (world.history("ConfigMap").await?, world.history("FileUpload").await?);
        age(&world.folder.path().join("volumes/data/out/frames").join(name(0)))?;
        world.request("render", json!("tonight")).await?;
        world.has_handled("tonight").await?;
        let new = world.keys_of_frames().await?.unwrap_or_default();
        assert!((0..35).all(|number| new[&name(number)]["fileKey"] != old[&name(number)]["fileKey"]));
        assert_eq!(world.calls(Step::Put).len(), 70);
        let texts: Vec<_> = maps.states().into_iter().filter(|map| map["metadata"]["name"] == "keys-frames").collect();
        assert!(texts.iter().all(|map| map["data"]["frames.json"].is_string()), "never without keys");
        assert!(uploads.states().iter().all(|upload| state(upload, "Available") == "True"), "always Available");
        Ok(())
    })
}

#[test]
fn keys_that_somebody_edits_are_not_believed_and_those_of_a_former_folder_go() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        frames(world, 3).await?;
        world.operator().await?;
        world.render(&json!({})).await?;
        world.has_rendered().await?;
        let text = world.entry("keys-frames", "frames.json").await?;
        world.patch("ConfigMap", "keys-frames", json!({"data": {"frames.json": "{}"}})).await?;
        let same = async || world.entry("keys-frames", "frames.json").await.map(|now| (now == text, now));
        world.wait_for(DEADLINE, "the keys to be written again", same).await?;
        assert_eq!(world.calls(Step::Put).len(), 3, "nothing is sent for that");
        // With the keys so far edited as well, nothing can be believed, once no Pod is left to report it again.
        world.tidied().await?;
        world.patch("ConfigMap", "keys-frames-part", json!({"data": {"part.json": "{}"}})).await?;
        world.patch("ConfigMap", "keys-frames", json!({"data": {"frames.json": "{}"}})).await?;
        let again = async || Ok((world.calls(Step::Put).len() == 6, world.calls(Step::Put).len()));
        world.wait_for(DEADLINE * 2, "all to be sent again", again).await?;
        let events = async || {
            let mut events = world.list("Event").await?;
            events.retain(|event| (&event["type"], &event["reason"]) == (&json!("Warning"), &json!("OutputConflict")));
            let notes: Vec<_> = events.into_iter().map(|event| event["note"].clone()).collect();
            let edited =
                |map: &str| json!(format!("ConfigMap {map} was edited by somebody else: its keys are not used"));
            Ok((["keys-frames", "keys-frames-part"].iter().all(|map| notes.contains(&edited(map))), notes))
        };
        world.wait_for(DEADLINE, "an event for each of the two", events).await?;
        world.has_rendered().await?;
        assert_eq!(world.keys_of_frames().await?.map(|keys| keys.len()), Some(3));
        world.config_map("texts", &[("a.txt", "a")]).await?;
        let files = json!([test_support::file("a", "texts", "a.txt")]);
        world.patch("FileUpload", "render", json!({"spec": {"folders": null, "files": files}})).await?;
        for map in ["keys-frames", "keys-frames-part"] {
            let gone = async || world.read("ConfigMap", map).await.map(|map| (map.is_null(), map));
            world.wait_for(DEADLINE, "the ConfigMap to go", gone).await?;
        }
        Ok(())
    })
}

#[test]
fn a_config_map_of_somebody_else_is_left_alone() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        frames(world, 1).await?;
        world.config_map("keys-frames-part", &[("mine", "text")]).await?;
        world.operator().await?;
        world.render(&json!({})).await?;
        world
            .says("render", ("OutputConflict", "Stalled"), &["ConfigMap keys-frames-part", "spec.folders[frames]"])
            .await?;
        assert_eq!(world.entry("keys-frames-part", "mine").await?.as_deref(), Some("text"));
        world.delete("ConfigMap", "keys-frames-part").await?;
        world.has_rendered().await?;
        Ok(())
    })
}
