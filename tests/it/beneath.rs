//! Files of a volume whose owner is hostile: nothing outside of it is ever opened.
//!
//! Each attempt has a file outside, the canary, whose openings the kernel counts. All of it runs twice: with openat2,
//! and in a thread that has none.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use fileupload_operator::transfer::{Source, SourceError};
use futures::executor::block_on;
use rustix::fs::{CWD, FileType, Mode, RenameFlags};
use tempfile::TempDir;

use crate::thread;
use crate::watch::Watch;

const DEADLINE: Duration = Duration::from_secs(60);
const INSIDE: &[u8] = b"inside";
const CANARY: &[u8] = b"canary";

/// A volume that looks as if it was mounted, and a canary beside it.
struct Volume(TempDir);

impl Volume {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Others may enter: what is closed to them is up to each test.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir_all(folder.path().join("volume/folder")).unwrap();
        fs::create_dir(folder.path().join("outside")).unwrap();
        fs::write(folder.path().join("outside/canary"), CANARY).unwrap();
        let volume = Self(folder);
        volume.write("inside");
        volume.write("folder/inside");
        volume
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("volume")
    }

    fn canary(&self) -> PathBuf {
        self.0.path().join("outside/canary")
    }

    fn write(&self, path: &str) -> PathBuf {
        let path = self.root().join(path);
        fs::write(&path, INSIDE).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        path
    }

    fn link(&self, path: &str, target: impl AsRef<Path>) {
        symlink(target, self.root().join(path)).unwrap();
    }

    fn open(&self, path: &str) -> Result<Vec<u8>, SourceError> {
        open(self.root(), path)
    }
}

/// The content of a small file.
fn open(root: impl Into<PathBuf>, path: &str) -> Result<Vec<u8>, SourceError> {
    // Nothing is waited for, so that no runtime is needed.
    block_on(Source::beneath(root, path).settled().open()).map(|opened| opened.head().to_vec())
}

/// Runs the same with openat2 and without.
fn both(work: impl Fn() + Send + Sync) {
    assert_eq!(thread::openat2_answers(), Ok(()), "these tests need a kernel that has it");
    work();
    thread::without_openat2(work);
}

/// The message of a refusal of a certain kind.
fn refusal(result: Result<Vec<u8>, SourceError>, kind: &str) -> String {
    let error = result.unwrap_err();
    assert_eq!(kind_of(&error), kind, "{error}");
    error.to_string()
}

fn kind_of(error: &SourceError) -> &'static str {
    match error {
        SourceError::Escapes { .. } => "escapes",
        SourceError::NotAFile { .. } => "not a file",
        SourceError::NotFound { .. } => "not found",
        SourceError::PermissionDenied { .. } => "denied",
        SourceError::Changed(_) => "changed",
        _ => "another",
    }
}

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
        watches.map(Watch::saw_nobody);
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
        while opened < 500 || refused < 500 {
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
        raced(&volume, "inside", &["escapes"], || exchange(&file, &link));
        watch.saw_nobody();
    });
}

#[test]
fn a_folder_that_is_swapped_for_a_link_while_it_is_entered_leads_nowhere() {
    both(|| {
        let volume = Volume::new();
        fs::copy(volume.canary(), volume.0.path().join("outside/inside")).unwrap();
        volume.link("away", "../outside");
        let watch = Watch::new(&volume.0.path().join("outside/inside"));
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
        // Within the volume it climbs to its root; were `deep` moved up in between, it would climb further.
        volume.link("folder/deep/up", "../../inside");
        fs::copy(volume.canary(), volume.0.path().join("inside")).unwrap();
        let watch = Watch::new(&volume.0.path().join("inside"));
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
        raced(&volume, "inside", &["not a file"], || exchange(&file, &pipe));
        // Whichever name it has now.
        let watch = watch.renamed(if fs::metadata(&file).unwrap().is_file() { pipe } else { file });
        watch.saw_nobody();
    });
}

#[test]
fn what_stays_in_the_volume_is_opened() {
    both(|| {
        let volume = Volume::new();
        let long = "n".repeat(255);
        let deep = ["d"; 500].join("/");
        fs::create_dir_all(volume.root().join(&deep)).unwrap();
        let deep = format!("{deep}/inside");
        for name in
            ["a b", "ä-日本-e\u{301}", "-rf", "--", "...", "..a", " ", "a\nb", "~", long.as_str(), deep.as_str()]
        {
            volume.write(name);
            assert_eq!(volume.open(name).unwrap(), INSIDE, "{name:?}");
        }
        fs::hard_link(volume.root().join("inside"), volume.root().join("hard")).unwrap();
        volume.link("here", "inside");
        volume.link("folder/up", "../here");
        volume.link("folder/round", "../folder/../folder/up");
        volume.link("down", "folder");
        for path in [
            "folder//inside",
            "./inside",
            "folder/./inside",
            "hard",
            "here",
            "folder/up",
            "folder/round",
            "down/inside",
            "down/round",
        ] {
            assert_eq!(volume.open(path).unwrap(), INSIDE, "{path}");
        }
        // Another file system that is mounted beneath the root.
        assert_eq!(open("/", "proc/sys/kernel/ostype").unwrap(), b"");
    });
}

#[test]
fn a_change_is_noticed_by_the_same_road() {
    both(|| {
        let changes: [fn(&Volume); 4] = [
            |volume| drop(volume.write("other-inside")),
            |volume| fs::write(volume.root().join("inside"), "other").unwrap(),
            |volume| fs::remove_file(volume.root().join("here")).unwrap(),
            |volume| {
                volume.link("new", "../outside/canary");
                fs::rename(volume.root().join("new"), volume.root().join("here")).unwrap();
            },
        ];
        for (number, change) in changes.iter().enumerate() {
            let volume = Volume::new();
            volume.link("here", "inside");
            let opened = block_on(Source::beneath(volume.root(), "here").settled().open()).unwrap();
            opened.check_unchanged().unwrap();
            let watch = Watch::new(&volume.canary());
            change(&volume);
            let result = opened.check_unchanged();
            assert_eq!(result.is_ok(), number == 0, "change {number}: {result:?}");
            watch.saw_nobody();
        }
    });
}

#[test]
fn a_file_that_is_missing_is_told_with_what_is_there() {
    both(|| {
        let volume = Volume::new();
        for name in ["folder/b", "folder/a\u{7}", "folder/z", "folder/y", "folder/x"] {
            volume.write(name);
        }
        fs::create_dir_all(volume.root().join("folder/c/empty")).unwrap();
        volume.link("latest", "folder/c/none");
        volume.link("dots", "folder/c/empty/none");
        for (path, expected) in [
            (
                "folder/none",
                "folder/none: no such file; paths are relative to the volume's root, and its folder folder/ holds \
                 a\\u{7}, b, c/, inside, x, …",
            ),
            ("folder/none/below", "and its folder folder/ holds a\\u{7}, b, c/, inside, x, …"),
            ("folder/c/none", "and its folder folder/c/ holds empty/"),
            ("folder/c/empty/none", "and its folder folder/c/empty/ is empty"),
            (
                "none",
                "none: no such file; paths are relative to the volume's root, which holds dots, folder/, inside, latest",
            ),
            ("inside/below", "paths are relative to the volume's root, and there inside is not a folder"),
            (
                "latest",
                "latest: no such file: its symbolic link latest leads to nothing; paths are relative to the volume's \
                 root, and its folder folder/c/ holds empty/",
            ),
            ("nul\0", "nul\\u{0}: no such file"),
        ] {
            let message = refusal(volume.open(path), "not found");
            assert!(message.contains(expected), "{path}: {message}");
            assert_eq!(message, refusal(volume.open(path), "not found"), "the same text each time");
        }
    });
}

#[test]
fn a_message_stays_short_and_never_names_the_mount() {
    let volume = Volume::new();
    let long = "ö".repeat(127);
    let folder = [long.as_str(); 3].join("/");
    fs::create_dir_all(volume.root().join(&folder)).unwrap();
    for number in 0..20 {
        fs::write(volume.root().join(&folder).join(format!("{number:02}{}", "n".repeat(250))), "").unwrap();
        fs::write(volume.root().join(format!("{number:02}{}", "n".repeat(250))), "").unwrap();
    }
    for path in [format!("{folder}/none"), "none".into()] {
        let message = refusal(volume.open(&path), "not found");
        assert!((150..=320).contains(&message.chars().count()), "{message}");
        assert!(message.contains("holds 00n") && message.ends_with(", …"), "{message}");
        assert!(!message.contains(volume.root().to_str().unwrap()), "{message}");
    }
    let message = refusal(volume.open(&"n".repeat(256)), "another");
    assert!(message.ends_with("one of its names is longer than the file system takes"), "{message}");
}

#[test]
fn a_volume_that_is_not_there_is_no_missing_file() {
    let volume = Volume::new();
    let message = refusal(open(volume.root().join("none"), "inside"), "another");
    assert!(message.contains("inside: cannot be read: the volume's root cannot be opened"), "{message}");
}

#[test]
fn what_is_closed_to_us_says_whose_it_is_and_what_to_set() {
    both(|| {
        let volume = Volume::new();
        let mode = |path: &str, mode| {
            let path = volume.root().join(path);
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        mode("inside", 0o200);
        mode("folder", 0o644);
        volume.link("here", "inside");
        volume.link("there", "folder/inside");
        let owner = fs::metadata(volume.root()).unwrap().uid();
        let check = |path: &str, what: &str, fix: &str, error: SourceError| {
            let us = rustix::process::geteuid().as_raw();
            let shown = volume.root().join(path);
            let shown = if fix.is_empty() { shown.to_str().unwrap() } else { path };
            let whose = format!("belongs to uid {owner} with mode {what}, and we run as uid {us}{fix}");
            let message = error.to_string();
            assert!(matches!(error, SourceError::PermissionDenied { .. }), "{message}");
            assert!(message.starts_with(&format!("{shown}: permission denied: ")), "{message}");
            assert!(message.contains(&whose) && message.ends_with(fix), "{message}");
        };
        let fix = "; set spec.worker.runAsUser to one that may read it";
        thread::unprivileged(|| {
            for (path, what) in [("inside", "0200"), ("here", "0200"), ("folder/inside", "0644"), ("there", "0644")] {
                check(path, what, fix, block_on(Source::beneath(volume.root(), path).settled().open()).unwrap_err());
                let anywhere = Source::file(volume.root().join(path)).settled();
                check(path, what, "", block_on(anywhere.open()).unwrap_err());
            }
            let message = refusal(volume.open("there"), "denied");
            assert!(message.contains("its folder folder belongs to"), "{message}");
        });
        mode("", 0o600);
        let message = thread::unprivileged(|| refusal(volume.open("folder/inside"), "denied"));
        assert!(message.contains("the volume's root belongs to"), "{message}");
        mode("", 0o311);
        let message = thread::unprivileged(|| refusal(volume.open("none"), "not found"));
        assert!(message.ends_with("which may not be listed"), "{message}");
        mode("", 0o755);
    });
}
