use serde_json::json;

use super::super::index::Told;
use super::*;

#[tokio::test]
async fn nothing_is_kept_of_a_fileupload_that_went_while_it_was_looked_at() {
    let unasked = tower::service_fn(|_: http::Request<kube::client::Body>| async {
        std::future::pending::<Result<http::Response<kube::client::Body>, std::convert::Infallible>>().await
    });
    let index = Index::new(Arc::default());
    let folders = Folders::new(Client::new(unasked, "team"), index.clone(), Arc::default());
    let upload = json!({
        "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload",
        "metadata": {"name": "x", "namespace": "team", "uid": "u", "resourceVersion": "1"},
        "spec": {"files": [], "output": {"configMap": {"name": "keys"}}},
    });
    let found = serde_json::from_value(json!({"metadata": {"name": "keys-frames-part", "namespace": "team"}})).unwrap();
    index.apply_upload(serde_json::from_value(upload).unwrap(), Told::Watch(1));
    let key = Key::new("team", "x");
    let known = index.get(&key).unwrap();
    let at = At { known: &known, folder: "frames", kind: Kind::Part };
    folders.see(at, &found);
    assert_eq!(folders.seen.lock().len(), 1);
    index.delete_upload(&key);
    folders.forget_upload("u");
    folders.see(at, &found);
    assert_eq!(folders.seen.lock().len(), 0);
}
