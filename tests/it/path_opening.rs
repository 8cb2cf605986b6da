//! Files of a volume whose owner means well: what is opened, and what a person is told of the rest.
//!
//! Most of it runs twice: with openat2, and in a thread that has none.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use fileupload_operator::transfer::{Source, SourceError};

use crate::support::thread;
use crate::support::volume::{INSIDE, Volume, block_on, both, open, refusal};
use crate::support::watch::Watch;

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
        // Another file system that is mounted beneath the root, here one whose files cannot be sent.
        let message = refusal(open("/", "proc/sys/kernel/ostype"), "not a file");
        assert!(message.contains("without a true size"), "{message}");
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
            // More than is read at one moment.
            fs::write(volume.root().join("inside"), vec![0; 100_000]).unwrap();
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
        let fix = ": set spec.worker.securityContext.runAsUser to one that may read it";
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
