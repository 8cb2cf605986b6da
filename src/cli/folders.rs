//! Folders on the command line: which of their files go, and what the file of their keys is called.
//!
//! `upload --recursive` and `sidecar --recursive` share it, so that one folder gives the same keys either way.

use std::borrow::Cow;
use std::path::Path;

use clap::Args;

use super::Usage;
use crate::delivery::Globs;
use crate::keys;

/// Which files of a folder.
#[derive(Args)]
pub(super) struct Patterns {
    /// Upload only those that this glob matches (repeatable): * stays within a name, ** does not. Default: all but hidden
    /// ones, which a glob has to name
    #[arg(long, value_name = "GLOB", requires = "recursive")]
    include: Vec<String>,
    /// Leave those out that this glob matches (repeatable)
    #[arg(long, value_name = "GLOB", requires = "recursive")]
    exclude: Vec<String>,
}

impl Patterns {
    pub(super) fn globs(&self) -> Result<Globs, Usage> {
        Globs::new(&self.include, &self.exclude).map_err(|error| Usage(format!("--recursive: {error}")))
    }
}

/// The file of the keys of a folder. It is called as the folder is written, so that it does not depend on what a link leads
/// to.
pub(super) fn keys_file(folder: &Path) -> Result<String, Usage> {
    let named = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
    let written = std::path::absolute(folder).ok().and_then(|path| named(&path));
    let name = written.or_else(|| folder.canonicalize().ok().and_then(|path| named(&path)));
    name.map(|name| format!("{name}.json")).ok_or_else(|| {
        Usage(format!("--recursive: {}: it has no name that a file could be called by", folder.display()))
    })
}

/// Rejects the file of a folder's keys if a keys folder cannot have it, or has another key of these names there.
pub(super) fn check_keys_file<'a>(file: &str, mut others: impl Iterator<Item = Cow<'a, str>>) -> Result<(), Usage> {
    if !keys::is_name(file) || others.any(|name| name == file) {
        return Err(Usage(format!(
            "--recursive: the keys of the folder would be in {file} of --keys-dir, where other keys are, or which no file \
             can be called: rename the folder, or the other key by NAME=FILE"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_the_keys_is_called_as_the_folder_is_written() {
        let here = std::env::current_dir().unwrap();
        let named = |path: &str| keys_file(Path::new(path)).map_err(|usage| usage.0);
        for (path, expected) in
            [("out/frames", "frames.json"), ("/data/frames/", "frames.json"), ("absent/./", "absent.json")]
        {
            assert_eq!(named(path).unwrap(), expected);
        }
        assert_eq!(named(".").unwrap(), format!("{}.json", here.file_name().unwrap().to_str().unwrap()));
        assert_eq!(
            named("..").unwrap(),
            format!("{}.json", here.parent().unwrap().file_name().unwrap().to_str().unwrap())
        );
        assert!(named("/").unwrap_err().contains("it has no name"));
        assert!(named("absent/..").unwrap_err().contains("it has no name"));
    }

    #[test]
    fn a_file_of_keys_that_another_key_has_or_no_file_can_have_is_refused() {
        let check = |file: &str, others: &[&'static str]| {
            check_keys_file(file, others.iter().map(|&name| name.into())).map_err(|usage| usage.0)
        };
        check("frames.json", &["frames"]).unwrap();
        for (file, others) in [("frames.json", &["a", "frames.json"][..]), ("keys.json", &[]), (&"a".repeat(201), &[])]
        {
            assert!(check(file, others).unwrap_err().contains("would be in"), "{file}");
        }
    }
}
