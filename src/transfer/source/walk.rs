//! The walk to a path, name by name, that finds what stands in the way.
//!
//! The system says only that something on the way failed. Links are read here, never followed by the system, and
//! nothing is opened: no decision to send a file rests on this walk. Where the tree has changed since the refusal, the
//! answer is merely less exact. Beneath a root the looks stay beneath it too.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use cap_std::fs::{Dir, MetadataExt as _};

/// Links that are followed before they are called a loop, as many as Linux follows.
const LINKS: usize = 40;

/// Where the way is walked.
pub(super) enum Tree {
    Anywhere,
    Beneath(Dir),
}

struct Seen {
    /// What it leads to, if it is a link.
    link: Option<PathBuf>,
    is_folder: bool,
    owner: u32,
    mode: u32,
}

impl Tree {
    /// Looks at what has this name itself; the empty path is where the walk begins.
    fn look(&self, path: &Path) -> io::Result<Seen> {
        match self {
            Self::Anywhere => {
                let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
                let seen = std::fs::symlink_metadata(path)?;
                let link = if seen.is_symlink() { Some(std::fs::read_link(path)?) } else { None };
                Ok(Seen { link, is_folder: seen.is_dir(), owner: seen.uid(), mode: seen.mode() })
            }
            Self::Beneath(dir) => {
                let is_root = path.as_os_str().is_empty();
                let seen = if is_root { dir.dir_metadata() } else { dir.symlink_metadata(path) }?;
                let link = if seen.is_symlink() { Some(dir.read_link_contents(path)?) } else { None };
                Ok(Seen { link, is_folder: seen.is_dir(), owner: seen.uid(), mode: seen.mode() })
            }
        }
    }
}

/// What stands in the way, by paths that hold no link.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Obstacle {
    /// This folder has no such name, which `link` asked for if the path itself did not.
    Missing { folder: PathBuf, link: Option<PathBuf> },
    /// This would have to be a folder.
    NotAFolder(PathBuf),
    /// This folder may not be entered.
    Closed { folder: PathBuf, owner: u32, mode: u32 },
    /// This link leads out of the root.
    Leaves { link: PathBuf, target: PathBuf },
    /// Links that lead to each other.
    Loop,
    /// Nothing that could be found.
    Unknown,
}

/// A walk: where it has come to, and the names that are left, the next one last.
struct Walk<'a> {
    tree: &'a Tree,
    at: PathBuf,
    left: Vec<Step>,
    links: Vec<(PathBuf, PathBuf)>,
}

/// One part of a path, and which of the links met so far it comes from.
struct Step {
    part: PathBuf,
    link: Option<usize>,
}

/// Walks to `path` until something stands in the way.
pub(super) fn walk(tree: &Tree, path: &Path) -> Obstacle {
    let mut walk = Walk { tree, at: PathBuf::new(), left: Vec::new(), links: Vec::new() };
    walk.plan(path, None);
    while let Some(step) = walk.left.pop() {
        if let Some(obstacle) = walk.step(&step) {
            return obstacle;
        }
    }
    Obstacle::Unknown
}

impl Walk<'_> {
    fn plan(&mut self, path: &Path, link: Option<usize>) {
        let parts = path.components().rev();
        self.left.extend(parts.map(|part| Step { part: PathBuf::from(part.as_os_str()), link }));
    }

    fn step(&mut self, step: &Step) -> Option<Obstacle> {
        let is_beneath = matches!(self.tree, Tree::Beneath(_));
        match step.part.components().next()? {
            Component::RootDir if is_beneath => Some(self.leaves(step)),
            Component::ParentDir if is_beneath => (!self.at.pop()).then(|| self.leaves(step)),
            Component::Normal(name) => self.enter(name, step),
            // From a folder that was reached by no link, `..` and `/` lead where they say.
            part => {
                self.at.push(part);
                None
            }
        }
    }

    fn enter(&mut self, name: &OsStr, step: &Step) -> Option<Obstacle> {
        let next = self.at.join(name);
        match self.tree.look(&next) {
            Ok(Seen { link: Some(_), .. }) if self.links.len() == LINKS => return Some(Obstacle::Loop),
            Ok(Seen { link: Some(target), .. }) => {
                self.plan(&target, Some(self.links.len()));
                self.links.push((next, target));
            }
            Ok(seen) if !seen.is_folder && !self.left.is_empty() => return Some(Obstacle::NotAFolder(next)),
            Ok(_) => self.at = next,
            Err(error) => return Some(self.unseen(&error, step)),
        }
        None
    }

    fn unseen(&self, error: &io::Error, step: &Step) -> Obstacle {
        let folder = self.at.clone();
        match (error.kind(), self.tree.look(&folder)) {
            (ErrorKind::NotFound, _) => {
                Obstacle::Missing { folder, link: step.link.map(|link| self.links[link].0.clone()) }
            }
            (ErrorKind::PermissionDenied, Ok(Seen { owner, mode, .. })) => Obstacle::Closed { folder, owner, mode },
            _ => Obstacle::Unknown,
        }
    }

    fn leaves(&self, step: &Step) -> Obstacle {
        step.link.map_or(Obstacle::Unknown, |link| {
            let (link, target) = self.links[link].clone();
            Obstacle::Leaves { link, target }
        })
    }
}
