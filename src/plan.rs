//! What to do next about a `FileUpload`, decided from what was observed: pure and total.
//!
//! Nothing here is async, reads a clock, a file or the environment, or logs. [`plan()`] runs once per reconcile and leaves
//! the executor no choice; [`settle`] makes the status of it. A bad spec is a planned rejection, not an error.
//! `fileupload render` prints a plan for manifests on disk with this code.
//!
//! | room | its one rule |
//! |---|---|
//! | `case`, `facts`, `acts` | what is planned for; what was observed; what a plan is |
//! | `moments` | how old a moment is, whatever was done to the clocks |
//! | `file`, `folder` | how a file's entry changes; a folder as such an entry |
//! | `retry` | when something is tried, or looked at again |
//! | `work` | what Sends and Jobs mean; which of them go, and which are begun (`work::launch`) |
//! | `status`, `output` | conditions and phase; what the output holds |
//! | `messages`, `revision` | texts; identity |
//!
//! The road goes on in `crate::controller`, which performs the plan.

pub(crate) use self::acts::{Absorb, Dispatch, Item, Launch, News, Plan, Stand};
pub(crate) use self::case::{Case, Deployment, Senders};
pub(crate) use self::facts::folder::{FolderFacts, Kept, Progress};
pub(crate) use self::facts::kept;
pub(crate) use self::facts::volume::{MAX_PARALLELISM, Placement, access};
pub(crate) use self::facts::{
    ClaimFacts, ClaimUser, ConfigMapFacts, Container, Content, Facts, FileId, JobFacts, LaunchFacts, LaunchStage,
    OutputFacts, PodFacts, Presence, Said, SecretFacts, SendFacts, SendResult, SendStage, Standing, Volume, WorkFacts,
    objects, read,
};
pub(crate) use self::file::Entry;
pub(crate) use self::folder::{KeysAct, KeysWhat};
pub(crate) use self::messages::{config_map_missing, key_missing, secret_forbidden, secret_invalid, secret_missing};
pub(crate) use self::output::{OutputAct, Written, output_hash};
pub(crate) use self::retry::SEND_SHOWS;
pub(crate) use self::status::{Done, Settled, refresh_failure};
pub(crate) use self::work::manifest::{self, WorkerSettings, job, settings_hash};
pub(crate) use self::work::trouble::refused;
pub(crate) use self::work::{is_doubtful, needs_events};

use self::file::Note;
use self::retry::Timing;
use self::work::launch;

mod acts;
mod case;
mod facts;
mod file;
mod folder;
mod messages;
mod moments;
mod output;
mod retry;
mod revision;
mod status;
mod work;

#[cfg(test)]
mod tests;

/// Plans the next step: the pure heart of the operator.
pub(crate) fn plan<'a>(case: &Case<'a>, facts: &Facts) -> Plan<'a> {
    let mut files = file::entries(case);
    files.extend(folder::entries(case));
    folder::lose_keys(case, facts, &mut files);
    let news = work::news(case, &files, facts);
    let failed = hear(&news, case, facts, &mut files);
    let stand = stand(case, &news);
    let requested = requested_attempt(case, &files, news.attempts).filter(|_| stand == Stand::Open);
    for entry in &mut files {
        let is_requested = requested.is_some_and(|noted| !entry.answers(noted));
        entry.expire(case, is_requested || news.under_way.files.contains(&entry.id));
    }
    let timing = Timing::new(case, facts, &files, &news, &failed);
    let rests = stand != Stand::Open;
    let choice = if rests { launch::Choice::default() } else { launch::choose(case, facts, &files, &news, &timing) };
    let look = retry::look_in(
        case,
        timing.next_moment(&files, rests).into_iter().chain(retry::deleted_at(case).filter(|at| *at > case.now)),
        news.look_again.into_iter().chain(choice.look_again).min(),
    );
    let Timing { next_attempt_at, credentials_version, .. } = timing;
    for (at, note) in choice.waits {
        let attempt = files[at].attempt;
        files[at].hear(attempt, note, case);
    }
    let mut acts = choice.acts;
    acts.remove.clone_from(&news.remove);
    acts.forget.clone_from(&news.forget);
    acts.absorb.clone_from(&news.absorb);
    let begun = acts.send.iter().map(|send| send.attempt).chain(acts.launch.iter().map(|launch| launch.attempt));
    Plan {
        attempts: begun.max().unwrap_or_default().max(news.attempts),
        requested_attempt: requested_attempt(case, &files, news.attempts),
        next_attempt_at,
        credentials_version: choice.credentials_version.or(credentials_version),
        output: facts.output.clone(),
        folders: facts.folders.clone(),
        case: *case,
        stand,
        files,
        acts,
        news,
        look,
    }
}

/// Makes the status of a plan and what was done: what the output is to hold, and what is written once that is known.
pub(crate) fn settle<'a>(plan: &'a Plan<'_>, done: Done) -> Settled<'a> {
    Settled::new(plan, done)
}

/// Takes in what work says; last the failures that are every file's. Returns which files have failed by that.
fn hear(news: &News, case: &Case<'_>, facts: &Facts, files: &mut [Entry]) -> Vec<usize> {
    let mut failed = Vec::new();
    let mut take_in = |files: &mut [Entry], at: usize, attempt: i64, note: Note| {
        let Some(entry) = files.get_mut(at).filter(|entry| entry.counts(attempt, &note, case)) else { return };
        if matches!(note, Note::Failed(..)) {
            failed.push(at);
        }
        entry.hear(attempt, note, case);
    };
    for (attempt, id, note) in &news.notes {
        if let Some(at) = files.iter().position(|entry| entry.id == *id) {
            take_in(files, at, *attempt, note.clone());
        }
    }
    for (attempt, trouble) in &news.shared {
        let timing = Timing::new(case, facts, files, news, &[]);
        let shares = |entry: &Entry| timing.wants(entry) && !news.under_way.files.contains(&entry.id);
        let sharing: Vec<usize> = (0..files.len()).filter(|at| shares(&files[*at])).collect();
        for at in sharing {
            take_in(files, at, *attempt, Note::Failed(trouble.clone(), None, None));
        }
    }
    failed
}

fn stand(case: &Case<'_>, news: &News) -> Stand {
    let is_over = retry::deleted_at(case).is_some_and(|at| at <= case.now);
    if is_over && news.under_way.files.is_empty() && news.concluded.is_empty() {
        return Stand::Finished;
    }
    match messages::rejection(case) {
        _ if case.upload.spec.is_suspended() => Stand::Suspended,
        Some(trouble) => Stand::Rejected(trouble),
        None => Stand::Open,
    }
}

/// The attempt that a request is noted with: files of this attempt or an earlier one are due. None once every file has a
/// later one, or if nothing is requested.
fn requested_attempt(case: &Case<'_>, files: &[Entry], attempts: i64) -> Option<i64> {
    let request = case.request?;
    if case.status.and_then(|status| status.last_handled_requested_at.as_deref()) == Some(request) {
        return None;
    }
    // What a new resource is created with, its first upload answers.
    let is_new = case.status.is_none_or(|status| status.observed_generation < 0);
    let taken_up = case.requested_attempt().or(is_new.then_some(0));
    let noted = taken_up.unwrap_or(attempts);
    (taken_up.is_none() || files.iter().any(|entry| !entry.answers(noted))).then_some(noted)
}
