//! What is begun now: one Send of one ConfigMap, and a Job for each volume of the resource that no worker reads.
//!
//! A retry holds only the files that still want a key. A Job's name comes from the resource's uid, the due revisions and
//! the number of the attempt, which never decreases: so to create it twice is harmless, and no name comes back.

use std::collections::BTreeMap;
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::super::acts::{Acts, Dispatch, Item, Launch, News};
use super::super::case::Case;
use super::super::facts::volume::{Placement, access};
use super::super::facts::{ClaimFacts, ConfigMapFacts, Facts, JobFacts, SecretFacts, Volume};
use super::super::file::{Entry, Note};
use super::super::retry::{Due, Timing, volume_of};
use super::super::{folder, messages};
use crate::outcome::Trouble;
use crate::report::{Assignment, PER_REPORT};
use crate::resource::{ConfigMapKeyReference, File, Folder};

/// The most files of one Send: so many paid keys can be lost with the process.
const MAX_FILES_PER_SEND: usize = 8;
/// Job names keep room for what the Job controller adds to name its Pods.
const LONGEST_OWN_NAME: usize = 40;

/// How soon to look again for a worker of another resource that has not started: nobody tells that it comes to nothing.
const OTHERS_INTERVAL: Duration = Duration::from_secs(10);

/// What is chosen: the acts, and what waits for what.
#[derive(Default)]
pub(in super::super) struct Choice {
    pub(in super::super) acts: Acts,
    /// By the position of the file in the spec.
    pub(in super::super) waits: Vec<(usize, Note)>,
    /// Identifies the content of the Secret, if nothing is begun for it.
    pub(in super::super) credentials_version: Option<String>,
    /// How soon to look again for what nobody tells.
    pub(in super::super) look_again: Option<Duration>,
}

/// Chooses for each file that is due how it is sent now, or what it waits for.
pub(in super::super) fn choose(
    case: &Case<'_>,
    facts: &Facts,
    files: &[Entry],
    news: &News,
    timing: &Timing<'_>,
) -> Choice {
    let mut choice = Choice::default();
    if timing.is_held_back(files) {
        return choice;
    }
    let mut due = files_due(case, files, news, timing);
    let folders = folders_due(case, files, news, timing);
    if due.is_empty() && folders.is_empty() {
        return choice;
    }
    if let Some(trouble) = secret_trouble(case, &facts.secret) {
        choice.credentials_version = facts.secret.version().map(str::to_owned);
        let all = due.into_iter().map(|(at, _)| at).chain(folders.into_iter().map(|(at, _)| at));
        choice.waits = all.map(|at| (at, Note::Waiting(trouble.clone()))).collect();
        return choice;
    }
    due.sort_by_key(|(at, _)| files[*at].attempt); // those that waited longest first
    let mut chooser = Chooser { case, facts, files, news, timing, attempts: news.attempts, choice };
    let mut sends = Vec::new();
    let mut volumes = BTreeMap::<Volume, Vec<(usize, &File)>>::new();
    for (at, file) in due {
        match (volume_of(file, case), &file.source.config_map_key_ref) {
            (Some(volume), _) => volumes.entry(volume).or_default().push((at, file)),
            (None, Some(reference)) => sends.push((at, file, reference)),
            (None, None) => {}
        }
    }
    chooser.send(sends);
    for (volume, files) in volumes {
        chooser.launch(volume, files);
    }
    for (at, folder) in folders {
        chooser.launch_folder(at, folder);
    }
    chooser.choice
}

fn files_due<'a>(case: &Case<'a>, files: &[Entry], news: &News, timing: &Timing<'_>) -> Vec<(usize, &'a File)> {
    let spec = case.upload.spec.files.iter().enumerate();
    let is_free = |entry: &Entry| !news.under_way.files.contains(&entry.id);
    spec.filter(|(at, _)| is_free(&files[*at]) && timing.due(&files[*at]) == Due::Now).collect()
}

/// The folders that are due, by the position of their entries, which follow those of the files.
fn folders_due<'a>(case: &Case<'a>, files: &[Entry], news: &News, timing: &Timing<'_>) -> Vec<(usize, &'a Folder)> {
    let is_due = |entry: &Entry| !news.under_way.files.contains(&entry.id) && timing.due(entry) == Due::Now;
    let entries = files.iter().enumerate().filter(|(_, entry)| is_due(entry));
    entries.filter_map(|(at, entry)| Some((at, folder::of_entry(case, entry)?))).collect()
}

/// What is known to be wrong with the Secret.
fn secret_trouble(case: &Case<'_>, secret: &SecretFacts) -> Option<Trouble> {
    if case.leaves_all_to_workers() {
        return None;
    }
    match secret {
        SecretFacts::Missing => Some(messages::secret_missing(case.upload)),
        SecretFacts::Forbidden => Some(messages::secret_forbidden(case.upload)),
        SecretFacts::Invalid { problem, .. } => Some(messages::secret_invalid(problem)),
        SecretFacts::Unknown | SecretFacts::Usable { .. } => None,
    }
}

struct Chooser<'a> {
    case: &'a Case<'a>,
    facts: &'a Facts,
    files: &'a [Entry],
    news: &'a News,
    timing: &'a Timing<'a>,
    attempts: i64,
    choice: Choice,
}

impl Chooser<'_> {
    fn wait(&mut self, at: usize, note: Note) {
        self.choice.waits.push((at, note));
    }

    /// One Send at a time, of one ConfigMap: that of the file that waited longest.
    fn send(&mut self, due: Vec<(usize, &File, &ConfigMapKeyReference)>) {
        let mut items: Vec<(&str, Item)> = Vec::new();
        for (at, file, reference) in due {
            match self.facts.config_maps.get(&reference.name) {
                Some(ConfigMapFacts::Missing) => self.wait(at, Note::Waiting(messages::config_map_missing(file))),
                Some(ConfigMapFacts::There { contents: Some(contents), .. })
                    if !contents.contains_key(&reference.key) =>
                {
                    self.wait(at, Note::Waiting(messages::key_missing(file)));
                }
                _ => items.push((&reference.name, self.item(at, file, reference))),
            }
        }
        let Some((config_map, _)) = items.first() else { return };
        if self.news.under_way.sends {
            return; // the plan that hears its results begins the next
        }
        let config_map = (*config_map).to_owned();
        let files = items.into_iter().filter(|(name, _)| *name == config_map).map(|(_, item)| item);
        let files = files.take(MAX_FILES_PER_SEND).collect();
        self.attempts = self.attempts.saturating_add(1);
        self.choice.acts.send = Some(Dispatch { attempt: self.attempts, config_map, files });
    }

    fn item(&self, at: usize, file: &File, reference: &ConfigMapKeyReference) -> Item {
        let entry = &self.files[at];
        Item {
            id: entry.id.clone(),
            key: reference.key.clone(),
            file_name: file.effective_name().to_owned(),
            content_type: file.content_type.clone(),
            unless: self.timing.unless(entry),
        }
    }

    /// One Job at a time for each volume, with all files that are due on it.
    fn launch(&mut self, volume: Volume, files: Vec<(usize, &File)>) {
        if let Volume::ConfigMap(name) = &volume
            && self.facts.config_maps.get(name) == Some(&ConfigMapFacts::Missing)
        {
            for (at, file) in files {
                self.wait(at, Note::Waiting(messages::config_map_missing(file)));
            }
            return;
        }
        let ats: Vec<_> = files.iter().map(|(at, _)| *at).collect();
        let Some(placement) = self.place(&volume, &ats) else { return };
        let shards = files.len().div_ceil(PER_REPORT);
        let files = files.into_iter().map(|(at, file)| self.assignment(at, file)).collect();
        self.push(volume, placement, shards, files);
    }

    /// A Job for one folder; it takes its turn on its volume as those for files do.
    fn launch_folder(&mut self, at: usize, spec: &Folder) {
        let Some(known) = self.facts.folders.get(&spec.name) else { return };
        if known.part.is_unknown() || known.keys.is_unknown() {
            self.choice.look_again = Some(folder::UNREAD);
            return;
        }
        if folder::obstacle(self.case, &spec.name, known).is_some() {
            return; // which the conditions say
        }
        let volume = Volume::Claim(spec.claim().to_owned());
        let Some(placement) = self.place(&volume, &[at]) else { return };
        let (assignment, shards) = folder::assignment(self.case, &self.files[at], spec, known);
        self.push(volume, placement, shards, vec![assignment]);
    }

    /// Where a worker on the volume runs; otherwise these entries wait.
    fn place(&mut self, volume: &Volume, ats: &[usize]) -> Option<Placement> {
        let placement = match volume {
            // If it is not there, nobody looked.
            Volume::Claim(name) => access(name, self.facts.claims.get(name)?, self.case.now),
            Volume::ConfigMap(_) => Ok(Placement { shared: true, ..Placement::default() }),
        };
        let begins = || self.choice.acts.launch.iter().any(|launch| launch.volume == *volume);
        let is_read = self.news.under_way.volumes.contains(volume) || begins();
        let waits = match &placement {
            Err(trouble) => Some(trouble.clone()),
            Ok(_) => is_read.then(|| messages::behind(volume)),
        };
        if let Some(trouble) = waits {
            if placement.is_err() && self.facts.claims.get(volume.name()).is_some_and(ClaimFacts::has_worker_to_start) {
                self.choice.look_again = Some(OTHERS_INTERVAL);
            }
            for at in ats {
                self.wait(*at, Note::Waiting(trouble.clone()));
            }
            return None;
        }
        placement.ok()
    }

    fn push(&mut self, volume: Volume, placement: Placement, shards: usize, files: Vec<Assignment>) {
        self.attempts = self.attempts.saturating_add(1);
        self.choice.acts.launch.push(Launch {
            name: name(self.case, self.attempts, &volume, &files),
            attempt: self.attempts,
            parallelism: placement.parallelism(shards),
            shards,
            files,
            placement,
            volume,
            settings_hash: self.facts.settings_hash.clone(),
        });
    }

    fn assignment(&self, at: usize, file: &File) -> Assignment {
        Assignment {
            name: file.name.clone(),
            revision: self.files[at].id.revision.clone(),
            path: Volume::path(file).to_owned(),
            file_name: file.effective_name().to_owned(),
            content_type: file.content_type.clone(),
            folder: None,
        }
    }
}

/// Whether a Job bears the name that follows from what it is for.
pub(super) fn is_named_for_its_content(case: &Case<'_>, job: &JobFacts) -> bool {
    job.name == name(case, job.attempt, &job.volume, &job.files)
}

fn name(case: &Case<'_>, attempt: i64, volume: &Volume, files: &[Assignment]) -> String {
    let metadata = &case.upload.metadata;
    let uid = metadata.uid.as_deref().unwrap_or_default();
    let mut hasher = Sha256::new();
    hasher.update(format!("{uid}/{attempt}/{}", volume.describe()));
    for file in files {
        hasher.update(format!("/{}={}", file.name, file.revision));
    }
    let own = metadata.name.as_deref().unwrap_or_default().replace('.', "-");
    let own: String = own.chars().take(LONGEST_OWN_NAME).collect();
    format!("{}-{}", own.trim_end_matches('-'), HEXLOWER.encode(&hasher.finalize()[..5]))
}
