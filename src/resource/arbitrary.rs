//! Objects as the printed schema accepts them, however odd: what a test of anything that reads them is given.
//!
//! Only what the schema itself says bounds a number, and not its `format`: API servers before 1.36 do not check that.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Map, Number, Value};

use super::{FileUpload, crd};

/// FileUploads with any spec and any status.
pub(crate) fn uploads() -> impl Strategy<Value = Value> {
    let schema = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].take();
    let (spec, status) = (&schema["properties"]["spec"], &schema["properties"]["status"]);
    (matching(spec), prop::option::of(matching(status)), any::<i64>()).prop_map(|(spec, status, generation)| {
        let mut upload = serde_json::json!({
            "apiVersion": <FileUpload as kube::Resource>::api_version(&()),
            "kind": <FileUpload as kube::Resource>::kind(&()),
            "metadata": {"name": "x", "namespace": "team", "uid": "u", "resourceVersion": "1", "generation": generation},
            "spec": spec,
        });
        if let Some(status) = status {
            upload["status"] = status;
        }
        upload
    })
}

/// Any value that the schema accepts; rules in CEL aside.
fn matching(schema: &Value) -> BoxedStrategy<Value> {
    if let Some(values) = schema["enum"].as_array() {
        return prop::sample::select(values.clone()).boxed();
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return prop_oneof![
            any::<i64>().prop_map(Value::from),
            "[0-9]{1,9}(\\.[0-9]{1,3})?[kMGTPE]?i?".prop_map(Value::from)
        ]
        .boxed();
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == true {
        return Just(serde_json::json!({"level": 1})).boxed();
    }
    match schema["type"].as_str() {
        Some("object") => object(schema),
        Some("array") => {
            let most = schema["maxItems"].as_u64().unwrap_or(4).min(4);
            let least = schema["minItems"].as_u64().unwrap_or(0);
            prop::collection::vec(
                matching(&schema["items"]),
                usize::try_from(least).unwrap()..=usize::try_from(most).unwrap(),
            )
            .prop_map(Value::from)
            .boxed()
        }
        Some("string") => string(schema),
        Some("integer") => {
            let bound = |name: &str| schema[name].as_f64();
            // As whole numbers: no bound of ours is larger than 2^31.
            #[expect(clippy::cast_possible_truncation, reason = "bounds are whole and small")]
            let (least, most) = (
                bound("minimum").map_or(i64::MIN, |least| least as i64),
                bound("maximum").map_or(i64::MAX, |most| most as i64),
            );
            prop_oneof![Just(least), Just(most), least..=most].prop_map(|number| Number::from(number).into()).boxed()
        }
        Some("boolean") => any::<bool>().prop_map(Value::from).boxed(),
        other => panic!("no values of type {other:?} are known: {schema}"),
    }
}

fn object(schema: &Value) -> BoxedStrategy<Value> {
    if let Some(values) = schema["additionalProperties"].as_object() {
        let values = matching(&Value::from(values.clone()));
        return prop::collection::hash_map("\\PC{0,8}", values, 0..3)
            .prop_map(|map| map.into_iter().collect::<Map<_, _>>().into())
            .boxed();
    }
    let required = |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|it| it == name));
    let properties = schema["properties"].as_object().into_iter().flatten();
    let field = |(name, schema): (&String, &Value)| {
        let (name, value) = (name.clone(), matching(schema));
        let value = if required(&name) { value.prop_map(Some).boxed() } else { prop::option::of(value).boxed() };
        value.prop_map(move |value| value.map(|value| (name.clone(), value)))
    };
    let fields: Vec<_> = properties.map(field).collect();
    fields.prop_map(|fields| fields.into_iter().flatten().collect::<Map<_, _>>().into()).boxed()
}

/// Times are those at which arithmetic might end; of other texts the bounds hold, their patterns do not.
fn string(schema: &Value) -> BoxedStrategy<Value> {
    if schema["format"] == "date-time" {
        let times = [
            "0001-01-01T00:00:00Z",
            "1969-12-31T23:59:59.999999Z",
            "2026-11-23T09:00:00Z",
            "2026-11-23T10:00:00Z",
            "2026-11-23T10:00:01+14:00",
            // The last day is beyond what `jiff` can hold: such an object is skipped.
            "9999-12-30T00:00:00Z",
        ];
        return prop::sample::select(times.map(Value::from).to_vec()).boxed();
    }
    let length = |name: &str, or: u64| usize::try_from(schema[name].as_u64().unwrap_or(or)).unwrap();
    let (least, most) = (length("minLength", 0), length("maxLength", 40));
    let long = prop::collection::vec(any::<char>(), most..=most);
    let short = prop::collection::vec(any::<char>(), least..=most.min(least + 12));
    let text = |text: Vec<char>| Value::from(text.into_iter().collect::<String>());
    // Few are long: most of the time goes into these.
    prop_oneof![9 => short, 1 => long].prop_map(text).boxed()
}

/// Where a status is not as the printed schema asks: the API server would refuse it, now and at every further try.
pub(crate) fn faults_of_status(status: &Value) -> Vec<String> {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].take());
    let mut found = Vec::new();
    look_for_faults(&SCHEMA["properties"]["status"], status, "status", &mut found);
    found
}

fn look_for_faults(schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let bound = |name: &str| schema[name].as_u64().and_then(|bound| usize::try_from(bound).ok());
    let (number, length) = (value.as_f64(), value.as_str().map(|text| text.chars().count()));
    let items = value.as_array();
    let is_time = |text: &str| text.len() >= 20 && text.bytes().take(4).all(|byte| byte.is_ascii_digit());
    let breaks = [
        ("enum", schema["enum"].as_array().is_some_and(|values| !values.contains(value))),
        ("maxLength", length.zip(bound("maxLength")).is_some_and(|(length, most)| length > most)),
        ("minLength", length.zip(bound("minLength")).is_some_and(|(length, least)| length < least)),
        ("maxItems", items.zip(bound("maxItems")).is_some_and(|(items, most)| items.len() > most)),
        ("minimum", number.zip(schema["minimum"].as_f64()).is_some_and(|(number, least)| number < least)),
        ("format", schema["format"] == "date-time" && !value.as_str().is_some_and(is_time)),
        ("pattern: write a check for it", !schema["pattern"].is_null()),
    ];
    found.extend(breaks.iter().filter(|(_, is_broken)| *is_broken).map(|(rule, _)| format!("{at}: {rule}")));
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get(name) {
            look_for_faults(schema, value, &format!("{at}.{name}"), found);
        }
    }
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    found.extend(required.filter(|name| value.get(name).is_none()).map(|name| format!("{at}: no {name}")));
    for item in items.into_iter().flatten() {
        look_for_faults(&schema["items"], item, &format!("{at}[]"), found);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_printed_schema_accepts_is_understood(upload in uploads()) {
        let text = upload.to_string();
        let read = serde_json::from_str::<FileUpload>(&text);
        prop_assert!(read.is_ok(), "{:?}: {text}", read.err());
    }
}
