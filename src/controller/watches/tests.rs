use std::convert::Infallible;

use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use super::*;
use crate::plan::ConfigMapFacts;
use crate::resource::{LABEL_MANAGED_BY, LABEL_UID};

/// A moment that the program's clock cannot hold.
const BEYOND: &str = "9999-12-31T23:59:59Z";

struct Deaf;

impl Listener for Deaf {
    fn hear(&self, _: Change) {}
}

/// Watches of a cluster whose lists are these, by the last part of their path, and whose watches tell these events once: a
/// list that is made later lacks its first object.
struct Cluster {
    watches: Watches,
    complete: watch::Receiver<usize>,
    run: AbortHandle,
}

impl Cluster {
    fn new(lists: Value, events: Value) -> Self {
        let played = Arc::new(Mutex::new((lists, events)));
        let answer = move |request: Request<Body>| {
            let kind = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            let is_watch = request.uri().query().is_some_and(|query| query.contains("watch="));
            let (lists, events) = &mut *played.lock();
            let body = if is_watch {
                let told = events.as_object_mut().and_then(|events| events.remove(&kind));
                let objects = lists[&kind].as_array_mut().filter(|_| told.is_some());
                if let Some(objects) = objects {
                    objects.remove(0);
                }
                told.map(|told| told.as_array().into_iter().flatten().map(line).collect())
            } else {
                let metadata = json!({"resourceVersion": "10"});
                Some(json!({"kind": "List", "metadata": metadata, "items": lists[&kind]}).to_string())
            };
            async move {
                let Some(body) = body else { return std::future::pending().await };
                Ok::<_, Infallible>(Response::new(Body::from(body.into_bytes())))
            }
        };
        let client = Client::new(tower::service_fn(answer), "team");
        let (listed, complete) = watch::channel(0);
        let watches = Watches {
            client,
            namespace: None,
            index: Index::new(Arc::default()),
            listener: Arc::new(Deaf),
            health: Health::default(),
            metrics: Metrics::default(),
            skipped: Arc::default(),
            listed: Arc::new(listed),
        };
        let run = tokio::spawn(watches.clone().run()).abort_handle();
        Self { watches, complete, run }
    }

    async fn is_listed(&mut self) {
        let complete = self.complete.wait_for(|listed| *listed == OTHERS + 1);
        tokio::time::timeout(Duration::from_mins(1), complete).await.expect("the lists are complete").unwrap();
    }

    async fn until(&self, what: impl Fn(&Index) -> bool) {
        let is_so = async {
            while !what(&self.watches.index) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), is_so).await.expect("it becomes so");
    }

    fn skips(&self, number: usize) {
        let text = self.watches.metrics.render();
        assert!(text.contains(&format!("fileupload_skipped_objects {number}\n")), "{text}");
    }

    fn users(&self) -> usize {
        users(&self.watches.index)
    }
}

/// An event as API servers write it: they begin with its type.
fn line(event: &Value) -> String {
    format!("{{\"type\":{},\"object\":{}}}\n", event["type"], event["object"])
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.run.abort();
    }
}

fn users(index: &Index) -> usize {
    index.claim(&Key::new("team", "x"), "c").users.len()
}

fn object(name: &str, spec: &Value) -> Value {
    let labels = json!({LABEL_MANAGED_BY: FIELD_MANAGER, LABEL_UID: "u"});
    let managed = json!([{"manager": "x", "time": BEYOND}]);
    json!({"spec": spec, "metadata": {
        "name": name, "namespace": "team", "uid": name, "resourceVersion": "9", "labels": labels, "managedFields": managed,
    }})
}

fn upload(name: &str) -> Value {
    let source = json!({"configMapKeyRef": {"name": "m", "key": "a"}});
    let mut upload = object(name, &json!({"files": [{"name": "a", "source": source}]}));
    upload["metadata"]["uid"] = "u".into();
    upload
}

fn pod_spec() -> Value {
    let volume = json!({"name": "source", "persistentVolumeClaim": {"claimName": "c"}});
    json!({"containers": [{"name": "worker"}], "volumes": [volume]})
}

fn job(name: &str, suspend: &Value) -> Value {
    object(
        name,
        &json!({"suspend": suspend, "template": {"metadata": {"creationTimestamp": BEYOND, "annotations": {}}, "spec": pod_spec()}}),
    )
}

fn odd_pod(name: &str) -> Value {
    object(name, &json!({"nodeName": ["none"]}))
}

/// A list of each kind, in which odd objects stand before good ones.
fn lists() -> Value {
    let odd_claim = object("odd", &json!({"accessModes": 1}));
    let claim = object("c", &json!({"accessModes": ["ReadWriteOnce"]}));
    let odd_map = json!({"metadata": {"name": "odd", "namespace": "team", "labels": "none"}});
    json!({
        "fileuploads": [object("odd", &json!({"files": 1})), upload("x")],
        "configmaps": [odd_map, object("m", &json!(null))],
        "persistentvolumeclaims": [odd_claim, claim],
        "jobs": [job("odd", &json!("yes")), job("good", &json!(true))],
        "pods": [odd_pod("odd"), object("good", &pod_spec())],
    })
}

#[tokio::test(start_paused = true)]
async fn an_odd_object_of_any_kind_is_skipped_and_the_others_are_served() {
    let mut cluster = Cluster::new(lists(), json!({}));
    cluster.is_listed().await;
    let index = &cluster.watches.index;
    let names: Vec<_> = index.jobs("u").into_iter().map(|job| job.name).collect();
    assert_eq!((index.len(), names, cluster.users()), (1, vec!["good".to_owned()], 1));
    assert!(matches!(index.config_map(&Key::new("team", "x"), "m"), ConfigMapFacts::There { .. }));
    cluster.skips(5);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_becomes_odd_is_forgotten_and_one_that_becomes_good_is_served() {
    let modified = |object: Value| json!({"type": "MODIFIED", "object": object});
    let deleted = |object: Value| json!({"type": "DELETED", "object": object});
    let events = json!({
        "fileuploads": [modified(upload("odd"))],
        "persistentvolumeclaims": [deleted(object("odd", &json!({"accessModes": 1})))],
        "jobs": [modified(job("good", &json!("yes")))],
        "pods": [modified(odd_pod("good")), modified(object("odd", &pod_spec())), modified(odd_pod("third"))],
    });
    let mut cluster = Cluster::new(lists(), events);
    cluster.is_listed().await;
    cluster.until(|index| index.len() == 2 && index.jobs("u").iter().all(|job| job.name != "good")).await;
    cluster.until(|index| users(index) == 1).await;
    // Two Jobs, two Pods and a ConfigMap: the FileUpload is good, and the claim is gone.
    cluster.until(|_| cluster.watches.metrics.render().contains("fileupload_skipped_objects 5\n")).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_new_list_lacks_is_no_longer_skipped() {
    let gone =
        json!({"type": "ERROR", "object": {"kind": "Status", "status": "Failure", "reason": "Expired", "code": 410}});
    let kinds = ["fileuploads", "configmaps", "persistentvolumeclaims", "jobs", "pods"];
    let events = kinds.map(|kind| (kind.to_owned(), json!([gone])));
    let mut cluster = Cluster::new(lists(), Value::Object(events.into_iter().collect()));
    cluster.is_listed().await;
    cluster.until(|_| cluster.watches.metrics.render().contains("fileupload_skipped_objects 0\n")).await;
    assert_eq!((cluster.watches.index.len(), cluster.watches.index.jobs("u").len(), cluster.users()), (1, 1, 1));
}
