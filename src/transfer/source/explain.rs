//! Why the system refused a path, told so that its owner knows what to do.
//!
//! The system's word decides the kind of the error; the walk only names the part of the path it is about. Messages are
//! the same each time: sorted, without counts, and of bounded length.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::Path;

use cap_std::fs::Dir;
use rustix::io::Errno;

use super::error::{SourceError, printable, shortened};
use super::place::Place;
use super::walk::{Obstacle, Tree, walk};

/// How many entries of a folder are named.
const NAMED: usize = 5;
/// How many are looked at for the first of them; a folder can hold millions.
const LOOKED_AT: usize = 10_000;
/// About how long a hint makes a message, in characters.
const MESSAGE: usize = 300;
/// The longest name that is shown whole in a hint.
const NAME: usize = 40;

/// What the system's refusal to find `path` means.
pub(super) fn refused(place: &Place, tree: &Tree, path: &Path, error: io::Error) -> SourceError {
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR) => {
            let shown = place.show();
            let hint = match (tree, place) {
                (Tree::Beneath(dir), _) => hint(dir, walk(tree, path), shown.chars().count()),
                (_, Place::Anywhere { hint, .. }) => hint.clone(),
                _ => String::new(),
            };
            SourceError::NotFound { path: shown, hint }
        }
        Some(Errno::ACCESS | Errno::PERM) => match walk(tree, path) {
            Obstacle::Closed { folder, owner, mode } => place.denied(closed(tree, &folder), owner, mode),
            _ => SourceError::Unreachable(place.show()),
        },
        Some(Errno::NAMETOOLONG) => SourceError::NameTooLong(place.show()),
        // Beneath a root a link of /proc, which leads by no path, is refused by the word for a loop.
        Some(Errno::LOOP) => match walk(tree, path) {
            obstacle @ Obstacle::Leaves { .. } => escapes(place, obstacle),
            Obstacle::Unknown | Obstacle::Missing { .. } if place.is_beneath() => escapes(place, Obstacle::Unknown),
            _ => SourceError::NotAFile { path: place.show(), kind: "loop of symbolic links" },
        },
        // cap-std's own word for a path that leads out.
        None if error.kind() == ErrorKind::PermissionDenied => escapes(place, walk(tree, path)),
        _ if path.to_string_lossy().contains('\0') => {
            SourceError::NotFound { path: place.show(), hint: ": no name holds a NUL character".into() }
        }
        // What had been a link when it was met was none when cap-std came to read it.
        Some(Errno::INVAL) => SourceError::Changed(place.show()),
        _ => place.failed(error),
    }
}

fn escapes(place: &Place, obstacle: Obstacle) -> SourceError {
    let why = match obstacle {
        Obstacle::Leaves { link, target } if target.is_absolute() => format!(
            "its symbolic link {} is absolute ({}), which cannot be followed in a volume: make it relative",
            name(&link),
            name(&target)
        ),
        Obstacle::Leaves { link, target } => {
            format!("its symbolic link {} leads out of the volume ({})", name(&link), name(&target))
        }
        _ => "it leads out of the volume".into(),
    };
    SourceError::Escapes { path: place.show(), why }
}

fn closed(tree: &Tree, folder: &Path) -> String {
    match tree {
        Tree::Beneath(_) if folder.as_os_str().is_empty() => "the volume's root".into(),
        _ => format!("its folder {}", name(folder)),
    }
}

/// What is there instead of a file beneath a root, after a path of so many characters.
fn hint(dir: &Dir, obstacle: Obstacle, length: usize) -> String {
    const RELATIVE: &str = "paths are relative to the volume's root";
    let (folder, link) = match obstacle {
        Obstacle::Missing { folder, link } => (folder, link),
        Obstacle::NotAFolder(file) => return format!("; {RELATIVE}, and there {} is not a folder", name(&file)),
        _ => return format!("; {RELATIVE}"),
    };
    let link = link.map(|link| format!(": its symbolic link {} leads to nothing", name(&link))).unwrap_or_default();
    let it = if folder.as_os_str().is_empty() { "which".into() } else { format!("and its folder {}/", name(&folder)) };
    let hint = format!("{link}; {RELATIVE}, {it}");
    let room = MESSAGE.saturating_sub(length + hint.chars().count());
    format!("{hint} {}", content(dir, &folder, room))
}

/// The first names in a folder, in about so many characters.
fn content(dir: &Dir, folder: &Path, room: usize) -> String {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = dir.read_dir(folder) else { return "may not be listed".into() };
    let mut first = BTreeSet::new();
    for entry in entries.take(LOOKED_AT).flatten() {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        first.insert((entry.file_name(), is_folder));
        if first.len() > NAMED + 1 {
            first.pop_last();
        }
    }
    let is_more = first.len() > NAMED;
    let names = first.into_iter().take(NAMED);
    listed(names.map(|(entry, is_folder)| name(Path::new(&entry)) + if is_folder { "/" } else { "" }), is_more, room)
}

fn listed(names: impl Iterator<Item = String>, mut is_more: bool, room: usize) -> String {
    let mut text = String::new();
    for name in names {
        // The first is named in any case: it is short enough.
        if !text.is_empty() && text.chars().count() + name.chars().count() + ", , …".len() > room {
            is_more = true;
            break;
        }
        let comma = if text.is_empty() { "" } else { ", " };
        text = text + comma + &name;
    }
    match (text.is_empty(), is_more) {
        (true, _) => "is empty".into(),
        (false, true) => format!("holds {text}, …"),
        (false, false) => format!("holds {text}"),
    }
}

fn name(path: &Path) -> String {
    shortened(&printable(path), NAME)
}
