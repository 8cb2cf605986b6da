//! A request for a fresh upload: each new one is for all files, once.

use cyberun_stub::{Fault, Hold, Rule, Step};
use serde_json::{Value, json};

use test_support::{DEADLINE, Person, key_of, message, reason, scenario, state, two_files};

use crate::OPERATOR;

fn handled(upload: &Value) -> &Value {
    &upload["status"]["lastHandledRequestedAt"]
}

#[test]
fn each_new_request_uploads_all_files_once_and_the_same_one_again_does_nothing() {
    scenario(OPERATOR, async |world| {
        let first = world.uploaded_two(json!({})).await?;
        let hold = Hold::new("a file that was asked for");
        world.stub.arm(Rule::once(Step::Put, Fault::hold(&hold)));
        world.request("two", json!("2026-11-24T10:00:00Z")).await?;
        hold.reached(DEADLINE).await?;
        let during = world.upload("two", "not Available", |upload| state(upload, "Available") == "False").await?;
        assert_eq!((handled(&during), key_of(&during, "b")), (&json!("2026-11-24T10:00:00Z"), None));
        assert_eq!(world.read("ConfigMap", "keys").await?["data"], Value::Null, "the old keys are withdrawn");
        hold.release();
        let second = world.two_after(4).await?;
        assert_ne!(key_of(&second, "a"), key_of(&first, "a"));

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
