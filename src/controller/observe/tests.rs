use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Request, Response};
use kube::client::Body;
use serde_json::json;

use super::*;

#[tokio::test]
async fn of_large_events_little_is_kept_and_they_are_not_read_again_at_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let answer = move |_: Request<Body>| {
        counted.fetch_add(1, Ordering::Relaxed);
        let metadata = json!({"name": "e", "annotations": {"a": "l".repeat(100_000)}});
        let event = json!({
            "metadata": metadata, "regarding": {"uid": "j-1"}, "reason": "FailedCreate", "note": "l".repeat(1_300_000),
        });
        let list = json!({"metadata": {}, "items": vec![event; 5]}).to_string();
        async { Ok::<_, Infallible>(Response::new(Body::from(list.into_bytes()))) }
    };
    let (client, key) = (Client::new(tower::service_fn(answer), "team"), Key::new("team", "x"));
    let events_of = EventsOf::default();
    for name in ["a", "b", "a"] {
        let job = JobFacts { name: name.to_owned(), uid: "j-1".to_owned(), ..JobFacts::default() };
        events_of.read(&client, &key, &job).await;
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    let kept = format!("{:?}", events_of.0.lock());
    assert!(kept.contains("FailedCreate") && kept.len() < 10_000, "{}", kept.len());
}
