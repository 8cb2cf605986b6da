//! Fields of manifests and files: those that a type does not have, which would be ignored without a word.

use serde_json::Value;

use crate::resource::why_refused;

/// Rejects a field of `typed` that the type does not have: `known` is what was read from it.
///
/// # Errors
/// The first such field by its path, and why there is none.
pub(super) fn known_only(typed: &Value, known: &Value, path: &str) -> Result<(), String> {
    match (typed, known) {
        (Value::Object(typed), Value::Object(known)) => {
            typed.iter().filter(|(_, value)| !value.is_null()).try_for_each(|(name, value)| {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let unknown = || format!("{path}: {}", why_refused(name).unwrap_or_else(|| "no such field".to_owned()));
                known.get(name).ok_or_else(unknown).and_then(|known| known_only(value, known, &path))
            })
        }
        (Value::Array(typed), Value::Array(known)) => typed
            .iter()
            .zip(known)
            .enumerate()
            .try_for_each(|(at, (typed, known))| known_only(typed, known, &format!("{path}[{at}]"))),
        _ => Ok(()),
    }
}
