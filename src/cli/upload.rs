//! `fileupload upload [NAME=]FILE…`: from a laptop, a CI job or an init container.
//!
//! Keys go to stdout as `NAME=KEY` lines or JSON, and with `--keys-dir` into a folder. Everything for people goes to
//! stderr: progress and a summary only on a terminal. Failures come last. The files are taken from their list as places
//! become free, so that ten thousand cost little memory.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::{Parser, ValueEnum};
use futures::stream::StreamExt;

use self::printer::Reader;
use self::progress::Progress;
use self::recursive::{Recursive, Searched};
use self::results::Results;
use super::named::{self, Named};
use super::{Api, Key, Usage, duration, install_tls_provider, list, on_this_thread, stop_on_signal};
use crate::cyberun::{self, Credential};
use crate::delivery::{Batch, Candidate, Courier, Delivery, Hooks, Limits, Parcel, Place, USUAL_LIMIT, Window};
use crate::key_life::Terms;
use crate::keys::{self, Folder, Keys};
use crate::outcome::Trouble;

mod printer;
mod progress;
mod recursive;
mod results;

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
    #[arg(value_name = "[NAME=]FILE", required_unless_present_any = ["files_from", "recursive"])]
    files: Vec<OsString>,
    /// Also upload the files of a list, one [NAME=]FILE per line; - reads the list from standard input. A file without a
    /// name is named by its path
    #[arg(long, value_name = "LIST")]
    files_from: Option<PathBuf>,
    /// The entries of the list end with NUL instead of a new line, as find -print0 writes them
    #[arg(long, requires = "files_from")]
    null: bool,
    #[command(flatten)]
    recursive: Recursive,
    /// Upload so many files at the same time, 1 to 256; default: as many as raise the throughput, 144 at most. Either way
    /// there are fewer while the API or the storage asks to slow down
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(Window::MOST)))]
    jobs: Option<u16>,
    /// How to print the keys: NAME=KEY lines, one JSON object, or a JSON object per line as each file ends
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Also write each key to D/NAME, and all keys to D/keys.json; a name with / is in D/keys.json alone. Those of --recursive
    /// DIR are in one file, called as DIR with .json, once every file of DIR has one
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
    Jsonl,
}

impl Upload {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        install_tls_provider();
        let credential = self.key.credential()?;
        let (files, searched) = self.files()?;
        let courier = self.api.courier(&self.api_url, None)?;
        on_this_thread(self.upload(&courier, &credential, &files, searched))
    }

    async fn upload(
        &self,
        courier: &Courier,
        credential: &Credential,
        files: &[Named],
        searched: Option<Searched>,
    ) -> anyhow::Result<ExitCode> {
        let folder = self.keys_dir.as_deref().map(Folder::open).transpose()?;
        let kept = KeysDir::new(folder, searched, files);
        // First, so that after a failure no old key looks like a new one.
        kept.show(Keys::new())?;
        let terms = Terms { retention: self.retention, ..Terms::default() };
        let mut results = Results::new(files, terms, self.output, kept.folder.is_some())?;
        let window = self.jobs.map_or_else(Window::adaptive, |jobs| Window::of(jobs.into()));
        let progress = Progress::new(files.len(), self.output);
        let batch = Batch::new(courier, stop_on_signal()?, window);
        let reader = results.reader();
        let uploading = Uploading { credential, files, progress: &progress, reader: reader.as_ref() };
        // Where a folder keeps the keys too, nobody needs to read them.
        let unread = async {
            match reader.as_ref().filter(|_| kept.folder.is_none()) {
                Some(reader) => reader.gone().await,
                None => std::future::pending().await,
            }
        };
        uploading.all(&batch, &mut results, unread).await;
        let shown = kept.show(results.keys());
        // The keys are printed even if the folder cannot be written.
        let summary = progress.finish(results.failed_files());
        let printed = results.print(batch.stopped()).await;
        if let Some(summary) = summary {
            writeln!(io::stderr(), "{summary}")?;
        }
        printed?;
        shown?;
        match results.left() {
            0 => Ok(if results.failed_files() > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }),
            _ if batch.was_stopped() => {
                bail!("stopped by a signal before every file was uploaded: run it again for the others")
            }
            left => {
                bail!("nobody reads the output any more: {left} files were not uploaded, as their keys would be lost")
            }
        }
    }

    /// Every file, with names that the output and the folder can have.
    fn files(&self) -> Result<(Vec<Named>, Option<Searched>), Usage> {
        let mut files = named::parse(&self.files)?;
        if let Some(path) = &self.files_from {
            files.extend(list::read(path, self.null)?);
        }
        let searched = self.recursive.search()?.map(|(searched, found)| {
            files.extend(found);
            searched
        });
        named::check_names(&files)?;
        if self.output == Output::Text {
            named::check_lines(&files)?;
        }
        if let Some(folder) = &self.keys_dir {
            named::apart(&files, folder)?;
            searched.as_ref().map_or(Ok(()), |searched| searched.check(&files, folder))?;
        }
        Ok((files, searched))
    }
}

/// Where the keys go beside the output, if anywhere.
struct KeysDir<'a> {
    folder: Option<Folder>,
    searched: Option<Searched>,
    /// Of the keys that have files of their own, or are in `keys.json`.
    names: BTreeSet<Cow<'a, str>>,
}

impl<'a> KeysDir<'a> {
    fn new(folder: Option<Folder>, searched: Option<Searched>, files: &'a [Named]) -> Self {
        let apart = files.iter().filter(|file| folder.is_some() && !file.is_in_folder());
        Self { names: apart.map(Named::name).collect(), folder, searched }
    }

    /// Writes these keys, and removes those that are not among them.
    fn show(&self, mut keys: Keys) -> Result<(), keys::Error> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let apart = self
            .searched
            .as_ref()
            .map_or(Ok(()), |searched| folder.write_apart(&searched.keys_file, searched.keys(&keys).as_ref()));
        if self.names.is_empty() {
            return apart;
        }
        keys.retain(|name, _| self.names.contains(name.as_str()));
        apart.and(folder.show(&keys, self.names.iter().map(Cow::as_ref)))
    }
}

/// What each file is uploaded with.
struct Uploading<'a> {
    credential: &'a Credential,
    files: &'a [Named],
    progress: &'a Progress,
    /// Who reads the results meanwhile.
    reader: Option<&'a Reader>,
}

impl Uploading<'_> {
    /// Uploads all files. A failure does not stop the others unless it affects every file. A stop drops unfinished
    /// uploads, because a person waits for the end. Nothing new begins once `end` has ended.
    async fn all(&self, batch: &Batch<'_>, results: &mut Results<'_>, end: impl Future<Output = ()>) {
        let files = batch.places(self.files.iter().map(Named::parcel).enumerate());
        let ended = files.map(|(index, parcel, place)| self.one(index, parcel, place));
        let ended = ended.buffer_unordered(Window::MOST.into()).take_until(batch.stopped());
        let work = ended.for_each(|(index, delivery)| {
            results.enter(index, delivery);
            std::future::ready(())
        });
        let end = async {
            end.await;
            batch.end();
            std::future::pending().await
        };
        tokio::select! {
            () = work => {}
            never = self.progress.draw() => match never {},
            never = end => match never {},
        }
        results.close();
    }

    async fn one(&self, index: usize, parcel: Parcel, place: Option<Place<'_>>) -> (usize, Delivery) {
        let Some(place) = place else { return (index, Delivery::NotSent(None)) };
        if let Some(reader) = self.reader {
            reader.room().await;
        }
        let (progress, file, has_warned) = (self.progress, &self.files[index], Cell::new(false));
        let admit = |candidate: &Candidate<'_>| {
            progress.size(index, candidate.size);
            if candidate.size > USUAL_LIMIT && !has_warned.replace(true) {
                let name = file.name();
                progress.say(&format!("{name}: larger than 500 MB, which the hosted platform may reject"));
            }
            true
        };
        let on_retry = |trouble: &Trouble, delay: Duration| {
            let (name, seconds) = (file.name(), delay.as_secs().max(1));
            progress.say(&format!("{name}: {trouble}; trying again in {seconds} s"));
        };
        progress.begin(index, file, &parcel.sent);
        let delivery = place.deliver(self.credential, &parcel, LIMITS, Hooks { admit, on_retry }).await;
        progress.end(index, file, &delivery);
        (index, delivery)
    }
}
