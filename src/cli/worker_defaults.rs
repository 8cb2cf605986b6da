//! The file of `--worker-defaults`: settings of workers where a spec says nothing, in the shape of `spec.worker`.
//!
//! It is checked as a spec is at admission: a fault ends the start, and names file, field, cause and fix.

use std::path::Path;

use serde_json::{Value, json};

use super::Usage;
use super::fields::known_only;
use super::operating::text_of;
use crate::resource::Worker;

/// The largest file that is read.
const LARGEST: usize = 64 * 1024;

/// The settings in this file.
pub(super) fn read(path: &Path) -> Result<Worker, Usage> {
    let text = text_of("--worker-defaults", path, LARGEST)?;
    parse(&text).map_err(|why| Usage(format!("--worker-defaults {}: {why}", path.display())))
}

fn parse(text: &str) -> Result<Worker, String> {
    if text.trim().is_empty() {
        return Ok(Worker::default());
    }
    let typed: Value = serde_yaml::from_str(text).map_err(|error| format!("is not YAML: {error}"))?;
    if !(typed.is_object() || typed.is_null()) {
        return Err("holds no fields: write those of spec.worker, such as nodeSelector".to_owned());
    }
    let worker: Worker = if typed.is_null() {
        Worker::default()
    } else {
        serde_json::from_value(typed.clone()).map_err(|error| mistyped(&typed, &error.to_string()))?
    };
    known_only(&typed, &json!(worker), "")?;
    match worker.fault() {
        Some((field, why)) => Err(format!("{field}: {why}")),
        None => Ok(worker),
    }
}

/// The path of the field whose value has the wrong type.
fn mistyped(typed: &Value, error: &str) -> String {
    let parses = |value: Value| serde_json::from_value::<Worker>(value).is_ok();
    let path = narrow(typed, &parses);
    format!("{}: {error}: write it as in spec.worker (fileupload crd shows the types)", path.join("."))
}

/// The way to the one value that does not parse, alone among its neighbours.
fn narrow(value: &Value, parses: &dyn Fn(Value) -> bool) -> Vec<String> {
    for (name, inner) in value.as_object().into_iter().flatten() {
        let within = |inner: Value| parses(json!({ name: inner }));
        if !within(inner.clone()) {
            return [vec![name.clone()], narrow(inner, &within)].concat();
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_or_refused_with_field_cause_and_fix() {
        for text in ["", "# nothing yet\n", "{}", "nodeSelector: {disk: fast}", "resources: {limits: {cpu: 1}}"] {
            assert!(parse(text).is_ok(), "{text}: {:?}", parse(text).err());
        }
        let user = parse("securityContext: {runAsUser: 1000}").unwrap().security_context.unwrap().run_as_user;
        assert_eq!(user, Some(1000));
        for (text, words) in [
            ("[", &["not YAML"][..]),
            ("text", &["spec.worker"]),
            ("nodeSelektor: {a: b}", &["nodeSelektor", "no such field"]),
            ("runAsUser: 1000", &["runAsUser", "spec.worker.securityContext.runAsUser"]),
            ("securityContext: {fsGroup: 1000}", &["securityContext.fsGroup", "supplementalGroups"]),
            ("securityContext: {runAsUser: 0}", &["securityContext.runAsUser", "root", "sidecar"]),
            ("securityContext: {runAsUser: me}", &["securityContext.runAsUser", "string \"me\"", "spec.worker"]),
            ("tolerations: {key: a}", &["tolerations", "map", "spec.worker"]),
            ("labels: {cyberun.cloud/a: b}", &["labels[cyberun.cloud/a]", "operator's", "leave it out"]),
            ("labels: {batch.kubernetes.io/job-name: b}", &["batch.kubernetes.io/job-name", "leave it out"]),
        ] {
            let said = parse(text).unwrap_err();
            assert!(words.iter().all(|word| said.contains(word)), "{text}: {said}");
        }
    }
}
