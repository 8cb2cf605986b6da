//! `fileupload upload [NAME=]FILE…`: from a laptop, a CI job or an init container.
//!
//! Keys go to stdout as `NAME=KEY` lines (or JSON) and, if asked, into a folder; everything for people goes
//! to stderr, with bars only on a terminal. Failures come last.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use futures::stream::{self, StreamExt};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::duration;
use super::{Api, Key, Usage, install_tls_provider, on_terminal, print};
use crate::clock;
use crate::cyberun;
use crate::delivery::{Candidate, Courier, Delivered, Failure, Hooks, Limits, Parcel, USUAL_LIMIT};
use crate::transfer::Source;

/// Uploads that run at the same time.
const CONCURRENT: usize = 4;
/// Somebody watches, so that whatever is asked for is waited for.
const LIMITS: Limits = Limits { attempts: 5, longest_wait: Duration::from_hours(1) };

/// Upload files and print their file_keys.
///
/// The credential is read from the environment variable CYBERUN_API_KEY. A key lives for about a day.
/// A file that was written within the last 10 seconds is first left to settle, for 5 seconds or more.
#[derive(Parser)]
#[command(verbatim_doc_comment)]
pub(super) struct Upload {
    /// Files, each with an optional name for its key: photo=img/portrait.png
    #[arg(value_name = "[NAME=]FILE", required = true)]
    files: Vec<String>,
    /// How to print the keys: NAME=KEY lines, or one JSON object
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Also write each key to D/NAME, and all of them to D/keys.json
    #[arg(long, value_name = "D")]
    keys_dir: Option<PathBuf>,
    /// How long the deployment keeps a file, for `expiresAt`: seconds, or as 90s, 15m, 24h, 1d
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration::parse)]
    retention: Duration,
    /// The API, with its /api/v1
    #[arg(long, env = "CYBERUN_API_URL", default_value = cyberun::HOSTED)]
    api_url: String,
    #[command(flatten)]
    api: Api,
    #[command(flatten)]
    key: Key,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// One file as it was named.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Named {
    name: String,
    path: PathBuf,
    file_name: String,
}

/// A key as it is written in JSON; the same shape as in an output ConfigMap's `keys.json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    file_key: String,
    file_name: String,
    content_type: String,
    size: u64,
    sha256: String,
    uploaded_at: String,
    expires_at: String,
}

#[derive(Serialize)]
struct Failed {
    name: String,
    file: String,
    reason: &'static str,
    message: String,
}

#[derive(Serialize)]
struct Results {
    files: BTreeMap<String, Entry>,
    failures: Vec<Failed>,
}

impl Upload {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        install_tls_provider();
        let files = parse(&self.files)?;
        let credential = self.key.credential()?;
        let courier = Courier::new(&self.api_url, self.api.allow_http, None)
            .map_err(|error| Usage(format!("{:#}", anyhow::Error::from(error))))?;
        if let Some(folder) = &self.keys_dir {
            forget(folder, &files)?;
        }
        // One thread: on few cores a second one costs an upload more than it gives.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let results = runtime.block_on(upload(&courier, &credential, files, self.retention));
        if let Some(folder) = &self.keys_dir {
            remember(folder, &results)?;
        }
        self.report(&results)
    }

    fn report(&self, results: &Results) -> anyhow::Result<ExitCode> {
        match self.output {
            Output::Json => print(&(serde_json::to_string_pretty(results)? + "\n"))?,
            Output::Text => {
                let line = |(name, entry): (&String, &Entry)| format!("{name}={}\n", entry.file_key);
                print(&results.files.iter().map(line).collect::<String>())?;
            }
        }
        for failed in &results.failures {
            writeln!(io::stderr(), "error: {}: {}: {}", failed.name, failed.reason, failed.message)?;
        }
        Ok(if results.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Uploads all files, a few at a time; one's failure does not stop the others.
async fn upload(
    courier: &Courier,
    credential: &cyberun::Credential,
    files: Vec<Named>,
    retention: Duration,
) -> Results {
    let bars = Bars::new();
    let one = |file: Named| async {
        let parcel = parcel(&file);
        let bar = bars.add(&file, &parcel);
        let on_retry = |failure: &Failure, delay: Duration| {
            bars.say(&format!("{}: {failure}; trying again in {} s", file.name, delay.as_secs().max(1)));
        };
        let result = bar
            .follow(courier.deliver(credential, &parcel, LIMITS, Hooks { admit: |_: &Candidate<'_>| true, on_retry }))
            .await;
        (file, result, clock::now())
    };
    let ended: Vec<_> = stream::iter(files).map(one).buffered(CONCURRENT).collect().await;
    let mut results = Results { files: BTreeMap::new(), failures: Vec::new() };
    for (file, result, at) in ended {
        match result {
            Ok(delivered) => {
                results.files.insert(file.name, entry(file.file_name, delivered, at, retention));
            }
            Err(failure) => results.failures.push(Failed {
                name: file.name,
                file: file.path.display().to_string(),
                reason: failure.reason.as_str(),
                message: failure.message,
            }),
        }
    }
    results
}

fn entry(file_name: String, delivered: Delivered, at: Timestamp, retention: Duration) -> Entry {
    let Delivered { file_key, content_type, size, sha256 } = delivered;
    let expires = at.saturating_add(SignedDuration::try_from(retention).unwrap_or(SignedDuration::MAX)).unwrap_or(at);
    let (uploaded_at, expires_at) = (at.to_string(), expires.to_string());
    Entry { file_key, file_name, content_type, size, sha256, uploaded_at, expires_at }
}

fn parcel(file: &Named) -> Parcel {
    Parcel {
        source: Source::file(&file.path),
        file_name: file.file_name.clone(),
        content_type: None,
        sent: Arc::default(),
    }
}

/// Reads `[NAME=]FILE` arguments. A part before `=` that cannot be a name belongs to the path.
fn parse(arguments: &[String]) -> Result<Vec<Named>, Usage> {
    let mut files: Vec<Named> = Vec::new();
    for argument in arguments {
        let (name, path) = match argument.split_once('=') {
            Some((name, path)) if is_name(name) => (Some(name), path),
            _ => (None, argument.as_str()),
        };
        let path = PathBuf::from(path);
        let Some(file_name) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else {
            return Err(Usage(format!("{argument:?} names no file: give a path that ends in a file's name")));
        };
        let name = name.unwrap_or(&file_name).to_owned();
        if !is_name(&name) {
            return Err(Usage(format!(
                "{name:?} cannot name a key (letters, digits, '.', '_', '-', at most 63): write NAME={argument}"
            )));
        }
        if name == "keys.json" {
            return Err(Usage("the name keys.json is taken by the list of all keys: write NAME=keys.json".into()));
        }
        if let Some(other) = files.iter().find(|other| other.name == name) {
            return Err(Usage(format!(
                "{} and {argument} are both called {name}: write NAME=FILE for one of them",
                other.path.display()
            )));
        }
        files.push(Named { name, path, file_name });
    }
    Ok(files)
}

fn is_name(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=63).contains(&name.len()) && name.bytes().all(known) && !matches!(name, "." | "..")
}

/// Removes the keys of an earlier run first, so that a failure never leaves an old key behind as if new.
fn forget(folder: &Path, files: &[Named]) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make the keys folder {}", folder.display()))?;
    for name in files.iter().map(|file| file.name.as_str()).chain(["keys.json"]) {
        match fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove the old {}", folder.join(name).display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Writes each key to a file of its own, and `keys.json` last and only if no file failed.
fn remember(folder: &Path, results: &Results) -> anyhow::Result<()> {
    for (name, entry) in &results.files {
        write_whole(folder, name, &entry.file_key)?;
    }
    if results.failures.is_empty() {
        write_whole(folder, "keys.json", &(serde_json::to_string_pretty(&results.files)? + "\n"))?;
    }
    Ok(())
}

/// Readers see the whole file or none.
fn write_whole(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let (path, draft) = (folder.join(name), folder.join(format!(".{name}.new")));
    fs::write(&draft, text)
        .and_then(|()| fs::rename(&draft, &path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Progress bars on a terminal, nothing in a pipe.
struct Bars(Option<MultiProgress>);

struct Bar {
    bar: ProgressBar,
    sent: Arc<AtomicU64>,
}

impl Bars {
    fn new() -> Self {
        Self(on_terminal().then(MultiProgress::new))
    }

    fn add(&self, file: &Named, parcel: &Parcel) -> Bar {
        let size = fs::metadata(&file.path).map_or(0, |metadata| metadata.len());
        if size > USUAL_LIMIT {
            self.say(&format!("{}: larger than 500 MB, which the hosted platform may refuse", file.name));
        }
        let bar = match &self.0 {
            Some(bars) => bars.add(ProgressBar::new(size)),
            None => ProgressBar::hidden(),
        };
        let style = "{prefix:20!} {wide_bar} {bytes:>11}/{total_bytes:11} {eta:>4}";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(file.name.clone());
        bar.tick();
        Bar { bar, sent: Arc::clone(&parcel.sent) }
    }

    fn say(&self, line: &str) {
        match &self.0 {
            Some(bars) => drop(bars.println(line)),
            None => drop(writeln!(io::stderr(), "{line}")),
        }
    }
}

impl Bar {
    /// Shows what has been sent until `work` ends.
    async fn follow<T, E>(self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        tokio::pin!(work);
        let result = loop {
            tokio::select! {
                result = &mut work => break result,
                _ = ticks.tick() => self.bar.set_position(self.sent.load(Ordering::Relaxed)),
            }
        };
        self.bar.set_position(self.sent.load(Ordering::Relaxed));
        if result.is_ok() {
            self.bar.finish();
        } else {
            self.bar.abandon();
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Vec<(String, String)>, String> {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let files = parse(&arguments).map_err(|usage| usage.0)?;
        Ok(files.into_iter().map(|file| (file.name, file.path.display().to_string())).collect())
    }

    #[test]
    fn a_name_may_stand_before_the_file_and_defaults_to_the_file_name() {
        let files = parsed(&["README.md", "photo=img/a.png", "n=a=b", "dir=x/y.txt"]).unwrap();
        let expected = [("README.md", "README.md"), ("photo", "img/a.png"), ("n", "a=b"), ("dir", "x/y.txt")];
        assert_eq!(files, expected.map(|(name, path)| (name.to_owned(), path.to_owned())));
    }

    #[test]
    fn what_cannot_be_named_says_how_to_name_it() {
        for (arguments, expected) in [
            (&["a/x", "b/x"][..], "are both called x"),
            (&["my file.txt"], "write NAME=my file.txt"),
            (&["./x=y.txt"], "write NAME=./x=y.txt"),
            (&["keys.json"], "is taken"),
            (&["dir/.."], "names no file"),
            (&["n="], "names no file"),
        ] {
            let error = parsed(arguments).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
