//! A CRD of before folders, deployments and `availableUntil`, with an operator that knows them: the order in which GitOps
//! may well upgrade the two.

use anyhow::Context as _;
use cyberun_stub::Options;
use serde_json::{Value, json};
use test_support::{DEADLINE, Request, World, file, kubectl, reason, scenario_alone, state, two_files};

use crate::OPERATOR;

/// What that CRD had not yet.
const SPEC: [&str; 2] = ["folders", "deployment"];
const STATUS: [&str; 3] = ["folders", "deployment", "availableUntil"];

/// Begun, one file stored, both stored, its output written, and that once more.
const MOST_WRITES: usize = 5;

/// The CRD of now, and the one of then.
fn definitions() -> anyhow::Result<(Value, Value)> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/crds/fileuploads.cyberun.cloud.yaml"))?;
    let now: Value = serde_yaml::from_str(&text)?;
    let mut then = now.clone();
    let version = &mut then["spec"]["versions"][0];
    version["additionalPrinterColumns"] = json!([]);
    for (part, gone) in [("spec", SPEC.as_slice()), ("status", STATUS.as_slice())] {
        let schema = &mut version["schema"]["openAPIV3Schema"]["properties"][part];
        for field in gone {
            let properties = schema["properties"].as_object_mut().context("properties")?;
            properties.remove(*field).with_context(|| format!("{part}.{field} is not in the CRD"))?;
        }
        let rules = schema["x-kubernetes-validations"].take();
        let mut rules: Vec<Value> = rules.as_array().cloned().unwrap_or_default();
        rules.retain(|rule| !gone.iter().any(|field| rule["rule"].to_string().contains(&format!("self.{field}"))));
        schema["x-kubernetes-validations"] = json!(rules);
    }
    Ok((now, then))
}

fn replace(world: &World, definition: &Value) -> anyhow::Result<()> {
    kubectl(world.cluster, ["replace", "--filename=-"], &definition.to_string())?;
    Ok(())
}

/// Waits until the API server knows `spec.folders`, or does not.
async fn knows_folders(world: &World, expected: bool) -> anyhow::Result<()> {
    let volume = json!({"persistentVolumeClaim": {"claimName": "data"}});
    let spec = json!({
        "folders": [{"name": "frames", "source": volume}], "output": {"configMap": {"name": "keys"}},
    });
    let manifest = json!({
        "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload",
        "metadata": {"name": "tried", "namespace": world.namespace}, "spec": spec,
    });
    let tried = async || {
        let answer = kubectl(world.cluster, ["create", "--dry-run=server", "--filename=-"], &manifest.to_string());
        let complaint = answer.err().map(|error| format!("{error:#}"));
        let is_unknown =
            complaint.as_ref().is_some_and(|complaint| complaint.contains(r#"unknown field "spec.folders""#));
        Ok((if expected { complaint.is_none() } else { is_unknown }, complaint))
    };
    world.wait_for(DEADLINE, &format!("a CRD with folders: {expected}"), tried).await.map(drop)
}

#[test]
fn an_operator_serves_files_under_an_older_crd_and_rests_and_keeps_their_keys_when_it_is_upgraded() -> anyhow::Result<()>
{
    scenario_alone(OPERATOR, Options::default(), "an older CRD", async |world| {
        let (now, then) = definitions()?;
        replace(world, &then)?;
        knows_folders(world, false).await?;
        world.credential().await?;
        world.config_map("texts", &[("a.txt", "one")]).await?;
        world.config_map("more", &[("b.txt", "two")]).await?;
        world.operator_everywhere(&[]).await?;
        world.file_upload("two", two_files()).await?;
        let old = world.upload("two", "its keys", |upload| state(upload, "Available") == "True").await?;
        assert!(old["status"]["availableUntil"].is_null(), "this CRD has no such field: {old}");
        world.config_map("last", &[("c.txt", "three")]).await?;
        world.file_upload("last", json!({"files": [file("c", "last", "c.txt")]})).await?;
        world.available("last").await?;
        // A status that is never as it was written is no reason to write it again and again.
        let is_write = |request: &Request| request.resource == "fileuploads/status" && request.name == "two";
        let writes = world.audit("fileuploads", is_write)?.map(|writes| writes.len());
        assert!(writes.is_none_or(|writes| writes <= MOST_WRITES), "{writes:?}");

        replace(world, &now)?;
        knows_folders(world, true).await?;
        world.patch("FileUpload", "two", json!({"metadata": {"labels": {"seen": "again"}}})).await?;
        let new =
            world.upload("two", "availableUntil", |upload| upload["status"]["availableUntil"].is_string()).await?;
        assert_eq!(new["status"]["files"], old["status"]["files"], "the keys stay");
        assert_eq!((reason(&new), world.stub.objects().len()), ("Uploaded", 3), "and nothing is sent again");
        Ok(())
    })
}
