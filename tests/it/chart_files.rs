//! The chart's files as files: its values and their schema name the same things, and each alert has a page.
//!
//! What the chart writes is judged by `tests/e2e/chart`, its alerts by `tests/chart/run`, its metrics beside
//! `telemetry::metrics`.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

/// What another chart sets, so no value of this one.
const OF_OTHERS: [&str; 2] = ["enabled", "global"];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn chart(file: &str) -> Value {
    serde_yaml::from_str(&read(&format!("charts/fileupload-operator/{file}"))).unwrap()
}

/// The part of a schema that stands for this one.
fn resolved<'a>(schema: &'a Value, all: &'a Value) -> &'a Value {
    let Some(path) = schema["$ref"].as_str() else { return schema };
    all.pointer(path.trim_start_matches('#')).unwrap_or_else(|| panic!("the schema has no {path}"))
}

/// The paths of a schema's values.
fn paths_of_schema(schema: &Value, all: &Value, path: &str, found: &mut BTreeSet<String>) {
    let Some(properties) = resolved(schema, all)["properties"].as_object() else { return };
    for (name, schema) in properties {
        let path = format!("{path}.{name}");
        paths_of_schema(schema, all, &path, found);
        found.insert(path);
    }
}

/// The paths of values that the schema knows by name; what is below others is anybody's.
fn paths_of_values(values: &Value, path: &str, known: &BTreeSet<String>, found: &mut BTreeSet<String>) {
    for (name, value) in values.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let has_names = known.iter().any(|known| known.strip_prefix(&path).is_some_and(|rest| rest.starts_with('.')));
        if has_names {
            paths_of_values(value, &path, known, found);
        }
        found.insert(path);
    }
}

#[test]
fn values_and_schema_name_the_same_values() {
    let (values, schema) = (chart("values.yaml"), chart("values.schema.json"));
    let mut known = BTreeSet::new();
    paths_of_schema(&schema, &schema, "", &mut known);
    known.retain(|path| !OF_OTHERS.iter().any(|other| path.split('.').nth(1) == Some(*other)));
    // Of the shape of spec.worker, and empty.
    known.retain(|path| !path.starts_with(".workers.defaults."));
    let mut named = BTreeSet::new();
    paths_of_values(&values, "", &known, &mut named);
    assert_eq!(named, known);
    assert!(named.len() >= 80, "only {} values were found", named.len());
}

#[test]
fn every_alert_has_a_section_with_cause_and_next_step() {
    let (alerts, page) = (chart("files/alerts.yaml"), read("docs/runbook.md"));
    let rules = alerts["groups"][0]["rules"].as_array().unwrap();
    let sections: Vec<&str> = page.split("\n## ").skip(1).collect();
    assert_eq!(rules.len(), sections.len(), "as many alerts as sections");
    for (rule, section) in rules.iter().zip(sections) {
        let alert = rule["alert"].as_str().unwrap();
        assert!(
            section.starts_with(&format!("{alert}\n")),
            "docs/runbook.md has another order than the alerts at {alert}"
        );
        assert!(section.contains("\n- **Cause**: ") && section.contains("\n- **Next**:\n"), "{alert}: {section}");
        assert!(rule["annotations"]["summary"].is_string() && rule["labels"]["severity"].is_string(), "{alert}");
    }
}
