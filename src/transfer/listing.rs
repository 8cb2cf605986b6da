//! Which files of a folder are sent: patterns, and a walk that stays beneath its root.
//!
//! Links are followed as for single files, never out of the root. Memory is bounded by what may be sent, whatever the
//! folder holds: the rest is only counted. Nothing is opened for reading here.

use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, Metadata, MetadataExt};
use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::SourceError;
use super::source::Folder;

/// The most entries that are looked at.
const MAX_ENTRIES: usize = 1_000_000;
/// The deepest folder that is entered.
const MAX_DEPTH: usize = 64;
/// What file systems keep there is nobody's file.
const LOST_AND_FOUND: &str = "lost+found";

/// Patterns of paths in a folder: `*` stays within a name, `**` does not.
#[derive(Debug)]
pub struct Globs {
    include: GlobSet,
    /// Those that name something hidden.
    hidden: GlobSet,
    exclude: GlobSet,
    /// Folders of which nothing is sent: `DIR/**` leaves out all that is in them.
    closed: GlobSet,
}

/// A file of a folder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// SHA-256 of the path, which gives the order.
    pub order: [u8; 32],
    /// Its path in the folder.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last changed, to the microsecond.
    pub modified_at: Timestamp,
}

/// What a folder holds.
#[derive(Debug, Default)]
pub struct Listing {
    /// How many files match.
    pub count: usize,
    /// These, in their order; none if they are more than asked for.
    pub files: Vec<Found>,
    /// The first name that cannot be sent, as it is no text or too long, made harmless.
    pub unnamed: Option<String>,
}

/// Why a folder cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// It cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// There is no end to it.
    #[error("the folder holds more than {MAX_ENTRIES} entries, or folders that are more than {MAX_DEPTH} deep")]
    Endless,
}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Found {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (&self.order, &self.path).cmp(&(&other.order, &other.path))
    }
}

impl Globs {
    /// Everything that `include` matches (or all, if it is empty) and `exclude` does not. The error says which pattern
    /// cannot be used.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, String> {
        let closed: Vec<_> = exclude.iter().filter_map(|glob| glob.strip_suffix("/**")).map(str::to_owned).collect();
        let names_hidden = |glob: &&String| glob.split('/').any(|name| name.starts_with('.'));
        let all = ["**".to_owned()];
        let include = if include.is_empty() { &all } else { include };
        Ok(Self {
            include: set(include.iter())?,
            hidden: set(include.iter().filter(names_hidden))?,
            exclude: set(exclude.iter())?,
            closed: set(closed.iter())?,
        })
    }

    /// Whether a file with this path is sent.
    pub fn matches(&self, path: &str) -> bool {
        let is_hidden = path.split('/').any(|name| name.starts_with('.'));
        let include = if is_hidden { &self.hidden } else { &self.include };
        include.is_match(path) && !self.exclude.is_match(path)
    }

    /// Whether the folder at `path` may hold a file that is sent.
    fn enters(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        name != LOST_AND_FOUND.as_bytes()
            && (!name.starts_with(b".") || !self.hidden.is_empty())
            && !self.closed.is_match(path)
    }
}

fn set<'a>(globs: impl Iterator<Item = &'a String>) -> Result<GlobSet, String> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        let built: Result<Glob, _> = GlobBuilder::new(glob).literal_separator(true).build();
        set.add(built.map_err(|error| format!("the pattern {glob:?} cannot be used: {}", error.kind()))?);
    }
    set.build().map_err(|error| format!("the patterns cannot be used: {}", error.kind()))
}

/// Lists the folder at `path` beneath `root`: its files, if these are at most `most` and have paths of at most `longest`
/// bytes.
pub fn list(root: &Path, path: &str, globs: &Globs, most: usize, longest: usize) -> Result<Listing, ListingError> {
    walk(&Folder::open(root, path)?, globs, most, longest)
}

/// The same for the folder at `path`, wherever it is. It is its own root, and errors name it as it is written here.
pub fn list_here(path: &Path, globs: &Globs, most: usize, longest: usize) -> Result<Listing, ListingError> {
    walk(&Folder::here(path)?, globs, most, longest)
}

fn walk(folder: &Folder, globs: &Globs, most: usize, longest: usize) -> Result<Listing, ListingError> {
    let mut walk =
        Walk { globs, most, longest, folder, entries: 0, listing: Listing::default(), files: BinaryHeap::new() };
    walk.enter(&PathBuf::new(), &mut Vec::new())?;
    let Walk { mut listing, files, .. } = walk;
    if listing.count <= most {
        listing.files = files.into_sorted_vec();
    }
    Ok(listing)
}

struct Walk<'a> {
    globs: &'a Globs,
    most: usize,
    longest: usize,
    folder: &'a Folder,
    entries: usize,
    listing: Listing,
    files: BinaryHeap<Found>,
}

impl Walk<'_> {
    /// Takes in what a folder holds; `above` are the folders that lead to it, so that a link to one of them ends.
    fn enter(&mut self, path: &Path, above: &mut Vec<(u64, u64)>) -> Result<(), ListingError> {
        let dir = match self.folder.at(path) {
            // What went away since it was listed is not there.
            Err(SourceError::NotFound { .. }) if !above.is_empty() => return Ok(()),
            dir => dir?,
        };
        let own = dir.dir_metadata().map_err(|error| self.folder.refused(path, error))?;
        let own = (own.dev(), own.ino());
        if above.contains(&own) {
            return Ok(());
        }
        if above.len() >= MAX_DEPTH {
            return Err(ListingError::Endless);
        }
        above.push(own);
        for entry in dir.entries().map_err(|error| self.folder.refused(path, error))? {
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(ListingError::Endless);
            }
            let entry = entry.map_err(|error| self.folder.refused(path, error))?;
            self.take(&dir, &path.join(entry.file_name()), &entry, above)?;
        }
        above.pop();
        Ok(())
    }

    fn take(
        &mut self,
        dir: &Dir,
        path: &Path,
        entry: &cap_std::fs::DirEntry,
        above: &mut Vec<(u64, u64)>,
    ) -> Result<(), ListingError> {
        // What went away since it was listed is not there.
        let Ok(kind) = entry.file_type() else { return Ok(()) };
        let name = entry.file_name();
        let text = path.to_str();
        if kind.is_dir() {
            return if self.globs.enters(path) { self.enter(path, above) } else { Ok(()) };
        }
        let is_sent = text.is_none_or(|text| self.globs.matches(text));
        if kind.is_file() && !is_sent || !kind.is_file() && !kind.is_symlink() {
            return Ok(());
        }
        if kind.is_file() && self.listing.count >= self.most && text.is_some() {
            self.listing.count += 1; // too many: only their number is told
            self.files.clear();
            return Ok(());
        }
        // A link that leads nowhere, or out of the folder, is left out.
        let found = if kind.is_symlink() { self.folder.metadata(path) } else { dir.metadata(&name) };
        let Ok(found) = found else { return Ok(()) };
        if found.is_dir() {
            return if self.globs.enters(path) { self.enter(path, above) } else { Ok(()) };
        }
        match text.filter(|text| text.len() <= self.longest) {
            Some(text) if found.is_file() && is_sent => self.keep(text, &found),
            None if found.is_file() => {
                let shown: String = path.to_string_lossy().escape_debug().take(100).collect();
                self.listing.unnamed.get_or_insert(shown);
            }
            _ => {}
        }
        Ok(())
    }

    fn keep(&mut self, path: &str, found: &Metadata) {
        self.listing.count += 1;
        if self.listing.count > self.most {
            return self.files.clear();
        }
        let micros = found.mtime().saturating_mul(1_000_000).saturating_add(found.mtime_nsec() / 1000);
        let modified_at = Timestamp::from_microsecond(micros).unwrap_or_default();
        let order = Sha256::digest(path).into();
        self.files.push(Found { order, path: path.to_owned(), size: found.len(), modified_at });
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn globs(include: &[&str], exclude: &[&str]) -> Globs {
        let owned = |globs: &[&str]| globs.iter().map(|&glob| glob.to_owned()).collect::<Vec<_>>();
        Globs::new(&owned(include), &owned(exclude)).unwrap()
    }

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        root
    }

    fn paths(root: &Path, path: &str, globs: &Globs) -> Vec<String> {
        let mut paths: Vec<_> =
            list(root, path, globs, 100, 1024).unwrap().files.into_iter().map(|file| file.path).collect();
        paths.sort();
        paths
    }

    #[test]
    fn patterns_are_relative_and_hidden_files_have_to_be_named() {
        for (include, exclude, path, expected) in [
            (&[][..], &[][..], "a/b.png", true),
            (&["**/*.png"], &[], "b.png", true),
            (&["**/*.png"], &[], "a/b/c.png", true),
            (&["*.png"], &[], "a/b.png", false),
            (&["a/*"], &[], "a/b/c", false),
            (&["**/*.png"], &["a/**"], "a/b.png", false),
            (&[], &["**/*.tmp"], "x.tmp", false),
            (&[], &[], ".hidden", false),
            (&["**/*"], &[], "a/.cache/b", false),
            (&[".env"], &[], ".env", true),
            (&["**/.cache/**"], &[], "a/.cache/b", true),
            (&["*.{png,jpg}"], &[], "b.jpg", true),
        ] {
            assert_eq!(globs(include, exclude).matches(path), expected, "{include:?} {exclude:?} {path}");
        }
        assert!(Globs::new(&["a[".to_owned()], &[]).unwrap_err().contains("\"a[\""));
    }

    #[test]
    fn a_folder_is_listed_in_the_order_of_its_paths_hashes() {
        let root = tree(&["in/a.png", "in/b/c.png", "in/.x", "in/lost+found/y.png", "out.png"]);
        let listing = list(root.path(), "in", &globs(&[], &[]), 10, 1024).unwrap();
        assert_eq!((listing.count, listing.unnamed), (2, None));
        assert!(
            listing.files.is_sorted()
                && listing.files.iter().all(|file| file.order[..] == Sha256::digest(&file.path)[..])
        );
        assert_eq!(paths(root.path(), "in", &globs(&[], &[])), ["a.png", "b/c.png"]);
        assert_eq!(paths(root.path(), "", &globs(&["*.png"], &[])), ["out.png"]);
    }

    #[test]
    fn a_folder_of_which_nothing_is_sent_is_not_entered() {
        let root = tree(&["a", "cache/b", "x/cache/c", "x/d"]);
        for closed in ["cache", "x/cache"] {
            let deep = (0..MAX_DEPTH).fold(root.path().join(closed), |path, _| path.join("d"));
            fs::create_dir_all(deep).unwrap();
        }
        let listed = |exclude: &[&str]| list(root.path(), "", &globs(&[], exclude), 100, 1024);
        for exclude in [&[][..], &["cache/**"], &["x/cache/**"]] {
            assert!(matches!(listed(exclude), Err(ListingError::Endless)), "{exclude:?}");
        }
        for exclude in [&["cache/**", "x/cache/**"][..], &["**/cache/**"]] {
            assert_eq!(listed(exclude).unwrap().count, 2, "{exclude:?}");
        }
    }

    #[test]
    fn a_folder_that_went_away_since_it_was_listed_is_not_there() {
        let (root, globs) = (tree(&["a"]), globs(&[], &[]));
        let folder = Folder::open(root.path(), "").unwrap();
        let mut walk = Walk {
            globs: &globs,
            most: 1,
            longest: 9,
            folder: &folder,
            entries: 0,
            listing: Listing::default(),
            files: BinaryHeap::new(),
        };
        walk.enter(Path::new("gone"), &mut vec![(0, 0)]).unwrap();
        assert!(walk.enter(Path::new("gone"), &mut Vec::new()).is_err(), "the folder that was asked for is told");
    }

    #[test]
    fn links_are_followed_beneath_the_root_and_never_in_circles() {
        let root = tree(&["volume/in/a", "volume/beside/b", "outside/c"]);
        let at = |path: &str| root.path().join("volume/in").join(path);
        symlink("../beside/b", at("link")).unwrap();
        symlink("../beside", at("folder")).unwrap();
        symlink("..", at("up")).unwrap();
        symlink(".", at("here")).unwrap();
        symlink("../../outside/c", at("leaves")).unwrap();
        symlink(root.path().join("outside"), at("leaves too")).unwrap();
        symlink("nowhere", at("broken")).unwrap();
        let found = paths(&root.path().join("volume"), "in", &globs(&[], &[]));
        assert_eq!(found, ["a", "folder/b", "link", "up/beside/b"]);
    }

    #[test]
    fn too_many_files_are_counted_and_not_kept() {
        let names: Vec<_> = (0..30).map(|file| format!("{file}")).collect();
        let root = tree(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let listing = list(root.path(), "", &globs(&[], &[]), 29, 1024).unwrap();
        assert_eq!((listing.count, listing.files.len()), (30, 0));
        assert_eq!(list(root.path(), "", &globs(&[], &[]), 30, 1024).unwrap().files.len(), 30);
    }

    #[test]
    fn a_name_that_no_key_can_have_is_told_and_left_out() {
        use std::os::unix::ffi::OsStrExt;
        let root = tree(&["a"]);
        fs::write(root.path().join(std::ffi::OsStr::from_bytes(b"b\xff\n")), "").unwrap();
        let listing = list(root.path(), "", &globs(&[], &[]), 10, 1024).unwrap();
        assert_eq!(listing.count, 1);
        assert!(listing.unnamed.is_some_and(|shown| shown.starts_with('b') && !shown.contains('\n')));
        assert_eq!(list(root.path(), "", &globs(&[], &[]), 10, 0).unwrap().count, 0);
    }

    #[test]
    fn what_is_no_folder_is_told() {
        let root = tree(&["file"]);
        let said = |path: &str| list(root.path(), path, &globs(&[], &[]), 10, 9).unwrap_err().to_string();
        assert!(said("none").contains("none: no such"), "{}", said("none"));
        assert!(said("file").contains("file: is a file, not a folder"), "{}", said("file"));
        assert!(said("../x").contains("\"..\" is not followed"), "{}", said("../x"));
    }

    #[test]
    fn errors_of_a_folder_that_is_its_own_root_name_it_as_it_was_written() {
        let root = tree(&["in/a.png", "in/b/c.png"]);
        let at = |path: &str| root.path().join(path);
        let listed = |path: &str| list_here(&at(path), &globs(&[], &[]), 10, 1024);
        assert_eq!(listed("in").unwrap().count, 2);
        for (path, reason) in [("none", "no such file"), ("in/a.png", "is a file, not a folder")] {
            let said = listed(path).unwrap_err().to_string();
            assert_eq!(said, format!("{}: {reason}", at(path).display()));
        }
    }

    #[test]
    fn a_hundred_thousand_entries_are_counted_in_seconds() {
        let root = tree(&["first"]);
        for file in 0..100_000 {
            fs::File::create(root.path().join(format!("{file}"))).unwrap();
        }
        let begun = std::time::Instant::now();
        let listing = list(root.path(), "", &globs(&[], &[]), 2000, 1024).unwrap();
        assert_eq!((listing.count, listing.files.len()), (100_001, 0));
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}
