//! `docs/spec/fileupload.md`: the fields of a `FileUpload`, from the schema of its CustomResourceDefinition.

use std::fmt::Write;

use serde_json::Value;

use super::cell;
use crate::resource;

const HEAD: &str = "# FileUpload

`apiVersion: cyberun.cloud/v1alpha1`, `kind: FileUpload`, short names `fu` and `fup`, namespaced. No field of the spec has
a default in the schema; the description says what an absent field means. `[]` is each item of a list. A field is
required only if its parent is present.
";

pub(super) fn page() -> String {
    let crd = resource::crd();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut page = HEAD.to_owned();
    for part in ["spec", "status"] {
        let mut rows = Vec::new();
        fields(part, &schema["properties"][part], &mut rows);
        let about = schema["properties"][part]["description"].as_str().unwrap_or_default();
        let _ = write!(
            page,
            "\n## {part}\n\n{about}\n\n| field | type | required | bounds | description |\n|---|---|---|---|---|\n"
        );
        page.extend(rows);
    }
    let mut rules = Vec::new();
    collect(&mut rules, "", schema);
    page += "\n## Validation rules of the API server\n\n| of | rule | message |\n|---|---|---|\n";
    page.extend(rules);
    page
}

/// A row for each field beneath `path`.
fn fields(path: &str, schema: &Value, rows: &mut Vec<String>) {
    let required = |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|known| known == name));
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let (kind, about) = (kind(field), cell(field["description"].as_str().unwrap_or_default()));
        let needed = if required(name) { "yes" } else { "" };
        rows.push(format!("| `{path}` | {kind} | {needed} | {} | {about} |\n", bounds(field)));
        let (path, inner) = if field["items"].is_object() { (path + "[]", &field["items"]) } else { (path, field) };
        fields(&path, inner, rows);
    }
}

fn kind(field: &Value) -> String {
    if field["x-kubernetes-int-or-string"] == true {
        return "integer or string".to_owned();
    }
    let kind = field["type"].as_str().unwrap_or("any");
    let of = |inner: &Value| {
        inner["type"]
            .as_str()
            .or(inner["x-kubernetes-int-or-string"].as_bool().map(|_| "integer or string"))
            .unwrap_or("any")
            .to_owned()
    };
    match (kind, &field["items"], &field["additionalProperties"]) {
        ("array", items, _) => format!("list of {}", of(items)),
        ("object", _, values) if values.is_object() => format!("map of {}", of(values)),
        ("string", ..) if field["format"] == "date-time" => "time".to_owned(),
        (kind, ..) => kind.to_owned(),
    }
}

/// What the value may be.
fn bounds(field: &Value) -> String {
    let mut said = Vec::new();
    if let Some(values) = field["enum"].as_array() {
        said.push(
            values.iter().filter_map(Value::as_str).map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", "),
        );
    }
    for (least, most, unit) in [
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " items"),
        ("minProperties", "maxProperties", " entries"),
    ] {
        match (field[least].as_f64(), field[most].as_f64()) {
            (Some(least), Some(most)) => said.push(format!("{least} to {most}{unit}")),
            (Some(least), None) => said.push(format!("at least {least}{unit}")),
            (None, Some(most)) => said.push(format!("at most {most}{unit}")),
            (None, None) => {}
        }
    }
    said.extend(field["pattern"].as_str().map(|pattern| format!("matches {}", code(pattern))));
    said.join("; ")
}

/// A row for each rule of `schema` and what is beneath it.
fn collect(rows: &mut Vec<String>, path: &str, schema: &Value) {
    let name = if path.is_empty() { "FileUpload" } else { path };
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let text = |key: &str| rule[key].as_str().unwrap_or_default();
        rows.push(format!("| `{name}` | {} | {} |\n", code(text("rule")), cell(text("message"))));
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        collect(rows, format!("{path}.{name}").trim_start_matches('.'), field);
    }
    if schema["items"].is_object() {
        collect(rows, &format!("{path}[]"), &schema["items"]);
    }
}

/// Code in a cell.
fn code(text: &str) -> String {
    let fence = if text.contains('`') { "``" } else { "`" };
    format!("{fence}{}{fence}", text.replace('|', "\\|"))
}
