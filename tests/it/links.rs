//! Every link that README, CONTRIBUTING, SECURITY, docs, examples and the chart make within the repository leads somewhere: file and heading.
//!
//! Addresses of the web are not tried. Pages of docs must also be found: each is linked from another page.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use crate::support::tree::files_below;

const TOP: &str = env!("CARGO_MANIFEST_DIR");

/// The pages, by path from the top.
fn pages() -> BTreeMap<PathBuf, String> {
    let top = Path::new(TOP);
    let mut files = Vec::from(["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(|page| top.join(page)));
    for folder in ["charts", "docs", "examples", "tests/cluster"] {
        files.extend(files_below(&top.join(folder)));
    }
    let pages = files.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "md"));
    pages
        .map(|file| {
            let text = std::fs::read_to_string(&file).unwrap();
            (file.strip_prefix(top).unwrap().to_owned(), text)
        })
        .collect()
}

/// The lines of a page that are not code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

/// Where the links of a page lead.
fn targets(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        // Within `code` nothing is a link.
        let line: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for part in line.split("](").skip(1) {
            found.extend(part.split(')').next().map(str::to_owned));
        }
    }
    found
}

/// The anchors that a page's headings make, as repositories render them, and those that it writes itself.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in prose(text) {
        if let Some(heading) = line.strip_prefix('#') {
            let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
            let slug: String = heading.trim_start_matches('#').trim().to_lowercase().chars().filter(kept).collect();
            found.insert(slug.replace(' ', "-"));
        }
        for part in line.split("id=\"").skip(1) {
            found.extend(part.split('"').next().map(str::to_owned));
        }
    }
    found
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, component| {
        match component {
            Component::ParentDir => assert!(plain.pop(), "{} leads out of the repository", path.display()),
            Component::CurDir => {}
            other => plain.push(other),
        }
        plain
    })
}

/// What is wrong with a link, if anything is; the page that it leads to.
fn follow(page: &Path, target: &str, pages: &BTreeMap<PathBuf, String>) -> Result<PathBuf, String> {
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let file = if path.is_empty() { page.to_owned() } else { plain(&page.with_file_name("").join(path)) };
    if !Path::new(TOP).join(&file).exists() {
        return Err(format!("{}: {target}: there is no {}", page.display(), file.display()));
    }
    if let Some(anchor) = anchor {
        let known = pages.get(&file).is_some_and(|text| anchors(text).contains(anchor));
        if !known {
            return Err(format!("{}: {target}: {} has no such heading", page.display(), file.display()));
        }
    }
    Ok(file)
}

#[test]
fn every_link_leads_somewhere_and_every_page_is_linked() {
    let pages = pages();
    let (mut wrong, mut linked, mut count) = (Vec::new(), BTreeSet::new(), 0);
    for (page, text) in &pages {
        for target in targets(text).iter().filter(|target| !target.contains("://")) {
            count += 1;
            match follow(page, target, &pages) {
                Ok(file) if file != *page => drop(linked.insert(file)),
                Ok(_) => {}
                Err(problem) => wrong.push(problem),
            }
        }
    }
    let lost = pages.keys().filter(|page| page.starts_with("docs") && !linked.contains(*page));
    wrong.extend(lost.map(|page| format!("{}: no page links to it", page.display())));
    for folder in std::fs::read_dir(Path::new(TOP).join("examples")).unwrap() {
        let folder = Path::new("examples").join(folder.unwrap().file_name());
        if !linked.iter().any(|file| file.starts_with(&folder)) {
            wrong.push(format!("{}: no page links to it", folder.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 50, "only {count} links were found");
}

#[test]
fn a_link_that_leads_nowhere_is_seen() {
    let page = Path::new("docs/page.md");
    let text =
        "# One: `two`, three\n[a](#one-two-three) `[b](no.md)`\n```\n[c](no.md)\n```\n[d](../README.md) [e](no.md)";
    let pages = BTreeMap::from([(page.to_owned(), text.to_owned())]);
    assert_eq!(targets(text), ["#one-two-three", "../README.md", "no.md"]);
    assert!(anchors(text).contains("one-two-three"));
    for (target, leads) in [("../README.md", true), ("no.md", false), ("../README.md#no-such-heading", false)] {
        assert_eq!(follow(page, target, &pages).is_ok(), leads, "{target}");
    }
}
