//! The keys folder: each key in a file of its own, and all keys with their details in `keys.json`.
//!
//! A reader sees a whole file or none, and `keys.json` only while every key exists: it is written last and removed
//! first. A name with a slash has no file of its own, so that no key leaves the folder. The folder never holds a token or
//! a URL. `upload` fills it once, and a sidecar keeps it up to date.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub(crate) use self::folder::{InFolder, Line};
use crate::key_life::Terms;
use crate::outcome::Upload;

mod folder;

/// The file that lists all keys; no key can be named so.
pub(crate) const ALL: &str = "keys.json";
/// The sidecar's memory over restarts. No file of a key ends with a `~`.
const RECORD: &str = ".record~";
/// The longest name of a file of a key, in bytes: its draft has a longer one, and file systems take 255.
const LONGEST: usize = 200;

/// Keys by name.
pub(crate) type Keys = BTreeMap<String, Entry>;

/// A key and its details, in the same format as `keys.json` of an output ConfigMap.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    /// The opaque reference for workflows.
    pub file_key: String,
    /// The name it is stored under.
    pub file_name: String,
    /// The MIME type it was declared with.
    pub content_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// The SHA-256 of its content, in lower-case hex.
    pub sha256: String,
    /// When it was stored.
    pub uploaded_at: Timestamp,
    /// When the deployment deletes it.
    pub expires_at: Timestamp,
}

/// What a sidecar writes down.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Record {
    /// Stands for the API and the team that the keys are of.
    pub owner: String,
    /// What was uploaded.
    pub keys: Keys,
    /// The files of the keys of folders.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub folders: BTreeSet<String>,
}

/// The folder cannot be kept as it should be.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act} {}", path.display())]
pub(crate) struct Error {
    act: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Whether a folder can have a key of this name.
pub(crate) fn is_name(name: &str) -> bool {
    !has_file(name) || (name != ALL && !name.ends_with('~') && name.len() <= LONGEST)
}

/// Whether a key of this name has a file of its own.
fn has_file(name: &str) -> bool {
    !name.contains('/')
}

/// The files that a folder may hold for keys of these names.
pub(crate) fn paths<'a>(folder: &Path, names: impl Iterator<Item = &'a str>) -> impl Iterator<Item = PathBuf> {
    names.filter(|name| has_file(name)).chain([ALL, RECORD]).map(|name| folder.join(name))
}

/// A folder that exists.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Entry {
    /// The entry of an upload that is stored under `file_name` and kept on these terms.
    pub(crate) fn new(file_name: String, upload: Upload, terms: &Terms) -> Self {
        let Upload { file_key, content_type, size, sha256, at } = upload;
        Self { file_key, file_name, content_type, size, sha256, uploaded_at: at, expires_at: terms.expires_at(at) }
    }
}

impl Folder {
    /// Makes the folder unless it is there.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        fs::create_dir_all(path).map_err(failed("make the keys folder", path))?;
        Ok(Self(path.to_owned()))
    }

    /// Makes the folder hold these keys, out of all names that it may hold, and leaves other files alone.
    pub(crate) fn show<'a>(&self, keys: &Keys, all: impl Iterator<Item = &'a str> + Clone) -> Result<(), Error> {
        self.hide(keys, all.clone())?;
        let mut complete = true;
        for name in all {
            match keys.get(name) {
                Some(entry) if has_file(name) => self.write(name, &entry.file_key)?,
                Some(_) => {}
                None => complete = false,
            }
        }
        if complete { self.write(ALL, &json(keys)) } else { Ok(()) }
    }

    /// Removes every other key, out of all names that the folder may hold. It works on a full disk too.
    pub(crate) fn hide<'a>(&self, keys: &Keys, all: impl Iterator<Item = &'a str>) -> Result<(), Error> {
        let mut gone: Vec<&str> = all.filter(|name| !keys.contains_key(*name)).collect();
        if !gone.is_empty() {
            gone.insert(0, ALL);
        }
        self.remove_all(gone.into_iter())
    }

    /// Removes the keys of an earlier run that are no longer wanted, if their files still hold them.
    pub(crate) fn forget(&self, keys: &Keys) -> Result<(), Error> {
        let holds = |(name, entry): &(&String, &Entry)| {
            let is_ours = Path::new(name).file_name().is_some_and(|last| last == name.as_str());
            is_ours && fs::read(self.0.join(name)).is_ok_and(|found| found == entry.file_key.as_bytes())
        };
        let mut gone: Vec<&str> = keys.iter().filter(holds).map(|(name, _)| name.as_str()).collect();
        if !gone.is_empty() {
            gone.insert(0, ALL);
        }
        self.remove_all(gone.into_iter())
    }

    /// Writes further keys to a file of their own, or removes it.
    pub(crate) fn write_apart(&self, name: &str, keys: Option<&impl Serialize>) -> Result<(), Error> {
        keys.map_or_else(|| self.remove(name), |keys| self.write(name, &json(keys)))
    }

    /// Records the uploads, for a later run with the same files.
    pub(crate) fn record(&self, record: &Record) -> Result<(), Error> {
        self.write(RECORD, &json(record))
    }

    /// The recorded uploads; empty if they cannot be read.
    pub(crate) fn recorded(&self) -> Record {
        let text = fs::read(self.0.join(RECORD)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Readers see the whole file or none.
    fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        // No key and no record is named as a draft is.
        let (path, draft) = (self.0.join(name), self.0.join(format!(".{name}.new~")));
        if fs::read(&path).is_ok_and(|found| found == text.as_bytes()) {
            return Ok(());
        }
        fs::write(&draft, text).and_then(|()| fs::rename(&draft, &path)).map_err(failed("write", &path))
    }

    /// One that cannot be removed does not keep the others.
    fn remove_all<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<(), Error> {
        let mut result = Ok(());
        for name in names.filter(|name| has_file(name)) {
            result = result.and(self.remove(name));
        }
        result
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.0.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove the old", &path)(error)),
            _ => Ok(()),
        }
    }
}

fn failed(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error { act, path, source }
}

fn json(keys: &impl Serialize) -> String {
    // Strings, numbers and times: nothing of them can fail.
    serde_json::to_string_pretty(keys).unwrap_or_default() + "\n"
}
