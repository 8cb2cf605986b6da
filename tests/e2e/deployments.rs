//! Several deployments of Cyberun beside each other: each with its API, authority, life of keys and namespaces.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context as _;
use cyberun_stub::{Kind, Options, Stub};
use jiff::Timestamp;
use serde_json::{Value, json};
use test_support::{file, files, on_claim, with_pods_and};

use crate::OPERATOR;

/// How long each key lives.
fn lives(upload: &Value) -> anyhow::Result<Vec<Duration>> {
    let moment = |file: &Value, field: &str| anyhow::Ok(file[field].as_str().context("no time")?.parse::<Timestamp>()?);
    let life =
        |file: &Value| anyhow::Ok(moment(file, "expiresAt")?.duration_since(moment(file, "uploadedAt")?).try_into()?);
    files(upload).iter().map(life).collect()
}

#[test]
fn two_deployments_with_their_own_authorities_and_lives_serve_side_by_side() -> anyhow::Result<()> {
    let options = Options { tls: true, ..Options::default() };
    with_pods_and(OPERATOR, options.clone(), "workers", async |world| {
        let bind: IpAddr = world.stub.api_url().host_str().context("a URL without a host")?.parse()?;
        let lab = Stub::start(Options { bind, ..options }).await?;
        world.credential().await?;
        world.secret("lab", &[("CYBERUN_API_KEY", lab.credential(Kind::Integration).token())]).await?;
        world.config_map("texts", &[("a.txt", "one")]).await?;
        world.volume("data", &["ReadWriteMany"], &[("b.txt", b"two")]).await?;
        let deployments = json!([
            {"name": "main", "default": true, "apiUrl": world.stub.api_url(), "caBundle": ""},
            {"name": "lab", "apiUrl": lab.api_url(), "caBundle": lab.ca_pem(), "retention": "12h", "minimumLife": "30m"},
            {"name": "ops", "apiUrl": lab.api_url(), "namespaces": ["ops-*"]},
        ]);
        // The bundle of all is in the arguments of each worker, alone or with the deployment's own.
        let values = [
            &format!("deployments={deployments}"),
            &format!("caBundle={}", json!(world.stub.ca_pem())),
            "allowHttp=false",
            "rbac.secretNames=[\"cyberun\",\"lab\"]",
        ];
        world.operator_with(&values).await?;
        let list = json!([file("a", "texts", "a.txt"), on_claim("b", "data", "b.txt")]);
        let spec = |deployment: Option<&str>| {
            let secret = json!({"secretRef": {"name": if deployment.is_some() { "lab" } else { "cyberun" }}});
            json!({"files": list, "deployment": deployment, "credentials": secret})
        };
        world.file_upload("one", spec(None)).await?;
        world.file_upload("two", spec(Some("lab"))).await?;
        world.file_upload("three", spec(Some("ops"))).await?;
        let (one, two) = (world.available("one").await?, world.available("two").await?);
        let objects = [world.stub.objects(), lab.objects()];
        for (upload, hours, objects) in [(&one, 24, &objects[0]), (&two, 12, &objects[1])] {
            assert_eq!(lives(upload)?, [Duration::from_hours(hours); 2]);
            let is_stored = |file: &Value| file["fileKey"].as_str().is_some_and(|key| objects.contains_key(key));
            assert!(files(upload).iter().all(is_stored) && objects.len() == 2, "{upload:#}");
        }
        let words = ["the deployment ops does not serve namespace", "set spec.deployment to main or lab"];
        world.says("three", ("DeploymentUnknown", "Stalled"), &words).await?;
        world.patch("FileUpload", "three", json!({"spec": {"deployment": "lab"}})).await?;
        world.available("three").await?;
        assert_eq!((world.stub.objects().len(), lab.objects().len()), (2, 4));
        Ok(())
    })
}
