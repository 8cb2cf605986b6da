use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Request, Response};
use k8s_openapi::ByteString;
use kube::client::Body;

use super::*;

#[derive(Default)]
struct Heard(Mutex<Vec<Key>>);

impl Listener for Heard {
    fn hear(&self, change: Change) {
        self.0.lock().extend(change.wakes);
    }
}

/// Secrets of a cluster that has none.
fn secrets() -> (Secrets, Key, Arc<Heard>) {
    let status = r#"{"kind":"Status","status":"Failure","reason":"NotFound","message":"none","code":404}"#;
    let none = move |_: Request<Body>| async move {
        Ok::<_, Infallible>(Response::builder().status(404).body(Body::from(status.as_bytes().to_vec())).unwrap())
    };
    secrets_of(Client::new(tower::service_fn(none), "team-a"))
}

/// Secrets of this cluster, and one FileUpload, of uid u-1.
fn secrets_of(client: Client) -> (Secrets, Key, Arc<Heard>) {
    let upload = serde_json::json!({
        "apiVersion": "cyberun.cloud/v1alpha1",
        "kind": "FileUpload",
        "metadata": { "name": "portrait", "namespace": "team-a", "uid": "u-1", "resourceVersion": "7" },
        "spec": { "files": [] },
    });
    let index = Index::new(Arc::default());
    index.apply_upload(serde_json::from_value(upload).unwrap(), crate::controller::index::Told::Watch(1));
    let heard = Arc::new(Heard::default());
    (Secrets::new(client, index, Arc::clone(&heard) as _), Key::new("team-a", "portrait"), heard)
}

#[tokio::test]
async fn every_read_is_told_to_those_who_wait_and_only_news_wake_them() {
    let (secrets, upload, heard) = secrets();
    let secret = Key::new("team-a", "cyberun");
    secrets.set_waiting(&secret, &"u-1".into(), &upload, true);
    for _ in 0..2 {
        secrets.read(&secret).await.unwrap();
        assert_eq!(secrets.facts(&secret, "u-1"), SecretFacts::Missing);
    }
    assert_eq!(*heard.0.lock(), [upload]);
}

#[tokio::test]
async fn a_fileupload_waits_for_one_secret_and_one_that_is_gone_for_none() {
    let (secrets, upload, _heard) = secrets();
    let waiting = |name: &str| {
        let waits = secrets.0.waits.lock();
        waits.of.get(&Key::new("team-a", name)).map_or(0, |wait| wait.uploads.len())
    };
    let wait = |name: &str, uid: &str| secrets.set_waiting(&Key::new("team-a", name), &uid.into(), &upload, true);
    wait("old", "u-0");
    assert_eq!(waiting("old"), 0);
    wait("old", "u-1");
    wait("old", "u-1");
    assert_eq!(waiting("old"), 1);
    wait("new", "u-1");
    assert_eq!((waiting("old"), waiting("new")), (0, 1));
    secrets.forget("u-1");
    assert_eq!(waiting("new"), 0);
    wait("new", "u-1");
    assert_eq!(waiting("new"), 1);
}

fn holding(token: &str) -> SecretObject {
    let data = [(SECRET_API_KEY.to_owned(), ByteString(token.as_bytes().to_vec()))];
    SecretObject { data: Some(data.into()), ..SecretObject::default() }
}

#[tokio::test]
async fn a_read_that_nobody_waits_for_any_more_answers_nobody_who_comes_later() {
    let (release, calls) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (released, counted) = (Arc::clone(&release), Arc::clone(&calls));
    let answer = move |_: Request<Body>| {
        let (released, call) = (Arc::clone(&released), counted.fetch_add(1, Ordering::Relaxed));
        async move {
            if call == 0 {
                released.notified().await;
            }
            let secret = serde_json::to_vec(&holding(["sk-old", "sk-new"][call.min(1)])).unwrap();
            Ok::<_, Infallible>(Response::new(Body::from(secret)))
        }
    };
    let (secrets, ..) = secrets_of(Client::new(tower::service_fn(answer), "team-a"));
    let secret = Key::new("team-a", "cyberun");
    let mut first = Box::pin(secrets.read(&secret));
    assert!(futures::poll!(&mut first).is_pending());
    while calls.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    drop(first);
    release.notify_one();
    while !secrets.0.reads.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    let later = secrets.read(&secret).await.unwrap();
    assert_eq!(later.facts("u-1"), secret_facts(Some(&holding("sk-new")), "cyberun", "u-1"));
}
