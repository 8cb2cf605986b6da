//! Progress: on a terminal there are bars. (In a pipe there are none, see `cli`.)
//!
//! util-linux's `script` gives the process a terminal; without it the test fails.

use std::path::Path;

use cyberun_stub::{Fault, Options, Step, Stub};

use crate::support::files::{Files, bytes};
use crate::support::process::Run;

#[tokio::test]
async fn a_terminal_shows_how_far_each_file_is() {
    assert!(Path::new("/usr/bin/script").exists(), "install util-linux (bsdutils): /usr/bin/script makes the terminal");
    let (stub, files) = (Stub::start(Options::default()).await.unwrap(), Files::new());
    stub.fault(Step::Put, Fault::slow(4_000_000));
    let run = Run::upload(&stub).file("portrait", &files.with("a.png", &bytes(2_000_000)));
    let run = run.environment("TERM", "xterm").environment("SHELL", "/bin/sh");
    let ended = run.through(&["/usr/bin/script", "-qec"], "").run().await.succeeded();
    let frames: Vec<&str> = ended.stdout.split('\r').filter(|frame| frame.contains("portrait")).collect();
    assert!(frames.iter().any(|frame| frame.contains("1.91 MiB/1.91 MiB")), "the whole in the end: {frames:?}");
    assert!(frames.len() >= 3, "it moves: {frames:?}");
    let (key, _) = stub.objects().pop_first().unwrap();
    assert!(ended.stdout.contains(&format!("portrait={key}")), "and the key is printed");
}
