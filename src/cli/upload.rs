//! `fileupload upload [NAME=]FILE…`: from a laptop, a CI job or an init container.
//!
//! Keys go to stdout as `NAME=KEY` lines or JSON, and with `--keys-dir` into a folder. Everything for people goes to
//! stderr, with progress bars only on a terminal. Failures come last.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::bail;
use clap::{Parser, ValueEnum};
use futures::stream::{FuturesUnordered, StreamExt};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::named::{self, Named};
use super::{Api, Key, duration, install_tls_provider, on_terminal, print, stop_on_signal};
use crate::cyberun;
use crate::delivery::{Batch, Candidate, Courier, Delivery, Hooks, Limits, Parcel, USUAL_LIMIT};
use crate::key_life::Terms;
use crate::keys::{Entry, Folder, Keys};
use crate::outcome::Trouble;
use crate::reason::Scope;

/// A person or a job waits for the result, so a long Retry-After is waited for.
const LIMITS: Limits = Limits { attempts: 5, longest_wait: Duration::from_hours(1) };

/// Upload files and print their file_keys.
///
/// The credential is read from the environment variable CYBERUN_API_KEY. A key lives for about a day.
/// A file that was written within the last 10 seconds must stay unchanged for 5 seconds first.
/// HTTPS_PROXY, HTTP_PROXY or ALL_PROXY name a proxy. NO_PROXY names hosts without one, separated by
/// commas: names, .names, *.names, addresses, CIDRs, HOST:PORT, or *.
#[derive(Parser)]
#[command(verbatim_doc_comment)]
pub(super) struct Upload {
    /// Files, each with an optional name for its key, such as photo=img/portrait.png; a path with = in it may be written
    /// as NAME=./PATH
    #[arg(value_name = "[NAME=]FILE", required = true)]
    files: Vec<OsString>,
    /// How to print the keys: NAME=KEY lines, or one JSON object
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Also write each key to D/NAME, and all keys to D/keys.json
    #[arg(long, value_name = "D")]
    keys_dir: Option<PathBuf>,
    /// How long the deployment keeps an upload, for `expiresAt`: seconds, or a duration such as 90s, 15m, 24h or 1d
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration::parse)]
    retention: Duration,
    /// The URL of the API, with its /api/v1
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

#[derive(Serialize)]
struct Failed {
    name: String,
    file: String,
    reason: &'static str,
    message: String,
}

#[derive(Serialize)]
struct Results {
    files: Keys,
    failures: Vec<Failed>,
}

impl Upload {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        install_tls_provider();
        let files = named::parse(&self.files)?;
        let credential = self.key.credential()?;
        let courier = self.api.courier(&self.api_url, None)?;
        let names: Vec<String> = files.iter().map(|file| file.name.clone()).collect();
        let names = || names.iter().map(String::as_str);
        if let Some(folder) = &self.keys_dir {
            named::apart(&files, folder)?;
        }
        let folder = self.keys_dir.as_deref().map(Folder::open).transpose()?;
        if let Some(folder) = &folder {
            // First, so that after a failure no old key looks like a new one.
            folder.show(&Keys::new(), names())?;
        }
        // One thread: on few cores a second thread makes an upload slower.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let results = runtime.block_on(async {
            let stop = stop_on_signal()?;
            let terms = Terms { retention: self.retention, ..Terms::default() };
            anyhow::Ok(upload(&courier, &credential, files, terms, stop).await)
        })?;
        let shown = folder.map_or(Ok(()), |folder| folder.show(&results.files, names()));
        // The keys are printed even if the folder cannot be written.
        let code = self.report(&results)?;
        shown?;
        if results.files.len() + results.failures.len() < names().count() {
            bail!("stopped by a signal before every file was uploaded: run it again for the others");
        }
        Ok(code)
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

/// Uploads all files. A failure does not stop the others unless it affects every file. A stop drops unfinished uploads,
/// because a person waits for the end.
async fn upload(
    courier: &Courier,
    credential: &cyberun::Credential,
    files: Vec<Named>,
    terms: Terms,
    stop: CancellationToken,
) -> Results {
    let (batch, bars) = (&Batch::new(courier, stop.clone()), &Bars::new());
    let one = |(position, file): (usize, Named)| async move {
        let parcel = file.parcel();
        let Some(place) = batch.place(&parcel.source).await else { return (position, file, Delivery::NotSent(None)) };
        let bar = bars.add(&file, &parcel);
        let on_retry = |trouble: &Trouble, delay: Duration| {
            bars.say(&format!("{}: {trouble}; trying again in {} s", file.name, delay.as_secs().max(1)));
        };
        let hooks = Hooks { admit: |_: &Candidate<'_>| true, on_retry };
        let delivery = bar.follow(place.deliver(credential, &parcel, LIMITS, hooks)).await;
        (position, file, delivery)
    };
    let deliveries: FuturesUnordered<_> = files.into_iter().enumerate().map(one).collect();
    let mut ended: Vec<_> = deliveries.take_until(stop.cancelled()).collect().await;
    ended.sort_by_key(|(position, ..)| *position);
    results(ended.into_iter().map(|(_, file, delivery)| (file, delivery)).collect(), &terms)
}

/// What is printed. A file that was not sent gets the failure that affects every file. After a stop there may be no
/// such failure, and the file is left out.
fn results(ended: Vec<(Named, Delivery)>, terms: &Terms) -> Results {
    let shared = ended.iter().find_map(|(file, delivery)| match delivery {
        Delivery::Failed(trouble) if trouble.reason.scope() == Scope::Resource => {
            Some((trouble.reason, format!("not sent, because {} failed: {trouble}", file.name)))
        }
        _ => None,
    });
    let mut results = Results { files: Keys::new(), failures: Vec::new() };
    for (file, delivery) in ended {
        let failure = match delivery {
            Delivery::Stored(upload) => {
                results.files.insert(file.name, Entry::new(file.file_name, upload, terms));
                continue;
            }
            Delivery::Failed(trouble) => Some((trouble.reason, trouble.message())),
            Delivery::NotSent(last) => last.map(|trouble| (trouble.reason, trouble.message())).or(shared.clone()),
        };
        let Some((reason, message)) = failure else { continue };
        let (name, file, reason) = (file.name, file.path.display().to_string(), reason.as_str());
        results.failures.push(Failed { name, file, reason, message });
    }
    results
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
            self.say(&format!("{}: larger than 500 MB, which the hosted platform may reject", file.name));
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
    async fn follow(self, work: impl Future<Output = Delivery>) -> Delivery {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        tokio::pin!(work);
        let delivery = loop {
            tokio::select! {
                delivery = &mut work => break delivery,
                _ = ticks.tick() => self.bar.set_position(self.sent.load(Ordering::Relaxed)),
            }
        };
        self.bar.set_position(self.sent.load(Ordering::Relaxed));
        if matches!(delivery, Delivery::Stored(_)) {
            self.bar.finish();
        } else {
            self.bar.abandon();
        }
        delivery
    }
}
