//! What is done costs nothing: many resources that are Ready ask nobody for anything.

use std::time::Duration;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};
use test_support::{DEADLINE, file, scenario, state};

use crate::OPERATOR;

const MANY: usize = 1000;

/// Of every ten, one renews its key, one follows its content and one has an output.
fn spec(number: usize) -> Value {
    let mut spec = json!({"files": [file("a", "texts", "a.txt")]});
    match number % 10 {
        0 => spec["refreshPolicy"] = json!("BeforeExpiry"),
        1 => spec["updatePolicy"] = json!("OnChange"),
        2 => spec["output"] = json!({"configMap": {"name": format!("keys-{number}")}}),
        _ => {}
    }
    spec
}

#[test]
fn a_thousand_ready_resources_ask_for_nothing_for_a_minute() {
    scenario(OPERATOR, async |world| {
        world.with_texts(&[("a.txt", "the same for all")]).await?;
        let world = &*world;
        let make = |number| async move { world.file_upload(&format!("u{number}"), spec(number)).await };
        stream::iter(0..MANY).map(make).buffer_unordered(16).try_collect::<()>().await?;
        let ready = async || {
            let uploads = world.list("FileUpload").await?;
            let ready = uploads.iter().filter(|upload| state(upload, "Available") == "True").count();
            Ok((ready == MANY, ready))
        };
        world.wait_for(DEADLINE * 12, "a thousand keys", ready).await?;
        assert_eq!(world.stub.objects().len(), MANY, "one upload each");

        // The first look that each has after its last write is not part of it.
        let settled =
            || async { Ok::<_, anyhow::Error>((world.requests()?.map(|all| all.len()), world.stub.calls().len())) };
        let mut before = settled().await?;
        let calm = async || {
            let now = settled().await?;
            let is_calm = std::mem::replace(&mut before, now) == now;
            Ok((is_calm, now))
        };
        world.wait_for(DEADLINE * 2, "the last write to be seen", calm).await?;
        // The minute itself: nothing can be waited for where nothing is to happen.
        tokio::time::sleep(Duration::from_mins(1)).await;
        let (requests, calls) = settled().await?;
        assert_eq!(calls, before.1, "calls of Cyberun");
        if let (Some(all), Some(then)) = (world.requests()?, before.0) {
            let asked: Vec<_> = all.iter().skip(then).filter(|request| request.verb != "watch").collect();
            assert_eq!(asked, Vec::<&test_support::Request>::new(), "of {requests:?} requests");
        }
        Ok(())
    });
}
