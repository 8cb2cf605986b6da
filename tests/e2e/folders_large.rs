//! Folders at their bounds: the most files, long names of any alphabet, more keys than a ConfigMap holds, and a file that
//! never rests.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cyberun_stub::Step;
use serde_json::{Value, json};
use test_support::{DEADLINE, History, World, kubectl, reason, sha256, state, with_pods};

use crate::OPERATOR;

/// How many Pods of workers there were.
fn workers(pods: &History) -> usize {
    pods.names().into_iter().filter(|name| name.starts_with("render-")).count()
}

/// Waits for a reason for which many workers, or long ones, are needed.
async fn says_after(world: &World, expected: &str) -> anyhow::Result<()> {
    let look = async || {
        let upload = world.read("FileUpload", "render").await?;
        Ok((reason(&upload) == expected, upload["status"].clone()))
    };
    world.wait_for(DEADLINE * 20, &format!("FileUpload render: {expected}"), look).await.map(drop)
}

/// A Job that prints the file of the keys.
fn reads_keys(image: &str) -> Value {
    let container = json!({
        "name": "main", "image": image, "command": ["cat", "/keys/frames.json"],
        "volumeMounts": [{"name": "keys", "mountPath": "/keys"}],
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
    });
    json!({"spec": {"template": {"spec": {
        "restartPolicy": "Never", "automountServiceAccountToken": false, "containers": [container],
        "volumes": [{"name": "keys", "configMap": {"name": "keys-frames"}}],
        "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
    }}}})
}

#[test]
fn two_thousand_files_take_few_pods() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let content = |number: usize| format!("clip {number}").into_bytes();
        world.frames((0..2000).map(|number| (format!("shot_{number:04}.exr"), content(number)))).await?;
        let pods = world.history("Pod").await?;
        world.operator().await?;
        let begun = Instant::now();
        world.render(&json!({})).await?;
        let status = world.has_rendered().await?;
        let taken = begun.elapsed();
        eprintln!("2,000 files: {} Pods, {:.1} s from apply to Available", workers(&pods), taken.as_secs_f64());
        assert!(workers(&pods) <= 75, "{}", workers(&pods));
        let keys = world.keys_of_frames().await?.unwrap_or_default();
        assert_eq!((keys.len(), world.calls(Step::Put).len()), (2000, 2000), "nothing is sent twice");
        for number in 0..2000 {
            assert_eq!(keys[&format!("shot_{number:04}.exr")]["sha256"], json!(sha256(&content(number))));
        }
        assert!(serde_json::to_string(&status)?.len() < 3000, "{status}");
        assert!(world.operator().await?.peak_memory()? < 64 << 20);
        Ok(())
    })
}

#[test]
fn long_names_of_any_alphabet_come_through_to_the_job_that_reads_them() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a Job that reads keys", async |world| {
        let name = |number: usize| {
            let of = ["Ночной рендер «Город» – кадр", "夜の街 📷 フレーム", "Überblendung % + & = ?"][number % 3];
            format!("сцена {}/{of} {number:04} {}.png", number % 7, "длинное имя ".repeat(number % 6))
        };
        world.frames((0..400).map(|number| (name(number), name(number).into_bytes()))).await?;
        world.operator().await?;
        world.create("Job", "reader", reads_keys(world.cluster.busybox()?)).await?;
        world.render(&json!({})).await?;
        world.has_rendered().await?;
        let keys = world.keys_of_frames().await?.unwrap_or_default();
        assert_eq!((keys.len(), world.calls(Step::Put).len()), (400, 400));
        for number in 0..400 {
            assert_eq!(keys[&name(number)]["sha256"], json!(sha256(name(number).as_bytes())), "{}", name(number));
        }
        let complete = |job: &Value| job["status"]["succeeded"] == 1;
        let has_read = async || world.read("Job", "reader").await.map(|job| (complete(&job), job));
        // The kubelet looks for a missing ConfigMap again after up to two minutes.
        world.wait_for(DEADLINE * 6, "the Job to have read the keys", has_read).await?;
        let printed = kubectl(world.cluster, ["logs", "--namespace", &world.namespace, "job/reader"], "")?;
        assert_eq!(serde_json::from_str::<Value>(&printed)?, Value::Object(keys));
        Ok(())
    })
}

#[test]
fn more_keys_than_a_config_map_holds_are_refused_with_the_numbers() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        // A key ends with the name of its file, so that a line of a report is short and an entry of the keys is long.
        let name = |number: usize| format!("{}-{number:04}.bin", "n".repeat(240));
        world.frames((0..1200).map(|number| (name(number), vec![7]))).await?;
        world.operator().await?;
        world.render(&json!({})).await?;
        says_after(world, "TooManyFiles").await?;
        let upload = world.says("render", ("TooManyFiles", "Stalled"), &["folder frames", "KiB", "900"]).await?;
        assert!(serde_json::to_string(&upload["status"])?.len() < 3000, "{}", upload["status"]);
        assert_eq!(world.keys_of_frames().await?, None, "the keys are complete or absent");
        Ok(())
    })
}

/// Adds to a file as long as it lives.
struct Grows(Arc<AtomicBool>);

impl Grows {
    fn new(path: PathBuf) -> anyhow::Result<Self> {
        let (mut file, goes_on) = (File::create(path)?, Arc::new(AtomicBool::new(true)));
        let is_on = Arc::clone(&goes_on);
        std::thread::spawn(move || {
            while is_on.load(Ordering::Relaxed) && writeln!(file, "a line").is_ok() {
                // The pace of a program that logs.
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        Ok(Self(goes_on))
    }
}

impl Drop for Grows {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[test]
fn a_log_that_never_stops_growing_keeps_no_other_key_and_is_named() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world: &mut World| {
        world.frames((0..20).map(|number| (format!("{number:02}.png"), vec![number]))).await?;
        let log = Grows::new(world.folder.path().join("volumes/data/out/frames/render.log"))?;
        world.operator().await?;
        world.render(&json!({})).await?;
        says_after(world, "SourceChanged").await?;
        let upload = world.says("render", ("SourceChanged", "Reconciling"), &["folder frames", "render.log"]).await?;
        let folder = &upload["status"]["folders"][0];
        assert_eq!((&folder["files"], &folder["uploaded"]), (&json!(21), &json!(20)), "{folder}");
        drop(log);
        world.has_rendered().await?;
        assert_eq!(world.keys_of_frames().await?.map(|keys| keys.len()), Some(21));
        assert_eq!(world.calls(Step::Put).len(), 21, "nothing is sent twice");
        Ok(())
    })
}

/// What the design allows the operator at its peak, in bytes.
const PEAK: u64 = 96 << 20;

#[test]
fn fifty_folders_of_which_half_fail_take_little_memory_and_small_statuses() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        let path = |folder: usize, file: usize| format!("{folder:02}/{}-{file:02}.png", "n".repeat(100));
        let fails = |folder: usize| folder % 2 == 1;
        let all = (0..50).flat_map(|folder| (0..24).map(move |file| (folder, file)));
        world.frames(all.map(|(folder, file)| (path(folder, file), vec![7]))).await?;
        for (folder, file) in
            (0..50).filter(|folder| fails(*folder)).flat_map(|folder| (0..22).map(move |file| (folder, file)))
        {
            let file = world.folder.path().join("volumes/data/out/frames").join(path(folder, file));
            fs::set_permissions(file, Permissions::from_mode(0o600))?;
        }
        world.operator().await?;
        for folder in 0..50 {
            let source =
                json!({"persistentVolumeClaim": {"claimName": "data", "path": format!("out/frames/{folder:02}")}});
            let name = format!("render-{folder:02}");
            let output = json!({"configMap": {"name": name}});
            world
                .file_upload(&name, json!({"folders": [{"name": "frames", "source": source}], "output": output}))
                .await?;
        }
        let over = async || {
            let uploads = world.list("FileUpload").await?;
            let is_over = |upload: &Value| state(upload, "Available") == "True" || state(upload, "Stalled") == "True";
            let left: Vec<_> = uploads
                .iter()
                .filter(|upload| !is_over(upload))
                .map(|upload| upload["metadata"]["name"].clone())
                .collect();
            Ok((left.is_empty(), (left, uploads)))
        };
        let (_, uploads) = world.wait_for(DEADLINE * 20, "fifty folders to be over", over).await?;
        let (failed, done): (Vec<&Value>, Vec<_>) =
            uploads.iter().partition(|upload| state(upload, "Stalled") == "True");
        assert_eq!((failed.len(), done.len()), (25, 25));
        for upload in failed {
            let failures = upload["status"]["folders"][0]["failures"].as_array().map_or(0, Vec::len);
            assert!(reason(upload) == "PermissionDenied" && (5..=20).contains(&failures), "{upload:#}");
        }
        let largest = uploads.iter().map(|upload| upload["status"].to_string().len()).max().unwrap_or_default();
        let peak = world.operator().await?.peak_memory()?;
        eprintln!("50 folders: {} KiB at the operator's peak, the largest status has {largest} bytes", peak >> 10);
        assert!(peak <= PEAK, "{} MiB at its peak", peak >> 20);
        assert!(largest < 12 << 10, "{largest} bytes");
        Ok(())
    })
}
