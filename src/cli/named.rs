//! Files on the command line, each with a name for its key: `[NAME=]FILE`.
//!
//! A wrong name is rejected before anything else happens, and the error says how to write it. A path may contain `=`, as
//! those of Hive partitions do: then it matters which file exists.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
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
    /// What to add if no file is there.
    hint: String,
}

impl Named {
    /// The file, to be delivered.
    pub(super) fn parcel(&self) -> Parcel {
        let (source, file_name) = (Source::file_or(&self.path, &self.hint), self.file_name.clone());
        Parcel { source, file_name, content_type: None, sent: Arc::default() }
    }
}

/// Reads `[NAME=]FILE` arguments.
pub(super) fn parse(arguments: &[OsString]) -> Result<Vec<Named>, Usage> {
    let mut files: Vec<Named> = Vec::new();
    for argument in arguments {
        let file = read(argument)?;
        if let Some(other) = files.iter().find(|other| other.name == file.name) {
            return Err(Usage(format!(
                "{} and {} are both called {}: write NAME=FILE for one of them",
                other.path.display(),
                argument.display(),
                file.name
            )));
        }
        files.push(file);
    }
    Ok(files)
}

fn read(argument: &OsStr) -> Result<Named, Usage> {
    let (name, path, hint) = split(argument)?;
    if path == "-" {
        return Err(Usage(
            "standard input (-) cannot be uploaded, because the API needs the size first: write it to a file, and name \
             the file (./- is the file of this name)"
                .into(),
        ));
    }
    let path = PathBuf::from(path);
    let shown = argument.display();
    let Some(file_name) = path.file_name() else {
        return Err(Usage(format!("{shown} names no file: give a path that ends in a file name")));
    };
    let Some(file_name) = file_name.to_str().map(str::to_owned) else {
        return Err(Usage(format!(
            "{shown}: its file name is not UTF-8, and the API takes no other: rename the file, or make a link to it"
        )));
    };
    let name = name.unwrap_or(&file_name).to_owned();
    if !is_name(&name) {
        return Err(Usage(format!(
            "{name:?} cannot name a key (letters, digits, '.', '_', '-', at most 63): write NAME={shown}"
        )));
    }
    if name == keys::ALL {
        return Err(Usage("the name keys.json is taken by the list of all keys: write NAME=keys.json".into()));
    }
    Ok(Named { name, path, file_name, hint })
}

/// The name, the path, and what to say if no file is there.
///
/// A part before `=` that cannot be a name belongs to the path. If it can be one, the file that exists is meant.
fn split(argument: &OsStr) -> Result<(Option<&str>, &OsStr, String), Usage> {
    let bytes = argument.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=');
    let named = at.and_then(|at| {
        let name = std::str::from_utf8(&bytes[..at]).ok().filter(|name| is_name(name))?;
        Some((name, OsStr::from_bytes(&bytes[at + 1..])))
    });
    let Some((name, path)) = named else { return Ok((None, argument, String::new())) };
    let (whole, shown) = (argument.display(), path.display());
    match (is_file(argument), is_file(path)) {
        (true, true) => Err(Usage(format!(
            "{whole} has two meanings, because both files exist: write NAME=./{whole} for the file {whole}, or \
             {name}=./{shown} for the file {shown}"
        ))),
        (true, false) => Ok((None, argument, String::new())),
        (false, _) => {
            // In a path of folders, as of Hive partitions, the name may be a part of the first.
            let is_folders = path.as_bytes().contains(&b'/') && !matches!(path.as_bytes(), [b'/' | b'.', ..]);
            let hint = format!("; if {name}= is a part of its path, write NAME=./{whole}");
            Ok((Some(name), path, if is_folders { hint } else { String::new() }))
        }
    }
}

/// Whether there is something that might be uploaded.
fn is_file(path: &OsStr) -> bool {
    Path::new(path).metadata().is_ok_and(|metadata| !metadata.is_dir())
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
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
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
            (&["-"], "standard input (-) cannot be uploaded"),
            (&["n=-"], "standard input (-) cannot be uploaded"),
        ] {
            let error = parsed(arguments).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
