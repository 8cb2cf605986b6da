use std::convert::Infallible;

use http::{Request, Response};
use kube::client::Body;

use super::*;
use crate::key_life::Terms;
use crate::resource::FileUpload;

struct Deaf;

impl Listener for Deaf {
    fn hear(&self, _: Change) {}
}

fn upload(name: &str) -> FileUpload {
    let upload = serde_json::json!({
        "apiVersion": "cyberun.cloud/v1alpha1",
        "kind": "FileUpload",
        "metadata": { "name": name, "namespace": "team-a", "uid": name, "resourceVersion": "7", "generation": 1 },
        "spec": { "files": [] },
    });
    serde_json::from_value(upload).unwrap()
}

/// Launches in a cluster that never answers, for the FileUploads a and b, with 2 places each namespace.
fn launches() -> Launches {
    let silent = |_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>();
    let client = Client::new(tower::service_fn(silent), "team-a");
    let (index, listener, stop) = (Index::new(Terms::default()), Arc::new(Deaf), CancellationToken::new());
    for name in ["a", "b"] {
        index.apply_upload(upload(name), Told::Watch(1));
    }
    let parts = Parts {
        client: client.clone(),
        gate: Gate::new(2, 8),
        index: index.clone(),
        secrets: Secrets::new(client, index, Arc::clone(&listener) as _),
        listener,
        settings: WorkerSettings::default(),
        reads_secrets: true,
        stop,
    };
    Launches::new(parts)
}

#[expect(clippy::default_trait_access, reason = "the type of a placement is private to the plan")]
fn launch(name: &str, claim: &str) -> Launch {
    Launch {
        name: format!("{name}-1"),
        volume: Volume::Claim(claim.to_owned()),
        attempt: 1,
        files: Vec::new(),
        shards: 1,
        parallelism: 1,
        placement: Default::default(),
        settings_hash: String::new(),
    }
}

fn order(name: &str, claim: &str) -> Order {
    Order { key: Key::new("team-a", name), uid: name.into(), generation: 1, launch: launch(name, claim) }
}

#[tokio::test]
async fn a_worker_in_the_making_is_known_to_the_others_of_its_claim_and_keeps_theirs_from_being_begun() {
    let launches = launches();
    assert!(launches.begin(order("a", "disk")));
    let unplaced = |of: &str, namespace: &str, claim: &str| {
        launches.unplaced(&Key::new(namespace, of), of, &Volume::Claim(claim.to_owned()))
    };
    assert_eq!(unplaced("b", "team-a", "disk"), ["a-1"]);
    for (of, namespace, claim) in [("a", "team-a", "disk"), ("b", "team-b", "disk"), ("b", "team-a", "other")] {
        assert!(unplaced(of, namespace, claim).is_empty(), "{of} {namespace} {claim}");
    }
    assert!(!launches.begin(order("b", "disk")));
    assert!(launches.begin(order("b", "other")));
    launches.forget("a", 1);
    assert!(unplaced("b", "team-a", "disk").is_empty());
}

#[tokio::test]
async fn nothing_is_begun_for_a_fileupload_that_is_gone() {
    let launches = launches();
    assert!(!launches.begin(order("gone", "disk")));
    assert!(launches.facts("gone").is_empty());
}

#[tokio::test]
async fn a_job_that_says_it_has_a_hundred_workers_takes_no_more_than_the_places_of_its_namespace() {
    let launches = launches();
    let forged = Launch { parallelism: 100, ..launch("a", "disk") };
    let job = plan::job(&upload("a"), &forged, "v", &WorkerSettings::default()).unwrap();
    let job = serde_json::from_value(serde_json::json!(job)).unwrap();
    launches.0.index.apply_job(&job, Told::Watch(1));
    launches.adopt(Some("team-b"), 2);
    assert_eq!(launches.count(), (0, 0));
    launches.adopt(Some("team-a"), 2);
    assert_eq!(launches.count(), (2, 0));
}
