//! The file of `--deployments`: the deployments of Cyberun that the operator knows, and who may use which.
//!
//! A fault ends the start, and names file, deployment, field, cause and fix.

use std::path::Path;

use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::Deserialize;

use super::operating::{LARGEST_BUNDLE, terms, text_of};
use super::{Usage, duration};
use crate::controller::{Deployments, Target};
use crate::cyberun;
use crate::delivery;
use crate::key_life::Terms;
use crate::plan::WorkerSettings;

/// The largest file that is read.
const LARGEST: usize = 1 << 20;
/// The most deployments.
const MOST: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    deployments: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default)]
    default: bool,
    api_url: String,
    ca_bundle: Option<String>,
    #[serde(default)]
    allow_http: bool,
    retention: Option<String>,
    minimum_life: Option<String>,
    namespaces: Option<Vec<String>>,
}

/// The deployments in this file; workers are otherwise made as `worker` says.
pub(super) fn read(path: &Path, worker: &WorkerSettings) -> Result<Deployments, Usage> {
    let text = text_of("--deployments", path, LARGEST)?;
    parse(&text, worker).map_err(|why| Usage(format!("--deployments {}: {why}", path.display())))
}

fn parse(text: &str, worker: &WorkerSettings) -> Result<Deployments, String> {
    let known: Known = serde_yaml::from_str(text).map_err(|error| unreadable(&error.to_string()))?;
    let entries = known.deployments;
    if entries.is_empty() || entries.len() > MOST {
        return Err(format!("deployments: {} are listed: list 1 to {MOST}", entries.len()));
    }
    for (at, entry) in entries.iter().enumerate() {
        if !is_name(&entry.name) {
            let fix = "give it up to 63 lower-case letters, digits and '-', none at its ends";
            return Err(format!("deployments[{at}].name: {:?} cannot be a name: {fix}", entry.name));
        }
        if entries[..at].iter().any(|other| other.name == entry.name) {
            return Err(format!("deployments[{at}].name: {} is there twice: give each its own name", entry.name));
        }
    }
    let mut defaults = entries.iter().enumerate().filter(|(_, entry)| entry.default);
    let (default, second) = (defaults.next(), defaults.next());
    if let (Some((_, one)), Some((_, other))) = (default, second) {
        return Err(format!("{} and {} are both the default: keep default: true at one of them", one.name, other.name));
    }
    let target = |entry: &Entry| target(entry, worker).map_err(|why| format!("deployment {}: {why}", entry.name));
    Ok(Deployments::new(entries.iter().map(target).collect::<Result<_, _>>()?, default.map(|(at, _)| at)))
}

/// The cause, with its line and column; what follows draws the place.
fn unreadable(error: &str) -> String {
    let cause = error.lines().next().unwrap_or_default();
    format!("cannot be understood: {}: correct it there", cause.trim_start_matches("error: "))
}

fn is_name(name: &str) -> bool {
    let is_inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&name.len()) && name.chars().all(is_inside) && !name.starts_with('-') && !name.ends_with('-')
}

fn target(entry: &Entry, worker: &WorkerSettings) -> Result<Target, String> {
    let allow_http = worker.allow_http || entry.allow_http;
    let api_url = entry.api_url.trim().to_owned();
    if !allow_http && api_url.starts_with("http:") {
        return Err("apiUrl: http: is allowed only with allowHttp: true".to_owned());
    }
    cyberun::base_url(&api_url, allow_http).map_err(|error| format!("apiUrl: {error}"))?;
    let bundles = worker.ca_pem.iter().chain(&entry.ca_bundle).map(String::as_str);
    let bundles: Vec<_> = bundles.filter(|pem| !pem.is_empty()).collect();
    let ca_pem = Some(bundles.join("\n")).filter(|pem| !pem.is_empty());
    if ca_pem.as_ref().is_some_and(|pem| pem.len() > LARGEST_BUNDLE) {
        let fix = "name only the authorities that its API and its storage need";
        return Err(format!("caBundle: more than 32 KiB, with that of --ca-file: {fix}"));
    }
    if let Some(Err(error)) = entry.ca_bundle.as_deref().filter(|pem| !pem.is_empty()).map(delivery::check_bundle) {
        return Err(format!("caBundle: {error}: give it the PEM of an authority"));
    }
    let usual = Terms::default();
    let retention = entry.retention.as_deref().map_or(Ok(usual.retention), duration::parse);
    let minimum = entry.minimum_life.as_deref().map_or(Ok(usual.minimum_life), duration::parse_or_zero);
    let retention = retention.map_err(|why| format!("retention: {why}"))?;
    let minimum = minimum.map_err(|why| format!("minimumLife: {why}"))?;
    Ok(Target {
        name: entry.name.clone(),
        worker: WorkerSettings { api_url, allow_http, ca_pem, ..worker.clone() },
        terms: terms((retention, "retention"), (minimum, "minimumLife"))?,
        namespaces: entry.namespaces.as_deref().map(globs).transpose()?,
    })
}

fn globs(namespaces: &[String]) -> Result<GlobSet, String> {
    if namespaces.is_empty() {
        return Err("namespaces: none is listed: list some, or leave the field out for all".to_owned());
    }
    let mut globs = GlobSetBuilder::new();
    for namespace in namespaces {
        let fix = "write a name, or a pattern such as team-*";
        let glob = Glob::new(namespace).map_err(|error| format!("namespaces: {error}: {fix}"))?;
        globs.add(glob);
    }
    globs.build().map_err(|error| format!("namespaces: {error}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn said(text: &str) -> String {
        parse(text, &WorkerSettings::default()).unwrap_err()
    }

    #[test]
    fn each_deployment_has_its_own_api_trust_and_life_of_keys() {
        let lab_pem = cyberun_stub::Tls::new(&cyberun_stub::Options::default()).unwrap().ca_pem;
        let text = format!(
            "
deployments:
- {{ name: main, default: true, apiUrl: ' https://core.example/api/v1 ', caBundle: '' }}
- name: lab
  apiUrl: http://lab.example/api/v1
  allowHttp: true
  caBundle: {lab_pem:?}
  retention: 12h
  minimumLife: 15m
  namespaces: [lab, team-*]
"
        );
        let worker = WorkerSettings { image: "i".to_owned(), ca_pem: Some("ALL".to_owned()), ..Default::default() };
        let deployments = parse(&text, &worker).unwrap();
        let [main, lab] = deployments.targets() else { unreachable!() };
        assert_eq!((main.name.as_str(), main.terms), ("main", Terms::default()));
        assert_eq!((main.worker.api_url.as_str(), main.worker.image.as_str()), ("https://core.example/api/v1", "i"));
        assert_eq!((main.worker.allow_http, main.worker.ca_pem.as_deref()), (false, Some("ALL")));
        assert_eq!((lab.worker.allow_http, lab.worker.ca_pem.clone()), (true, Some(format!("ALL\n{lab_pem}"))));
        assert_eq!(lab.terms.retention, Duration::from_hours(12));
        let globs = lab.namespaces.as_ref().unwrap();
        assert_eq!(["lab", "team-a", "laboratory"].map(|name| globs.is_match(name)), [true, true, false]);
    }

    #[test]
    fn a_fault_names_deployment_field_cause_and_fix() {
        let one = |rest: &str| format!("deployments: [{{name: a, apiUrl: 'https://a.example/api/v1'{rest}}}]");
        let two = |name: &str, rest: &str| {
            let entry = |name: &str| format!("{{name: {name}, apiUrl: 'https://a.example/api/v1'{rest}}}");
            format!("deployments: [{}, {}]", entry("a"), entry(name))
        };
        for (text, words) in [
            ("[".to_owned(), &["cannot be understood"][..]),
            ("deployments: []".to_owned(), &["0 are listed", "list 1 to 64"]),
            (
                one(", apiURL: x"),
                &["line 1 column 61", "unknown field `apiURL`", "apiUrl, caBundle", "correct it there"],
            ),
            ("deployments: [{name: A_b, apiUrl: x}]".to_owned(), &["deployments[0].name", "\"A_b\"", "lower-case"]),
            (two("a", ""), &["deployments[1].name", "twice"]),
            (two("b", ", default: true"), &["a and b", "default: true"]),
            (
                "deployments: [{name: a, apiUrl: 'http://a.example/api/v1'}]".to_owned(),
                &["deployment a: apiUrl", "allowHttp: true"],
            ),
            (one(", caBundle: LAB"), &["deployment a: caBundle", "holds no certificate", "PEM"]),
            (one(", retention: soon"), &["deployment a: retention", "\"soon\"", "24h"]),
            (one(", retention: 1h, minimumLife: 30m"), &["deployment a: minimumLife (1800 s)", "retention (3600 s)"]),
            (one(", namespaces: []"), &["deployment a: namespaces", "leave the field out"]),
            (one(", namespaces: ['team-[']"), &["deployment a: namespaces", "team-*"]),
            (one(&format!(", caBundle: {}", "x".repeat(33 << 10))), &["deployment a: caBundle", "32 KiB"]),
        ] {
            let said = said(&text);
            assert!(words.iter().all(|word| said.contains(word)), "{text}: {said}");
        }
    }
}
