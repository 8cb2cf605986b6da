//! Who may import whom, as §7 of the design says: the table here is that one, module by module.
//!
//! It reads the paths that begin at the crate's root (`crate::…`, or enough `super::`) in every file of `src`, tests
//! and comments left out.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Every module may use these.
const COMMON: &[&str] = &["reason", "backoff", "outcome", "key_life"];

/// A module and what it may use besides; a module without a row fails the test.
const MAY_USE: &[(&str, &[&str])] = &[
    ("reason", &[]),
    ("backoff", &[]),
    ("outcome", &[]),
    ("key_life", &[]),
    ("clock", &[]),
    ("redact", &[]),
    ("resource", &[]),
    ("report", &[]),
    ("plan", &["resource", "report", "redact"]),
    ("proxy", &["redact"]),
    ("cyberun", &["redact", "proxy"]),
    ("transfer", &["redact", "proxy"]),
    ("delivery", &["cyberun", "transfer", "redact", "clock"]),
    ("keys", &[]),
    ("telemetry", &[]),
    ("controller", &["resource", "report", "plan", "delivery", "redact", "telemetry", "cyberun", "clock"]),
    ("worker", &["report", "delivery", "redact", "telemetry"]),
    ("sidecar", &["delivery", "keys", "redact", "telemetry", "clock"]),
];

/// These may use everything.
const ANY: &[&str] = &["lib", "main", "cli"];

/// What planning must not know of, so that it stays pure.
const IMPURE: &[&str] = &[
    "async ",
    ".await",
    "tokio",
    "reqwest",
    "hyper",
    "std::fs",
    "std::env",
    "Timestamp::now",
    "SystemTime",
    "tracing",
];

struct File {
    /// The path below `src` as a module path: `["transfer", "body"]`.
    module: Vec<String>,
    code: String,
}

impl File {
    fn top(&self) -> &str {
        &self.module[0]
    }
}

fn sources() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let read = |path: PathBuf| {
        let below = path.strip_prefix(&root).unwrap().with_extension("");
        let module = below.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        File { module, code: code(&std::fs::read_to_string(path).unwrap()) }
    };
    files.into_iter().map(read).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The text without comments and without the tests at its end.
fn code(text: &str) -> String {
    let shipped = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    let without_comment = |line: &str| line.split("//").next().unwrap_or_default().to_owned() + "\n";
    shipped.lines().map(without_comment).collect()
}

/// The top modules of this crate that a file names.
fn used(file: &File) -> BTreeSet<String> {
    let to_root = "super::".repeat(file.module.len());
    let roots = ["crate::", to_root.as_str()];
    roots
        .iter()
        .flat_map(|root| {
            file.code.match_indices(root).flat_map(|(at, _)| {
                // A longer identifier or path may end in the same letters.
                let before = file.code[..at].chars().next_back();
                let starts = !before.is_some_and(|c| c.is_alphanumeric() || "_:$".contains(c));
                if starts { heads(&file.code[at + root.len()..]) } else { Vec::new() }
            })
        })
        .collect()
}

/// The first names of what follows a root: one, or those of a `{…}` group.
fn heads(rest: &str) -> Vec<String> {
    let name = |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let (mut depth, mut names, mut start) = (0_usize, Vec::new(), 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                names.push(name(&group[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn violations(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| !ANY.contains(&file.top())) {
        let path = file.module.join("/");
        let Some((_, allowed)) = MAY_USE.iter().find(|(module, _)| *module == file.top()) else {
            found.push(format!("src/{path}.rs: its module {} has no row in the table of layers", file.top()));
            continue;
        };
        for module in used(file) {
            let known = [file.top()].iter().chain(COMMON).chain(*allowed).any(|known| *known == module);
            if !known {
                found.push(format!("src/{path}.rs: {} may not use {module}", file.top()));
            }
        }
    }
    found
}

#[test]
fn modules_use_only_what_the_table_of_layers_allows() {
    let found = violations(&sources());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn planning_is_pure() {
    for file in sources().iter().filter(|file| file.top() == "plan") {
        for word in IMPURE {
            assert!(!file.code.contains(word), "src/{}.rs: planning knows nothing of {word:?}", file.module.join("/"));
        }
    }
}

/// The files of `plan/`, each above those that it may import. `plan.rs` is the roof: it imports its rooms, and no room
/// imports it.
const FLOORS: &[&[&str]] = &[
    &["moments"],
    &["revision", "facts/folder", "facts/jobs", "facts/objects"],
    &["facts"],
    &["facts/read", "facts/volume", "case"],
    &["messages", "facts/kept"],
    &["file"],
    &["folder"],
    &["acts"],
    &["retry", "work/manifest/pod"],
    &["work/manifest", "work/trouble"],
    &["work/reports", "work/launch"],
    &["work/folder"],
    &["work", "output"],
    &["status"],
];

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// The rooms of `plan/` that a file of it names, by `super::` or `crate::plan::`.
fn rooms_used(file: &File) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    let below = &file.module[1..];
    for (at, _) in file.code.match_indices("::") {
        let before = &file.code[..at];
        let (base, is_path) = if before.ends_with("crate::plan") {
            (Vec::new(), true)
        } else if before.ends_with("super") {
            let whole = before.trim_end_matches("super").trim_end_matches("super::");
            let starts = !whole.ends_with(|c: char| c.is_alphanumeric() || "_:$".contains(c));
            let supers = (before.len() - whole.len()).div_ceil("super::".len());
            (below[..below.len().saturating_sub(supers)].to_vec(), starts)
        } else {
            continue;
        };
        let rest = &file.code[at + 2..];
        if !is_path || rest.starts_with("super") {
            continue;
        }
        for name in heads(rest) {
            let mut room = base.clone();
            let tail = rest.strip_prefix(&name).and_then(|rest| rest.strip_prefix("::")).unwrap_or_default();
            if floor(&[room.clone(), vec![name.clone()]].concat().join("/")).is_some() {
                room.push(name);
                let inner = heads(tail).into_iter().next().unwrap_or_default();
                if floor(&[room.clone(), vec![inner.clone()]].concat().join("/")).is_some() {
                    room.push(inner);
                }
            }
            rooms.insert(if room.is_empty() { "the roof".to_owned() } else { room.join("/") });
        }
    }
    rooms
}

fn floors_broken(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.top() == "plan" && file.module.len() > 1) {
        let room = file.module[1..].join("/");
        if file.module.iter().any(|name| name == "tests") {
            continue;
        }
        let Some(own) = floor(&room) else {
            found.push(format!("src/plan/{room}.rs has no floor"));
            continue;
        };
        for used in rooms_used(file).into_iter().filter(|used| *used != room) {
            if floor(&used).is_none_or(|floor| floor >= own) {
                found.push(format!("src/plan/{room}.rs imports {used}, which is not below it"));
            }
        }
    }
    found
}

#[test]
fn a_file_of_the_plan_imports_only_files_below_it_and_none_imports_the_roof() {
    let found = floors_broken(&sources());
    assert!(found.is_empty(), "{}", found.join("\n"));
    let file = |path: &str, text: &str| File { module: path.split("::").map(Into::into).collect(), code: code(text) };
    for (path, text) in [
        ("plan::case", "use super::acts::Plan;"),
        ("plan::status", "use super::{Plan, retry};"),
        ("plan::facts::read", "use super::super::file::Entry;"),
        ("plan::work::reports", "use super::is_doubtful;"),
        ("plan::file", "fn a() { crate::plan::retry::b(); }"),
        ("plan::novel", ""),
    ] {
        assert_eq!(floors_broken(&[file(path, text)]).len(), 1, "{path} {text}");
    }
    for (path, text) in [
        (
            "plan::work::launch",
            "use super::super::facts::volume::{Placement, access};\nuse super::super::{messages, revision};",
        ),
        ("plan::facts::volume", "use super::{ClaimFacts, JobFacts};"),
        ("plan::file", "pub(super) fn a() {}"),
    ] {
        assert_eq!(floors_broken(&[file(path, text)]), [""; 0], "{path} {text}");
    }
}

#[test]
fn a_reconcile_plans_once_and_settles_once_and_no_plan_is_shared_for_writing() {
    let sources = sources();
    let count = |top: &str, words: &str| -> usize {
        let files = sources.iter().filter(|file| file.top() == top);
        files.map(|file| file.code.matches(words).count()).sum()
    };
    for (step, words) in [("plan", "plan::plan("), ("settle", "plan::settle(")] {
        assert_eq!(count("controller", words), 1, "the controller calls {step} in one place");
        // `render` and `explain` use the same functions.
        assert_eq!(count("cli", words), 2, "{step}");
    }
    // The place is a function without a loop: so each reconcile goes through it once.
    let controller = sources.iter().find(|file| file.module == ["controller"]).unwrap();
    let reconcile = controller.code.split("async fn reconcile(").nth(1).unwrap().split("\n}\n").next().unwrap();
    assert!(reconcile.contains("plan::plan(") && reconcile.contains("plan::settle("));
    for word in ["loop ", "for ", "while ", ".map(", ".for_each("] {
        assert!(!reconcile.contains(word), "reconcile has a loop: {word}");
    }
    let shared: Vec<_> =
        sources.iter().filter(|file| file.code.contains("&mut Plan")).map(|file| &file.module).collect();
    assert!(shared.is_empty(), "{shared:?}");
}

#[test]
fn an_import_that_is_not_allowed_is_found_however_it_is_written() {
    let file = |path: &str, text: &str| File { module: path.split('/').map(Into::into).collect(), code: code(text) };
    for (path, text, expected) in [
        ("cyberun", "use crate::transfer::Source;", "transfer"),
        ("cyberun/wire", "use super::super::transfer;", "transfer"),
        ("cyberun", "use super::transfer;", "transfer"),
        ("transfer/body", "use crate::{\n    redact::{Secret, quote},\n    cyberun,\n};", "cyberun"),
        ("redact", "fn a() { crate::clock::now(); }", "clock"),
        ("novel", "", "no row"),
    ] {
        let found = violations(&[file(path, text)]);
        assert!(found.len() == 1 && found[0].contains(expected), "{path} {text}: {found:?}");
    }
    for (path, text) in [
        ("cyberun/wire", "use super::auth; use crate::redact::quote; // crate::transfer"),
        ("transfer/body", "pub(in crate::transfer) fn a() {}\n#[cfg(test)]\nmod tests { use crate::delivery; }"),
    ] {
        assert_eq!(violations(&[file(path, text)]), [""; 0], "{path} {text}");
    }
}
