//! When something is tried, and when the resource is looked at again. The one table:
//!
//! | a file | is due |
//! |---|---|
//! | without a key, untried or left by its work | now |
//! | whose key nears its end (`BeforeExpiry`) | now, with those of about the same age |
//! | that is requested and was not tried since | now; tried without an answer, as its trouble says |
//! | whose ConfigMap changed (`OnChange`) | now, but not within 10 s of the last look |
//! | in Backoff | at `nextAttemptAt`: it waits as long again as the trouble has lasted |
//! | Waiting | once the facts say that what it waits for is there |
//! | Stalled by its content | once the ConfigMap has another version; on a volume, the Secret another content |
//! | Stalled by the credential | once the Secret has another content |
//!
//! A failure that would be every file's holds all of them back. A resource is looked at again at its next moment, and
//! at the latest after 5 minutes: a clock that is set must not go unnoticed.

use std::time::Duration;

use jiff::Timestamp;

use super::acts::News;
use super::case::Case;
use super::facts::{ConfigMapFacts, Facts, SecretFacts, SendStage, Volume, WorkFacts};
use super::file::{Entry, Key, Work};
use super::moments::{self, LARGEST_LEAD};
use crate::backoff::{self, LONGEST_ASKED, fraction};
use crate::key_life::{after, before};
use crate::outcome::{Trouble, Upload};
use crate::reason::{Class, Reason, Scope};
use crate::resource::{ConfigMapKeyReference, File, FileUploadStatus};

/// A ConfigMap is not read more often than this to see whether it changed.
const CHANGE_INTERVAL: Duration = Duration::from_secs(10);
/// The longest time between two looks, and how much jitter shortens it.
const LONGEST_LOOK: (f64, f64) = (300.0, 60.0);
/// The shortest and the longest time before a write that failed is tried again; jitter adds a fifth.
const REWRITE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(25));
/// A Send shows that it is under way once it has had its place for so long.
pub(crate) const SEND_SHOWS: Duration = Duration::from_secs(1);
/// A Send shows that it waits for its place once it has waited for so long.
const SEND_QUEUE_SHOWS: Duration = Duration::from_secs(290);

/// When a file is tried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Due {
    /// Now.
    Now,
    /// At this moment.
    At(Timestamp),
    /// Once something changes.
    Woken,
    /// It wants nothing.
    Never,
}

/// The moments that decide for all files of a resource.
pub(super) struct Timing<'a> {
    case: &'a Case<'a>,
    facts: &'a Facts,
    renew_before: Option<Timestamp>,
    /// When the next attempt is made.
    pub(super) next_attempt_at: Option<Timestamp>,
    /// Identifies the content of the Secret that was used last.
    pub(super) credentials_version: Option<String>,
}

impl<'a> Timing<'a> {
    /// For these files, of which the `failed` ones have failed just now.
    pub(super) fn new(case: &'a Case<'a>, facts: &'a Facts, files: &[Entry], news: &News, failed: &[usize]) -> Self {
        let known = || case.status.and_then(|status| status.credentials_version.clone());
        let used = news.credentials_version.as_ref().map(|(_, version)| version.clone());
        Self {
            case,
            facts,
            renew_before: renew_before(case, files),
            next_attempt_at: next_attempt_at(case, files, news, failed),
            credentials_version: used.or_else(known),
        }
    }

    /// Whether a file is to be uploaded at all: it has no key, or one that is to be replaced.
    pub(super) fn wants(&self, entry: &Entry) -> bool {
        let unfinished = || entry.trouble().is_some();
        match &entry.key {
            Key::None => true,
            Key::Expired(_) => self.is_requested(entry) || entry.work != Work::Idle || self.change(entry).is_some(),
            Key::Live(_) => {
                self.is_renewed(entry) || self.is_requested(entry) || unfinished() || self.change(entry).is_some()
            }
        }
    }

    /// When a file is tried, as far as it alone decides.
    pub(super) fn due(&self, entry: &Entry) -> Due {
        if !self.wants(entry) {
            return Due::Never;
        }
        // One that was tried since made way, or could not be created: as without a request, it waits before the next try.
        if self.case.requested_attempt().is_some_and(|requested| entry.attempt <= requested) {
            return Due::Now;
        }
        match entry.trouble() {
            Some(trouble) => self.after(entry, trouble),
            None if self.is_renewed(entry) => Due::Now,
            None => self.change(entry).map_or(Due::Now, |at| self.at(at)),
        }
    }

    /// Whether a failure that would be every file's holds all of them back.
    pub(super) fn is_held_back(&self, files: &[Entry]) -> bool {
        let holds = |entry: &Entry| {
            let of_all = entry.trouble().is_some_and(|trouble| trouble.reason.scope() == Scope::Resource);
            of_all && !self.is_requested(entry) && self.wants(entry) && self.due(entry) != Due::Now
        };
        files.iter().any(holds)
    }

    /// The SHA-256 of a content that need not be sent: a ConfigMap that changed may hold the same under this key, and what
    /// was refused once is not tried again.
    pub(super) fn unless(&self, entry: &Entry) -> Option<String> {
        if self.is_requested(entry) {
            return None;
        }
        match entry.uploaded() {
            Some(upload) => (!self.is_renewed(entry) && self.change(entry).is_some()).then(|| upload.sha256.clone()),
            None if entry.is_refused() => entry.content.as_ref().map(|content| content.sha256.clone()),
            None => None,
        }
    }

    fn is_renewed(&self, entry: &Entry) -> bool {
        entry.live().is_some_and(|upload| self.renew_before.is_some_and(|before| upload.at <= before))
    }

    fn is_requested(&self, entry: &Entry) -> bool {
        self.case.requested_attempt().is_some_and(|attempt| !entry.answers(attempt))
    }

    fn at(&self, moment: Timestamp) -> Due {
        if moment <= self.case.now { Due::Now } else { Due::At(moment) }
    }

    fn after(&self, entry: &Entry, trouble: &Trouble) -> Due {
        let timed = || self.next_attempt_at.map_or(Due::Now, |at| self.at(at));
        let woken = |is_there: bool| if is_there { Due::Now } else { Due::Woken };
        let reason = trouble.reason;
        match reason.class() {
            _ if is_timed(entry, self.case) => timed(),
            Class::Done | Class::Working | Class::Backoff => Due::Now,
            Class::Waiting => match reason {
                Reason::SecretNotFound => woken(self.case.leaves_all_to_workers() || self.has_secret()),
                Reason::ConfigMapNotFound => woken(self.config_map(entry).is_none_or(|(facts, _)| facts.may_exist())),
                Reason::ConfigMapKeyNotFound => woken(self.may_have_key(entry)),
                // Claims and places are looked at afresh each time.
                _ => Due::Now,
            },
            Class::Stalled if reason.scope() == Scope::Resource => woken(self.is_new_secret()),
            Class::Stalled => match self.config_map(entry) {
                Some((facts, reference)) => woken(facts.differs(entry, &reference.key)),
                None => woken(self.is_new_secret()),
            },
        }
    }

    fn has_secret(&self) -> bool {
        matches!(self.facts.secret, SecretFacts::Usable { .. } | SecretFacts::Invalid { .. })
    }

    fn is_new_secret(&self) -> bool {
        self.facts.secret.version().is_some_and(|version| Some(version) != self.credentials_version.as_deref())
    }

    fn may_have_key(&self, entry: &Entry) -> bool {
        let Some((facts, reference)) = self.config_map(entry) else { return true };
        match facts {
            ConfigMapFacts::There { contents: Some(contents), .. } => contents.contains_key(&reference.key),
            ConfigMapFacts::There { version, .. } => is_newer(version, entry),
            ConfigMapFacts::Missing => true, // and so the Send says that
            ConfigMapFacts::Unknown => false,
        }
    }

    /// What is known of a file's ConfigMap, where the operator reads it.
    fn config_map(&self, entry: &Entry) -> Option<(&ConfigMapFacts, &ConfigMapKeyReference)> {
        let file = self.case.upload.spec.files.iter().find(|file| file.name == entry.id.name)?;
        let reference = file.source.config_map_key_ref.as_ref().filter(|_| !self.case.leaves_all_to_workers())?;
        Some((self.facts.config_maps.get(&reference.name).unwrap_or(&ConfigMapFacts::Unknown), reference))
    }

    /// When a change of a ConfigMap is looked at whose upload is followed; none if there is none.
    fn change(&self, entry: &Entry) -> Option<Timestamp> {
        let upload = entry.uploaded().filter(|_| self.case.follows_changes())?;
        let (facts, reference) = self.config_map(entry)?;
        let ConfigMapFacts::There { version, contents } = facts else { return None };
        let differs = match contents {
            Some(contents) => contents.get(&reference.key).is_some_and(|content| content.sha256 != upload.sha256),
            None => is_newer(version, entry),
        };
        // A clock that was set back must not keep it from being looked at.
        let last = self.facts.last_read.filter(|read| *read <= self.case.now);
        differs.then(|| after(last.map_or(upload.at, |read| read.max(upload.at)), CHANGE_INTERVAL))
    }

    /// The next moment at which something happens by time alone; nothing is tried where the resource `rests`.
    pub(super) fn next_moment(&self, files: &[Entry], rests: bool) -> Option<Timestamp> {
        let terms = &self.case.deployment.terms;
        let renews = self.case.upload.spec.renews() && !self.case.upload.spec.is_suspended();
        let renewal = renews.then(|| terms.renewal_age(self.case.seed_of_life()));
        let of_key = |entry: &Entry| {
            let upload = entry.live()?;
            let renewed = renewal.map(|age| after(upload.at, age)).filter(|at| *at > self.case.now);
            [Some(terms.withdrawn_at(upload.at)), renewed].into_iter().flatten().min()
        };
        let tried = files.iter().filter(|_| !rests).filter_map(|entry| match self.due(entry) {
            Due::At(at) => Some(at),
            _ => None,
        });
        let sends = self.facts.work.iter().filter_map(|work| match work {
            WorkFacts::Send(send) => shows_at(send.stage, self.case.now).filter(|at| *at > self.case.now),
            _ => None,
        });
        files.iter().filter_map(of_key).chain(tried).chain(sends).min()
    }
}

impl ConfigMapFacts {
    fn may_exist(&self) -> bool {
        *self != Self::Missing
    }

    /// Whether it may hold something else than what a file was refused with.
    fn differs(&self, entry: &Entry, key: &str) -> bool {
        let refused = entry.content.as_ref();
        match self {
            Self::There { contents: Some(contents), .. } => contents.get(key) != refused || refused.is_none(),
            Self::There { version, .. } => is_newer(version, entry),
            Self::Missing => true,
            Self::Unknown => false,
        }
    }
}

/// Whether a ConfigMap was changed since a file was last read from it. What the watch tells may be older than that.
fn is_newer(version: &str, entry: &Entry) -> bool {
    let Some(read) = &entry.source_version else { return true };
    match (version.parse::<u128>(), read.parse::<u128>()) {
        (Ok(version), Ok(read)) => version > read,
        _ => version != read,
    }
}

/// When the status shows where a Send is.
fn shows_at(stage: SendStage, now: Timestamp) -> Option<Timestamp> {
    let (since, span) = match stage {
        SendStage::Waiting(since) => (since, SEND_QUEUE_SHOWS),
        SendStage::Running(since) => (since, SEND_SHOWS),
        SendStage::Ended => return None,
    };
    Some(if moments::age(since, now) >= span { now } else { after(since, span) })
}

/// Whether the status shows by now where a Send is.
pub(super) fn shows(stage: SendStage, now: Timestamp) -> bool {
    shows_at(stage, now).is_none_or(|at| at <= now)
}

/// Whether a file's next attempt has its time. Of a Secret and of ConfigMaps that only workers read nobody sees a change.
fn is_timed(entry: &Entry, case: &Case<'_>) -> bool {
    use Reason::{ConfigMapKeyNotFound, CredentialsInvalid, CredentialsRejected, FeatureNotLicensed};
    let unseen = [ConfigMapKeyNotFound, CredentialsInvalid, CredentialsRejected, FeatureNotLicensed];
    let Some(reason) = entry.trouble().map(|trouble| trouble.reason) else { return false };
    // A Job that could not be created, or that made way, is not followed by another at once.
    let was_tried = entry.since.is_some() && matches!(reason, Reason::ClaimInUse | Reason::WorkerPending);
    reason.class() == Class::Backoff || was_tried || case.leaves_all_to_workers() && unseen.contains(&reason)
}

/// Keys that were uploaded at this moment or before it are to be renewed now; none where the policy renews none.
fn renew_before(case: &Case<'_>, files: &[Entry]) -> Option<Timestamp> {
    let terms = &case.deployment.terms;
    let due = before(case.now, terms.renewal_age(case.seed_of_life()));
    let one = files.iter().filter_map(Entry::live).any(|upload| upload.at <= due);
    let company = before(case.now, terms.company_age());
    case.upload.spec.renews().then_some(if one { company } else { due })
}

/// Whether a key that lives is to be renewed now.
pub(super) fn renewal_is_due<'a>(case: &'a Case<'_>, files: &[Entry]) -> impl Fn(&Upload) -> bool + 'a {
    let renew_before = renew_before(case, files);
    move |upload| renew_before.is_some_and(|before| upload.at <= before)
}

/// When the next attempt is made: after those that failed just now, once as long again as the trouble has lasted; else as
/// the status has it.
fn next_attempt_at(case: &Case<'_>, files: &[Entry], news: &News, failed: &[usize]) -> Option<Timestamp> {
    let timed = || files.iter().enumerate().filter(|(_, entry)| is_timed(entry, case));
    let wait = |entry: &Entry| {
        let lasted = entry.since.map_or(Duration::ZERO, |since| moments::age(since, case.now));
        backoff::as_long_again(lasted, case.seed(), news.asked_wait)
    };
    let wait = timed().filter(|(at, _)| failed.contains(at)).map(|(_, entry)| wait(entry)).max();
    // Times are whole seconds, and `now` may be one old: so that none comes too early, one is added.
    let seconds = |wait: Duration| u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).saturating_add(1);
    let next = wait.map(|wait| after(case.now, Duration::from_secs(seconds(wait))));
    let known = case.status.and_then(|status| status.next_attempt_at.as_ref()).map(|at| at.0);
    // A later moment than could be asked for was written before our clock was set back.
    let latest = after(case.now, LONGEST_ASKED + LARGEST_LEAD);
    let known = known.filter(|at| *at > case.now && *at <= latest && timed().next().is_some());
    // What was asked for on behalf of all files is kept to.
    let is_of_all = |entry: &Entry| entry.trouble().is_some_and(|trouble| trouble.reason.scope() == Scope::Resource);
    if timed().any(|(at, entry)| is_of_all(entry) && !failed.contains(&at)) { next.max(known) } else { next.or(known) }
}

/// When a resource that has finished is deleted, if `spec.ttlSecondsAfterFinished` asks for that.
pub(super) fn deleted_at(case: &Case<'_>) -> Option<Timestamp> {
    let (spec, status) = (&case.upload.spec, case.status?);
    let ttl = u64::try_from(spec.ttl_seconds_after_finished?).ok()?;
    let is_requested = case.request.is_some() && case.request != status.last_handled_requested_at.as_deref();
    if spec.is_suspended() || spec.renews() || is_requested || !case.is_observed() {
        return None;
    }
    Some(after(finished_at(status)?, Duration::from_secs(ttl)))
}

fn finished_at(status: &FileUploadStatus) -> Option<Timestamp> {
    // Which deployments there are is a matter of the operator's: nothing of the resource has come to its end.
    let finished = |condition: &&crate::resource::Condition| {
        matches!(condition.type_.as_str(), "Ready" | "Stalled")
            && condition.status == "True"
            && condition.reason != Reason::DeploymentUnknown.as_str()
    };
    let condition = status.conditions.iter().find(finished);
    condition.map(|condition| condition.last_transition_time.0)
}

/// How long until the resource is looked at again.
pub(super) fn look_in(case: &Case<'_>, moments: impl Iterator<Item = Timestamp>, span: Option<Duration>) -> Duration {
    let (longest, jitter) = LONGEST_LOOK;
    let longest = Duration::from_secs_f64(longest - jitter * fraction(case.seed_of_life()));
    let left = moments.map(|moment| Duration::try_from(moment.duration_since(case.now)).unwrap_or_default());
    left.chain(span).fold(longest, Duration::min)
}

/// How long until a write that failed is tried again, given since when the resource is not Ready.
pub(super) fn rewrite_in(case: &Case<'_>) -> Duration {
    let ready = case.status.and_then(|status| status.conditions.iter().find(|condition| condition.type_ == "Ready"));
    let lasted = ready.map_or(Duration::ZERO, |ready| moments::age(ready.last_transition_time.0, case.now));
    let (shortest, longest) = REWRITE;
    lasted.clamp(shortest, longest).mul_f64(1.0 + 0.2 * fraction(case.seed_of_life()))
}

/// Whether a file goes on once the content of the Secret is another.
pub(super) fn waits_for_secret(case: &Case<'_>, files: &[Entry]) -> bool {
    let of_volume = |entry: &Entry| {
        let file = case.upload.spec.files.iter().find(|file| file.name == entry.id.name);
        let is_folder = case.upload.spec.folders.iter().any(|folder| folder.name == entry.id.name);
        is_folder || file.is_some_and(|file| volume_of(file, case).is_some())
    };
    let waits = |entry: &Entry, trouble: &Trouble| match trouble.reason.class() {
        Class::Waiting => trouble.reason == Reason::SecretNotFound,
        Class::Stalled => trouble.reason.scope() == Scope::Resource || of_volume(entry),
        _ => false,
    };
    let waits = |entry: &Entry| entry.trouble().is_some_and(|trouble| waits(entry, trouble));
    !case.leaves_all_to_workers() && files.iter().any(waits)
}

/// The volume that a worker reads a file from; none for what the operator sends itself.
pub(super) fn volume_of(file: &File, case: &Case<'_>) -> Option<Volume> {
    Volume::of(file, case.leaves_all_to_workers())
}
