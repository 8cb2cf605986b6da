//! The keys of a folder so far: what workers have reported, in the ConfigMap that the next worker mounts.
//!
//! Absorbing the same report again changes nothing. Whether a text is what was written is told by its digest, which
//! stands beside it.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Entry, LONGEST_PATH, MAX_FILES, MAX_SHARES, Report};
use crate::reason::Reason;

/// The largest text of the keys of a folder, in bytes.
pub const LARGEST_KEYS: usize = 900 << 10;
/// The most failures that are named.
pub const MAX_FAILURES: usize = 20;
/// The longest message of a failure that is kept, in characters.
const MESSAGE: usize = 300;
/// The longest revision, in characters: as long as a status may name one.
const LONGEST_REVISION: usize = 64;
/// A file that was uploaded so often in one round and has changed again is not waited for.
const MAX_CHANGES: u32 = 3;

/// The keys so far, and what is known of the rest.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Part {
    /// What is known of the folder as a whole.
    pub meta: Meta,
    /// By path.
    pub files: BTreeMap<String, Held>,
}

/// What is known of a folder as a whole.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// What the uploads stand for.
    pub revision: String,
    /// The attempt that began this round.
    pub round: i64,
    /// The last attempt whose reports are in.
    pub attempt: i64,
    /// How many files matched.
    pub found: usize,
    /// Where the rest is cut for the next Job.
    pub cuts: Vec<u16>,
    /// Files that cannot be uploaded, the first of them.
    pub failures: Vec<Failure>,
    /// Whether the last attempt brought a key that counts as progress.
    pub progress: bool,
    /// Whether a worker found nothing left.
    pub complete: bool,
    /// A file that has changed too often.
    pub restless: Option<String>,
    /// How many KiB the keys would take, if that is too much.
    pub too_large: Option<usize>,
}

/// A file that has its key. The names are short, as there may be 2000 in 1 MiB.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Held {
    /// The key.
    #[serde(rename = "k")]
    pub file_key: String,
    /// The size in bytes.
    #[serde(rename = "s")]
    pub size: u64,
    /// The SHA-256, in lower-case hex.
    #[serde(rename = "h")]
    pub sha256: String,
    /// When the file was last changed.
    #[serde(rename = "m")]
    pub modified_at: Timestamp,
    /// When the upload ended.
    #[serde(rename = "u")]
    pub uploaded_at: Timestamp,
    /// How often it was uploaded again in this round, as it had changed.
    #[serde(rename = "c", default, skip_serializing_if = "is_zero")]
    pub changes: u32,
}

/// A file that cannot be uploaded.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Failure {
    /// Its path.
    pub path: String,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, in words.
    pub message: String,
}

impl Meta {
    /// Whether this is no more than is ever written.
    pub fn is_possible(&self) -> bool {
        let is_possible =
            |failure: &Failure| failure.path.len() <= LONGEST_PATH && failure.message.chars().nth(MESSAGE).is_none();
        self.revision.chars().nth(LONGEST_REVISION).is_none()
            && self.cuts.len() < MAX_SHARES
            && self.failures.len() <= MAX_FAILURES
            && self.failures.iter().all(is_possible)
            && self.restless.as_ref().is_none_or(|path| path.len() <= LONGEST_PATH)
    }
}

impl Part {
    /// A round that begins with this attempt.
    pub fn new(revision: &str, attempt: i64) -> Self {
        let meta = Meta { revision: revision.to_owned(), round: attempt, ..Meta::default() };
        Self { meta, files: BTreeMap::new() }
    }

    /// Takes in what the workers of one attempt reported, who were given the keys with the digest `given`, which are these
    /// if `is_current`.
    pub fn absorb(&mut self, attempt: i64, reports: &[Report], given: &str, is_current: bool) {
        self.meta.attempt = attempt;
        (self.meta.progress, self.meta.complete, self.meta.restless) = (false, false, None);
        self.meta.cuts =
            reports.iter().map(|report| &report.cuts).find(|cuts| !cuts.is_empty()).cloned().unwrap_or_default();
        self.meta.found = reports.iter().filter_map(|report| report.found).max().unwrap_or(self.meta.found);
        let is_done = |report: &Report| report.done.as_deref() == Some(given);
        if reports.iter().any(is_done) && is_current && self.meta.too_large.is_none() {
            self.meta.complete = true;
            self.meta.failures.clear();
        }
        for entry in reports.iter().flat_map(|report| &report.entries) {
            self.take(entry);
        }
        self.bound();
    }

    fn take(&mut self, entry: &Entry) {
        match entry {
            Entry::Stored { path, modified_at, upload } => {
                self.meta.failures.retain(|failure| failure.path != *path);
                let known = self.files.get(path);
                if known.is_some_and(|known| known.file_key == upload.file_key) {
                    return;
                }
                let changes = known.map_or(0, |known| known.changes.saturating_add(1));
                if changes < MAX_CHANGES {
                    self.meta.progress = true;
                } else {
                    self.meta.restless.get_or_insert_with(|| path.clone());
                }
                let held = Held {
                    file_key: upload.file_key.clone(),
                    size: upload.size,
                    sha256: upload.sha256.clone(),
                    modified_at: *modified_at,
                    uploaded_at: upload.at,
                    changes,
                };
                // A report that nobody asked for cannot make it grow for ever.
                if known.is_some() || self.files.len() < 2 * MAX_FILES {
                    self.files.insert(path.clone(), held);
                }
            }
            Entry::Gone { path } => {
                self.meta.progress |= self.files.remove(path).is_some();
                self.meta.failures.retain(|failure| failure.path != *path);
            }
            Entry::Failed { path: Some(path), trouble } => {
                self.meta.failures.retain(|failure| failure.path != *path);
                if self.meta.failures.len() < MAX_FAILURES {
                    let message = trouble.message().chars().take(MESSAGE).collect();
                    self.meta.failures.push(Failure { path: path.clone(), reason: trouble.reason, message });
                }
            }
            Entry::Failed { path: None, .. } => {}
        }
    }

    /// Leaves out what no ConfigMap holds.
    fn bound(&mut self) {
        let of = |(path, held): (&String, &Held)| {
            json!(path).to_string().len() + shown(held, Timestamp::MAX).to_string().len() + 2
        };
        let size: usize = self.files.iter().map(of).sum();
        self.meta.too_large = (size > LARGEST_KEYS).then(|| size.div_ceil(1024));
        let mut left = LARGEST_KEYS;
        self.files.retain(|path, held| {
            let size = of((path, held));
            let fits = size <= left;
            left = left.saturating_sub(if fits { size } else { 0 });
            fits
        });
    }

    /// The earliest upload.
    pub fn first(&self) -> Option<Timestamp> {
        self.files.values().map(|held| held.uploaded_at).min()
    }

    /// The bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.values().fold(0, |sum, held| sum.saturating_add(held.size))
    }

    /// The keys as consumers read them, by path.
    pub fn keys(&self, expires_at: impl Fn(Timestamp) -> Timestamp) -> String {
        let entry = |(path, held): (&String, &Held)| (path.clone(), shown(held, expires_at(held.uploaded_at)));
        Value::Object(self.files.iter().map(entry).collect()).to_string()
    }

    /// What identifies a text.
    pub fn digest(text: &str) -> String {
        HEXLOWER.encode(&Sha256::digest(text))
    }
}

fn shown(held: &Held, expires_at: Timestamp) -> Value {
    let Held { file_key, size, sha256, modified_at, .. } = held;
    json!({ "fileKey": file_key, "size": size, "sha256": sha256, "modifiedAt": modified_at, "expiresAt": expires_at })
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
