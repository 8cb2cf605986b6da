//! Releases of the chart beside each other, and a CRD that is there already: what `docs/operations.md` says of them.

use anyhow::Context as _;
use cyberun_stub::Options;
use serde_json::{Value, json};
use test_support::{DEADLINE, World, file, helm, kubectl, scenario_alone};

use crate::OPERATOR;

/// What Helm says of an object of another release, or of none.
const NOT_OURS: &str = "exists and cannot be imported into the current release";
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/fileupload-operator");
const CLUSTER_WIDE: &str = "--set=crds.install=true,rbac.aggregateToUserRoles=true";
const IMAGE: &str = "--set=image.repository=fileupload-operator";
const WITHOUT_CRD: &str = "--set=crds.install=false";
const WITHOUT_ROLES: &str = "--set=rbac.aggregateToUserRoles=false";

/// `helm install` of a release into the namespace that it serves, with what belongs to the whole cluster.
fn install(world: &World, release: &str, namespace: &str, flags: &[&str]) -> anyhow::Result<String> {
    let (into, serves) = (format!("--namespace={namespace}"), format!("--set=watchNamespaces={{{namespace}}}"));
    let arguments = ["install", release, CHART, &into, &serves, IMAGE, CLUSTER_WIDE];
    helm(world.cluster, &[arguments.as_slice(), flags].concat())
}

fn uninstall(world: &World, release: &str, namespace: &str) -> anyhow::Result<String> {
    helm(world.cluster, &["uninstall", release, &format!("--namespace={namespace}")])
}

/// Asserts that Helm refuses with these words.
fn is_refused(answer: anyhow::Result<String>, words: &[&str]) -> anyhow::Result<()> {
    let complaint = format!("{:#}", answer.err().context("it is installed")?);
    for word in words {
        assert!(complaint.contains(word), "{word:?} is not in: {complaint}");
    }
    Ok(())
}

/// The namespace of the release that the CRD belongs to.
fn owner_of_crd(world: &World) -> anyhow::Result<String> {
    let owner = r"--output=jsonpath={.metadata.annotations.meta\.helm\.sh/release-namespace}";
    kubectl(world.cluster, ["get", "crd", "fileuploads.cyberun.cloud", owner], "")
}

/// Puts the CRD of `crds/`, applied by hand, in the place of the harness's, with this text instead of another.
fn by_hand(world: &World, (old, new): (&str, &str)) -> anyhow::Result<()> {
    let crd = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/crds/fileuploads.cyberun.cloud.yaml"))?;
    anyhow::ensure!(crd.contains(old), "{old:?} is not in the CRD");
    kubectl(world.cluster, ["delete", "crd", "fileuploads.cyberun.cloud"], "")?;
    kubectl(world.cluster, ["apply", "--filename=-"], &crd.replace(old, new))?;
    let established = ["wait", "--for=condition=Established", "crd/fileuploads.cyberun.cloud", "--timeout=60s"];
    kubectl(world.cluster, established, "").map(drop)
}

#[test]
fn a_crd_that_is_there_already_is_taken_over_as_the_docs_say_and_outlives_its_release() -> anyhow::Result<()> {
    scenario_alone(OPERATOR, Options::default(), "releases of the chart", async |world| {
        let ((first, _), (second, _)) = (world.space("first").await?, world.space("second").await?);
        let (first_name, second_name) = (first.namespace.as_str(), second.namespace.as_str());
        by_hand(world, ("", ""))?;
        let crd = "CustomResourceDefinition \"fileuploads.cyberun.cloud\"";
        is_refused(install(world, "uploads", first_name, &[]), &[crd, NOT_OURS])?;
        install(world, "uploads", first_name, &["--take-ownership"])?;
        assert_eq!(owner_of_crd(world)?, first_name);
        first.file_upload("kept", json!({"files": [file("a", "none", "a.txt")]})).await?;

        uninstall(world, "uploads", first_name)?;
        assert!(
            first.read("FileUpload", "kept").await?.is_object(),
            "the CRD outlives the release with what it defines"
        );
        is_refused(install(world, "others", second_name, &[]), &[crd, NOT_OURS])?;
        install(world, "others", second_name, &["--take-ownership"])?;
        assert_eq!(owner_of_crd(world)?, second_name);
        Ok(())
    })
}

#[test]
fn a_crd_of_another_version_that_was_applied_by_hand_is_taken_over_by_force() -> anyhow::Result<()> {
    scenario_alone(OPERATOR, Options::default(), "a CRD that was applied by hand", async |world| {
        let (space, _) = world.space("first").await?;
        by_hand(world, ("shortNames:\n", "shortNames:\n    - older\n"))?;
        let install = |flags: &[&str]| install(world, "uploads", &space.namespace, flags);
        is_refused(install(&["--take-ownership"]), &["conflict", "kubectl-client-side-apply", "shortNames"])?;
        uninstall(world, "uploads", &space.namespace)?;
        install(&["--take-ownership", "--force-conflicts"])?;
        let names = kubectl(
            world.cluster,
            ["get", "crd", "fileuploads.cyberun.cloud", "--output=jsonpath={.spec.names.shortNames}"],
            "",
        )?;
        assert!(!names.contains("older"), "{names}");
        Ok(())
    })
}

#[test]
fn releases_of_several_teams_stand_beside_each_other_and_each_serves_its_own() -> anyhow::Result<()> {
    scenario_alone(OPERATOR, Options::default(), "releases of several teams", async |world| {
        let ((first, _), (second, _), (third, _)) =
            (world.space("first").await?, world.space("second").await?, world.space("third").await?);
        by_hand(world, ("", ""))?;
        install(world, "team-one", &first.namespace, &["--take-ownership"])?;
        is_refused(install(world, "team", &second.namespace, &[]), &["CustomResourceDefinition", NOT_OURS])?;
        install(world, "team", &second.namespace, &[WITHOUT_CRD])?;

        // Of the same name in another namespace.
        let roles = "ClusterRole \"team-fileupload-operator-view\"";
        is_refused(install(world, "team", &third.namespace, &[WITHOUT_CRD]), &[roles, NOT_OURS])?;
        install(world, "team", &third.namespace, &[WITHOUT_CRD, WITHOUT_ROLES])?;
        let releases: Vec<Value> =
            serde_json::from_str(&helm(world.cluster, &["list", "--all-namespaces", "--output=json"])?)?;
        assert_eq!(releases.len(), 3, "{releases:#?}");
        assert!(releases.iter().all(|release| release["status"] == "deployed"), "{releases:#?}");

        // No node runs here: the last release's operator is started by hand, with the rights that Helm gave it.
        let flag = format!("--namespace={}", third.namespace);
        let manifests = helm(world.cluster, &["get", "manifest", "team", &flag])?;
        third.granted_by(&manifests).await?;
        world.operator_of(&third, "team-fileupload-operator").await?;
        third.config_map("texts", &[("a.txt", "one")]).await?;
        third.file_upload("one", json!({"files": [file("a", "texts", "a.txt")]})).await?;
        third.available("one").await?;
        Ok(())
    })
}

#[test]
fn an_upgrade_can_be_rolled_back_and_uninstalling_leaves_only_the_crd_and_its_resources() -> anyhow::Result<()> {
    scenario_alone(OPERATOR, Options::default(), "the life of a release", async |world| {
        let (space, _) = world.space("first").await?;
        let namespace = format!("--namespace={}", space.namespace);
        by_hand(world, ("", ""))?;
        install(world, "uploads", &space.namespace, &["--take-ownership"])?;
        space.file_upload("kept", json!({"files": [file("a", "none", "a.txt")]})).await?;
        let objects = || {
            let kinds = "deployment,service,serviceaccount,role,rolebinding,configmap,clusterrole";
            let ours = "--selector=app.kubernetes.io/instance=uploads";
            kubectl(world.cluster, ["get", kinds, ours, &namespace, "--output=name"], "")
        };
        let log_level = || {
            let arguments = "--output=jsonpath={.spec.template.spec.containers[0].args}";
            kubectl(world.cluster, ["get", "deployment/uploads-fileupload-operator", &namespace, arguments], "")
        };
        let before = objects()?;
        assert!(log_level()?.contains("--log-level=info") && !before.contains("service/"), "{before}");

        let values = "--set=logLevel=debug,metrics.service.enabled=true";
        helm(world.cluster, &["upgrade", "uploads", CHART, &namespace, "--reuse-values", values])?;
        let upgraded = objects()?;
        assert!(log_level()?.contains("--log-level=debug") && upgraded.contains("service/"), "{upgraded}");
        helm(world.cluster, &["rollback", "uploads", "1", &namespace])?;
        assert!(log_level()?.contains("--log-level=info"));
        assert_eq!(objects()?, before);

        uninstall(world, "uploads", &space.namespace)?;
        assert_eq!(objects()?, "");
        assert!(space.read("FileUpload", "kept").await?.is_object());
        Ok(())
    })
}

/// What the API server fills in beside a rolling update belongs to nobody, and would be refused beside Recreate.
#[test]
fn leader_election_is_switched_off_and_on_in_a_release_that_exists() -> anyhow::Result<()> {
    scenario_alone(OPERATOR, Options::default(), "a release without leader election", async |world| {
        let (space, _) = world.space("first").await?;
        let namespace = format!("--namespace={}", space.namespace);
        install(world, "uploads", &space.namespace, &[WITHOUT_CRD])?;
        for (value, strategy) in [
            ("leaderElection.enabled=false,replicas=1", json!({"type": "Recreate"})),
            (
                "leaderElection.enabled=true,replicas=2",
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}),
            ),
        ] {
            let set = format!("--set={value}");
            helm(world.cluster, &["upgrade", "uploads", CHART, &namespace, "--reuse-values", &set])?;
            let deployment = space.read("Deployment", "uploads-fileupload-operator").await?;
            assert_eq!(deployment["spec"]["strategy"], strategy, "{value}");
        }
        Ok(())
    })
}

/// Its account has every right here, so only the policies refuse.
#[test]
fn a_release_in_a_namespace_of_the_cluster_writes_its_lease_there_and_nothing_else() -> anyhow::Result<()> {
    const SYSTEM: &str = "kube-uploads";
    scenario_alone(OPERATOR, Options::default(), "a release in kube-*", async |world| {
        kubectl(world.cluster, ["create", "namespace", SYSTEM], "")?;
        let (namespace, serves) =
            (format!("--namespace={SYSTEM}"), format!("--set=watchNamespaces={{{}}}", world.namespace));
        let policies = "--set=admissionPolicy.enabled=true";
        helm(world.cluster, &["install", "uploads", CHART, &namespace, &serves, IMAGE, WITHOUT_CRD, policies])?;
        let account = format!("--serviceaccount={SYSTEM}:uploads-fileupload-operator");
        let bind = ["create", "clusterrolebinding", "too-much", "--clusterrole=cluster-admin", &account];
        kubectl(world.cluster, bind, "")?;

        let user = format!("--as=system:serviceaccount:{SYSTEM}:uploads-fileupload-operator");
        let create = |object: &Value, dry: &str| {
            let create = ["create", "--filename=-", &namespace, &user, dry];
            kubectl(world.cluster, create, &object.to_string())
        };
        // As it writes one into the namespaces that it serves.
        let owner = json!({"apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload", "name": "one", "uid": "1"});
        let labels = json!({"app.kubernetes.io/managed-by": "fileupload-operator"});
        let output = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "keys", "labels": labels, "ownerReferences": [owner]},
        });
        let look = async || {
            let answer = create(&output, "--dry-run=server").err().map(|error| format!("{error:#}"));
            let words = "writes nothing but its Lease into namespaces of the cluster itself";
            Ok((answer.as_ref().is_some_and(|answer| answer.contains(words)), answer))
        };
        world.wait_for(DEADLINE, "a ConfigMap to be refused by the policy", look).await?;
        let lease = |name: &str| {
            let metadata = json!({"name": name});
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": {}})
        };
        is_refused(create(&lease("another"), "--dry-run=none"), &["writes only its own Lease"])?;
        create(&lease("uploads-fileupload-operator"), "--dry-run=none")?;
        Ok(())
    })
}

#[test]
fn an_admin_of_a_namespace_installs_a_release_that_serves_it() -> anyhow::Result<()> {
    scenario_alone(OPERATOR, Options::default(), "a release of a namespace's admin", async |world| {
        let (space, _) = world.space("team").await?;
        let namespace = format!("--namespace={}", space.namespace);
        let binding = ["create", "rolebinding", "admin", "--clusterrole=admin", "--user=somebody", &namespace];
        kubectl(world.cluster, binding, "")?;
        let (status, user) = ("--subresource=status", "--as=somebody");
        let look = async || {
            let right = ["auth", "can-i", "patch", "fileuploads.cyberun.cloud", status, user, &namespace];
            let answer = kubectl(world.cluster, right, "");
            Ok((answer.is_ok(), format!("{answer:?}")))
        };
        world.wait_for(DEADLINE, "the right that the chart's cluster roles add to `admin`", look).await?;

        let serves = format!("--set=watchNamespaces={{{}}}", space.namespace);
        let install = |flags: &[&str]| {
            let arguments = ["install", "own", CHART, &namespace, &serves, IMAGE, "--kube-as-user=somebody"];
            helm(world.cluster, &[arguments.as_slice(), flags].concat())
        };
        is_refused(install(&["--set=crds.install=true"]), &["customresourcedefinitions", "forbidden"])?;
        install(&[])?;
        let releases = helm(world.cluster, &["list", &namespace, "--output=json"])?;
        assert!(releases.contains("\"deployed\""), "{releases}");
        Ok(())
    })
}
