//! What a Job's reports mean for its files: what they tell is heard, and what they do not tell is explained.
//!
//! To hear a report again changes nothing. Once its Job is over, every file that has no answer gets one: the report was
//! full, or whatever ended the worker.

use std::collections::{BTreeMap, BTreeSet};

use super::super::acts::{Concluded, News};
use super::super::case::Case;
use super::super::facts::{FileId, JobFacts, PodFacts, Standing, Terminated, Volume};
use super::super::file::{Entry, Note, Work};
use super::super::{messages, retry};
use super::trouble;
use crate::outcome::Trouble;
use crate::reason::{Class, Reason};
use crate::report::{self, Report, Unreadable};

/// What a Job's reports told.
#[derive(Default)]
pub(super) struct Told {
    /// Which files of the Job have their answer, by index.
    pub(super) files: BTreeSet<usize>,
    /// Shares whose report was full.
    full: BTreeSet<usize>,
    /// Shares whose report is of a version that is not known.
    unsupported: BTreeSet<usize>,
    /// Shares whose report is missing or broken, with what stands in its place: the end of a log.
    unreadable: BTreeMap<usize, Option<String>>,
    /// Whether the API asked to slow down.
    limited: bool,
    /// What came of each file, and its size in bytes.
    results: Vec<(Reason, u64)>,
}

/// Hears what the reports say; keys first, as a failure that is every file's may have been written while others were
/// still on their way.
pub(super) fn hear(case: &Case<'_>, job: &JobFacts, news: &mut News) -> Told {
    let mut told = Told::default();
    let mut failures = Vec::new();
    for pod in &job.pods {
        let Some(terminated) = pod.terminated() else { continue };
        let report = match report::read(&terminated.message, &job.files) {
            Ok(report) => report,
            Err(Unreadable::Unsupported) => {
                told.unsupported.insert(pod.index);
                continue;
            }
            Err(unreadable) => {
                let log = (unreadable == Unreadable::Garbled).then(|| terminated.message.clone());
                told.unreadable.insert(pod.index, log);
                continue;
            }
        };
        told.limited |= report.limited;
        if report.full || was_cut(&report, terminated) {
            told.full.insert(pod.index);
        }
        if report.garbled {
            told.unreadable.insert(pod.index, None);
        }
        for entry in report.entries {
            match entry {
                report::Entry::Uploaded { file, upload } => {
                    told.results.push((Reason::Uploaded, upload.size));
                    if let Some(assignment) = job.files.get(file).filter(|_| told.files.insert(file)) {
                        news.note(job.attempt, &FileId::of(assignment), Note::Stored(upload, None));
                    }
                }
                report::Entry::Failed { file, trouble } => failures.push((pod.index, file, trouble)),
            }
        }
    }
    for (share, file, trouble) in failures {
        tell_failure(case, job, (share, file), trouble, &mut told, news);
    }
    told
}

/// Whether the kubelet kept less than a report: other containers take a part of what a Pod may say. A worker that ends by
/// itself has a whole line for each of its files. One of which not even one line was kept would do no better the next
/// time.
fn was_cut(report: &Report, terminated: &Terminated) -> bool {
    let is_torn = !terminated.message.ends_with('\n');
    let is_short = terminated.exit_code == 0 || terminated.exit_code == 1 && is_torn;
    !report.entries.is_empty() && !report.garbled && is_short
}

/// Hears of one failure: of one file, or of all of a share that have no line of their own.
fn tell_failure(
    case: &Case<'_>,
    job: &JobFacts,
    (share, file): (usize, Option<usize>),
    trouble: Trouble,
    told: &mut Told,
    news: &mut News,
) {
    told.results.push((trouble.reason, 0));
    let path = file.and_then(|file| job.files.get(file)).map(|file| file.path.as_str());
    let trouble = messages::of_credentials(case.upload, with_words(trouble));
    let trouble = trouble::of_volume(&job.volume, path, trouble);
    // What only a person can help, under a spec that was changed since: that is a new chance.
    let is_outdated = trouble.reason.class() == Class::Stalled
        && job.generation.is_some_and(|generation| generation < case.generation);
    let share = report::share(job.files.len(), job.shards, share);
    for index in file.map_or(share, |index| index..index + 1) {
        let Some(assignment) = job.files.get(index).filter(|_| told.files.insert(index)) else { continue };
        let note = if is_outdated { Note::Unanswered } else { Note::Failed(trouble.clone(), None, None) };
        news.note(job.attempt, &FileId::of(assignment), note);
    }
    if !is_outdated {
        news.fail(job.attempt, &trouble);
    }
}

pub(super) fn with_words(trouble: Trouble) -> Trouble {
    let is_empty = trouble.what.is_empty() && trouble.quoted.is_none();
    if is_empty { Trouble { what: "the worker's report had no room for the cause".into(), ..trouble } } else { trouble }
}

/// The Job is over: every file of it that has no answer gets one.
pub(super) fn conclude(case: &Case<'_>, files: &[Entry], job: &JobFacts, told: Told, news: &mut News) {
    for (index, assignment) in job.files.iter().enumerate().filter(|(index, _)| !told.files.contains(index)) {
        let note = match why_unreported(case, job, &told, index) {
            Some(trouble) => Note::Failed(trouble, None, None),
            None => Note::Unanswered,
        };
        news.note(job.attempt, &FileId::of(assignment), note);
    }
    if job.files.is_empty() {
        for id in lost_files(case, files, job) {
            let message = "the worker's Job and its Pods are gone, and with them their report";
            news.under_way.files.insert(id.clone());
            news.note(job.attempt, &id, Note::Failed(Trouble::new(Reason::ReportMissing, message), None, None));
        }
    }
    news.concluded.push(Concluded {
        attempt: job.attempt,
        job: Some(job.volume.job_status(&job.name)),
        limited: told.limited,
        reported: told.results,
    });
}

/// Why a Job's report says nothing of a file; `None` if it was called off before it began, or began again.
fn why_unreported(case: &Case<'_>, job: &JobFacts, told: &Told, file: usize) -> Option<Trouble> {
    let share = share_of(job, file);
    if told.full.contains(&share) {
        return Some(Trouble::new(
            Reason::ReportFull,
            "the report of its worker was full: another worker follows at once",
        ));
    }
    let left = match told.unreadable.get(&share) {
        _ if told.unsupported.contains(&share) => Silence::Unsupported,
        Some(log) => Silence::Unreadable(log.as_deref()),
        None => Silence::Nothing,
    };
    why_silent(case, job, (pod_of(job, file), share), left)
}

/// What stands in the place of a report.
#[derive(Clone, Copy)]
pub(super) enum Silence<'a> {
    /// Nothing is known of it.
    Nothing,
    /// A version that is not known.
    Unsupported,
    /// Nothing that can be read: the end of a log, if there is one.
    Unreadable(Option<&'a str>),
}

/// Why a share has no report; `None` if it was called off before it began, or began again.
pub(super) fn why_silent(
    case: &Case<'_>,
    job: &JobFacts,
    (pod, share): (Option<&PodFacts>, usize),
    left: Silence<'_>,
) -> Option<Trouble> {
    let has_begun = pod.map_or(job.has_started(), PodFacts::has_started);
    // A share has a second Pod only where its Job was suspended and resumed: that was removed before it was done.
    let has_begun_again = job.pods.iter().filter(|pod| pod.index == share).count() > 1;
    if !matches!(job.standing, Standing::Ended(_)) && (job.suspended || has_begun_again || !has_begun) {
        return None;
    }
    if matches!(left, Silence::Unsupported) {
        let fix = "let the operator and --worker-image be of the same version";
        let message = format!("the worker wrote a report that this operator cannot read: {fix}");
        return Some(Trouble::new(Reason::ReportUnsupported, message));
    }
    let terminated = pod.and_then(PodFacts::terminated);
    if let Some(trouble) = terminated.and_then(trouble::wrong_architecture) {
        return Some(trouble);
    }
    let clean_exit = terminated.is_some_and(|ended| matches!(ended.exit_code, 0..=2) && ended.reason != "OOMKilled");
    let log_text = if let Silence::Unreadable(log) = left { log } else { None };
    if matches!(left, Silence::Unreadable(_)) && clean_exit {
        let fix = "see that --worker-image names this operator's own image";
        let message = format!("the worker ended without a report that can be read: {fix}");
        return Some(trouble::with_log(Trouble::new(Reason::ReportMissing, message), log_text));
    }
    Some(trouble::ended(case.upload, job, (pod, log_text), case.now))
}

/// The files of a Job of which nothing is left, not even which files it had: those on its volume that were being sent.
fn lost_files(case: &Case<'_>, files: &[Entry], job: &JobFacts) -> Vec<FileId> {
    let volume = |name: &str| -> Option<Volume> {
        let folder = case.upload.spec.folders.iter().find(|folder| folder.name == name);
        if let Some(folder) = folder {
            return Some(Volume::Claim(folder.claim().to_owned()));
        }
        let file = case.upload.spec.files.iter().find(|file| file.name == name)?;
        retry::volume_of(file, case)
    };
    let timing = retry::renewal_is_due(case, files);
    let was_sent = |entry: &&Entry| {
        let renewed = entry.live().is_some_and(&timing);
        (entry.work == Work::Sending || renewed) && volume(&entry.id.name).as_ref() == Some(&job.volume)
    };
    files.iter().filter(was_sent).map(|entry| entry.id.clone()).collect()
}

/// The share that has the file.
fn share_of(job: &JobFacts, file: usize) -> usize {
    let has = |share: &usize| report::share(job.files.len(), job.shards, *share).contains(&file);
    (0..job.shards).find(has).unwrap_or_default()
}

/// The Pod that has the file, the latest of its share.
pub(super) fn pod_of(job: &JobFacts, file: usize) -> Option<&PodFacts> {
    let share = share_of(job, file);
    job.pods.iter().rev().find(|pod| pod.index == share)
}
