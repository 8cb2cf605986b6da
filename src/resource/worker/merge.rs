//! The operator's defaults and a spec, merged: maps entry by entry with the spec winning, lists and single values whole.
//!
//! Requests and limits are merged by resource: what the spec says of `memory` replaces all that the defaults say of it, as
//! a request above its limit would be refused.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::SELinuxOptions;

use super::{Worker, WorkerResources, WorkerSecurityContext};

impl Worker {
    /// These settings, with `defaults` where they say nothing.
    #[must_use]
    pub fn or(&self, defaults: &Self) -> Self {
        let Self { security_context, node_selector, tolerations, resources, priority_class_name, labels, annotations } =
            self.clone();
        let given = defaults.clone();
        Self {
            security_context: both(security_context, given.security_context, WorkerSecurityContext::or),
            node_selector: entries(node_selector, given.node_selector),
            tolerations: tolerations.or(given.tolerations),
            resources: both(resources, given.resources, WorkerResources::or),
            priority_class_name: priority_class_name.or(given.priority_class_name),
            labels: entries(labels, given.labels),
            annotations: entries(annotations, given.annotations),
        }
    }
}

impl WorkerSecurityContext {
    fn or(self, given: Self) -> Self {
        let Self { run_as_user, run_as_group, supplemental_groups, se_linux_options } = self;
        Self {
            // A group belongs to its user: that of the defaults would be a stranger to the spec's.
            run_as_group: run_as_group.or(run_as_user).or(given.run_as_group),
            run_as_user: run_as_user.or(given.run_as_user),
            supplemental_groups: supplemental_groups.or(given.supplemental_groups),
            se_linux_options: both(se_linux_options, given.se_linux_options, |options, given| SELinuxOptions {
                level: options.level.or(given.level),
                role: options.role.or(given.role),
                type_: options.type_.or(given.type_),
                user: options.user.or(given.user),
            }),
        }
    }
}

impl WorkerResources {
    /// These amounts, with `given` for each resource of which they say nothing.
    #[must_use]
    pub fn or(self, mut given: Self) -> Self {
        let named = self.limits.iter().chain(&self.requests).flat_map(BTreeMap::keys);
        for name in named {
            for amounts in [&mut given.limits, &mut given.requests].into_iter().flatten() {
                amounts.remove(name);
            }
        }
        Self { limits: entries(self.limits, given.limits), requests: entries(self.requests, given.requests) }
    }

    /// Both for each resource: what has only a limit requests the same, and what has only a request is limited to the same.
    /// But a CPU that is free is nobody's loss, so it has a limit only where one is named.
    #[must_use]
    pub fn completed(self) -> Self {
        let (mut limits, mut requests) = (self.limits.unwrap_or_default(), self.requests.unwrap_or_default());
        for (name, amount) in &limits {
            requests.entry(name.clone()).or_insert_with(|| amount.clone());
        }
        for (name, amount) in requests.iter().filter(|(name, _)| *name != "cpu") {
            limits.entry(name.clone()).or_insert_with(|| amount.clone());
        }
        Self { limits: Some(limits), requests: Some(requests) }
    }
}

fn both<T>(own: Option<T>, given: Option<T>, merged: impl Fn(T, T) -> T) -> Option<T> {
    match (own, given) {
        (Some(own), Some(given)) => Some(merged(own, given)),
        (own, given) => own.or(given),
    }
}

fn entries<T>(own: Option<BTreeMap<String, T>>, given: Option<BTreeMap<String, T>>) -> Option<BTreeMap<String, T>> {
    both(own, given, |own, mut given| {
        given.extend(own);
        given
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn merged(spec: Value, defaults: Value) -> Value {
        let [spec, defaults]: [Worker; 2] = [spec, defaults].map(|worker| from_value(worker).unwrap());
        json!(spec.or(&defaults))
    }

    #[test]
    fn maps_merge_with_the_spec_winning_and_lists_are_replaced() {
        let defaults = json!({
            "securityContext": {"runAsUser": 1000, "supplementalGroups": [1, 2], "seLinuxOptions": {"level": "s0", "type": "t"}},
            "nodeSelector": {"pool": "batch", "disk": "slow"},
            "tolerations": [{"key": "batch", "operator": "Exists"}],
            "priorityClassName": "low",
            "labels": {"team": "platform", "cost": "shared"},
            "annotations": {"a": "1"},
        });
        let spec = json!({
            "securityContext": {"supplementalGroups": [3], "seLinuxOptions": {"level": "s0:c1"}},
            "nodeSelector": {"disk": "fast"},
            "tolerations": [],
            "labels": {"team": "data"},
        });
        let both = json!({
            "securityContext": {"runAsUser": 1000, "supplementalGroups": [3], "seLinuxOptions": {"level": "s0:c1", "type": "t"}},
            "nodeSelector": {"pool": "batch", "disk": "fast"},
            "tolerations": [],
            "priorityClassName": "low",
            "labels": {"team": "data", "cost": "shared"},
            "annotations": {"a": "1"},
        });
        assert_eq!(merged(spec, defaults.clone()), both);
        assert_eq!(merged(json!({}), defaults.clone()), defaults);
        assert_eq!(merged(defaults.clone(), json!({})), defaults);
    }

    #[test]
    fn a_user_of_the_spec_does_not_get_the_group_of_the_defaults() {
        let defaults = json!({"securityContext": {"runAsUser": 1000, "runAsGroup": 2000}});
        let both = merged(json!({"securityContext": {"runAsUser": 1234}}), defaults);
        assert_eq!(both["securityContext"], json!({"runAsUser": 1234, "runAsGroup": 1234}));
    }

    #[test]
    fn no_request_is_above_its_limit_whatever_is_named() {
        let defaults = json!({"resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"memory": "512Mi"}}});
        for (spec, limits, requests) in [
            (json!({}), json!({"cpu": "1", "memory": "1Gi"}), json!({"cpu": "1", "memory": "512Mi"})),
            (
                json!({"limits": {"memory": "64Mi"}}),
                json!({"cpu": "1", "memory": "64Mi"}),
                json!({"cpu": "1", "memory": "64Mi"}),
            ),
            (
                json!({"requests": {"memory": "2Gi"}}),
                json!({"cpu": "1", "memory": "2Gi"}),
                json!({"cpu": "1", "memory": "2Gi"}),
            ),
            (json!({"requests": {"cpu": "2"}}), json!({"memory": "1Gi"}), json!({"cpu": "2", "memory": "512Mi"})),
        ] {
            let both: Worker = from_value(merged(json!({"resources": spec}), defaults.clone())).unwrap();
            let both = json!(both.resources.unwrap().completed());
            assert_eq!(both, json!({"limits": limits, "requests": requests}), "{spec}");
        }
    }
}
