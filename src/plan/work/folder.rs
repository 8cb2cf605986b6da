//! What a Job on a folder says: its reports are first absorbed into the keys so far, then heard.
//!
//! To absorb a report again changes nothing. So a crash at any moment finds the report, the keys, or both.

use super::super::acts::{Absorb, Concluded, News};
use super::super::case::Case;
use super::super::facts::folder::{FolderFacts, Progress};
use super::super::facts::{Facts, FileId, JobFacts, PodFacts};
use super::super::file::Note;
use super::super::messages;
use super::reports::Silence;
use super::{reports, trouble};
use crate::outcome::{Trouble, Upload};
use crate::reason::{Class, Reason, Scope};
use crate::report::folder::{self, Entry, Report};
use crate::report::{Assignment, Unreadable};

/// What the Pods of a Job left: a report for each that has one, and for the others why they have none.
struct Left {
    reports: Vec<Report>,
    /// The first trouble that is no single file's.
    trouble: Option<Trouble>,
    limited: bool,
}

/// What the reports of a Job that is over mean for its folder.
pub(super) fn conclude(case: &Case<'_>, facts: &Facts, job: &JobFacts, assignment: &Assignment, news: &mut News) {
    let id = FileId::of(assignment);
    let folder = assignment.folder.as_deref().cloned().unwrap_or_default();
    let left = hear(case, job);
    let known = facts.folders.get(&assignment.name);
    let is_wanted = case.upload.spec.folders.iter().any(|folder| folder.name == assignment.name);
    let progress = known.and_then(FolderFacts::progress).filter(|p| p.meta.revision == assignment.revision);
    let is_absorbed = progress.is_some_and(|progress| progress.meta.attempt >= job.attempt);
    if !left.reports.is_empty() && is_wanted && !is_absorbed {
        // The status names one output of a folder, and keys that it does not name would never be withdrawn. So the keys
        // under a new name wait until the status no longer names the former ConfigMaps.
        let is_renamed = case.upload.former_folder_maps().iter().any(|(folder, _)| *folder == assignment.name);
        if !is_renamed && known.is_some_and(|known| !known.part.is_unknown()) {
            news.absorb.push(Absorb {
                folder: assignment.name.clone(),
                revision: assignment.revision.clone(),
                attempt: job.attempt,
                given: folder.part,
                reports: left.reports,
            });
        }
        news.jobs.push(job.volume.job_status(&job.name));
        news.note(job.attempt, &id, Note::Sending);
        if !is_renamed {
            news.look_in(super::super::folder::UNREAD); // also where its ConfigMaps could not be read
        }
        return;
    }
    if let Some(trouble) = left.trouble.as_ref().filter(|trouble| !is_outdated(case, job, trouble)) {
        news.fail(job.attempt, trouble);
    }
    let note = match note(case, job, progress, &left) {
        Note::Failed(trouble, ..) if is_outdated(case, job, &trouble) => Note::Unanswered,
        note => note,
    };
    news.note(job.attempt, &id, note);
    let uploads = left.reports.iter().flat_map(|report| &report.entries);
    let reported = uploads.filter_map(|entry| match entry {
        Entry::Stored { upload, .. } => Some((Reason::Uploaded, upload.size)),
        Entry::Failed { trouble, .. } => Some((trouble.reason, 0)),
        Entry::Gone { .. } => None,
    });
    news.concluded.push(Concluded {
        attempt: job.attempt,
        job: Some(job.volume.job_status(&job.name)),
        limited: left.limited,
        reported: reported.collect(),
    });
}

/// Whether only a person can help, under a spec that was changed since: that is a new chance.
fn is_outdated(case: &Case<'_>, job: &JobFacts, trouble: &Trouble) -> bool {
    trouble.reason.class() == Class::Stalled && job.generation.is_some_and(|generation| generation < case.generation)
}

/// What is heard of the folder once the keys have what was reported.
fn note(case: &Case<'_>, job: &JobFacts, progress: Option<&Progress>, left: &Left) -> Note {
    let meta = progress.map(|progress| &progress.meta);
    // Later reports are in too: then this one is past.
    if meta.is_some_and(|meta| meta.attempt > job.attempt) {
        return Note::Unanswered;
    }
    let of_attempt = progress.filter(|progress| progress.meta.attempt == job.attempt);
    if let Some(progress) = of_attempt.filter(|progress| progress.meta.complete) {
        return Note::Stored(
            Upload {
                file_key: progress.digest.clone(),
                content_type: String::new(),
                size: progress.bytes,
                sha256: progress.digest.clone(),
                at: progress.first.unwrap_or(case.now),
            },
            None,
        );
    }
    if let Some(kib) = of_attempt.and_then(|progress| progress.meta.too_large) {
        let most = folder::LARGEST_KEYS >> 10;
        let fix = "split the folder into several entries";
        let what = format!("the keys of its files take {kib} KiB, and a ConfigMap has room for {most} KiB: {fix}");
        return Note::Failed(Trouble::new(Reason::TooManyFiles, what), None, None);
    }
    if let Some(trouble) = &left.trouble {
        return Note::Failed(trouble.clone(), None, None);
    }
    match of_attempt.map(|progress| &progress.meta) {
        Some(meta) if meta.progress || !meta.cuts.is_empty() => Note::Unanswered,
        Some(meta) => match (meta.failures.first(), &meta.restless) {
            (Some(failure), _) => {
                let folder::Failure { path, message, .. } = failure;
                let what = if message.contains(path) { message.clone() } else { format!("{path}: {message}") };
                Note::Failed(Trouble::new(failure.reason, what), None, None)
            }
            (None, Some(path)) => {
                let what = format!("{path} has changed each time it was uploaded");
                Note::Failed(Trouble::new(Reason::SourceChanged, what), None, None)
            }
            (None, None) => Note::Unanswered,
        },
        None => Note::Unanswered,
    }
}

fn hear(case: &Case<'_>, job: &JobFacts) -> Left {
    let mut left = Left { reports: Vec::new(), trouble: None, limited: false };
    let mut troubles = Vec::new();
    for share in 0..job.shards {
        let pod = job.pods.iter().rev().find(|pod| pod.index == share);
        match pod.and_then(PodFacts::terminated).map(|ended| (ended, folder::read(&ended.message))) {
            Some((ended, Ok(report))) => {
                left.limited |= report.limited;
                let is_cut_off = !matches!(ended.exit_code, 0 | 1);
                troubles.extend(report.entries.iter().filter_map(|entry| of_folder(case, job, entry)));
                if is_cut_off || report.garbled {
                    troubles.push(trouble::ended(case.upload, job, (pod, None), case.now));
                }
                left.reports.push(report);
            }
            Some((ended, Err(unreadable))) => {
                let left = match unreadable {
                    Unreadable::Unsupported => Silence::Unsupported,
                    Unreadable::Garbled => Silence::Unreadable(Some(&ended.message)),
                    Unreadable::Missing => Silence::Unreadable(None),
                };
                troubles.extend(reports::why_silent(case, job, (pod, share), left));
            }
            None => troubles.extend(reports::why_silent(case, job, (pod, share), Silence::Nothing)),
        }
    }
    // What is every file's says more than that a worker ended.
    troubles.sort_by_key(|trouble| trouble.reason.scope() != Scope::Resource);
    left.trouble = troubles.into_iter().next();
    left
}

/// A failure of the whole folder.
fn of_folder(case: &Case<'_>, job: &JobFacts, entry: &Entry) -> Option<Trouble> {
    let Entry::Failed { path: None, trouble } = entry else { return None };
    let path = job.files.first().map(|file| file.path.as_str());
    Some(trouble::of_volume(
        &job.volume,
        path,
        messages::of_credentials(case.upload, reports::with_words(trouble.clone())),
    ))
}
