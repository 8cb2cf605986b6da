use std::convert::Infallible;
use std::pin::Pin;

use http::{Request, Response};
use kube::client::Body;

use super::*;
use crate::plan::objects::Pod;
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
    launches_with(|_| Box::pin(std::future::pending()))
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

fn launches_with(answer: impl Fn(Request<Body>) -> Answer + Clone + Send + 'static) -> Launches {
    let client = Client::new(tower::service_fn(answer), "team-a");
    let (index, listener, stop) = (Index::new(Arc::default()), Arc::new(Deaf), CancellationToken::new());
    for name in ["a", "b"] {
        index.apply_upload(upload(name), Told::Watch(1));
    }
    for (name, mode) in [("disk", "ReadWriteOnce"), ("other", "ReadWriteOnce"), ("alone", "ReadWriteOncePod")] {
        let claim = serde_json::json!({"metadata": {"name": name, "namespace": "team-a"},
            "status": {"phase": "Bound", "accessModes": [mode]}});
        index.apply_claim(&serde_json::from_value(claim).unwrap(), Told::Watch(1));
    }
    let parts = Parts {
        client: client.clone(),
        slots: Slots::new(2, 8),
        index: index.clone(),
        secrets: Secrets::new(client, index, Arc::clone(&listener) as _),
        listener,
        metrics: Metrics::default(),
        deployments: Arc::default(),
        reads_secrets: false,
        stop,
    };
    Launches::new(parts)
}

/// A Pod on a node that uses a claim.
fn holder(claim: &str, node: &str) -> Pod {
    let pod = serde_json::json!({"metadata": {"name": "holder", "namespace": "team-a"}, "spec": {"nodeName": node,
        "containers": [], "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]}});
    serde_json::from_value(pod).unwrap()
}

fn launch(name: &str, claim: &str) -> Launch {
    Launch {
        name: format!("{name}-1"),
        volume: Volume::Claim(claim.to_owned()),
        attempt: 1,
        files: Vec::new(),
        shards: 1,
        parallelism: 1,
        placement: Placement::default(),
        settings_hash: String::new(),
    }
}

fn order(name: &str, claim: &str) -> Order {
    Order {
        key: Key::new("team-a", name),
        uid: name.into(),
        lane: Lane::of(crate::plan::Deployment::default(), "team-a"),
        generation: 1,
        launch: launch(name, claim),
    }
}

/// How far the Launch of a FileUpload is.
fn stage(launches: &Launches, uid: &str) -> Option<LaunchStage> {
    launches.facts(uid).first().map(|facts| facts.stage.clone())
}

/// Lets time pass, so that whatever is ready runs.
async fn passes(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_being_created_is_a_user_of_its_claim_to_the_others() {
    let launches = launches();
    let users = |of: &str, namespace: &str, claim: &str| {
        let users = launches.claim(&Key::new(namespace, of), of, claim).users.into_iter();
        users.filter_map(|user| user.worker_of).collect::<Vec<_>>()
    };
    assert!(launches.begin(order("a", "disk")));
    assert!(users("b", "team-a", "disk").is_empty(), "it only waits for its place");
    passes(1).await;
    assert_eq!(users("b", "team-a", "disk"), ["a-1"]);
    for (of, namespace, claim) in [("a", "team-a", "disk"), ("b", "team-b", "disk"), ("b", "team-a", "other")] {
        assert!(users(of, namespace, claim).is_empty(), "{of} {namespace} {claim}");
    }
    launches.forget("a", 1);
    assert!(users("b", "team-a", "disk").is_empty());
}

#[tokio::test(start_paused = true)]
async fn launches_on_one_claim_stand_in_the_queue_together_and_keep_their_order() {
    let launches = launches();
    let places: Vec<_> = (0..2).map(|_| launches.0.slots.take("team-a")).collect();
    assert!(launches.begin(order("a", "disk")) && launches.begin(order("b", "disk")));
    passes(60_000).await;
    assert_eq!(launches.count(), (2, 2));
    drop(places);
    passes(1000).await;
    // The second keeps its place until the first has a node.
    assert_eq!(stage(&launches, "a"), Some(LaunchStage::Creating));
    assert!(matches!(stage(&launches, "b"), Some(LaunchStage::Waiting(_))));
    launches.forget("a", 1);
    passes(1000).await;
    assert_eq!(stage(&launches, "b"), Some(LaunchStage::Creating));
}

#[tokio::test(start_paused = true)]
async fn a_launch_that_cannot_have_its_claim_gives_its_place_back() {
    for (claim, waits) in [("disk", 4000), ("alone", 0)] {
        let launches = launches();
        assert!(launches.begin(order("a", claim)) && launches.begin(order("b", claim)));
        passes(waits + 1).await;
        assert_eq!(
            (launches.count().0, stage(&launches, "b").is_some()),
            if waits > 0 { (2, true) } else { (1, false) }
        );
        passes(2000).await;
        assert_eq!((launches.count().0, stage(&launches, "b")), (1, None), "{claim}: the plan is made again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_is_bound_to_the_node_on_which_its_claim_is_used_when_it_has_its_place() {
    let (sender, mut created) = tokio::sync::mpsc::unbounded_channel();
    let launches = launches_with(move |request| {
        let sender = sender.clone();
        Box::pin(async move {
            let body = request.into_body().collect_bytes().await.unwrap();
            sender.send(serde_json::from_slice::<Job>(&body).unwrap()).unwrap();
            Ok(Response::builder().status(201).body(Body::from(body.to_vec())).unwrap())
        })
    });
    launches.0.index.apply_pod(&holder("disk", "node-1"), Told::Watch(1));
    let places: Vec<_> = (0..2).map(|_| launches.0.slots.take("team-a")).collect();
    assert!(launches.begin(order("a", "disk")));
    launches.0.index.apply_pod(&holder("disk", "node-2"), Told::Watch(1));
    drop(places);
    let job = created.recv().await.unwrap();
    assert_eq!(plan::manifest::read_job(&job).unwrap().node.as_deref(), Some("node-2"));
}

#[tokio::test(start_paused = true)]
async fn of_one_fileupload_no_more_launches_are_kept_than_it_may_have_files() {
    let launches = launches();
    let begun =
        |attempt| launches.begin(Order { launch: Launch { attempt, ..launch("a", "disk") }, ..order("a", "disk") });
    assert_eq!((0..1000).filter(|attempt| begun(*attempt)).count(), 100);
    assert!(begun(99), "one that is known goes on");
    launches.forget("a", 7);
    assert!(begun(1000));
    assert_eq!(launches.facts("a").len(), 100);
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
    let job = plan::job(&upload("a"), &forged, "v", &plan::WorkerSettings::default()).unwrap();
    let job = serde_json::from_value(serde_json::json!(job)).unwrap();
    launches.0.index.apply_job(&job, Told::Watch(1));
    launches.adopt(Some("team-b"), 2);
    assert_eq!(launches.count(), (0, 0));
    launches.adopt(Some("team-a"), 2);
    assert_eq!(launches.count(), (2, 0));
}

#[tokio::test]
async fn to_plan_for_a_claim_only_those_of_its_workers_are_looked_at_that_do_not_wait() {
    let launches = launches();
    for name in ["a", "b", "waits", "elsewhere"] {
        launches.0.index.apply_upload(upload(name), Told::Watch(1));
    }
    assert!(launches.begin(order("elsewhere", "other")) && launches.begin(order("a", "disk")));
    passes(1).await;
    for name in ["b", "waits"] {
        assert!(launches.begin(order(name, "disk")));
    }
    passes(1).await;
    assert_eq!(launches.count(), (2, 2));
    let books = launches.0.books.lock();
    let looked_at = books.workers("team-a", &Volume::Claim("disk".to_owned()));
    assert_eq!(looked_at.iter().map(|worker| &*worker.uid).collect::<Vec<_>>(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_without_a_node_is_a_user_of_its_claim_as_long_as_it_has_its_place() {
    let launches = launches_with(|request| {
        Box::pin(async move {
            let body = request.into_body().collect_bytes().await.unwrap();
            Ok(Response::builder().status(201).body(Body::from(body.to_vec())).unwrap())
        })
    });
    let users = || launches.claim(&Key::new("team-a", "b"), "b", "disk").users.len();
    let ends: [fn(&Launches, &Arc<str>, &str); 2] = [Launches::ended, |launches, uid, _| launches.forget_upload(uid)];
    for end in ends {
        assert!(launches.begin(order("a", "disk")));
        passes(1).await;
        assert_eq!((stage(&launches, "a"), launches.count().0, users()), (None, 1, 1), "its Job is there");
        end(&launches, &"a".into(), "a-1");
        assert_eq!((launches.count().0, users()), (0, 0));
        assert!(launches.0.books.lock().workers("team-a", &Volume::Claim("disk".to_owned())).is_empty());
    }
}

#[test]
fn what_waits_for_its_place_is_small() {
    fn size<F>(_: fn(Arc<State>, Order) -> F) -> usize {
        size_of::<F>()
    }
    assert!(size(State::supervised) <= 656, "{}", size(State::supervised));
}
