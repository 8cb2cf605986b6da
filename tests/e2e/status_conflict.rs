//! Somebody else writes the object while a file is on its way: the key that was paid for is kept.

use cyberun_stub::{Fault, Hold, Moment, Step};
use serde_json::json;
use test_support::{DEADLINE, Request, file, key_of, scenario};

use crate::OPERATOR;

#[test]
fn a_conflict_on_the_status_write_loses_no_key_and_costs_no_second_put() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        world.config_map("texts", &[("a.txt", "first")]).await?;
        let hold = Hold::new("stored, not answered");
        world.stub.fault(Step::Put, Fault::hold(&hold).at(Moment::Committed));
        world.operator().await?;
        world.file_upload("one", json!({"files": [file("a", "texts", "a.txt")]})).await?;
        hold.reached(DEADLINE).await?;
        // Somebody writes all the time, so that what the operator has read is soon old; each write is a new generation
        // that the status has to tell, so there is always a status on its way.
        let writes = async {
            for policy in ["BeforeExpiry", "Never"].iter().cycle() {
                world.patch("FileUpload", "one", json!({"spec": {"refreshPolicy": policy}})).await?;
            }
            anyhow::Ok(())
        };
        let conflicts = || {
            let conflict = |request: &Request| request.code == 409 && request.resource == "fileuploads/status";
            anyhow::Ok(world.requests()?.map_or(1, |all| all.into_iter().filter(conflict).count()))
        };
        hold.release();
        let met = world.wait_for(DEADLINE, "a conflict", async || conflicts().map(|met| (met > 0, met)));
        tokio::select! { ended = writes => ended?, met = met => drop(met?) }

        let upload = world.available("one").await?;
        let put = world.calls(Step::Put);
        assert_eq!((put.len(), world.calls(Step::Presign).len()), (1, 1));
        assert_eq!(key_of(&upload, "a"), put[0].file_key.as_deref());
        Ok(())
    });
}

#[test]
fn a_spec_change_during_a_put_keeps_the_key_of_the_unchanged_file() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        world.config_map("texts", &[("a.txt", "first"), ("b.txt", "second")]).await?;
        let hold = Hold::new("stored, not answered");
        world.stub.fault(Step::Put, Fault::hold(&hold).at(Moment::Committed));
        world.operator().await?;
        world.file_upload("one", json!({"files": [file("a", "texts", "a.txt")]})).await?;
        hold.reached(DEADLINE).await?;
        let list = json!([file("a", "texts", "a.txt"), file("b", "texts", "b.txt")]);
        world.patch("FileUpload", "one", json!({"spec": {"files": list}})).await?;
        hold.release();

        let upload = world.available("one").await?;
        assert_eq!(world.stored_keys(&upload)?.len(), 2);
        let names: Vec<_> = world.calls(Step::Put).into_iter().filter_map(|call| call.file_name).collect();
        assert_eq!(names, ["a.txt", "b.txt"]);
        Ok(())
    });
}

#[test]
fn a_changed_file_does_not_take_the_key_of_what_it_was() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        world.config_map("texts", &[("a.txt", "first"), ("b.txt", "second")]).await?;
        let hold = Hold::new("stored, not answered");
        world.stub.fault(Step::Put, Fault::hold(&hold).at(Moment::Committed));
        world.operator().await?;
        world.file_upload("one", json!({"files": [file("a", "texts", "a.txt")]})).await?;
        hold.reached(DEADLINE).await?;
        world.patch("FileUpload", "one", json!({"spec": {"files": [file("a", "texts", "b.txt")]}})).await?;
        hold.release();

        let upload = world.available("one").await?;
        let key = &world.stored_keys(&upload)?[0];
        assert_eq!(world.stub.objects()[key].file_name, "b.txt", "the key is that of the present revision");
        Ok(())
    });
}
