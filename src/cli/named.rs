//! Files on the command line, each with a name for its key: `[NAME=]FILE`.
//!
//! A wrong name is rejected before anything else happens, and the error says how to write it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Usage;
use crate::delivery::{Parcel, Source};
use crate::keys;

/// One file of the command line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) file_name: String,
}

impl Named {
    /// The file, to be delivered.
    pub(super) fn parcel(&self) -> Parcel {
        let (source, file_name) = (Source::file(&self.path), self.file_name.clone());
        Parcel { source, file_name, content_type: None, sent: Arc::default() }
    }
}

/// Reads `[NAME=]FILE` arguments. A part before `=` that cannot be a name belongs to the path.
pub(super) fn parse(arguments: &[String]) -> Result<Vec<Named>, Usage> {
    let mut files: Vec<Named> = Vec::new();
    for argument in arguments {
        let (name, path) = match argument.split_once('=') {
            Some((name, path)) if is_name(name) => (Some(name), path),
            _ => (None, argument.as_str()),
        };
        let path = PathBuf::from(path);
        let Some(file_name) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else {
            return Err(Usage(format!("{argument:?} names no file: give a path that ends in a file name")));
        };
        let name = name.unwrap_or(&file_name).to_owned();
        if !is_name(&name) {
            return Err(Usage(format!(
                "{name:?} cannot name a key (letters, digits, '.', '_', '-', at most 63): write NAME={argument}"
            )));
        }
        if name == keys::ALL {
            return Err(Usage("the name keys.json is taken by the list of all keys: write NAME=keys.json".into()));
        }
        if let Some(other) = files.iter().find(|other| other.name == name) {
            return Err(Usage(format!(
                "{} and {argument} are both called {name}: write NAME=FILE for one of them",
                other.path.display()
            )));
        }
        files.push(Named { name, path, file_name });
    }
    Ok(files)
}

/// Rejects a keys folder in which a key would replace one of these files.
pub(super) fn apart(files: &[Named], folder: &Path) -> Result<(), Usage> {
    let kept: Vec<_> = keys::paths(folder, files.iter().map(|file| file.name.as_str())).collect();
    for file in files {
        let place = place(&file.path);
        if let Some(kept) = kept.iter().find(|kept| self::place(kept) == place) {
            let (input, kept) = (file.path.display(), kept.display());
            return Err(Usage(format!(
                "--keys-dir would replace the input {input} with {kept}: choose a folder without inputs"
            )));
        }
    }
    Ok(())
}

/// The absolute path of a file that may not exist yet.
fn place(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let beside = || Some(absolute.parent()?.canonicalize().ok()?.join(absolute.file_name()?));
    path.canonicalize().ok().or_else(beside).unwrap_or(absolute.clone())
}

fn is_name(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=63).contains(&name.len()) && name.bytes().all(known) && !matches!(name, "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Vec<(String, String)>, String> {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let files = parse(&arguments).map_err(|usage| usage.0)?;
        Ok(files.into_iter().map(|file| (file.name, file.path.display().to_string())).collect())
    }

    #[test]
    fn a_name_may_stand_before_the_file_and_defaults_to_the_file_name() {
        let files = parsed(&["README.md", "photo=img/a.png", "n=a=b", "dir=x/y.txt"]).unwrap();
        let expected = [("README.md", "README.md"), ("photo", "img/a.png"), ("n", "a=b"), ("dir", "x/y.txt")];
        assert_eq!(files, expected.map(|(name, path)| (name.to_owned(), path.to_owned())));
    }

    #[test]
    fn what_cannot_be_named_says_how_to_name_it() {
        for (arguments, expected) in [
            (&["a/x", "b/x"][..], "are both called x"),
            (&["my file.txt"], "write NAME=my file.txt"),
            (&["./x=y.txt"], "write NAME=./x=y.txt"),
            (&["keys.json"], "is taken"),
            (&["dir/.."], "names no file"),
            (&["n="], "names no file"),
        ] {
            let error = parsed(arguments).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
