//! What is done to the operator, its resources and its surroundings, and when: it explains what is left over.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use test_support::World;

use crate::faults;
use crate::stage::Subject;

/// Something that was done.
#[derive(Debug)]
pub(crate) struct Deed {
    pub(crate) what: &'static str,
    /// The FileUpload that it was done to; `None` if to all.
    pub(crate) of: Option<String>,
    pub(crate) begun: Timestamp,
    pub(crate) ended: Timestamp,
    /// Whether an upload that was under way may be stored without its key ever being in a status.
    pub(crate) may_cost: bool,
}

/// What is done to a FileUpload or its surroundings, at random.
pub(crate) async fn any(world: &World, subjects: &mut [Subject]) -> anyhow::Result<Deed> {
    let begun = now();
    let subject = &mut subjects[fastrand::usize(..subjects.len())];
    let mut of = Some(subject.name.clone());
    let (what, may_cost) = match fastrand::usize(..20) {
        0..=4 => (subject.request(world).await.map(|()| "request")?, false),
        5..=8 => (subject.change_content(world).await.map(|()| "content changed")?, true),
        9 | 10 => (subject.change_spec(world).await.map(|()| "spec changed")?, true),
        11 => (subject.recreate(world).await.map(|()| "recreated")?, true),
        12 => (subject.suspend(world, true).await.map(|()| "suspended")?, true),
        13 => (subject.suspend(world, false).await.map(|()| "resumed")?, false),
        14 | 15 => {
            of = None;
            (delete_any(world, if fastrand::bool() { "Pod" } else { "Job" }).await?, true)
        }
        _ => {
            of = None;
            let (rule, may_cost) = faults::any();
            world.stub.arm(rule);
            ("fault", may_cost)
        }
    };
    Ok(Deed { what, of, begun, ended: now(), may_cost })
}

/// One worker loses its Pod or its Job.
async fn delete_any(world: &World, kind: &str) -> anyhow::Result<&'static str> {
    let all = world.list(kind).await?;
    if !all.is_empty() {
        let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        // It may have gone meanwhile.
        let _ = world.delete(kind, &name(&all[fastrand::usize(..all.len())])).await;
    }
    Ok(if kind == "Pod" { "worker's Pod deleted" } else { "worker's Job deleted" })
}

/// The operator dies, at once or orderly, and is started again.
pub(crate) async fn end_operator(world: &mut World) -> anyhow::Result<Deed> {
    let begun = now();
    let is_kill = fastrand::bool();
    let operator = world.operator().await?;
    if is_kill {
        operator.kill_9().await?;
    } else {
        let ended = operator.terminate().await?;
        anyhow::ensure!(ended.success(), "the operator was asked to end, and ended with {ended}");
    }
    // How long the operator is away.
    tokio::time::sleep(Duration::from_millis(fastrand::u64(..3000))).await;
    operator.restart().await?;
    let what = if is_kill { "operator killed" } else { "operator ended" };
    Ok(Deed { what, of: None, begun, ended: now(), may_cost: true })
}

/// The API server dies, and is started again.
pub(crate) async fn restart_api_server(world: &World) -> anyhow::Result<Deed> {
    let begun = now();
    world.api_server_of_all()?.restart().await?;
    Ok(Deed { what: "API server restarted", of: None, begun, ended: now(), may_cost: false })
}

#[expect(clippy::disallowed_methods, reason = "the one place of the soak that reads the clock")]
fn now() -> Timestamp {
    Timestamp::now()
}
