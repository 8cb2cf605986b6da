//! The content type of a file: from its name, else from its bytes.
//!
//! Cyberun wants one for every file. A guess from the name goes first, as most formats that teams send are
//! containers of others (`.safetensors`, `.jsonl`) which the bytes do not tell apart.

/// Types that the common table lacks, or knows only by an old meaning.
const OURS: &[(&str, &str)] = &[
    ("avif", "image/avif"),
    ("ckpt", "application/octet-stream"),
    ("flac", "audio/flac"),
    ("glb", "model/gltf-binary"),
    ("gltf", "model/gltf+json"),
    ("heic", "image/heic"),
    ("jsonl", "application/jsonl"),
    ("md", "text/markdown"),
    ("mkv", "video/x-matroska"),
    ("ndjson", "application/x-ndjson"),
    ("npy", "application/octet-stream"),
    ("opus", "audio/opus"),
    ("parquet", "application/vnd.apache.parquet"),
    ("pt", "application/octet-stream"),
    ("safetensors", "application/octet-stream"),
    ("toml", "application/toml"),
    ("ts", "text/plain"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
];
const UNKNOWN: &str = "application/octet-stream";

/// The content type of a file called `name` that begins with `head`.
pub(super) fn media_type(name: &str, head: &[u8]) -> String {
    by_name(name).or_else(|| infer::get(head).map(|kind| kind.mime_type().to_owned())).unwrap_or_else(|| {
        let text = if is_text(head) { "text/plain" } else { UNKNOWN };
        text.to_owned()
    })
}

fn by_name(name: &str) -> Option<String> {
    let (_, extension) = name.rsplit_once('.')?;
    let extension = extension.to_ascii_lowercase();
    match OURS.iter().find(|(known, _)| *known == extension) {
        Some((_, kind)) => Some((*kind).to_owned()),
        None => mime_guess::from_ext(&extension).first_raw().map(str::to_owned),
    }
}

/// UTF-8 without control characters; the last character may be cut off.
fn is_text(head: &[u8]) -> bool {
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !valid.is_empty() && !valid.chars().any(|c| c.is_control() && !c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_goes_before_the_bytes_and_both_before_a_shrug() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
        let cases: [(&str, &[u8], &str); 11] = [
            ("photo.PNG", b"", "image/png"),
            ("photo", png, "image/png"),
            ("photo.txt", png, "text/plain"),
            ("README.md", b"# x", "text/markdown"),
            ("values.yaml", b"a: 1", "application/yaml"),
            ("model.safetensors", b"{}", "application/octet-stream"),
            ("notes", "naïve text\n".as_bytes(), "text/plain"),
            ("notes", &"né".as_bytes()[..2], "text/plain"),
            ("blob", b"\x00\x01\x02", "application/octet-stream"),
            ("blob.unheardof", b"\xff\xfe\xfa", "application/octet-stream"),
            ("empty", b"", "application/octet-stream"),
        ];
        for (name, head, expected) in cases {
            assert_eq!(media_type(name, head), expected, "{name}");
        }
    }
}
