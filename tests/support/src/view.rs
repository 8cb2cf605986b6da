//! Short ways to say what a `FileUpload`, read as plain JSON, tells.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The condition of this type, or null.
pub fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().find(|condition| condition["type"] == kind).unwrap_or(&Value::Null)
}

/// The status of the condition of this type: `True`, `False`, or empty if it is absent.
pub fn state<'a>(object: &'a Value, kind: &str) -> &'a str {
    condition(object, kind)["status"].as_str().unwrap_or_default()
}

/// Why it is Ready or not.
pub fn reason(object: &Value) -> &str {
    condition(object, "Ready")["reason"].as_str().unwrap_or_default()
}

/// The same in words.
pub fn message(object: &Value) -> &str {
    condition(object, "Ready")["message"].as_str().unwrap_or_default()
}

/// The entries of `status.files`.
pub fn files(object: &Value) -> &[Value] {
    object["status"]["files"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The key of a file, by its name.
pub fn key_of<'a>(object: &'a Value, file: &str) -> Option<&'a str> {
    files(object).iter().find(|entry| entry["name"] == file)?["fileKey"].as_str()
}

/// Checks the state and the words of a file's entry.
///
/// # Panics
/// If they are others.
pub fn tells(entry: &Value, state: &str, words: &[&str]) {
    assert_eq!(entry["state"], state, "{entry:#}");
    let message = entry["message"].as_str().unwrap_or_default();
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
}

/// In lower-case hex, as the double has it.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
