//! Files of a volume whose owner is hostile: nothing outside of it is ever opened.
//!
//! The kernel counts the openings of a canary beside the volume. All of it runs twice: with openat2, and in a thread
//! that has none.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, RenameFlags};

use crate::support::volume::{INSIDE, Volume, both, kind_of, open, refusal};
use crate::support::watch::Watch;

const DEADLINE: Duration = Duration::from_mins(1);
/// How often a race is won and lost.
const TIMES: u32 = 500;

#[test]
fn no_path_and_no_link_leads_out() {
    both(|| {
        let volume = Volume::new();
        let canary = volume.canary();
        volume.link("out", "../outside/canary");
        volume.link("absolute", &canary);
        volume.link("own", volume.root().join("inside"));
        volume.link("back", "../volume/inside");
        volume.link("away", "../outside");
        volume.link("first", "second");
        volume.link("second", "folder/third");
        volume.link("folder/third", "../../outside/canary");
        volume.link("token", "/var/run/secrets/kubernetes.io/serviceaccount/token");
        volume.link("climb", "../../../../../../../../var/run/secrets/kubernetes.io/serviceaccount/token");
        volume.link("self", format!("/proc/self/root{}", canary.display()));
        volume.link("zero", "/dev/zero");
        volume.link("shown\u{1b}", "../a\nb");
        let watch = Watch::new(&canary);
        for (path, expected) in [
            ("out", "out: its symbolic link out leads out of the volume (../outside/canary)"),
            ("absolute", "absolute: its symbolic link absolute is absolute (/"),
            ("own", "which cannot be followed in a volume: make it relative"),
            ("back", "its symbolic link back leads out of the volume (../volume/inside)"),
            ("away/canary", "away/canary: its symbolic link away leads out of the volume (../outside)"),
            ("first", "first: its symbolic link folder/third leads out of the volume (../../outside/canary)"),
            ("token", "its symbolic link token is absolute (/var/run/"),
            ("climb", "its symbolic link climb leads out of the volume"),
            ("self", "its symbolic link self is absolute (/proc/self/"),
            ("zero", "its symbolic link zero is absolute (/dev/zero)"),
            ("shown\u{1b}", "shown\\u{1b}: its symbolic link shown\\u{1b} leads out of the volume (../a\\nb)"),
            ("../outside/canary", "../outside/canary: \"..\" is not followed in a volume"),
            ("folder/../../outside/canary", "\"..\" is not followed"),
            ("folder/../inside", "\"..\" is not followed"),
            ("..", "\"..\" is not followed"),
            (canary.to_str().unwrap(), "begins with a slash, but paths are relative to the volume's root"),
            ("/inside", "/inside: begins with a slash"),
        ] {
            let message = refusal(volume.open(path), "escapes");
            assert!(message.contains(expected), "{message}");
            assert!(!message.contains(volume.root().to_str().unwrap()) || path == "own", "{message}");
        }
        watch.saw_nobody();
    });
}

#[test]
fn the_links_of_proc_are_not_followed() {
    both(|| {
        let volume = Volume::new();
        let canary = fs::File::open(volume.canary()).unwrap();
        let watch = Watch::new(&volume.canary());
        let number = std::os::fd::AsRawFd::as_raw_fd(&canary);
        for path in [
            format!("self/root{}", volume.canary().display()),
            format!("thread-self/root{}", volume.canary().display()),
            format!("self/fd/{number}"),
            format!("thread-self/fd/{number}"),
            "self/exe".into(),
        ] {
            let message = refusal(open("/proc", &path), "escapes");
            assert!(message.contains(&path), "{message}");
        }
        watch.saw_nobody();
    });
}

#[test]
fn what_is_no_regular_file_is_told_without_opening_it() {
    both(|| {
        let volume = Volume::new();
        let at = |name| volume.root().join(name);
        let _listener = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        rustix::fs::mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        volume.link("to-pipe", "folder/../pipe");
        volume.link("loop", "pool");
        volume.link("pool", "./loop");
        let watches = [at("pipe"), at("folder")].map(|path| Watch::new(&path));
        for (path, kind) in [
            ("pipe", "named pipe"),
            ("to-pipe", "named pipe"),
            ("socket", "socket"),
            ("folder", "directory"),
            ("folder/", "directory"),
            (".", "directory"),
            ("./", "directory"),
            ("", "directory"),
            ("loop", "loop of symbolic links"),
            ("loop/below", "loop of symbolic links"),
        ] {
            let message = refusal(volume.open(path), "not a file");
            assert!(message.contains(&format!("is a {kind}, not a regular file")), "{path}: {message}");
        }
        watches.into_iter().for_each(Watch::saw_nobody);
        for device in ["null", "zero", "tty"] {
            let message = refusal(open("/dev", device), "not a file");
            assert!(message.contains("is a device"), "{message}");
        }
    });
}

/// Does `swap` over and over in a thread, and opens `path` until it has often been opened and often refused.
fn raced(volume: &Volume, path: &str, kinds: &[&str], swap: impl Fn() + Sync) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Ends with the scope, also when an assertion fails.
        let _stop = Stop(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                swap();
            }
        });
        let begun = Instant::now();
        let (mut opened, mut refused) = (0_u32, 0_u32);
        while opened < TIMES || refused < TIMES {
            assert!(begun.elapsed() < DEADLINE, "{opened} opened, {refused} refused");
            match volume.open(path) {
                Ok(content) => {
                    assert_eq!(content, INSIDE);
                    opened += 1;
                }
                Err(error) => {
                    assert!(kinds.contains(&kind_of(&error)), "{error}");
                    refused += 1;
                }
            }
        }
    });
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Swaps two names, so that there is no moment at which one is missing.
fn exchange(one: &Path, other: &Path) {
    rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
}

#[test]
fn a_file_that_is_swapped_for_a_link_while_it_is_opened_leads_nowhere() {
    both(|| {
        let volume = Volume::new();
        volume.link("out", "../outside/canary");
        let watch = Watch::new(&volume.canary());
        let (file, link) = (volume.root().join("inside"), volume.root().join("out"));
        // A small file is read as it is opened, and at its path may be another by then.
        raced(&volume, "inside", &["escapes", "changed"], || exchange(&file, &link));
        watch.saw_nobody();
    });
}

#[test]
fn a_folder_that_is_swapped_for_a_link_while_it_is_entered_leads_nowhere() {
    both(|| {
        let volume = Volume::new();
        fs::copy(volume.canary(), volume.around().join("outside/inside")).unwrap();
        volume.link("away", "../outside");
        let watch = Watch::new(&volume.around().join("outside/inside"));
        let (folder, link) = (volume.root().join("folder"), volume.root().join("away"));
        // Name by name, a folder that has become a link between two looks at it is missing or has changed.
        raced(&volume, "folder/inside", &["escapes", "not found", "changed"], || exchange(&folder, &link));
        watch.saw_nobody();
    });
}

#[test]
fn a_folder_that_moves_while_a_link_climbs_out_of_it_leads_nowhere() {
    both(|| {
        let volume = Volume::new();
        fs::create_dir_all(volume.root().join("folder/deep")).unwrap();
        // Within the volume it climbs to its root; once `deep` has been moved up in between, it climbs further. The
        // way is long, so that this happens in between.
        volume.link("folder/deep/up", "./".repeat(1900) + "../../inside");
        fs::copy(volume.canary(), volume.around().join("inside")).unwrap();
        let watch = Watch::new(&volume.around().join("inside"));
        let (low, high) = (volume.root().join("folder/deep"), volume.root().join("deep"));
        raced(&volume, "folder/deep/up", &["escapes", "not found", "changed"], || {
            fs::rename(&low, &high).unwrap();
            fs::rename(&high, &low).unwrap();
        });
        watch.saw_nobody();
    });
}

#[test]
fn a_file_that_is_swapped_for_a_pipe_never_opens_the_pipe() {
    both(|| {
        let volume = Volume::new();
        let (file, pipe) = (volume.root().join("inside"), volume.root().join("pipe"));
        rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let watch = Watch::new(&pipe);
        raced(&volume, "inside", &["not a file", "changed"], || exchange(&file, &pipe));
        // Whichever name it has now.
        let watch = watch.renamed(if fs::metadata(&file).unwrap().is_file() { pipe } else { file });
        watch.saw_nobody();
    });
}
