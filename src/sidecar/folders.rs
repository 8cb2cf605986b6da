//! How a sidecar keeps the keys of a folder: it goes through the folder until every file has a key, then shows them all.
//!
//! Each upload is written down as it ends, so a pass needs no memory of the one before, and after a restart only what is missing
//! is uploaded. One folder is gone through at a time. Between two passes nothing of it is in memory, and the others have
//! their turn. Among the keys, the oldest key of a folder stands for all of them, under the name of their file: they
//! are renewed and withdrawn together.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures::stream::StreamExt;
use tracing::{debug, info, warn};

use super::input_folder::InputFolder;
use super::{Failure, Keeper, LOOK, Tries};
use crate::clock;
use crate::delivery::{Batch, Candidate, Delivery, Found, Hooks, Limits, NO_FILE, Parcel, Place, USUAL_LIMIT, Window};
use crate::keys::{Entry, Line};
use crate::outcome::Trouble;
use crate::reason::{Class, Reason};

/// Within a pass. What fails longer is told, and left to the next one.
const LIMITS: Limits = Limits { attempts: 2, longest_wait: Duration::from_secs(10) };

/// The keys of the files of a folder, by path.
pub(super) type Lines = BTreeMap<String, Line>;

/// How a pass ended, if not in trouble.
enum Pass {
    /// Every file has its key.
    Complete,
    /// Some keys died meanwhile.
    Partial,
    /// Nothing new begins any more.
    Ended,
}

/// Why a pass did not get through.
struct Problem {
    /// Which file, if it is not the whole folder.
    path: Option<String>,
    trouble: Trouble,
    /// Whether a person has to act, whatever the class of its reason.
    is_final: bool,
}

impl Keeper<'_> {
    /// Uploads a folder, again and again if its keys are renewed.
    pub(super) async fn keep_folder(&self, input: &InputFolder) {
        while self.due(&input.keys_file).await && self.upload_folder(input).await {}
    }

    /// Tries until every file has a key; false if that is not to be.
    async fn upload_folder(&self, input: &InputFolder) -> bool {
        let (mut tries, round) = (Tries::default(), clock::unique());
        let is_renewal = self.lives(&input.keys_file);
        loop {
            let passed = match self.marked(input).await {
                Ok(true) => self.pass(input, &round, is_renewal).await,
                Ok(false) => return false,
                Err(trouble) => Err(Problem::of_folder(trouble)),
            };
            let Problem { path, trouble, is_final } = match passed {
                Ok(Pass::Complete) => return true,
                Ok(Pass::Ended) => return false,
                Ok(Pass::Partial) => continue,
                Err(problem) => problem,
            };
            let key = &input.keys_file;
            let name = path.map_or_else(|| key.clone(), |path| format!("{key}: {}", path.escape_debug()));
            if !self.tries_again(&mut tries, Failure { key, name, trouble, is_final }).await {
                return false;
            }
        }
    }

    /// Waits until the marker is there; false if nothing new begins.
    async fn marked(&self, input: &InputFolder) -> Result<bool, Trouble> {
        let mut has_waited = false;
        loop {
            tokio::select! {
                biased;
                () = self.batch.ended() => return Ok(false),
                is_complete = input.is_complete() => if is_complete? { return Ok(true) },
            }
            if !has_waited {
                info!(folder = input.keys_file, marker = %input.marker.display(), "waiting for the marker");
                has_waited = true;
            }
            // The interval between two looks for the marker.
            tokio::select! { biased; () = self.batch.ended() => return Ok(false), () = tokio::time::sleep(LOOK) => {} }
        }
    }

    /// Sends what has no key yet, in a renewal none of this round, and shows the keys if these are all.
    async fn pass(&self, input: &InputFolder, round: &str, is_renewal: bool) -> Result<Pass, Problem> {
        let turn = self.turn.lock();
        let _turn = tokio::select! { biased; () = self.batch.ended() => return Ok(Pass::Ended), turn = turn => turn };
        let files = input.files();
        let files =
            tokio::select! { biased; () = self.batch.ended() => return Ok(Pass::Ended), files = files => files };
        let files = files.map_err(Problem::of_folder)?;
        if files.is_empty() {
            let trouble = Trouble::new(Reason::FileNotFound, format!("{}: {NO_FILE}", input.path.display()));
            return Err(Problem { is_final: true, ..Problem::of_folder(trouble) });
        }
        let mut lines = self.lines(input, &files, |line| !is_renewal || line.round == round);
        let left: Vec<&Found> = files.iter().filter(|file| !lines.contains_key(&file.path)).collect();
        info!(folder = input.keys_file, files = files.len(), left = left.len(), "listed the folder");
        let (batch, mut problem) = (self.batch.within(Window::small()), None);
        let parcels = batch.places(left.into_iter().map(|file| (file, input.parcel(file))));
        let sent = parcels.map(|(file, parcel, place)| self.send(file, parcel, place));
        let sent = sent.buffer_unordered(Window::MOST.into()).for_each(|(file, parcel, delivery)| {
            match delivery {
                Delivery::Stored(upload) => {
                    debug!(folder = input.keys_file, file = file.path, size = upload.size, "uploaded");
                    let entry = Entry::new(parcel.file_name, upload, &self.life.terms);
                    let (path, owner, round) = (file.path.clone(), self.owner.clone(), round.to_owned());
                    let line = Line { path, modified_at: file.modified_at, owner, round, entry };
                    if let Err(error) = self.folder.add_line(&input.keys_file, &line) {
                        self.end(error.into());
                    }
                    lines.insert(file.path.clone(), line);
                }
                Delivery::Failed(trouble) | Delivery::NotSent(Some(trouble)) => {
                    self.note(input, &batch, &mut problem, Problem::of_file(file, trouble));
                }
                Delivery::NotSent(None) => {}
            }
            std::future::ready(())
        });
        sent.await;
        if let Some(problem) = problem {
            return Err(problem);
        }
        lines.retain(|_, line| self.is_live_line(line));
        if lines.len() == files.len() {
            self.show_folder(input, &lines);
            return Ok(Pass::Complete);
        }
        Ok(if self.batch.has_ended() { Pass::Ended } else { Pass::Partial })
    }

    /// Sends one file.
    async fn send<'f>(
        &self,
        file: &'f Found,
        parcel: Parcel,
        place: Option<Place<'_>>,
    ) -> (&'f Found, Parcel, Delivery) {
        let Some(place) = place else { return (file, parcel, Delivery::NotSent(None)) };
        let admit = |candidate: &Candidate<'_>| {
            if candidate.size > USUAL_LIMIT {
                warn!(file = file.path, "larger than 500 MB, which the hosted platform may refuse");
            }
            true
        };
        let on_retry = |trouble: &Trouble, delay: Duration| {
            debug!(file = file.path, reason = %trouble.reason, delay = delay.as_secs(), "trying again");
        };
        let delivery = place.deliver(&self.credential, &parcel, LIMITS, Hooks { admit, on_retry }).await;
        (file, parcel, delivery)
    }

    /// Keeps the problem that says most, and ends the pass with what only a person can help.
    fn note(&self, input: &InputFolder, batch: &Batch<'_>, noted: &mut Option<Problem>, problem: Problem) {
        let is_stalled = problem.trouble.reason.class() == Class::Stalled;
        if is_stalled && !self.lives(&input.keys_file) {
            batch.end();
        }
        let says_more = |noted: &Problem| is_stalled && noted.trouble.reason.class() != Class::Stalled;
        if noted.as_ref().is_none_or(says_more) {
            *noted = Some(problem);
        }
    }

    /// The keys of these files as they were listed that are written down, live and count.
    pub(super) fn lines(&self, input: &InputFolder, files: &[Found], counts: impl Fn(&Line) -> bool) -> Lines {
        let known: HashMap<&str, &Found> = files.iter().map(|file| (file.path.as_str(), file)).collect();
        let is_of = |line: &Line| {
            known.get(line.path.as_str()).is_some_and(|file| {
                (file.size, file.modified_at) == (line.entry.size, line.modified_at) && self.is_live_line(line)
            })
        };
        let lines = self.folder.lines(&input.keys_file).filter(|line| is_of(line) && counts(line));
        lines.map(|line| (line.path.clone(), line)).collect()
    }

    pub(super) fn is_live_line(&self, line: &Line) -> bool {
        line.owner == self.owner && self.is_live(&line.entry)
    }

    /// Shows the keys of a folder, which are all.
    pub(super) fn show_folder(&self, input: &InputFolder, lines: &Lines) {
        let file = &input.keys_file;
        let shown = self.folder.show_folder(file, lines.values());
        let written = shown.and_then(|()| self.folder.set_lines(file, lines.values()));
        let oldest = lines.values().map(|line| &line.entry).min_by_key(|entry| entry.uploaded_at);
        match (written, oldest) {
            (Err(error), _) => self.end(error.into()),
            (Ok(()), Some(oldest)) => {
                info!(folder = file, files = lines.len(), "every file has its key");
                self.change(|keys| drop(keys.insert(file.clone(), oldest.clone())));
            }
            (Ok(()), None) => {}
        }
    }
}

impl Problem {
    fn of_folder(trouble: Trouble) -> Self {
        Self { path: None, trouble, is_final: false }
    }

    fn of_file(file: &Found, trouble: Trouble) -> Self {
        Self { path: Some(file.path.clone()), trouble, is_final: false }
    }
}
