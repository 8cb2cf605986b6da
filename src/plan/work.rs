//! What Sends and Jobs mean for files: what they say is heard, and Jobs that are over or in the way are to go.
//!
//! It changes nothing and returns [`News`]. A Send is to the operator what a Job is to the cluster: both are forgotten
//! only when the status has all that they said. So a crash at any moment finds either the report or the key.

use std::cmp::Reverse;
use std::time::Duration;

use super::acts::{Concluded, News, Removal};
use super::case::Case;
use super::facts::volume::{YIELD_AFTER, access, is_misplaced, is_wanted_elsewhere};
use super::facts::{
    Container, Facts, FileId, JobFacts, LaunchFacts, LaunchStage, PodFacts, SendFacts, SendResult, SendStage, Standing,
    Volume, WorkFacts,
};
use super::file::{Entry, Note, Work};
use super::{messages, moments, retry};
use crate::outcome::Trouble;
use crate::reason::Reason;
use crate::report::Assignment;
use crate::resource::{JobStatus, MAX_JOBS};

mod folder;
pub(super) mod launch;
pub(crate) mod manifest;
mod reports;
pub(super) mod trouble;

/// No plan launches more Jobs than a resource has files: a Job that claims a later attempt is believed only if its name
/// follows from what it is for. So it is known again after somebody has cleared the status.
const MAX_JOBS_PER_PLAN: i64 = 100;
/// No attempt is so late. Whoever writes such a Job, and its name, would leave no number for the next.
const NO_ATTEMPT: i64 = 1 << 52;
/// A Launch shows that it waits for its place once it has waited for so long, and is looked at a little later.
const LAUNCH_SHOWS: Duration = Duration::from_secs(1);
const SOON_QUEUED: Duration = Duration::from_secs(2);
/// That a worker has started is heard of by then.
const START_IS_HEARD: Duration = Duration::from_secs(10);
/// Events of a worker that does not run are read once it is so old: most have started before.
const EVENTS_AFTER: Duration = Duration::from_secs(3);
/// How soon to look again at a worker that does not run: what keeps it may be told in events, which nobody watches.
const EVENTS_INTERVAL: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(30));

/// What the work of a resource says.
pub(super) fn news(case: &Case<'_>, files: &[Entry], facts: &Facts) -> News {
    let attempts = files.iter().map(|entry| entry.attempt).chain(case.status.map(|status| status.attempts)).max();
    let mut all = News { attempts: attempts.unwrap_or_default(), ..News::default() };
    let credible = all.attempts.saturating_add(MAX_JOBS_PER_PLAN);
    let is_credible = |job: &JobFacts| {
        job.attempt <= credible || job.attempt < NO_ATTEMPT && launch::is_named_for_its_content(case, job)
    };
    for work in &facts.work {
        let (attempt, is_over, mut news) = match work {
            WorkFacts::Send(send) => (send.attempt, send.stage == SendStage::Ended, of_send(case, send)),
            WorkFacts::Launch(launch) => {
                let is_over = matches!(launch.stage, LaunchStage::Refused(_));
                (launch.attempt, is_over, of_launch(case, launch))
            }
            // Anybody may write a number into a Job.
            WorkFacts::Job(job) if !is_credible(job) => continue,
            WorkFacts::Job(job) => {
                (job.attempt, job.is_over() && !is_named(case, job), of_job(case, files, facts, job))
            }
        };
        // A file that later work has by now is no longer unanswered, and how it failed before decides nothing.
        let is_past = |note: &Note| matches!(note, Note::Unanswered | Note::Failed(..));
        news.notes.retain(|(attempt, id, note)| !is_past(note) || !is_taken_up(facts, *attempt, id));
        // The status has taken in that a Job is over once it no longer names it, and the Job may linger for long: if it were
        // heard again, it would undo what its files wait for by now.
        if matches!(work, WorkFacts::Job(job) if !is_named(case, job)) {
            news.notes.retain(|(_, id, note)| *note != Note::Unanswered || is_sent(files, id));
        }
        if is_over && is_counted(case, attempt) && !has_news(case, files, &news) && news.absorb.is_empty() {
            if let WorkFacts::Job(job) = work {
                remove_absorbed(job, &mut all);
            }
            all.forget.push(attempt);
            continue;
        }
        all.attempts = all.attempts.max(attempt);
        all.add(news);
    }
    name_the_latest_jobs(case, facts, &mut all.jobs);
    all
}

/// The status has room for the Jobs of one plan: what is being deleted and what is not ours is left out first.
fn name_the_latest_jobs(case: &Case<'_>, facts: &Facts, jobs: &mut Vec<JobStatus>) {
    if jobs.len() <= MAX_JOBS {
        return;
    }
    let rank = |job: &JobFacts| (!launch::is_named_for_its_content(case, job), job.deleting, Reverse(job.attempt));
    jobs.sort_by_cached_key(|named| {
        facts.work.iter().find_map(|work| match work {
            WorkFacts::Job(job) if job.name == named.name => Some(rank(job)),
            _ => None,
        })
    });
    jobs.truncate(MAX_JOBS);
}

/// Whether something is heard of a file that the status does not have.
fn has_news(case: &Case<'_>, files: &[Entry], news: &News) -> bool {
    let entry = |id: &FileId| files.iter().find(|entry| entry.id == *id);
    news.notes.iter().any(|(attempt, id, note)| entry(id).is_some_and(|entry| entry.counts(*attempt, note, case)))
}

/// Whether the status says that the file is being sent.
fn is_sent(files: &[Entry], id: &FileId) -> bool {
    files.iter().any(|entry| entry.id == *id && entry.work == Work::Sending)
}

/// Whether later work has the file.
fn is_taken_up(facts: &Facts, attempt: i64, id: &FileId) -> bool {
    facts.work.iter().any(|work| match work {
        WorkFacts::Send(send) => send.attempt > attempt && send.files.contains(id),
        WorkFacts::Launch(launch) => launch.attempt > attempt && launch.files.contains(id),
        WorkFacts::Job(job) => job.attempt > attempt && job.files.iter().any(|file| FileId::of(file) == *id),
    })
}

fn is_counted(case: &Case<'_>, attempt: i64) -> bool {
    case.status.is_some_and(|status| status.attempts >= attempt)
}

fn is_named(case: &Case<'_>, job: &JobFacts) -> bool {
    case.status.is_some_and(|status| status.jobs.iter().any(|known| known.name == job.name))
}

fn remove_absorbed(job: &JobFacts, news: &mut News) {
    if job.standing != Standing::Gone && !job.deleting {
        remove(job, "its report is in the status", news);
    }
}

fn of_send(case: &Case<'_>, send: &SendFacts) -> News {
    let mut news = News::default();
    news.used(send.attempt, send.credentials_version.as_deref());
    let (mut notes, mut failures) = (Vec::new(), Vec::new());
    for (index, id) in send.files.iter().enumerate() {
        let (trouble, version, content) = match (send.results.get(&index), &send.trouble) {
            (Some(SendResult::Stored { upload, source_version }), _) => {
                notes.push((id, Note::Stored(upload.clone(), Some(source_version.clone()))));
                continue;
            }
            (Some(SendResult::Unchanged { source_version }), _) => {
                notes.push((id, Note::Unchanged(source_version.clone())));
                continue;
            }
            (Some(SendResult::Failed { trouble, source_version, content }), _) => {
                (trouble, source_version.clone(), content.clone())
            }
            // Of what was not begun, only what failed for all is known.
            (None, Some(trouble)) => (trouble, None, None),
            (None, None) => {
                notes.extend(note_of_stage(case, send.stage).map(|note| (id, note)));
                continue;
            }
        };
        let trouble = messages::of_credentials(case.upload, trouble.clone());
        news.fail(send.attempt, &trouble);
        failures.push((id, Note::Failed(trouble, version, content)));
    }
    for (id, note) in notes.into_iter().chain(failures) {
        news.note(send.attempt, id, note);
    }
    if send.stage == SendStage::Ended {
        news.concluded.push(Concluded::new(send.attempt));
    } else {
        news.under_way.sends = true;
        news.under_way.files = send.files.iter().cloned().collect();
    }
    news
}

/// What is said of a file of which a Send says nothing yet.
fn note_of_stage(case: &Case<'_>, stage: SendStage) -> Option<Note> {
    match stage {
        _ if !retry::shows(stage, case.now) => None,
        SendStage::Waiting(_) => Some(Note::Waiting(messages::send_queued())),
        SendStage::Running(_) => Some(Note::Sending),
        SendStage::Ended => None,
    }
}

fn of_launch(case: &Case<'_>, launch: &LaunchFacts) -> News {
    let mut news = News::default();
    news.used(launch.attempt, launch.credentials_version.as_deref());
    match &launch.stage {
        LaunchStage::Refused(trouble) => {
            news.fail(launch.attempt, trouble);
            for id in &launch.files {
                news.note(launch.attempt, id, Note::Failed(trouble.clone(), None, None));
            }
            news.concluded.push(Concluded::new(launch.attempt));
            return news;
        }
        LaunchStage::Waiting(since) if moments::age(*since, case.now) >= LAUNCH_SHOWS => {
            for id in &launch.files {
                news.note(launch.attempt, id, Note::Waiting(messages::queued(&launch.volume)));
            }
        }
        LaunchStage::Waiting(_) => news.look_in(SOON_QUEUED),
        LaunchStage::Creating => {}
    }
    news.under_way.volumes.insert(launch.volume.clone());
    news.under_way.files = launch.files.iter().cloned().collect();
    news
}

fn of_job(case: &Case<'_>, files: &[Entry], facts: &Facts, job: &JobFacts) -> News {
    let mut news = News::default();
    if let Some(assignment) = job.folder() {
        of_folder_job(case, files, facts, (job, assignment), &mut news);
        return news;
    }
    let told = reports::hear(case, job, &mut news);
    if job.is_over() || !told.files.is_empty() {
        news.used(job.attempt, Some(&job.credentials_version));
    }
    // What came of files is written down before they are given to another worker.
    news.under_way.files = job.files.iter().map(FileId::of).collect();
    news.under_way.volumes.insert(job.volume.clone());
    if job.is_over() {
        reports::conclude(case, files, job, told, &mut news);
    } else {
        news.jobs.push(job.volume.job_status(&job.name));
        note_unfinished_files(case, facts, job, &told, &mut news);
        call_off(case, files, facts, job, &mut news);
    }
    news
}

/// A Job on a folder: its files are known only to its Pods, so all of it is one file here.
fn of_folder_job(
    case: &Case<'_>,
    files: &[Entry],
    facts: &Facts,
    (job, assignment): (&JobFacts, &Assignment),
    news: &mut News,
) {
    let has_told = job.pods.iter().any(|pod| pod.terminated().is_some_and(|ended| !ended.message.is_empty()));
    if job.is_over() || has_told {
        news.used(job.attempt, Some(&job.credentials_version));
    }
    news.under_way.files.insert(FileId::of(assignment));
    news.under_way.volumes.insert(job.volume.clone());
    if job.is_over() {
        folder::conclude(case, facts, job, assignment, news);
    } else {
        news.jobs.push(job.volume.job_status(&job.name));
        note_unfinished_files(case, facts, job, &reports::Told::default(), news);
        call_off(case, files, facts, job, news);
    }
}

/// Says of each file that a worker still has how it stands.
fn note_unfinished_files(case: &Case<'_>, facts: &Facts, job: &JobFacts, told: &reports::Told, news: &mut News) {
    let lost_claim = lost_claim(case, facts, job);
    for (index, file) in job.files.iter().enumerate().filter(|(index, _)| !told.files.contains(index)) {
        let pod = reports::pod_of(job, index);
        let others_run = pod.is_none() && job.pods.iter().any(|pod| !pod.is_over());
        let note = match &lost_claim {
            Some(trouble) => Note::Waiting(trouble.clone()),
            None if others_run => Note::Waiting(messages::queued(&job.volume)),
            // Between two Pods, or between the end of a Pod and that of its Job, nobody has to be told anything.
            None if pod.map_or(job.has_started(), |pod| pod.has_ended || pod.terminated().is_some()) => Note::Sending,
            None => match trouble::pending(case.upload, job, pod) {
                Some(trouble) => Note::Waiting(trouble),
                None if pod.is_some_and(PodFacts::is_running) => Note::Sending,
                None => trouble::slow(job, pod, case.now).map_or(Note::Sending, Note::Slow),
            },
        };
        if note != Note::Sending || !job.has_started() {
            let (soon, later) = EVENTS_INTERVAL;
            news.look_in(if job.age(case.now) < YIELD_AFTER { soon } else { later });
        }
        news.note(job.attempt, &FileId::of(file), note);
    }
}

/// The claim went away before the worker started. The scheduler may have looked before that, and not look again.
fn lost_claim(case: &Case<'_>, facts: &Facts, job: &JobFacts) -> Option<Trouble> {
    let Volume::Claim(name) = &job.volume else { return None };
    let trouble = access(name, facts.claims.get(name)?, case.now).err()?;
    (trouble.reason == Reason::ClaimNotFound && !job.has_started()).then_some(trouble)
}

/// Deletes a Job of which no file is wanted any more, or that would begin again with all its files; and one that has not
/// started and would be made otherwise now, or whose claim another Pod waits for or uses elsewhere.
fn call_off(case: &Case<'_>, files: &[Entry], facts: &Facts, job: &JobFacts, news: &mut News) {
    if job.deleting || job.standing == Standing::Gone {
        return;
    }
    let is_wanted = |file: &Assignment| files.iter().any(|entry| entry.id == FileId::of(file));
    if !job.files.iter().any(is_wanted) {
        return remove(job, "none of its files is wanted any more", news);
    }
    if job.was_stopped() {
        return remove(job, "it was suspended, and would begin again with all its files", news);
    }
    if job.has_started() {
        return;
    }
    let age = job.age(case.now);
    let is_outdated = !job.settings_hash.is_empty() && job.settings_hash != facts.settings_hash;
    if age >= START_IS_HEARD && is_outdated {
        return remove(job, "it has not started and would be made otherwise now", news);
    }
    let Volume::Claim(name) = &job.volume else { return };
    let Some(claim) = facts.claims.get(name).filter(|_| age >= YIELD_AFTER) else { return };
    if is_wanted_elsewhere(job, claim, case.now) {
        let trouble = messages::yielded(&job.volume);
        for file in &*job.files {
            news.note(job.attempt, &FileId::of(file), Note::Failed(trouble.clone(), None, None));
        }
        news.concluded.push(Concluded::new(job.attempt));
        remove(job, "another Pod waits for its claim", news);
    } else if is_misplaced(name, job, claim, case.now) {
        remove(job, "it has not started, and its claim is no longer used on its node", news);
    }
}

fn remove(job: &JobFacts, because: &'static str, news: &mut News) {
    news.remove.push(Removal {
        name: job.name.clone(),
        uid: job.uid.clone(),
        because,
        after_its_pods: job.was_stopped(),
    });
}

/// Whether what keeps a Job's Pods from running may be told in events, which nobody watches.
pub(crate) fn needs_events(job: &JobFacts, now: jiff::Timestamp) -> bool {
    let is_silent = |container: &Container| matches!(container, Container::Running { ready: false });
    let known = job.pods.iter().all(|pod| pod.unschedulable.is_some()) && !job.pods.is_empty();
    let kept = !job.has_started() && !known || job.pods.iter().any(|pod| is_silent(&pod.container));
    job.standing == Standing::Alive && job.age(now) >= EVENTS_AFTER && kept
}

/// Whether a Job is over without the answers that its Pods should have given: then the API server itself is asked
/// before that is believed.
pub(crate) fn is_doubtful(job: &JobFacts) -> bool {
    let is_silent = |pod: &PodFacts| pod.terminated().is_none_or(|ended| ended.message.is_empty());
    let unheard = (0..job.shards).any(|share| job.pods.iter().filter(|pod| pod.index == share).all(is_silent));
    !job.confirmed && job.is_over() && unheard
}
