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
    ("cyberun", &["redact"]),
    ("transfer", &["redact"]),
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
