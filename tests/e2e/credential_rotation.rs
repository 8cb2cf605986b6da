//! A credential that is rotated, taken away and brought back: used from the next attempt on, and never without need.

use cyberun_stub::{Call, Kind, Step};
use serde_json::{Value, json};
use test_support::{World, file, key_of, reason, scenario, state};

use crate::OPERATOR;

fn spec(names: &[&str]) -> Value {
    let list: Vec<_> = names.iter().map(|name| file(name, "texts", &format!("{name}.txt"))).collect();
    json!({"files": list, "output": {"configMap": {"name": "keys"}}})
}

/// How many presigns there were; each was answered with a ticket.
fn tickets(world: &World) -> usize {
    let calls = world.calls(Step::Presign);
    let refused: Vec<&Call> = calls.iter().filter(|call| call.status() != Some(200)).collect();
    assert!(refused.is_empty(), "{refused:?}");
    calls.len()
}

#[test]
fn a_rotated_secret_is_used_from_the_next_attempt_on_and_a_lost_one_only_keeps_new_work_waiting() {
    scenario(OPERATOR, async |world| {
        let old = world.with_texts(&[("a.txt", "1"), ("b.txt", "2"), ("c.txt", "3")]).await?;
        world.file_upload("one", spec(&["a"])).await?;
        let first = world.available("one").await?;

        // Rotated: what is uploaded stays, and the next file is sent with the new one.
        let new = world.stub.mint(Kind::Integration);
        world.secret("cyberun", &[("CYBERUN_API_KEY", new.token())]).await?;
        world.stub.revoke(old.token());
        world.patch("FileUpload", "one", json!({"spec": spec(&["a", "b"])})).await?;
        let second = world.upload("one", "two keys", |upload| upload["status"]["filesUploaded"] == 2).await?;
        assert_eq!((key_of(&second, "a"), tickets(world)), (key_of(&first, "a"), 2));

        // Deleted: the keys stay as they are, and what is new waits for it.
        world.delete("Secret", "cyberun").await?;
        world.patch("FileUpload", "one", json!({"spec": spec(&["a", "b", "c"])})).await?;
        let waits = world.upload("one", "SecretNotFound", |upload| reason(upload) == "SecretNotFound").await?;
        assert_eq!((key_of(&waits, "a"), state(&waits, "Available")), (key_of(&first, "a"), "False"));
        assert_eq!((world.entry("keys", "b").await?.as_deref(), tickets(world)), (key_of(&second, "b"), 2));

        // Made anew: it goes on by itself, with the one file that has no key.
        world.secret("cyberun", &[("CYBERUN_API_KEY", new.token())]).await?;
        let third = world.available("one").await?;
        assert_eq!((world.stored_keys(&third)?.len(), tickets(world)), (3, 3));
        assert_eq!(key_of(&third, "b"), key_of(&second, "b"));
        Ok(())
    });
}
