//! What the chart grants is used: a right that nobody needs is one for a thief.

use std::collections::BTreeSet;

use serde_json::Value;
use test_support::{DEADLINE, RELEASE, Request, with_pods};

use crate::OPERATOR;

/// The words of a field of a rule.
fn words<'a>(rule: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    rule[field].as_array().into_iter().flatten().filter_map(Value::as_str)
}

#[test]
#[ignore = "it judges what all other tests made the operator ask for: .ci/tiers runs it after them"]
fn each_verb_that_the_chart_grants_is_used_by_some_test() -> anyhow::Result<()> {
    with_pods(OPERATOR, "judging the rights", async |world| {
        let manifests = world.cluster.chart_in(&world.namespace, &[])?;
        let documents: Vec<Value> = manifests.split("\n---\n").map(serde_yaml::from_str).collect::<Result<_, _>>()?;
        let is_of_account = |document: &&Value| {
            let mut subjects = document["subjects"].as_array().into_iter().flatten();
            subjects.any(|subject| subject["kind"] == "ServiceAccount")
        };
        let bindings = documents.iter().filter(is_of_account);
        let bound: BTreeSet<&str> = bindings.filter_map(|binding| binding["roleRef"]["name"].as_str()).collect();
        let is_bound = |document: &&Value| {
            let is_role = document["kind"].as_str().is_some_and(|kind| kind.ends_with("Role"));
            is_role && document["metadata"]["name"].as_str().is_some_and(|name| bound.contains(name))
        };
        let rules = documents.iter().filter(is_bound).flat_map(|role| role["rules"].as_array().into_iter().flatten());
        let granted: BTreeSet<_> = rules
            .flat_map(|rule| {
                words(rule, "resources").flat_map(|kind| words(rule, "verbs").map(move |verb| (kind, verb)))
            })
            .collect();
        assert!(granted.len() > 20, "{granted:?}");
        // Of operators alone: the cluster's controllers and the persons of tests are service accounts too.
        let is_operator = |account: &str| account == RELEASE || account.ends_with("-account");
        let counts = |request: &Request| {
            let account = request.user.rsplit(':').next().unwrap_or_default();
            (request.code < 400 || request.code == 404) && is_operator(account)
        };
        let audit = world.audit("system:serviceaccount:", counts)?;
        if audit.is_none() {
            return Ok(());
        }
        // Others elect in clusters of their own, whose logs are gone.
        world.operator_with(&["leaderElection.enabled=true"]).await?;
        let unused = async || {
            let requests = world.audit("system:serviceaccount:", counts)?.unwrap_or_default();
            let used: BTreeSet<_> = requests.iter().map(|one| (one.resource.as_str(), one.verb.as_str())).collect();
            let unused: Vec<_> = granted.difference(&used).map(|(kind, verb)| format!("{verb} {kind}")).collect();
            Ok((unused.is_empty(), unused))
        };
        world.wait_for(DEADLINE, "each of the rights to be used", unused).await?;
        Ok(())
    })
}
