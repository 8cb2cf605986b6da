//! What is wrong with settings of workers, for those that no API server has checked: a file of defaults, manifests on disk,
//! and what an older schema let through. The rules are those of the schema.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::super::metadata;
use super::{Worker, WorkerSecurityContext, bounds};

/// The largest uid or gid.
const LARGEST_ID: i64 = i32::MAX as i64;
const OURS: &str = "it is the operator's or of Kubernetes' Jobs: leave it out";
const NO_KEY: &str =
    "it is not the key of a label: write a name of letters and digits, perhaps after a domain in lower case and '/'";

/// What is wrong: a field beneath `spec.worker`, and why with the way out.
type Fault = (String, String);

impl Worker {
    /// The first field that cannot be used, and why, with the way out.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        let Self { security_context, node_selector, tolerations, resources, priority_class_name, labels, annotations } =
            self;
        let of_context = || security_context.as_ref().and_then(WorkerSecurityContext::fault);
        let of_selector = || of_map("nodeSelector", node_selector.as_ref(), metadata::is_label_value, |_| false);
        let of_labels = || of_map("labels", labels.as_ref(), metadata::is_label_value, is_taken);
        let of_annotations = || of_map("annotations", annotations.as_ref(), metadata::is_annotation, is_taken);
        let of_tolerations = || of_tolerations(tolerations.as_deref().unwrap_or_default());
        let given = resources.as_ref();
        let of_limits = || of_amounts("limits", given.and_then(|given| given.limits.as_ref()));
        let of_requests = || of_amounts("requests", given.and_then(|given| given.requests.as_ref()));
        of_context()
            .or_else(of_selector)
            .or_else(of_tolerations)
            .or_else(of_limits)
            .or_else(of_requests)
            .or_else(|| of_priority(priority_class_name.as_deref()?))
            .or_else(of_labels)
            .or_else(of_annotations)
    }
}

impl WorkerSecurityContext {
    fn fault(&self) -> Option<Fault> {
        let at = |field: &str, why: String| Some((format!("securityContext.{field}"), why));
        let is_id = |id: &i64| (0..=LARGEST_ID).contains(id);
        let range = || format!("it must be from 0 to {LARGEST_ID}");
        if self.run_as_user == Some(0) {
            return at("runAsUser", bounds::ROOT.to_owned());
        }
        for (field, id) in [("runAsUser", self.run_as_user), ("runAsGroup", self.run_as_group)] {
            if id.is_some_and(|id| !is_id(&id)) {
                return at(field, range());
            }
        }
        let groups = self.supplemental_groups.as_deref().unwrap_or_default();
        if groups.len() > metadata::MOST || !groups.iter().all(is_id) {
            return at(
                "supplementalGroups",
                format!("name at most {} groups, each from 0 to {LARGEST_ID}", metadata::MOST),
            );
        }
        let options = self.se_linux_options.as_ref()?;
        let mut given = [&options.level, &options.role, &options.type_, &options.user].into_iter().flatten();
        given.any(|label| is_longer(label, bounds::LONGEST_SE_LINUX)).then_some(())?;
        at("seLinuxOptions", format!("each label has at most {} characters", bounds::LONGEST_SE_LINUX))
    }
}

fn is_taken(key: &str) -> bool {
    metadata::is_reserved(key) || metadata::is_of_jobs(key)
}

fn is_longer(text: &str, most: usize) -> bool {
    text.chars().nth(most).is_some()
}

fn of_map(
    field: &str,
    given: Option<&BTreeMap<String, String>>,
    is_value: fn(&str) -> bool,
    is_taken: fn(&str) -> bool,
) -> Option<Fault> {
    let given = given?;
    if given.len() > metadata::MOST {
        return Some((field.to_owned(), format!("name at most {}", metadata::MOST)));
    }
    given.iter().find_map(|(key, value)| {
        let why = match () {
            () if !metadata::is_label_key(key) => NO_KEY,
            () if is_taken(key) => OURS,
            () if !is_value(value) => {
                "Kubernetes accepts no such value: a label has up to 63 letters, digits, '-', '_' and '.', an annotation 4096 characters"
            }
            () => return None,
        };
        Some((format!("{field}[{key}]"), why.to_owned()))
    })
}

fn of_tolerations(given: &[Toleration]) -> Option<Fault> {
    if given.len() > metadata::MOST {
        return Some(("tolerations".to_owned(), format!("name at most {}", metadata::MOST)));
    }
    given.iter().enumerate().find_map(|(at, toleration)| {
        let Toleration { effect, key, operator, toleration_seconds, value } = toleration;
        let is_known = |text: &Option<String>, known: &[&str]| text.as_deref().is_none_or(|text| known.contains(&text));
        let is_long = |text: &Option<String>, most| text.as_deref().is_some_and(|text| is_longer(text, most));
        let (field, why) = match () {
            () if !is_known(operator, &bounds::OPERATORS) => ("operator", "write Exists or Equal"),
            () if !is_known(effect, &bounds::EFFECTS) => {
                ("effect", "write NoSchedule, PreferNoSchedule or NoExecute, or leave it out")
            }
            () if is_long(key, bounds::LONGEST_KEY) => ("key", "no taint has so long a key"),
            () if is_long(value, bounds::LONGEST_VALUE) => ("value", "no taint has so long a value"),
            () if toleration_seconds.is_some_and(|seconds| !(0..=LARGEST_ID).contains(&seconds)) => {
                ("tolerationSeconds", "write seconds from 0 to 2147483647")
            }
            () => return None,
        };
        Some((format!("tolerations[{at}].{field}"), why.to_owned()))
    })
}

fn of_amounts(field: &str, given: Option<&BTreeMap<String, Quantity>>) -> Option<Fault> {
    let given = given?;
    if given.len() > bounds::MOST_RESOURCES {
        return Some((format!("resources.{field}"), format!("name at most {} resources", bounds::MOST_RESOURCES)));
    }
    let wrong = given.iter().find(|(name, amount)| !metadata::is_label_key(name) || !is_amount(&amount.0))?;
    Some((format!("resources.{field}[{}]", wrong.0), "write an amount as in a Pod, such as 250m or 64Mi".to_owned()))
}

/// Whether this is an amount as the schema's pattern has it.
fn is_amount(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let is_number = match number.split_once('.') {
        Some((whole, part)) => digits(whole) && digits(part),
        None => digits(number),
    };
    let exponent = unit.strip_prefix(['e', 'E']).map(|rest| rest.strip_prefix(['+', '-']).unwrap_or(rest));
    let units = ["", "m", "k", "M", "G", "T", "P", "E", "ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Ki"];
    !is_longer(text, 39) && is_number && (units.contains(&unit) || exponent.is_some_and(digits))
}

fn of_priority(name: &str) -> Option<Fault> {
    let why = match () {
        () if !metadata::is_domain(name) => "it is not the name of a PriorityClass",
        () if name.starts_with("system-") => "a worker is not part of the cluster's own system: name another",
        () => return None,
    };
    Some(("priorityClassName".to_owned(), why.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    #[test]
    fn what_cannot_be_used_is_named_by_its_field_with_the_reason() {
        let many = |of: &str| (0..33).map(|at| (format!("{of}{at}"), json!("1"))).collect::<serde_json::Map<_, _>>();
        let cases: [(Value, &str, &str); 21] = [
            (json!({"securityContext": {"runAsUser": 0}}), "securityContext.runAsUser", "sidecar"),
            (json!({"securityContext": {"runAsUser": -1}}), "securityContext.runAsUser", "from 0"),
            (json!({"securityContext": {"runAsGroup": 1_i64 << 31}}), "securityContext.runAsGroup", "2147483647"),
            (
                json!({"securityContext": {"supplementalGroups": vec![1; 33]}}),
                "securityContext.supplementalGroups",
                "at most 32",
            ),
            (
                json!({"securityContext": {"seLinuxOptions": {"level": "s".repeat(254)}}}),
                "securityContext.seLinuxOptions",
                "253",
            ),
            (json!({"nodeSelector": {"a b": "c"}}), "nodeSelector[a b]", "key of a label"),
            (json!({"nodeSelector": {"a": "c!"}}), "nodeSelector[a]", "no such value"),
            (json!({"tolerations": vec![json!({}); 33]}), "tolerations", "at most 32"),
            (json!({"tolerations": [{}, {"operator": "In"}]}), "tolerations[1].operator", "Exists"),
            (json!({"tolerations": [{"effect": "Never"}]}), "tolerations[0].effect", "NoExecute"),
            (json!({"tolerations": [{"tolerationSeconds": -1}]}), "tolerations[0].tolerationSeconds", "from 0"),
            (json!({"resources": {"limits": {"memory": "much"}}}), "resources.limits[memory]", "64Mi"),
            (json!({"resources": {"requests": many("r")}}), "resources.requests", "at most 16"),
            (json!({"priorityClassName": "High"}), "priorityClassName", "PriorityClass"),
            (json!({"priorityClassName": "system-node-critical"}), "priorityClassName", "own system"),
            (json!({"labels": {"cyberun.cloud/a": "b"}}), "labels[cyberun.cloud/a]", "operator's"),
            (json!({"labels": {"job-name": "b"}}), "labels[job-name]", "Jobs"),
            (json!({"labels": {"team": "x".repeat(64)}}), "labels[team]", "no such value"),
            (json!({"labels": many("l")}), "labels", "at most 32"),
            (
                json!({"annotations": {"app.kubernetes.io/managed-by": "b"}}),
                "annotations[app.kubernetes.io/managed-by]",
                "operator's",
            ),
            (json!({"annotations": {"a": "x".repeat(4097)}}), "annotations[a]", "4096"),
        ];
        for (worker, field, word) in cases {
            let (at, why) = from_value::<Worker>(worker.clone()).unwrap().fault().unwrap();
            assert!(at == field && why.contains(word), "{worker}: {at}: {why}");
        }
        let fine = json!({
            "securityContext": {"runAsUser": 1, "runAsGroup": 0, "supplementalGroups": [0], "seLinuxOptions": {"level": "s0"}},
            "nodeSelector": {"kubernetes.io/arch": "arm64", "empty": ""},
            "tolerations": [{"operator": "Exists"}, {"key": "a", "effect": "NoExecute", "tolerationSeconds": 0}],
            "resources": {"limits": {"memory": "1.5Gi", "cpu": 1}, "requests": {"example.com/device": "1e3"}},
            "priorityClassName": "low", "labels": {"team": "data"}, "annotations": {"a": "any text!"},
        });
        assert_eq!(from_value::<Worker>(fine).unwrap().fault(), None);
    }
}
