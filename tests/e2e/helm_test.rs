//! `helm install` and `helm test`, as an admin of a namespace runs them: the test fails with the cause, and then passes.

use anyhow::Context as _;
use cyberun_stub::{Kind, Step};
use serde_json::Value;
use test_support::{World, helm, kubectl, with_pods};

use crate::OPERATOR;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/fileupload-operator");

/// Installs a release into the test's namespace, which it serves, and waits until its operator is ready.
fn install(world: &World) -> anyhow::Result<()> {
    let namespace = &world.namespace;
    let (repository, tag) = world.cluster.image()?.rsplit_once(':').context("an image without a tag")?;
    let set = format!(
        "--set=watchNamespaces={{{namespace}}},image.repository={repository},image.tag={tag},apiUrl={},allowHttp=true,replicas=1",
        world.stub.api_url()
    );
    let into = format!("--namespace={namespace}");
    // Other nodes are left to what tests do with them.
    let node = r"--set=nodeSelector.kubernetes\.io/hostname=node-1";
    helm(world.cluster, &["install", "uploads", CHART, &into, &set, node, "--wait", "--timeout=2m"]).map(drop)
}

fn test(world: &World) -> anyhow::Result<String> {
    helm(world.cluster, &["test", "uploads", &format!("--namespace={}", world.namespace), "--timeout=3m"])
}

#[test]
fn a_test_of_the_release_uploads_a_file_and_fails_with_the_cause_where_that_cannot_be() -> anyhow::Result<()> {
    with_pods(OPERATOR, "helm test", async |world| {
        world.default_account().await?;
        world.secret("cyberun", &[("CYBERUN_API_KEY", "sk-00000000000000000000000000000000")]).await?;
        install(world)?;
        let name = "uploads-fileupload-operator-test";
        assert!(test(world).is_err(), "Cyberun does not know the key");
        let log = kubectl(world.cluster, ["logs", "--namespace", &world.namespace, name], "")?;
        assert!(log.contains("CredentialsRejected"), "{log}");
        assert_eq!(world.calls(Step::Put).len(), 0);

        let credential = world.stub.credential(Kind::Integration);
        world.secret("cyberun", &[("CYBERUN_API_KEY", credential.token())]).await?;
        let said = test(world)?;
        assert!(said.contains("Succeeded"), "{said}");
        assert_eq!(world.calls(Step::Put).len(), 1);
        for kind in ["FileUpload", "ConfigMap", "Pod", "ServiceAccount"] {
            world.wait(kind, name, "what the test made is gone", Value::is_null).await?;
        }
        let lease = "uploads-fileupload-operator";
        assert!(world.read("Lease", lease).await?.is_object(), "what only the operator makes");
        helm(world.cluster, &["uninstall", "uploads", &format!("--namespace={}", world.namespace)])?;
        world.wait("Lease", lease, "it goes with the release", Value::is_null).await.map(drop)
    })
}
