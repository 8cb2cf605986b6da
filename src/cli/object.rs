//! The name of a `FileUpload` as people type it: alone, or as `kubectl get -o name` prints it.
//!
//! Text that is not a name is rejected here, because in an API path it could name something else.

use kube::Resource;

use crate::resource::FileUpload;

/// Reads a name, without the kind that may precede it.
pub(super) fn parse(text: &str) -> Result<String, String> {
    let name = match text.split_once('/') {
        Some((kind, name)) if is_kind(kind) => name,
        _ => text,
    };
    if is_name(name) {
        Ok(name.to_owned())
    } else {
        Err("a FileUpload's name has lower-case letters, digits, '-' and '.': write NAME or fileupload/NAME".into())
    }
}

fn is_kind(kind: &str) -> bool {
    let (kind, group) = kind.split_once('.').map_or((kind, None), |(kind, group)| (kind, Some(group)));
    matches!(kind, "fu" | "fup" | "fileupload" | "fileuploads")
        && group.is_none_or(|group| group == FileUpload::group(&()))
}

/// A DNS subdomain, as RFC 1123 has it.
fn is_name(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(known) && !label.starts_with('-') && !label.ends_with('-');
    name.len() <= 253 && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_alone_or_after_its_kind() {
        for text in [
            "a-1.b",
            "fu/a-1.b",
            "fup/a-1.b",
            "fileupload/a-1.b",
            "fileuploads/a-1.b",
            "fileupload.cyberun.cloud/a-1.b",
        ] {
            assert_eq!(parse(text).as_deref(), Ok("a-1.b"), "{text}");
        }
    }

    #[test]
    fn what_can_be_no_name_is_refused() {
        let long = "a".repeat(254);
        for text in ["", "../../x", "a b", "-a", "a..b", "A", "pod/a", "fu.example.com/a", "fu/", "fu/fu/a", &long] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
