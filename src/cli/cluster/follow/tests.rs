//! An API server that is scripted: each call is noted, and answered as the script has it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::Full;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::*;

type Answers = Arc<Mutex<VecDeque<(u16, String)>>>;
type Calls = Arc<Mutex<Vec<String>>>;

/// A cluster that gives these answers, then is down, and the calls that it got.
fn cluster(answers: Vec<(u16, String)>) -> (Cluster, Calls) {
    let (answers, calls): (Answers, Calls) = (Arc::new(Mutex::new(answers.into())), Calls::default());
    let noted = calls.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        noted.lock().unwrap().push(request.uri().to_string());
        let answer = answers.lock().unwrap().pop_front();
        async move {
            let (code, body) = answer.ok_or_else(|| std::io::Error::other("nobody listens"))?;
            Ok::<_, std::io::Error>(Response::builder().status(code).body(Full::new(body.into_bytes().into())).unwrap())
        }
    });
    (Cluster { client: Client::new(service, "team-a"), namespace: "team-a".to_owned() }, calls)
}

fn object(version: u32) -> Value {
    json!({
        "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload",
        "metadata": {"name": "one", "namespace": "team-a", "resourceVersion": version.to_string()},
        "spec": {"files": []},
    })
}

fn there(version: u32) -> (u16, String) {
    (200, object(version).to_string())
}

fn refused(code: u16, reason: &str) -> (u16, String) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "as the test has it", "reason": reason,
        "details": {"name": "one"}, "code": code,
    });
    (code, status.to_string())
}

/// A watch that tells this and ends.
fn told(events: &[(&str, Value)]) -> (u16, String) {
    let line = |(kind, object): &(&str, Value)| json!({"type": kind, "object": object}).to_string() + "\n";
    (200, events.iter().map(line).collect())
}

/// What is seen, in a word each, up to the first error or the first time that nothing can be seen.
async fn seen(cluster: &Cluster) -> Vec<String> {
    let mut sights = std::pin::pin!(cluster.follow("one"));
    let mut words = Vec::new();
    loop {
        match sights.next().await {
            Some(Ok(Sight::There(upload))) => words.push(upload.resource_version().unwrap_or_default()),
            Some(Ok(Sight::Absent)) => words.push("absent".to_owned()),
            Some(Ok(Sight::Unseen(why))) => {
                words.push(why);
                return words;
            }
            Some(Err(error)) => words.push(format!("error: {error:#}")),
            None => return words,
        }
    }
}

const OBJECT: &str = "/apis/cyberun.cloud/v1alpha1/namespaces/team-a/fileuploads/one";
const DOWN: &str =
    "the cluster does not answer: nobody listens: check the kubeconfig's server and the network path to it";

#[tokio::test(start_paused = true)]
async fn it_is_read_and_then_watched_alone_from_that_version_and_read_again_once_the_watch_ends() {
    let bookmark = json!({"apiVersion": "v1", "kind": "FileUpload", "metadata": {"resourceVersion": "8"}});
    let (cluster, calls) = cluster(vec![
        there(7),
        told(&[("BOOKMARK", bookmark), ("MODIFIED", object(9)), ("DELETED", object(10)), ("ADDED", object(11))]),
        there(11),
        told(&[]),
    ]);
    assert_eq!(seen(&cluster).await, ["7", "9", "absent", "11", "11", DOWN]);
    let calls = calls.lock().unwrap();
    assert_eq!(calls[0], OBJECT);
    let (path, query) = calls[1].split_once('?').unwrap();
    assert_eq!(path, OBJECT.trim_end_matches("/one"));
    let mut query: Vec<_> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    query.sort_unstable();
    let expected = [
        "allowWatchBookmarks=true",
        "fieldSelector=metadata.name%3Done",
        "resourceVersion=7",
        "timeoutSeconds=60",
        "watch=true",
    ];
    assert_eq!(query, expected);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_exist_is_watched_from_what_exists_by_then() {
    let (cluster, calls) = cluster(vec![refused(404, "NotFound"), told(&[("ADDED", object(3))])]);
    assert_eq!(seen(&cluster).await, ["absent", "3", DOWN]);
    assert!(
        calls.lock().unwrap()[1].contains("&resourceVersion=&")
            || calls.lock().unwrap()[1].ends_with("resourceVersion=")
    );
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_too_old_is_read_again_however_it_is_told() {
    let gone = refused(410, "Expired");
    let told_gone = told(&[("ERROR", serde_json::from_str(&gone.1).unwrap())]);
    let (cluster, _) = cluster(vec![there(1), gone, there(2), told_gone, there(3)]);
    assert_eq!(seen(&cluster).await, ["1", "2", "3", DOWN]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_passes_is_nothing_and_one_that_lasts_is_an_error() {
    let forbidden = || refused(403, "Forbidden");
    let (few, _) = cluster(vec![forbidden(), forbidden(), there(1), told(&[])]);
    assert_eq!(seen(&few).await, ["1", DOWN]);

    // It may be read, but not watched: that it is read again must not hide it.
    let lasting: Vec<_> = (0..40).flat_map(|_| [there(1), forbidden()]).collect();
    let (blind, calls) = cluster(lasting);
    let begun = Instant::now();
    let last = seen(&blind).await.pop().unwrap();
    assert!(last.starts_with("error: you have no right to do this: as the test has it"), "{last}");
    let lasted = begun.elapsed();
    assert!(lasted >= REFUSED && lasted < REFUSED * 2, "{lasted:?}");
    assert!(calls.lock().unwrap().len() <= 24, "it pauses: {:?}", calls.lock().unwrap().len());

    let no_kind = (404, "404 page not found\n".to_owned());
    let (bare, _) = cluster(vec![no_kind; 40]);
    let last = seen(&bare).await.pop().unwrap();
    assert!(last.starts_with("error: this cluster has no FileUploads"), "{last}");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_down_is_tried_again_with_growing_pauses_of_at_most_ten_seconds() {
    let (cluster, calls) = cluster(vec![]);
    let mut sights = std::pin::pin!(cluster.follow("one"));
    let begun = Instant::now();
    for _ in 0..20 {
        assert!(matches!(sights.next().await, Some(Ok(Sight::Unseen(why))) if why == DOWN));
    }
    let lasted = begun.elapsed();
    assert!((Duration::from_secs(100)..=Duration::from_secs(190)).contains(&lasted), "{lasted:?}");
    assert_eq!(calls.lock().unwrap().len(), 20);
}
