//! `--files-from`: a list of files, one per line or each ended by NUL.
//!
//! Each entry is `[NAME=]FILE`, and any file name works: no quotes, comments or blanks are read in a special way. Empty
//! lines are passed over. What is wrong is told with the number of its line or entry.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Usage;
use super::named::{self, Named, Place};

/// Reads the list at `path`, or from standard input if it is `-`.
pub(super) fn read(path: &Path, null: bool) -> Result<Vec<Named>, Usage> {
    let unreadable = |error: io::Error| Usage(format!("--files-from: cannot read {}: {error}", path.display()));
    let files = if path == Path::new("-") {
        entries(io::stdin().lock(), null, unreadable)?
    } else {
        entries(BufReader::new(File::open(path).map_err(unreadable)?), null, unreadable)?
    };
    if files.is_empty() {
        let what = if path == Path::new("-") { "standard input".into() } else { path.display().to_string() };
        return Err(Usage(format!("--files-from: {what} lists no file: it is empty")));
    }
    Ok(files)
}

fn entries(mut list: impl BufRead, null: bool, unreadable: impl Fn(io::Error) -> Usage) -> Result<Vec<Named>, Usage> {
    let (end, mut files, mut entry) = (if null { 0 } else { b'\n' }, Vec::new(), Vec::new());
    for number in 1.. {
        entry.clear();
        if list.read_until(end, &mut entry).map_err(&unreadable)? == 0 {
            break;
        }
        entry.pop_if(|last| *last == end);
        let place = if null { Place::Entry(number) } else { Place::Line(number) };
        if entry.contains(&0) {
            return Err(Usage(format!("{place}it has a NUL: give --null if NUL ends each entry of the list")));
        }
        if !entry.is_empty() {
            files.push(named::read(std::ffi::OsStr::from_bytes(&entry), place)?);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(list: &[u8], null: bool) -> Result<Vec<String>, String> {
        let files = entries(list, null, |error| Usage(error.to_string())).map_err(|usage| usage.0)?;
        Ok(files.into_iter().map(|file| file.name().into_owned()).collect())
    }

    #[test]
    fn each_line_is_a_file_whatever_it_is_called() {
        let list = b"a.png\nphoto one.png\n\n # \"quoted\" \\ \nyear=2024/x/a.txt\nn=b.png\n-\nlast";
        let names = ["a.png", "photo one.png", " # \"quoted\" \\ ", "year", "n", "-", "last"];
        assert_eq!(listed(list, false).unwrap(), names);
        assert_eq!(listed(b"a\nb\0c\0", true).unwrap(), ["a\nb", "c"]);
        assert!(listed(b"", true).unwrap().is_empty() && listed(b"\n\n", false).unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_or_entry() {
        for (list, null, expected) in [
            (&b"a\n\nfolder/..\n"[..], false, "--files-from, line 3: folder/.. names no file"),
            (b"a\0b\0..\0", true, "--files-from, entry 3: .. names no file"),
            (b"a\nb-\xff\n", false, "--files-from, line 2: b-\u{fffd}: its file name is not UTF-8"),
            (b"a\0b\0", false, "--files-from, line 1: it has a NUL: give --null"),
        ] {
            let error = listed(list, null).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
