//! The short road to a file that is in memory already: it cannot block, so that it needs no other thread.
//!
//! To switch to a thread and back costs more than a small file does. Each step asks the kernel not to wait for a disk
//! (`RESOLVE_CACHED`, `AT_STATX_DONT_SYNC`, `RWF_NOWAIT`). Only disks of this machine are read so: elsewhere a server may be
//! asked at any step. Whatever does not succeed at once is left to the long road, which also words the errors.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{IoSliceMut, Read};
use std::os::fd::OwnedFd;
use std::sync::LazyLock;

use bytes::Bytes;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags, makedev, openat2, statx};
use rustix::io::{ReadWriteFlags, preadv2};

use super::place::{Place, Stamp, reopened};
use super::settle::is_fresh;
use super::{Opened, WHOLE};

/// The kinds of file systems that ask nobody.
const KINDS: [&str; 2] = ["ext4", "xfs"];
/// How much of the list of mounts is read, in bytes.
const MOUNTS: u64 = 1024 * 1024;

/// The disks of this machine; one that is mounted later is not read by the short road.
static DISKS: LazyLock<BTreeSet<u64>> = LazyLock::new(|| {
    let mut mounts = String::new();
    // What cannot be read lists no disk.
    let _ = File::open("/proc/self/mountinfo").and_then(|file| file.take(MOUNTS).read_to_string(&mut mounts));
    disks(&mounts)
});

/// The devices of these mounts (`/proc/pid/mountinfo`) that are disks of this machine.
fn disks(mounts: &str) -> BTreeSet<u64> {
    let disk = |line: &str| {
        let (mount, system) = line.split_once(" - ")?;
        let (major, minor) = mount.split(' ').nth(2)?.split_once(':')?;
        let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
        // Without a block device, whose major number is not 0, the number may soon be another file system's.
        let is_disk = major != 0 && KINDS.contains(&system.split(' ').next()?);
        is_disk.then(|| makedev(major, minor))
    };
    mounts.lines().filter_map(disk).collect()
}

/// The file, if it is known not to have been modified in the last 10 seconds.
pub(super) fn old(place: &Place) -> Option<Held> {
    known(place).filter(|held| !is_fresh(&held.stamp))
}

/// The file, whenever it was modified.
pub(super) fn known(place: &Place) -> Option<Held> {
    hold(place, &DISKS)
}

/// A regular file on a disk of this machine, not open for reading yet.
pub(super) struct Held {
    handle: OwnedFd,
    stamp: Stamp,
}

fn hold(place: &Place, disks: &BTreeSet<u64>) -> Option<Held> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let handle = match place {
        Place::Anywhere { path, .. } => openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED).ok()?,
        Place::Beneath { root, path, .. } => {
            place.stays_by_its_words(path).ok()?;
            let root = openat2(CWD, root, flags | OFlags::DIRECTORY, Mode::empty(), ResolveFlags::CACHED).ok()?;
            let rules = ResolveFlags::CACHED | ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
            openat2(root, path, flags, Mode::empty(), rules).ok()?
        }
    };
    let seen = statx(&handle, "", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, StatxFlags::BASIC_STATS).ok()?;
    let device = makedev(seen.stx_dev_major, seen.stx_dev_minor);
    let is_file = FileType::from_raw_mode(u32::from(seen.stx_mode)) == FileType::RegularFile;
    let modified = (seen.stx_mtime.tv_sec, i64::from(seen.stx_mtime.tv_nsec));
    let stamp = Stamp { size: seen.stx_size, modified, inode: (device, seen.stx_ino) };
    (is_file && disks.contains(&device)).then_some(Held { handle, stamp })
}

impl Held {
    /// Reads it, if it is small, in memory, and does not change meanwhile.
    pub(super) fn read(&self) -> Option<Opened> {
        let size = usize::try_from(self.stamp.size).ok().filter(|size| *size <= WHOLE)?;
        let file = reopened(&self.handle).ok()?;
        // One byte more tells whether it ends there.
        let mut content = vec![0; size + 1];
        let read = preadv2(&file, &mut [IoSliceMut::new(&mut content)], 0, ReadWriteFlags::NOWAIT).ok()?;
        if read != size || Stamp::of(&file.metadata().ok()?) != self.stamp {
            return None;
        }
        content.truncate(size);
        Some(Opened::in_memory(Bytes::from(content)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use super::super::HEAD;
    use super::super::place::Whose;
    use super::*;

    /// A file that was written long ago.
    fn written(folder: &tempfile::TempDir, size: usize) -> Arc<Place> {
        let path = folder.path().join("a");
        fs::write(&path, vec![7; size]).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_hours(1)).unwrap();
        Arc::new(Place::Beneath { root: folder.path().to_owned(), path: "a".into(), whose: Whose::Volume })
    }

    /// The disk of a folder, whatever it is.
    fn disk(folder: &tempfile::TempDir) -> BTreeSet<u64> {
        [fs::metadata(folder.path()).unwrap().dev()].into()
    }

    #[test]
    fn what_is_in_memory_is_read_as_the_long_road_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        for size in [0, 1, HEAD, WHOLE] {
            let place = written(&folder, size);
            let short = hold(&place, &disk(&folder)).unwrap().read().unwrap();
            let long = Opened::file(&place).unwrap();
            assert_eq!((short.size(), short.whole(), short.head()), (long.size(), long.whole(), long.head()));
        }
    }

    #[test]
    fn what_it_must_not_read_is_left_to_the_long_road() {
        let folder = tempfile::tempdir().unwrap();
        symlink("/etc/hostname", folder.path().join("out")).unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        let disks = disk(&folder);
        for path in ["none", ".", "in", "in/../a", "/etc/hostname", "out"] {
            let place = Place::Beneath { root: folder.path().to_owned(), path: path.into(), whose: Whose::Volume };
            assert!(hold(&place, &disks).is_none(), "{path}");
        }
        let place = written(&folder, WHOLE + 1);
        assert!(hold(&place, &disks).unwrap().read().is_none(), "too large");
        assert!(hold(&place, &BTreeSet::new()).is_none(), "a server may be asked");
        let place = written(&folder, 5);
        let held = hold(&place, &disks).unwrap();
        fs::write(folder.path().join("a"), "other").unwrap();
        assert!(held.read().is_none(), "it has changed since");
        assert!(is_fresh(&hold(&place, &disks).unwrap().stamp));
    }

    #[test]
    fn only_disks_of_this_machine_are_such() {
        let mounts = "\
            28 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
            30 28 0:26 / /a\\040b rw - nfs4 server:/ rw\n\
            31 28 0:27 / /run rw shared:2 master:1 - tmpfs tmpfs rw\n\
            32 28 8:1 / /data rw - fuseblk /dev/sda1 rw\n\
            33 28 259:300 /sub /fast rw - xfs /dev/nvme0n1 rw\n\
            odd\n";
        assert_eq!(disks(mounts), [makedev(254, 0), makedev(259, 300)].into());
    }
}
