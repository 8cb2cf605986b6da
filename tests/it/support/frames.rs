//! A folder `frames` for a sidecar, and its marker `done`.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use cyberun_stub::{Fault, Hold, Moment, Options, Rule, Step};
use serde_json::{Map, Value};

use super::beside::{Beside, DEADLINE};
use super::process::{Run, Running};

/// A folder `frames` with these files, each of which holds its path, and beside it a marker that is not there yet.
pub(crate) async fn frames(options: Options, paths: &[&str]) -> Beside {
    let beside = Beside::on(options, &[]).await;
    for path in paths {
        add(&beside, path);
    }
    beside
}

pub(crate) async fn marked(paths: &[&str]) -> Beside {
    let beside = frames(Options::default(), paths).await;
    mark(&beside);
    beside
}

pub(crate) fn add(beside: &Beside, path: &str) -> PathBuf {
    let path = format!("frames/{path}");
    fs::create_dir_all(beside.files.folder().join(&path).parent().unwrap()).unwrap();
    beside.files.with(&path, path.as_bytes())
}

pub(crate) fn marker(beside: &Beside) -> PathBuf {
    beside.files.folder().join("done")
}

pub(crate) fn mark(beside: &Beside) {
    fs::write(marker(beside), "").unwrap();
}

pub(crate) fn recursive(beside: &Beside) -> Run {
    let folder = beside.files.folder().join("frames");
    beside.run().argument("--recursive").argument(folder).argument("--when").argument(marker(beside))
}

/// A sidecar that has stored all of three files but the one of this name, whose PUT is held.
pub(crate) async fn last_held(beside: &Beside, name: &str) -> (Running, Hold) {
    let hold = Hold::new("the last");
    beside.stub.arm(Rule::once(Step::Put, Fault::hold(&hold).at(Moment::Received)).for_file(name));
    let running = recursive(beside).start();
    hold.reached(DEADLINE).await.unwrap();
    beside.until("the other two", async || beside.stub.objects().len() == 2).await;
    (running, hold)
}

/// Keys of the stub's short life, of which a quarter must be left.
pub(crate) fn short(run: Run, policy: &str) -> Run {
    let run = run.argument("--retention").argument("12").argument("--minimum-life").argument("3s");
    run.argument("--refresh-policy").argument(policy)
}

pub(crate) fn short_lived() -> Options {
    Options { retention: Some(Duration::from_secs(12)), ..Options::default() }
}

/// The keys of the folder, if they are shown: then they are whole.
pub(crate) fn keys(beside: &Beside) -> Option<Map<String, Value>> {
    let text = fs::read(beside.keys.join("frames.json")).ok()?;
    Some(serde_json::from_slice(&text).unwrap_or_else(|error| panic!("frames.json is not whole: {error}")))
}

/// Asserts that these files have keys, and that each is that of what the file holds.
pub(crate) fn complete(beside: &Beside, paths: &[&str]) {
    let (keys, objects) = (keys(beside).unwrap(), beside.stub.objects());
    assert_eq!(keys.keys().collect::<Vec<_>>(), paths);
    for (path, key) in keys {
        let content = fs::read(beside.files.folder().join("frames").join(path)).unwrap();
        let object = &objects[key["fileKey"].as_str().unwrap()];
        assert_eq!(object.bytes.as_deref(), Some(content.as_slice()));
        assert_eq!((key["sha256"].as_str(), key["size"].as_u64()), (Some(object.sha256.as_str()), Some(object.size)));
    }
}
