//! Files, each with a name for its key: `[NAME=]FILE` on the command line, and the entries of a list.
//!
//! A wrong name is rejected before anything else happens, and the error says how to write it. A path may contain `=`, as
//! those of Hive partitions do: then it matters which file exists.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Usage;
use crate::delivery::{Parcel, Source, printable};
use crate::keys;

/// One file and the name of its key. There may be many thousands, so it is small.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Named {
    /// The name that was written before it.
    given: Option<Box<str>>,
    /// Its last part is text.
    pub(super) path: Box<Path>,
    /// Whether the name may be meant as a part of the path.
    may_be_path: bool,
    place: Place,
}

/// Where a file was named.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    CommandLine,
    /// A line of a list, from 1.
    Line(u32),
    /// An entry of a list whose entries end with NUL, from 1.
    Entry(u32),
    /// A folder that was searched.
    Folder,
}

impl Named {
    /// The file at `path` in a folder; it is named by that path.
    pub(super) fn in_folder(folder: &Path, path: &str) -> Self {
        Self { given: Some(path.into()), path: folder.join(path).into(), may_be_path: false, place: Place::Folder }
    }

    /// Whether it was found in a folder.
    pub(super) fn is_in_folder(&self) -> bool {
        self.place == Place::Folder
    }

    /// The file, to be delivered. One that was found in a folder is never one outside of it, whatever is there by then.
    pub(super) fn parcel(&self) -> Parcel {
        let source = match &self.given {
            Some(path) if self.is_in_folder() => Source::within(self.folder(path), path),
            _ if self.may_be_path => {
                let (name, path) = (self.name(), self.path.display());
                let hint = format!("; if {name}= is a part of its path, write NAME=./{name}={path}");
                Source::file_or(&*self.path, &printable(hint))
            }
            _ => Source::file(&*self.path),
        };
        Parcel { source, file_name: self.file_name().to_owned(), content_type: None, sent: Arc::default() }
    }

    /// The folder that was searched, of a file at `path` in it.
    fn folder(&self, path: &str) -> &Path {
        let whole = self.path.as_os_str().as_bytes();
        Path::new(OsStr::from_bytes(&whole[..whole.len().saturating_sub(path.len())]))
    }

    /// The name of its key. One that was not given is that of the file; in a list, where many folders may be, its path.
    pub(super) fn name(&self) -> Cow<'_, str> {
        match (&self.given, self.place) {
            (Some(name), _) => name.as_ref().into(),
            (None, Place::CommandLine) => self.file_name().into(),
            (None, _) => self.path.strip_prefix(".").unwrap_or(&self.path).to_string_lossy(),
        }
    }

    /// What the file is called in its folder.
    pub(super) fn file_name(&self) -> &str {
        self.path.file_name().and_then(OsStr::to_str).unwrap_or_default()
    }

    /// The path as it is told to people.
    pub(super) fn shown(&self) -> String {
        self.path.display().to_string()
    }

    fn error(&self, problem: impl fmt::Display) -> Usage {
        Usage(format!("{}{problem}", self.place))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => Ok(()),
            Self::Line(number) => write!(formatter, "--files-from, line {number}: "),
            Self::Entry(number) => write!(formatter, "--files-from, entry {number}: "),
            Self::Folder => write!(formatter, "--recursive: "),
        }
    }
}

/// Reads `[NAME=]FILE` arguments.
pub(super) fn parse(arguments: &[OsString]) -> Result<Vec<Named>, Usage> {
    let files = arguments.iter().map(|argument| read(argument, Place::CommandLine)).collect::<Result<Vec<_>, _>>()?;
    check_names(&files)?;
    Ok(files)
}

/// Rejects files of which two have the same name.
pub(super) fn check_names(files: &[Named]) -> Result<(), Usage> {
    let mut known: HashMap<Cow<'_, str>, &Named> = HashMap::with_capacity(files.len());
    for file in files {
        if let Some(other) = known.insert(file.name(), file) {
            let (other, path, name) = (other.path.display(), file.path.display(), file.name());
            return Err(
                file.error(format!("{other} and {path} are both called {name}: write NAME=FILE for one of them"))
            );
        }
    }
    Ok(())
}

/// Rejects names that would break a line of the text output.
pub(super) fn check_lines(files: &[Named]) -> Result<(), Usage> {
    match files.iter().find(|file| file.name().contains(char::is_control)) {
        Some(file) => Err(file.error(format!(
            "{:?} has a control character, which no NAME=KEY line can hold: write NAME=FILE, or take --output json",
            file.name()
        ))),
        None => Ok(()),
    }
}

/// Reads one `[NAME=]FILE`.
pub(super) fn read(argument: &OsStr, place: Place) -> Result<Named, Usage> {
    let error = |problem: String| Usage(format!("{place}{problem}"));
    let (name, path, may_be_path) = split(argument, place)?;
    if path == "-" && place == Place::CommandLine {
        return Err(error(
            "standard input (-) cannot be uploaded, because the API needs the size first: write it to a file, and name \
             the file (./- is the file of this name); a list of files is read by --files-from -"
                .into(),
        ));
    }
    let path = Path::new(path);
    let shown = argument.display();
    let Some(file_name) = path.file_name() else {
        return Err(error(format!("{shown} names no file: give a path that ends in a file name")));
    };
    if file_name.to_str().is_none() {
        return Err(error(format!(
            "{shown}: its file name is not UTF-8, and the API takes no other: rename the file, or make a link to it"
        )));
    }
    Ok(Named { given: name.map(Into::into), path: path.into(), may_be_path, place })
}

/// The name, the path, and whether the name may be meant as a part of the path.
///
/// A part before `=` that cannot be a name belongs to the path. If it can be one, the file that exists is meant; if both
/// exist, a list means the whole, as programs that write lists know no names.
fn split(argument: &OsStr, place: Place) -> Result<(Option<&str>, &OsStr, bool), Usage> {
    let bytes = argument.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=');
    let named = at.and_then(|at| {
        let name = std::str::from_utf8(&bytes[..at]).ok().filter(|name| is_name(name))?;
        Some((name, OsStr::from_bytes(&bytes[at + 1..])))
    });
    let Some((name, path)) = named else { return Ok((None, argument, false)) };
    let (whole, shown) = (argument.display(), path.display());
    match (is_file(argument), is_file(path)) {
        (true, true) if place == Place::CommandLine => Err(Usage(format!(
            "{whole} has two meanings, because both files exist: write NAME=./{whole} for the file {whole}, or \
             {name}=./{shown} for the file {shown}"
        ))),
        (true, _) => Ok((None, argument, false)),
        (false, _) => {
            // In a path of folders, as of Hive partitions, the name may be a part of the first.
            let is_folders = path.as_bytes().contains(&b'/') && !matches!(path.as_bytes(), [b'/' | b'.', ..]);
            Ok((Some(name), path, is_folders))
        }
    }
}

/// Whether there is something that might be uploaded.
fn is_file(path: &OsStr) -> bool {
    Path::new(path).metadata().is_ok_and(|metadata| !metadata.is_dir())
}

/// Rejects a keys folder that cannot have a file for each key, or in which a key would replace one of these files.
pub(super) fn apart(files: &[Named], folder: &Path) -> Result<(), Usage> {
    if let Some(file) = files.iter().find(|file| !keys::is_name(&file.name())) {
        return Err(file.error(format!(
            "{:?} cannot be the name of a key in --keys-dir (it is keys.json, ends with ~ or is longer than 200 bytes): \
             write NAME=FILE",
            file.name()
        )));
    }
    let names: Vec<Cow<'_, str>> = files.iter().map(Named::name).collect();
    let kept: HashMap<PathBuf, PathBuf> =
        keys::paths(folder, names.iter().map(Cow::as_ref)).map(|path| (place(&path), path)).collect();
    for file in files {
        if let Some(kept) = kept.get(&place(&file.path)) {
            let (input, kept) = (file.path.display(), kept.display());
            return Err(file.error(format!(
                "--keys-dir would replace the input {input} with {kept}: choose a folder without inputs"
            )));
        }
    }
    Ok(())
}

/// The absolute path of a file that may not exist yet.
pub(super) fn place(path: &Path) -> PathBuf {
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
    use std::time::Instant;

    use super::*;

    fn shown(files: Vec<Named>) -> Vec<(String, String)> {
        files.into_iter().map(|file| (file.name().into_owned(), file.shown())).collect()
    }

    fn parsed(arguments: &[&str]) -> Result<Vec<(String, String)>, String> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        parse(&arguments).map(shown).map_err(|usage| usage.0)
    }

    #[test]
    fn a_name_may_stand_before_the_file_and_defaults_to_the_file_name() {
        let files = parsed(&["README.md", "photo=img/a.png", "n=a=b", "dir=x/y.txt", "a/photo one.png", "./x=y"]);
        let expected = [
            ("README.md", "README.md"),
            ("photo", "img/a.png"),
            ("n", "a=b"),
            ("dir", "x/y.txt"),
            ("photo one.png", "a/photo one.png"),
            ("x=y", "./x=y"),
        ];
        assert_eq!(files.unwrap(), expected.map(|(name, path)| (name.to_owned(), path.to_owned())));
    }

    #[test]
    fn in_a_list_a_file_without_a_name_is_named_by_its_path() {
        for (entry, name, path) in [
            ("a.png", "a.png", "a.png"),
            ("./a/b.png", "a/b.png", "./a/b.png"),
            ("/a/b c.png", "/a/b c.png", "/a/b c.png"),
            ("photo=img/a.png", "photo", "img/a.png"),
            ("-", "-", "-"),
            ("--odd", "--odd", "--odd"),
        ] {
            let file = read(OsStr::new(entry), Place::Line(1)).map_err(|usage| usage.0).unwrap();
            assert_eq!(shown(vec![file]), [(name.to_owned(), path.to_owned())], "{entry}");
        }
    }

    #[test]
    fn what_cannot_be_named_says_how_to_name_it() {
        for (arguments, expected) in [
            (&["a/x", "b/x"][..], "are both called x"),
            (&["dir/.."], "names no file"),
            (&["n="], "names no file"),
            (&["-"], "standard input (-) cannot be uploaded"),
            (&["n=-"], "standard input (-) cannot be uploaded"),
        ] {
            let error = parsed(arguments).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn two_of_many_names_that_are_the_same_are_found_at_once() {
        let file = |line: u32| read(OsStr::new(&format!("folder/{}", line % 200_000)), Place::Line(line + 1));
        let files: Vec<Named> = (0..=200_000).map(file).collect::<Result<_, _>>().map_err(|usage| usage.0).unwrap();
        let (began, error) = (Instant::now(), check_names(&files).unwrap_err().0);
        assert!(error.starts_with("--files-from, line 200001: folder/0 and folder/0 are both called"), "{error}");
        // To compare each with each takes minutes.
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    }
}
