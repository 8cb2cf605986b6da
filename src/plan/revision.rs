//! The identity of a file: a hash of all that its upload depends on.
//!
//! Toggling `suspend` or `output` changes no revision, nor does a rotated token; another source, name,
//! content type, Secret or deployment does.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::resource::{File, Folder};

/// Where files are sent, and as whom.
#[derive(Clone, Copy)]
pub(super) struct Receiver<'a> {
    /// The Secret with the credential.
    pub(super) secret: &'a str,
    /// The deployment's name; empty if it has none.
    pub(super) deployment: &'a str,
}

/// The revision of `file` when it is sent there: 16 hex digits.
pub(super) fn revision(file: &File, to: Receiver<'_>) -> String {
    let config_map = file.source.config_map_key_ref.as_ref();
    let source = match (&file.source.persistent_volume_claim, config_map) {
        (Some(file), _) => ["persistentVolumeClaim", &file.claim_name, &file.path],
        (None, Some(reference)) => ["configMapKeyRef", &reference.name, &reference.key],
        (None, None) => [""; 3],
    };
    let content_type = file.content_type.as_deref();
    let mut text = Text::default();
    for part in source.into_iter().chain([file.effective_name(), content_type.unwrap_or("-"), to.secret]) {
        text.add(part);
    }
    text.end(to)
}

/// The revision of a folder, as for a file.
pub(super) fn of_folder(folder: &Folder, to: Receiver<'_>) -> String {
    let mut text = Text::default();
    let globs = |globs: &Option<Vec<String>>| globs.clone().unwrap_or_default();
    for part in
        ["folder", folder.claim(), folder.path(), to.secret, &folder.least().to_string(), &folder.most().to_string()]
    {
        text.add(part);
    }
    for globs in [globs(&folder.include), globs(&folder.exclude)] {
        text.add(&globs.len().to_string());
        for glob in &globs {
            text.add(glob);
        }
    }
    text.end(to)
}

/// What is hashed, part by part.
#[derive(Default)]
struct Text(Sha256);

impl Text {
    /// The length before each part keeps two different files from running together into the same text.
    fn add(&mut self, part: &str) {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part.as_bytes());
    }

    /// A deployment without a name adds nothing.
    fn end(mut self, to: Receiver<'_>) -> String {
        if !to.deployment.is_empty() {
            self.add(to.deployment);
        }
        HEXLOWER.encode(&self.0.finalize()[..8])
    }
}

/// A number of a resource and an attempt, for jitter.
pub(super) fn seed(uid: &str, attempts: i64) -> u64 {
    number(&format!("{uid}/{attempts}"))
}

/// A number that stands for a text.
pub(super) fn number(text: &str) -> u64 {
    let digest = Sha256::digest(text);
    digest.iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CYBERUN: Receiver<'_> = Receiver { secret: "cyberun", deployment: "" };

    fn file(json: serde_json::Value) -> File {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn whatever_changes_the_upload_changes_the_revision() {
        let base = serde_json::json!({"name": "a", "source": {"configMapKeyRef": {"name": "m", "key": "k.txt"}}});
        let of = |path: &str, value: &str| {
            let mut json = base.clone();
            match path {
                "" => {}
                "/source/configMapKeyRef/name" | "/source/configMapKeyRef/key" | "/name" => {
                    *json.pointer_mut(path).unwrap() = value.into();
                }
                _ => json[&path[1..]] = value.into(),
            }
            revision(&file(json), CYBERUN)
        };
        let plain = of("", "");
        assert_eq!(plain.len(), 16);
        for (path, value) in [
            ("/source/configMapKeyRef/name", "n"),
            ("/source/configMapKeyRef/key", "l"),
            ("/fileName", "x"),
            ("/contentType", "a/b"),
        ] {
            assert_ne!(of(path, value), plain, "{path}");
        }
        for other in [Receiver { secret: "other", ..CYBERUN }, Receiver { deployment: "lab", ..CYBERUN }] {
            assert_ne!(revision(&file(base.clone()), other), plain, "another Secret, or another deployment");
        }
        assert_eq!(of("/fileName", "k.txt"), plain, "the default written out is the same file");
        assert_eq!(of("/name", "b"), plain, "the name is the other half of the identity");
    }
}
