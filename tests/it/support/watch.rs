//! Whether anybody opened a file or read from it: the kernel's own word.
//!
//! A handle that can only be asked what the file is (`O_PATH`) does not count.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

pub(crate) struct Watch {
    events: OwnedFd,
    path: PathBuf,
}

impl Watch {
    pub(crate) fn new(path: &Path) -> Self {
        let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&events, path, WatchFlags::OPEN | WatchFlags::ACCESS).unwrap();
        Self { events, path: path.to_owned() }
    }

    /// The same watch of a file that is at another path by now.
    pub(crate) fn renamed(self, path: PathBuf) -> Self {
        Self { path, ..self }
    }

    /// Fails if the file was opened or read since the watch began, and if the watch would not have noticed.
    pub(crate) fn saw_nobody(self) {
        assert!(!self.saw(), "{} was opened", self.path.display());
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK;
        rustix::fs::open(&self.path, flags, rustix::fs::Mode::empty()).unwrap();
        assert!(self.saw(), "the watch of {} is blind", self.path.display());
    }

    fn saw(&self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        match inotify::Reader::new(&self.events, &mut buffer).next() {
            Ok(_) => true,
            Err(Errno::AGAIN) => false,
            Err(error) => panic!("{error}"),
        }
    }
}
