//! `fileupload explain NAME`, as somebody new to it uses it: what is wrong, and what to do, without any log.

use serde_json::{Value, json};
use test_support::{Person, World, file, on_claim, reason, scenario, with_pods};

use crate::OPERATOR;

async fn broken(world: &World, name: &str, expected: &str, spec: Value) -> anyhow::Result<()> {
    world.file_upload(name, spec).await?;
    world.upload(name, expected, |upload| reason(upload) == expected).await?;
    Ok(())
}

/// What the program says of a `FileUpload`: the lines that begin like this, with these words in cause and fix.
async fn explained(world: &World, name: &str, headline: &str, cause: &[&str], fix: &[&str]) -> anyhow::Result<String> {
    let said = Person::admin(world).runs(&["explain", "-n", &world.namespace, name]).await?;
    let headline = format!("{}/{name}: {headline}", world.namespace);
    let text = said.explains(&[&headline, "Cause: ", "Fix: "]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], headline, "{text}");
    for (line, words) in [(lines[1], cause), (lines[2], fix)] {
        assert!(words.iter().all(|word| line.contains(word)), "{words:?} are not all in: {line}");
    }
    Ok(text.to_owned())
}

#[test]
fn each_of_six_broken_resources_is_explained_by_its_cause_and_its_fix() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        world.secret("stale", &[("CYBERUN_API_KEY", "sk-00000000000000000000000000000000")]).await?;
        world.config_map("texts", &[("a.txt", "first")]).await?;
        world.operator_with(&[r#"rbac.secretNames=["absent", "cyberun", "stale"]"#]).await?;
        let here = || json!([file("photo", "texts", "a.txt")]);
        let with_secret = |name: &str| json!({"files": here(), "credentials": {"secretRef": {"name": name}}});

        broken(world, "no-secret", "SecretNotFound", with_secret("absent")).await?;
        let headline = "Pending, 0/1 files uploaded, not Available (SecretNotFound)";
        let (cause, fix) = (["Secret absent", "does not exist in this namespace."], ["Create it", "CYBERUN_API_KEY"]);
        let text = explained(world, "no-secret", headline, &cause, &fix).await?;
        assert!(text.contains("\nNext: The Secret is looked for every 10 seconds"), "{text}");
        let said = Person::admin(world).runs(&["explain", "no-secret", "-n", &world.namespace, "-o", "json"]).await?;
        let json: Value = serde_json::from_str(said.explains(&["{"]))?;
        assert_eq!((&json["reason"], &json["available"]), (&json!("SecretNotFound"), &json!(false)), "{json:#}");

        broken(world, "bad-secret", "CredentialsRejected", with_secret("stale")).await?;
        let headline = "Failed, 0/1 files uploaded, not Available (CredentialsRejected)";
        let text = explained(world, "bad-secret", headline, &["Secret stale", "401"], &["Put a valid key"]).await?;
        assert!(text.contains("\nNext: It is tried again when the content of the Secret"), "{text}");

        broken(world, "no-map", "ConfigMapNotFound", json!({"files": [file("photo", "absent", "a.txt")]})).await?;
        let headline = "Pending, 0/1 files uploaded, not Available (ConfigMapNotFound)";
        explained(world, "no-map", headline, &["File photo", "ConfigMap absent"], &["Create it"]).await?;

        let missing =
            json!([file("photo", "texts", "a.txt"), file("prompt", "texts", "b.txt"), on_claim("raw", "data", "r")]);
        broken(world, "no-key", "ConfigMapKeyNotFound", json!({"files": missing})).await?;
        let headline = "Pending, 1/3 files uploaded, not Available (ConfigMapKeyNotFound)";
        let (cause, fix) =
            (["File prompt", "ConfigMap texts", "no key b.txt"], ["Add it, or correct spec.files[prompt].source"]);
        let text = explained(world, "no-key", headline, &cause, &fix).await?;
        assert!(text.contains("\nAlso: ClaimNotFound: File raw: PersistentVolumeClaim data does not exist"), "{text}");

        broken(world, "no-claim", "ClaimNotFound", json!({"files": [on_claim("raw", "data", "r.txt")]})).await?;
        let headline = "Pending, 0/1 files uploaded, not Available (ClaimNotFound)";
        let fix = ["Create it, or correct claimName"];
        explained(world, "no-claim", headline, &["File raw", "PersistentVolumeClaim data"], &fix).await?;

        let output = json!({"files": here(), "output": {"configMap": {"name": "texts"}}});
        broken(world, "in-the-way", "OutputConflict", output).await?;
        let headline = "Failed, 1/1 files uploaded, not Available (OutputConflict)";
        explained(world, "in-the-way", headline, &["ConfigMap texts"], &["Delete it, or choose another name"]).await?;

        // Mended as the fix says, all is well.
        world
            .secret("absent", &[("CYBERUN_API_KEY", world.stub.credential(cyberun_stub::Kind::Integration).token())])
            .await?;
        world.available("no-secret").await?;
        let headline = "Ready, 1/1 files uploaded, Available";
        explained(world, "no-secret", headline, &["The upload went well"], &["Do nothing"]).await.map(drop)
    });
}

#[test]
fn what_nobody_looks_at_and_what_does_not_exist_say_what_to_check() {
    scenario(OPERATOR, async |world| {
        world.file_upload("alone", json!({"files": [file("photo", "texts", "a.txt")]})).await?;
        let namespace = world.namespace.clone();
        let admin = Person::admin(world);
        let said = admin.runs(&["explain", "-n", &namespace, "alone"]).await?;
        let headline = format!("{namespace}/alone: no operator has looked at it yet");
        let text = said.explains(&[
            &headline,
            "Cause: No operator is running",
            "Fix: Check that a Pod of the operator is ready",
        ]);
        assert!(text.lines().nth(2).unwrap_or_default().contains(&namespace), "{text}");
        let said = admin.runs(&["explain", "-n", &namespace, "absent"]).await?;
        said.fails(1, &[&format!("namespace {namespace} has no FileUpload absent"), "--all-namespaces", "-n"]);
        // As a plugin it is found by kubectl, and calls itself as people do.
        let said = admin.runs_kubectl(world, &["fileupload", "explain", "-n", &namespace, "alone"]).await?;
        assert!(said.code == Some(0) && said.stdout == text, "{said:?}");
        Ok(())
    });
}

#[test]
fn who_may_read_only_the_resource_gets_an_answer_and_is_told_what_was_not_read() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        world.operator().await?;
        broken(world, "one", "ClaimNotFound", json!({"files": [on_claim("raw", "data", "r.txt")]})).await?;
        let namespace = world.namespace.clone();
        let asks = ["explain", "-n", &namespace, "one"];
        let get = json!([{"apiGroups": ["cyberun.cloud"], "resources": ["fileuploads"], "verbs": ["get"]}]);
        let said = Person::with_rules(world, "few", get).await?.runs(&asks).await?;
        let headline = format!("{namespace}/one: Pending, 0/1 files uploaded, not Available (ClaimNotFound)");
        let lines = ["Cause: File raw", "Fix: Create it, or correct claimName", "Next: "];
        let unread =
            ["Jobs", "Pods", "PersistentVolumeClaims"].map(|kind| format!("Not read: {kind} of namespace {namespace}"));
        let expected: Vec<&str> =
            [headline.as_str()].into_iter().chain(lines).chain(unread.iter().map(String::as_str)).collect();
        let text = said.explains(&expected);
        assert!(text.contains("You have no right to list them."), "{text}");

        let said = Person::with_rules(world, "none", json!([])).await?.runs(&asks).await?;
        said.fails(1, &["no right", "fileuploads", "one", "chart"]);
        Ok(())
    });
}

#[test]
fn a_pod_that_no_node_can_run_is_explained_at_once_whatever_the_status_says() -> anyhow::Result<()> {
    with_pods(OPERATOR, "workers", async |world| {
        world.shared_claim("data", &["a", "b"]).await?;
        world.operator().await?;
        let spec = json!({"worker": {"nodeSelector": {"disk": "none-has-this"}}});
        world.upload_from("data", "two", &["a", "b"], spec).await?;
        let upload = world.says("two", ("WorkerPending", "Reconciling"), &["no node can run the worker"]).await?;
        // From here on no operator looks, and what it found is taken out of the status again.
        world.operator().await?.terminate().await?;
        let mut status = upload["status"].clone();
        for entry in status["files"].as_array_mut().into_iter().flatten() {
            entry["reason"].take();
            entry["message"].take();
            entry["state"] = "Uploading".into();
        }
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            (condition["reason"], condition["message"]) = ("Uploading".into(), "files are being uploaded".into());
        }
        status["phase"] = "Uploading".into();
        let patch = kube::api::Patch::Merge(json!({"status": status}));
        world.api("FileUpload").patch_status("two", &kube::api::PatchParams::default(), &patch).await?;
        let patched = world.read("FileUpload", "two").await?;
        assert_eq!(reason(&patched), "Uploading", "{patched:#}");
        let headline = "Pending, 0/2 files uploaded, not Available (WorkerPending)";
        let cause = ["File a: ", "no node can run the worker", "didn't match"];
        let fix = ["spec.worker", "nodeSelector"];
        let text = explained(world, "two", headline, &cause, &fix).await?;
        assert!(!text.contains("Also:"), "what is the same for both files is said once: {text}");

        // Kubernetes' own role for who may look reads all that it takes.
        let asks = ["explain", "-n", &world.namespace.clone(), "two"];
        let said = Person::with_cluster_role(world, "viewer", "view").await?.runs(&asks).await?;
        assert_eq!(said.explains(&[]), text);
        Ok(())
    })
}
