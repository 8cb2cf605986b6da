//! A resource that is deleted, by a person or by its time, and one of the same name that comes after it.

use kube::api::{DeleteParams, PropagationPolicy};
use serde_json::{Value, json};

use cyberun_stub::Options;
use test_support::{DEADLINE, key_of, message, reason, scenario, scenario_alone, state, two_files};

use crate::OPERATOR;

#[test]
fn a_resource_that_has_finished_is_deleted_in_its_time_with_its_output() {
    scenario(OPERATOR, async |world| {
        let uploads = world.history("FileUpload").await?;
        world.uploaded_two(json!({"ttlSecondsAfterFinished": 3})).await?;
        let gone = async || {
            let (upload, output) = (world.read("FileUpload", "two").await?, world.read("ConfigMap", "keys").await?);
            Ok((upload.is_null() && output.is_null(), (upload, output)))
        };
        world.wait_for(DEADLINE, "the resource and its output to go", gone).await?;
        let ended = uploads.states();
        assert!(ended.iter().any(|upload| state(upload, "Available") == "True"), "but not before it was Available");
        let renews =
            json!({"files": two_files()["files"], "ttlSecondsAfterFinished": 3, "refreshPolicy": "BeforeExpiry"});
        let refused = world.file_upload("never", renews).await;
        assert!(format!("{refused:?}").contains("ttlSecondsAfterFinished needs refreshPolicy Never"), "{refused:?}");
        Ok(())
    });
}

#[test]
fn an_output_that_was_left_behind_without_an_owner_is_nobodys_until_it_is_deleted() {
    scenario(OPERATOR, async |world| {
        world.uploaded_two(json!({})).await?;
        let orphan = DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
        world.api("FileUpload").delete("two", &orphan).await?;
        let gone = async || world.read("FileUpload", "two").await.map(|upload| (upload.is_null(), upload));
        world.wait_for(DEADLINE, "the resource to go", gone).await?;
        let left = world.read("ConfigMap", "keys").await?;
        assert!(left["metadata"]["ownerReferences"].is_null(), "Kubernetes takes the owner away");

        world.file_upload("two", two_files()).await?;
        world.upload("two", "OutputConflict", |upload| reason(upload) == "OutputConflict").await?;
        assert_eq!(world.read("ConfigMap", "keys").await?, left, "it is left alone");
        world.delete("ConfigMap", "keys").await?;
        let upload = world.available("two").await?;
        let made = world.read("ConfigMap", "keys").await?;
        assert_eq!(made["metadata"]["ownerReferences"][0]["uid"], upload["metadata"]["uid"]);
        Ok(())
    });
}

#[test]
fn a_resource_that_is_deleted_and_created_again_at_once_gets_new_keys_and_a_new_output() {
    scenario(OPERATOR, async |world| {
        let first = world.uploaded_two(json!({})).await?;
        world.delete("FileUpload", "two").await?;
        world.file_upload("two", two_files()).await?;
        let upload = world.two_after(4).await?;
        assert_ne!(upload["metadata"]["uid"], first["metadata"]["uid"]);
        // The garbage collector may be late; in the end the output is there and right.
        let right = |output: &Value| {
            let owner = &output["metadata"]["ownerReferences"][0]["uid"];
            *owner == upload["metadata"]["uid"] && output["data"]["a"].as_str() == key_of(&upload, "a")
        };
        world.wait("ConfigMap", "keys", "the output of the new resource", right).await?;
        Ok(())
    });
}

#[test]
fn an_output_that_the_garbage_collector_misses_is_deleted_for_the_next_resource_of_that_name() -> anyhow::Result<()> {
    scenario_alone(OPERATOR, Options::default(), "a garbage collector that stands still", async |world| {
        world.credential().await?;
        world.config_map("texts", &[("a.txt", "one")]).await?;
        world.config_map("more", &[("b.txt", "two")]).await?;
        world.operator_everywhere(&[]).await?;
        world.file_upload("two", two_files()).await?;
        world.available("two").await?;
        world.stop_controllers()?;
        world.forbid("stays", ("DELETE", "configmaps"), "oldObject.metadata.name != 'keys'", "outputs stay").await?;
        world.delete("FileUpload", "two").await?;
        world.file_upload("two", two_files()).await?;
        let refused = world.upload("two", "AdmissionDenied", |upload| reason(upload) == "AdmissionDenied").await?;
        let said = message(&refused);
        assert!(said.contains("ConfigMap keys belongs to a deleted FileUpload of the same name"), "{said}");
        assert!(said.contains("outputs stay"), "{said}");
        world.permit("stays").await?;
        let upload = world.available("two").await?;
        let output = world.read("ConfigMap", "keys").await?;
        assert_eq!(output["metadata"]["ownerReferences"][0]["uid"], upload["metadata"]["uid"]);
        assert_eq!(output["data"]["a"].as_str(), key_of(&upload, "a"));
        Ok(())
    })
}
