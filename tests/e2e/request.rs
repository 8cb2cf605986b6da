//! A request for a fresh upload: each new one is for all files, once.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};

use cyberun_stub::{Fault, Hold, Moment, Rule, Step};
use serde_json::{Value, json};

use test_support::{DEADLINE, Person, files, key_of, message, on_claim, reason, scenario, state, two_files, with_pods};

use crate::OPERATOR;

fn handled(upload: &Value) -> &Value {
    &upload["status"]["lastHandledRequestedAt"]
}

#[test]
fn each_new_request_uploads_all_files_once_and_the_same_one_again_does_nothing() {
    scenario(OPERATOR, async |world| {
        let first = world.uploaded_two(json!({})).await?;
        let kept = world.watch_two().await?;
        let hold = Hold::new("a file that was asked for");
        world.stub.arm(Rule::once(Step::Put, Fault::hold(&hold).at(Moment::Received)));
        world.request("two", json!("2026-11-24T10:00:00Z")).await?;
        hold.reached(DEADLINE).await?;
        let noted = |upload: &Value| upload["status"]["requestedAttempt"] == first["status"]["attempts"];
        let during = world.upload("two", "the request noted", noted).await?;
        assert_eq!(handled(&during), &Value::Null, "not before it is done");
        hold.release();
        let done = |upload: &Value| handled(upload) == "2026-11-24T10:00:00Z";
        world.upload("two", "the request handled", done).await?;
        let second = world.two_after(4).await?;
        for name in ["a", "b"] {
            assert_ne!(key_of(&second, name), key_of(&first, name));
        }
        kept.all_along()?;

        world.request("two", json!("again, please")).await?;
        let third = world.two_after(6).await?;
        assert_eq!(handled(&third), "again, please");

        // The same value, none at all, and the same value once more are no requests.
        world.request("two", json!("again, please")).await?;
        world.request("two", Value::Null).await?;
        world.meanwhile("other").await?;
        world.request("two", json!("again, please")).await?;
        world.meanwhile("another").await?;
        let after = world.two_after(8).await?;
        assert_eq!((key_of(&after, "a"), key_of(&after, "b")), (key_of(&third, "a"), key_of(&third, "b")));
        Ok(())
    });
}

#[test]
fn a_request_whose_upload_fails_keeps_the_old_keys_until_it_succeeds() {
    scenario(OPERATOR, async |world| {
        let first = world.uploaded_two(json!({})).await?;
        let kept = world.watch_two().await?;
        world.stub.fault_always(Step::Presign, Fault::status(503));
        world.request("two", json!("now")).await?;
        let fails = |upload: &Value| files(upload).iter().any(|file| file["reason"] == "ApiUnavailable");
        let failing = world.upload("two", "a failed upload", fails).await?;
        assert_eq!((state(&failing, "Ready"), key_of(&failing, "a")), ("True", key_of(&first, "a")));
        world.stub.clear_faults();
        let second = world.two_after(4).await?;
        world.upload("two", "the request handled", |upload| handled(upload) == "now").await?;
        assert_ne!(key_of(&second, "a"), key_of(&first, "a"));
        kept.all_along()
    });
}

#[test]
fn a_person_who_asks_for_a_refresh_gets_the_new_keys() {
    scenario(OPERATOR, async |world| {
        world.uploaded_two(json!({})).await?;
        let asked = Person::admin(world).runs(&["refresh", "two", "-n", &world.namespace, "--wait"]).await?;
        let upload = world.two_after(4).await?;
        let key = |name| key_of(&upload, name).unwrap_or_default();
        assert_eq!(
            (asked.code, asked.stdout),
            (Some(0), format!("a={}\nb={}\n", key("a"), key("b"))),
            "{}",
            asked.stderr
        );
        Ok(())
    });
}

#[test]
fn a_refresh_by_a_worker_keeps_each_key_until_its_new_one_is_written_and_also_where_it_fails() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a refresh by a worker", async |world| {
        world.credential().await?;
        let folder = world.volume("data", &["ReadWriteOnce"], &[("a.txt", b"one"), ("b.txt", b"two")]).await?;
        world.operator().await?;
        let list = json!([on_claim("a", "data", "a.txt"), on_claim("b", "data", "b.txt")]);
        world.file_upload("two", json!({"files": list, "output": {"configMap": {"name": "keys"}}})).await?;
        let first = world.stored("two", &[("a", b"one"), ("b", b"two")]).await?;
        let kept = world.watch_two().await?;
        let refresh = ["refresh", "two", "-n", &world.namespace, "--wait", "--timeout", "4m"];
        let said = Person::admin(world).runs(&refresh).await?;
        assert_eq!(said.code, Some(0), "{said:?}");
        let second = world.available("two").await?;
        for name in ["a", "b"] {
            assert_ne!(key_of(&second, name), key_of(&first, name));
        }
        kept.all_along()?;

        chown(folder.join("b.txt"), Some(1234), Some(1234))?;
        fs::set_permissions(folder.join("b.txt"), Permissions::from_mode(0o600))?;
        let words = ["file b keeps its key, but could not be uploaded again", "b.txt"];
        Person::admin(world).runs(&refresh).await?.fails(3, &["two: Ready, 2/2 files uploaded, Available", "uid 1234"]);
        let said = Person::admin(world).runs(&["explain", "two", "-n", &world.namespace]).await?;
        assert!(words.iter().all(|word| said.stdout.to_lowercase().contains(word)), "{said:?}");
        let third = world.read("FileUpload", "two").await?;
        assert_ne!(key_of(&third, "a"), key_of(&second, "a"), "the other file is new");
        assert_eq!(key_of(&third, "b"), key_of(&second, "b"));
        assert_eq!((state(&third, "Ready"), state(&third, "Available")), ("True", "True"));
        kept.all_along()?;
        let events = world.list("Event").await?;
        assert!(events.iter().any(|event| event["reason"] == "RefreshFailed"), "{events:#?}");
        Ok(())
    })
}

#[test]
fn two_requests_in_a_row_end_with_the_keys_of_the_last() {
    scenario(OPERATOR, async |world| {
        world.uploaded_two(json!({})).await?;
        let hold = Hold::new("the first request");
        world.stub.arm(Rule::once(Step::Put, Fault::hold(&hold)));
        world.request("two", json!("one")).await?;
        hold.reached(DEADLINE).await?;
        world.request("two", json!("two")).await?;
        hold.release();
        let last = |upload: &Value| handled(upload) == "two" && state(upload, "Available") == "True";
        let upload = world.upload("two", "the second request's keys", last).await?;
        assert_eq!(world.stored_keys(&upload)?.len(), 2);
        let puts = world.calls(Step::Put).len();
        assert!((5..=6).contains(&puts), "two at first, what was on its way, and two: {puts}");
        Ok(())
    });
}

#[test]
fn a_request_wakes_what_only_a_person_can_mend() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        world.config_map("texts", &[("a.txt", "one")]).await?;
        world.config_map("more", &[("b.txt", "two")]).await?;
        world.operator().await?;
        world.stub.fault_always(Step::Presign, Fault::status(413));
        world.file_upload("two", two_files()).await?;
        let stalled = world.upload("two", "Stalled", |upload| state(upload, "Stalled") == "True").await?;
        assert_eq!(reason(&stalled), "TooLarge");
        world.stub.clear_faults();
        world.request("two", json!("the limit was raised")).await?;
        world.two_after(2).await?;
        Ok(())
    });
}

#[test]
fn a_request_that_the_status_has_no_room_for_is_refused_and_costs_no_key() {
    scenario(OPERATOR, async |world| {
        let before = world.uploaded_two(json!({})).await?;
        world.request("two", json!("x".repeat(300))).await?;
        let refused = world.upload("two", "InvalidSpec", |upload| reason(upload) == "InvalidSpec").await?;
        assert!(message(&refused).contains("annotation cyberun.cloud/requested-at"), "{}", message(&refused));
        assert_eq!(key_of(&refused, "a"), key_of(&before, "a"));
        world.request("two", Value::Null).await?;
        world.two_after(2).await?;
        Ok(())
    });
}
