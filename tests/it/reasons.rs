//! Every reason is explained in `docs/reasons.md` and met by a test, and the pages made from the code are as it makes them.

use std::path::{Path, PathBuf};
use std::process::Command;

use fileupload_operator::reason::Reason;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(root().join(&path)).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

#[test]
fn every_reason_has_a_section_with_its_meaning_cause_and_fix() {
    let page = read("docs/reasons.md");
    for reason in Reason::ALL {
        let section = page.split(&format!("\n### {reason}\n")).nth(1).map(|rest| rest.split("\n## ").next().unwrap());
        let section = section.unwrap_or_else(|| panic!("docs/reasons.md has no section {reason}"));
        let section = section.split("\n### ").next().unwrap();
        let class = format!("**Class**: {}.", reason.class());
        for text in [reason.meaning(), reason.cause(), reason.fix(), &class] {
            assert!(section.contains(text), "{text:?} is not in the section {reason}");
        }
        assert!(page.contains(&format!("[{reason}](#{})", reason.as_str().to_lowercase())), "{reason} is in no table");
    }
}

#[test]
fn pages_made_from_the_code_are_as_the_code_makes_them() {
    for (arguments, path) in [
        (&["docs", "reasons"][..], "docs/reasons.md"),
        (&["docs", "cli"], "docs/cli.md"),
        (&["docs", "spec"], "docs/spec/fileupload.md"),
        (&["crd"], "crds/fileuploads.cyberun.cloud.yaml"),
    ] {
        // What the environment holds must not get into them.
        let command = || Command::new(env!("CARGO_BIN_EXE_fileupload"));
        let mut command = command();
        command.args(arguments).env("CYBERUN_API_URL", "https://somewhere.example/api/v1").env("COLUMNS", "40");
        let made = command.output().unwrap();
        assert!(made.status.success(), "{arguments:?}");
        let made = String::from_utf8(made.stdout).unwrap();
        assert!(!made.contains("somewhere.example"), "{path} holds what the environment says");
        assert!(made == read(path), "{path} is not what the code makes: run make generate");
    }
}

/// Everything in which a test names what it expects, but for this file.
fn tests() -> String {
    let mut files: Vec<PathBuf> = Vec::new();
    for (folder, extension) in [("tests/plan", "plan"), ("tests/e2e", "rs"), ("tests/it", "rs"), ("src/plan", "rs")] {
        let paths = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        files.extend(paths.filter(|path| path.extension().is_some_and(|found| found == extension)));
    }
    files.retain(|path| !path.ends_with("tests/it/reasons.rs"));
    let text = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let of_tests =
            if path.starts_with(root().join("src")) { text.split_once("\n#[cfg(test)]\n") } else { Some(("", &*text)) };
        of_tests.map_or_else(String::new, |(_, tests)| tests.to_owned())
    };
    files.into_iter().map(text).collect()
}

#[test]
fn every_reason_is_met_by_a_test() {
    let tests = tests();
    let words: std::collections::BTreeSet<&str> = tests.split(|c: char| !c.is_alphanumeric()).collect();
    let unmet: Vec<_> = Reason::ALL.iter().filter(|reason| !words.contains(reason.as_str())).collect();
    assert!(unmet.is_empty(), "no test names {unmet:?}");
}
