//! The judgement at each test's end is itself judged: it sees a leaked token and a right that is missing.

use serde_json::{Value, json};
use test_support::{DEADLINE, file, scenario};

use crate::OPERATOR;

#[test]
#[should_panic(expected = "a token or signed URL can be read")]
fn a_token_in_a_config_map_fails_the_test() {
    scenario(OPERATOR, async |world| {
        let credential = world.credential().await?;
        world.config_map("leak", &[("log", &format!("sent with {}", credential.token()))]).await
    });
}

#[test]
#[should_panic(expected = "a token or signed URL can be read")]
fn a_signed_url_in_a_config_map_fails_the_test() {
    scenario(OPERATOR, async |world| {
        world.config_map("leak", &[("log", "PUT http://store/key?X-Amz-Signature=00")]).await
    });
}

#[test]
fn a_request_that_the_chart_gives_no_right_to_is_seen() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        world.operator_with(&["rbac.secretNames=[\"another\"]"]).await?;
        world.config_map("texts", &[("a.txt", "first")]).await?;
        world.file_upload("one", json!({"files": [file("a", "texts", "a.txt")]})).await?;
        let refused = async || {
            let requests = world.requests()?;
            let is_seen = |all: &Vec<test_support::Request>| all.iter().any(|request| request.code == 403);
            Ok((requests.as_ref().is_none_or(is_seen), requests))
        };
        world.wait_for(DEADLINE, "a refused request in the audit log", refused).await?;
        let upload = world.read("FileUpload", "one").await?;
        assert_eq!(upload["status"]["fileKey"], Value::Null);
        world.expect_refusals();
        Ok(())
    });
}
