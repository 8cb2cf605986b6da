//! A resource that is deleted, by a person or by its time, and one of the same name that comes after it.

use cyberun_stub::Step;
use kube::api::{DeleteParams, PropagationPolicy};
use serde_json::{Value, json};

use test_support::{DEADLINE, key_of, reason, scenario, state, two_files};

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
fn an_output_that_was_left_behind_is_taken_over_by_a_resource_of_the_same_name() {
    scenario(OPERATOR, async |world| {
        world.uploaded_two(json!({})).await?;
        let left = world.read("ConfigMap", "keys").await?;
        let orphan = DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
        world.api("FileUpload").delete("two", &orphan).await?;
        let gone = async || world.read("FileUpload", "two").await.map(|upload| (upload.is_null(), upload));
        world.wait_for(DEADLINE, "the resource to go", gone).await?;

        world.file_upload("stranger", two_files()).await?;
        world.upload("stranger", "OutputConflict", |upload| reason(upload) == "OutputConflict").await?;
        world.delete("FileUpload", "stranger").await?;

        let puts = world.calls(Step::Put).len();
        world.file_upload("two", two_files()).await?;
        let upload = world.two_after(puts + 2).await?;
        let taken = world.read("ConfigMap", "keys").await?;
        assert_eq!(taken["metadata"]["uid"], left["metadata"]["uid"], "it is the same ConfigMap");
        let owners = &taken["metadata"]["ownerReferences"];
        assert_eq!((&owners[0]["uid"], &owners[1]), (&upload["metadata"]["uid"], &Value::Null));
        Ok(())
    });
}

#[test]
fn a_resource_that_is_deleted_and_made_anew_at_once_gets_keys_and_output_anew() {
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
