//! The frame of a test: a world before it, a judgement after it, and everything shown if it fails.
//!
//! Each test has a runtime of its own; only so many operators run at a time.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use cyberun_stub::Options;
use futures::FutureExt as _;
use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio::sync::Semaphore;

use crate::alone::Alone;
use crate::cluster::{self, Cluster, nodes};
use crate::untried::not_tried;
use crate::world::World;

/// More would take the time from each other on a small machine.
static OPERATORS: Semaphore = Semaphore::const_new(6);
/// A cluster takes half a gigabyte.
static ALONE: Semaphore = Semaphore::const_new(1);

/// Runs a test's body in a world of its own, with the program under test.
///
/// # Panics
/// If the body fails or panics, or if it leaves a secret or a refused request behind.
pub fn scenario(binary: &str, body: impl AsyncFnOnce(&mut World) -> anyhow::Result<()>) {
    scenario_with(binary, Options::default(), body);
}

/// As [`scenario`], with a double that starts with these options.
///
/// # Panics
/// As [`scenario`].
pub fn scenario_with(binary: &str, options: Options, body: impl AsyncFnOnce(&mut World) -> anyhow::Result<()>) {
    judge(async |name| {
        let _slot = OPERATORS.acquire().await?;
        let _noted = Noted { name, begun: Instant::now() };
        run(World::new(Cluster::with_chart()?, binary, name, options).await?, body).await
    });
}

/// As [`scenario_with`], in a cluster without nodes that the test has for itself, or it says that `what` is not tried. The
/// operator is a process of this host that serves all namespaces: [`World::operator_everywhere`].
///
/// # Panics
/// As [`scenario`].
pub fn scenario_alone(
    binary: &str,
    options: Options,
    what: &str,
    body: impl AsyncFnOnce(&mut World) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let Some(script) = Cluster::find()?.script else {
        return not_tried(&format!("{what}: no further cluster can be made (TEST_CLUSTER is not set)"));
    };
    judge(async |name| {
        let _turn = ALONE.acquire().await?;
        let _noted = Noted { name, begun: Instant::now() };
        let folder = TempDir::new()?;
        let alone = Alone::start(&script, &folder.path().join("cluster"))?;
        let mut world = World::new(alone.cluster, binary, name, options).await?;
        world.alone = Some(alone);
        run(world, body).await
    });
    Ok(())
}

#[expect(clippy::panic, reason = "this is how a test fails")]
fn judge(body: impl AsyncFnOnce(&str) -> anyhow::Result<()>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let name = std::thread::current().name().unwrap_or("test").to_owned();
    let result = Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(anyhow::Error::from);
    let result = result.and_then(|runtime| runtime.block_on(body(&name)));
    if let Err(error) = result {
        panic!("{error:#}");
    }
}

/// As [`scenario`], if pods can run here; else it says that `what` is not tried.
///
/// # Panics
/// As [`scenario`].
pub fn with_pods(
    binary: &str,
    what: &str,
    body: impl AsyncFnOnce(&mut World) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    with_pods_and(binary, Options::default(), what, body)
}

/// As [`with_pods`], with a double that starts with these options.
///
/// # Panics
/// As [`scenario`].
pub fn with_pods_and(
    binary: &str,
    options: Options,
    what: &str,
    body: impl AsyncFnOnce(&mut World) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if nodes() == 0 {
        return not_tried(&format!("{what}: no node runs here (TEST_NODES=0), run make test as root"));
    }
    scenario_with(binary, options, body);
    Ok(())
}

async fn run(mut world: World, body: impl AsyncFnOnce(&mut World) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let outcome = AssertUnwindSafe(body(&mut world)).catch_unwind().await;
    let outcome = match outcome {
        Ok(Ok(())) => AssertUnwindSafe(world.finish()).catch_unwind().await,
        other => other,
    };
    if !matches!(outcome, Ok(Ok(()))) {
        eprint_evidence(&world.show().await);
    }
    let cleared = world.clear().await;
    match outcome {
        Ok(Ok(())) => cleared.and(world.end().await),
        Ok(Err(error)) => Err(error),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Writes down how long a test took, however it ends: `.ci/tiers` shows the slowest.
struct Noted<'a> {
    name: &'a str,
    begun: Instant,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        let Some(file) = cluster::times() else { return };
        let line = format!("{:.1} s  {}\n", self.begun.elapsed().as_secs_f64(), self.name);
        // One write a line, so that tests at the same time do not mix. A test is not judged by this.
        let file = OpenOptions::new().create(true).append(true).open(file);
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }
}

#[expect(clippy::print_stderr, reason = "the test runner shows it with the failure")]
fn eprint_evidence(text: &str) {
    eprintln!("{text}");
}
