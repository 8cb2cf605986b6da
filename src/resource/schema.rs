//! The published CustomResourceDefinition: the derived one, cleaned up.
//!
//! An optional field is absent, never null. `observedGeneration` starts at -1, so that a resource that the operator has
//! not seen yet does not look finished.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::FileUpload;

/// The CustomResourceDefinition, as JSON.
pub fn crd() -> Value {
    let derived: CustomResourceDefinition = FileUpload::crd();
    let mut crd = json!(derived);
    tidy(&mut crd);
    let status = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"];
    status["default"] = json!({ "observedGeneration": -1 });
    crd
}

fn tidy(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("nullable");
            if let Some(Value::Array(variants)) = fields.get_mut("enum") {
                variants.retain(|variant| !variant.is_null());
            }
            // Widths of Rust's integers that OpenAPI does not know, and defaults of Rust's structs.
            if fields.get("type").is_some_and(Value::is_string) {
                fields.remove("default");
            }
            fields.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}
