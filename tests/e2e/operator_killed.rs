//! Kill -9 at each step of a send: the resource becomes Ready all the same, and what it cost is counted.
//!
//! The double holds a call at the step, the operator is killed there and started again.

use cyberun_stub::{Fault, Hold, Moment, Rule, Step};
use serde_json::json;
use test_support::{DEADLINE, World, file, files, scenario};

use crate::OPERATOR;

/// More than one read of a body, so that there is a middle to be killed in.
const SIZE: usize = 600 * 1024;

/// Kills the operator when the second of three files stands at this moment.
async fn killed_at(world: &mut World, step: Step, moment: Moment) -> anyhow::Result<()> {
    world.credential().await?;
    let large = "x".repeat(SIZE);
    world.config_map("texts", &[("a.txt", "first"), ("b.txt", &large), ("c.txt", "third")]).await?;
    let hold = Hold::new("kill here");
    let rule = Rule::once(step, Fault::hold(&hold).at(moment));
    world.stub.arm(rule.for_file("b.txt"));
    world.operator().await?;
    let list = json!([file("a", "texts", "a.txt"), file("b", "texts", "b.txt"), file("c", "texts", "c.txt")]);
    let spec = json!({"files": list, "output": {"configMap": {"name": "keys"}}});
    world.file_upload("three", spec).await?;

    hold.reached(DEADLINE).await?;
    world.operator().await?.kill_9().await?;
    hold.release();
    world.operator().await?.restart().await?;
    all_there(world).await
}

async fn twenty(world: &World) -> anyhow::Result<()> {
    let names: Vec<_> = (1..=20).map(|number| format!("f{number:02}")).collect();
    let data: Vec<_> = names.iter().map(|name| (name.as_str(), "text")).collect();
    world.config_map("many", &data).await?;
    let list: Vec<_> = names.iter().map(|name| file(name, "many", name)).collect();
    world.file_upload("twenty", json!({"files": list})).await
}

/// Every file has one key, which the store and the output have too; no more objects are left over than the Send had.
async fn all_there(world: &World) -> anyhow::Result<()> {
    let upload = world.available("three").await?;
    let mut keys = world.stored_keys(&upload)?;
    for (name, key) in ["a", "b", "c"].iter().zip(&keys) {
        assert_eq!(world.entry("keys", name).await?.as_ref(), Some(key));
    }
    let objects = world.stub.objects();
    assert_eq!(objects[&keys[1]].size, SIZE as u64, "a whole file, not the beginning of one");
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 3, "each file has a key of its own");
    assert!(objects.len() <= 6, "{} objects for 3 files, of which 3 may be left over", objects.len());
    Ok(())
}

#[test]
fn killed_before_the_presign_answers() {
    scenario(OPERATOR, async |world| killed_at(world, Step::Presign, Moment::Start).await);
}

#[test]
fn killed_when_the_ticket_is_written_but_not_answered() {
    scenario(OPERATOR, async |world| killed_at(world, Step::Presign, Moment::Committed).await);
}

#[test]
fn killed_before_the_put_is_accepted() {
    scenario(OPERATOR, async |world| killed_at(world, Step::Put, Moment::Accepted).await);
}

#[test]
fn killed_in_the_middle_of_the_body() {
    scenario(OPERATOR, async |world| killed_at(world, Step::Put, Moment::Body(200 * 1024)).await);
}

#[test]
fn killed_when_the_file_is_stored_but_not_answered() {
    scenario(OPERATOR, async |world| killed_at(world, Step::Put, Moment::Committed).await);
}

#[test]
fn killed_right_after_the_answer() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        let large = "x".repeat(SIZE);
        world.config_map("texts", &[("a.txt", "first"), ("b.txt", &large), ("c.txt", "third")]).await?;
        world.operator().await?;
        let list = json!([file("a", "texts", "a.txt"), file("b", "texts", "b.txt"), file("c", "texts", "c.txt")]);
        let spec = json!({"files": list, "output": {"configMap": {"name": "keys"}}});
        world.file_upload("three", spec).await?;
        let answered =
            |seen: &cyberun_stub::Snapshot| seen.of(Step::Put).filter(|call| call.status().is_some()).count();
        world.stub.wait_for(|seen| answered(seen) == 3, DEADLINE).await?;
        world.operator().await?.kill_9().await?;
        world.operator().await?.restart().await?;
        all_there(world).await
    });
}

#[test]
fn killed_in_the_second_round_keeps_the_keys_of_the_first() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        let hold = Hold::new("kill here");
        world.stub.arm(Rule::once(Step::Put, Fault::hold(&hold)).for_file("f13"));
        world.operator().await?;
        twenty(world).await?;
        hold.reached(DEADLINE).await?;
        // All of the second Send but the one that is held.
        world.stub.wait_for(|seen| seen.objects.len() == 15, DEADLINE).await?;
        // A Send is eight files; one that takes longer than a second is in the status as far as it is.
        let look = async || {
            let upload = world.read("FileUpload", "twenty").await?;
            let kept: Vec<_> = files(&upload).iter().filter(|file| file["fileKey"].is_string()).cloned().collect();
            Ok((kept.len() >= 8, kept))
        };
        let kept = world.wait_for(DEADLINE, "the keys of the first Send to be in the status", look).await?;
        let stored = world.stub.objects().len();
        assert_eq!(stored, 15, "the second Send is not over");
        world.operator().await?.kill_9().await?;
        hold.release();
        world.operator().await?.restart().await?;

        let after = world.available("twenty").await?;
        assert_eq!(world.stored_keys(&after)?.len(), 20);
        assert!(kept.iter().all(|file| files(&after).contains(file)), "what was in the status stays");
        let surplus = world.stub.objects().len() - 20;
        assert!(surplus <= stored - kept.len(), "{surplus} surplus objects");
        Ok(())
    });
}
