//! Which Secrets the operator may use: by default `cyberun` alone, and the answer names the value that adds another.

use serde_json::{Value, json};
use test_support::{file, message, reason, scenario};

use crate::OPERATOR;

/// A spec of one file, with the credential of this Secret.
fn with_secret(name: &str) -> Value {
    json!({"files": [file("a", "texts", "a.txt")], "credentials": {"secretRef": {"name": name}}})
}

#[test]
fn a_secret_that_the_chart_does_not_name_is_not_read_and_the_value_to_set_is_named() {
    scenario(OPERATOR, async |world| {
        let credential = world.with_texts(&[("a.txt", "one")]).await?;
        world.secret("team-key", &[("CYBERUN_API_KEY", credential.token())]).await?;
        world.expect_refusals();
        world.file_upload("other", with_secret("team-key")).await?;
        let words = ["may not read Secret team-key", "have team-key added to rbac.secretNames"];
        world.says("other", ("SecretNotFound", "Reconciling"), &words).await?;
        assert_eq!(world.stub.calls().len(), 0);
        world.file_upload("default", with_secret("cyberun")).await?;
        world.available("default").await?;
        Ok(())
    });
}

/// The operator reads no Secret then, so that its rights say nothing; the policies bound what its workers mount.
#[test]
fn a_worker_does_not_mount_a_secret_that_the_chart_does_not_name() {
    scenario(OPERATOR, async |world| {
        let credential = world.credential().await?;
        world.secret("team-key", &[("CYBERUN_API_KEY", credential.token())]).await?;
        world.config_map("texts", &[("a.txt", "one")]).await?;
        world.operator_with(&["directUploads=false"]).await?;
        world.expect_refusals();
        let container = json!({"name": "own", "image": "registry.example/own:1"});
        let other = json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}});
        world.thief().await?.refuses("Job", other, "belongs to one FileUpload").await?;
        world.file_upload("other", with_secret("team-key")).await?;
        let denied = world.upload("other", "AdmissionDenied", |upload| reason(upload) == "AdmissionDenied").await?;
        assert!(message(&denied).contains("which rbac.secretNames names: cyberun"), "{denied:#}");
        Ok(())
    });
}
