//! What the workers of files and of folders do alike: they send one file after its turn, and write to their report.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::progress::Progress;
use super::{LIMITS, credential};
use crate::delivery::{Batch, Candidate, Courier, Delivery, Hooks, Parcel, USUAL_LIMIT, Window};
use crate::outcome::{Trouble, Upload};
use crate::reason::{Reason, Scope};
use crate::report::{Lines, NoRoom};

/// Sends the files of one worker, which reports by a `W`.
pub(super) struct Sender<'a, W> {
    batch: Batch<'a>,
    credentials: &'a Path,
    report: RefCell<W>,
    has_failed: Cell<bool>,
}

/// What became of a file.
pub(super) enum Sent {
    /// It is stored, and the report has room to tell so.
    Stored(Upload),
    /// It is not.
    Failed(Trouble),
    /// Nothing is to be told: it is left to another worker.
    Left,
}

impl<'a, W: AsMut<Lines<File>>> Sender<'a, W> {
    pub(super) fn new(courier: &'a Courier, credentials: &'a Path, report: W, stop: CancellationToken) -> Self {
        let batch = Batch::new(courier, stop, Window::small());
        Self { batch, credentials, report: RefCell::new(report), has_failed: Cell::new(false) }
    }

    /// Whether nothing failed.
    pub(super) fn succeeded(&self) -> bool {
        !self.has_failed.get()
    }

    /// Whether nothing begins any more.
    pub(super) fn has_ended(&self) -> bool {
        self.batch.has_ended()
    }

    /// Whether it ended because it was asked to.
    pub(super) fn was_stopped(&self) -> bool {
        self.batch.was_stopped()
    }

    /// Sends one file when its turn has come, provided that the report has room for it, which `reserve` asks.
    pub(super) async fn send(
        &self,
        file: &str,
        parcel: &Parcel,
        reserve: impl Fn(&mut W, &Candidate<'_>) -> Result<(), NoRoom>,
    ) -> Sent {
        let Some(place) = self.batch.place(&parcel.source).await else { return self.not_sent(None) };
        let credential = match credential(self.credentials) {
            Ok(credential) => credential,
            Err(problem) => return Sent::Failed(Trouble::new(Reason::CredentialsInvalid, problem)),
        };
        let (no_room, progress) = (Cell::new(None), Progress::of(&parcel.sent));
        let admit = |candidate: &Candidate<'_>| {
            progress.begin(candidate.size);
            if candidate.size > USUAL_LIMIT {
                warn!(file, size = candidate.size, "larger than 500 MB, which the hosted platform may refuse");
            }
            no_room.set(reserve(&mut self.report.borrow_mut(), candidate).err());
            no_room.get().is_none()
        };
        let on_retry = |trouble: &Trouble, delay: Duration| {
            self.report_limit(trouble);
            let (reason, message, delay) = (trouble.reason, trouble.message(), delay.as_secs());
            info!(file, %reason, message, delay, "trying again");
        };
        let on_progress = |sent, size, rate| info!(file, sent, size, rate, "uploading");
        let delivery = tokio::select! {
            delivery = place.deliver(&credential, parcel, LIMITS, Hooks { admit, on_retry }) => delivery,
            never = progress.watch(on_progress) => match never {},
        };
        match (delivery, no_room.get()) {
            (Delivery::Stored(upload), _) => Sent::Stored(upload),
            (Delivery::Failed(_), Some(NoRoom::Left)) => {
                self.full();
                Sent::Left
            }
            (Delivery::Failed(_), Some(NoRoom::Ever)) => Sent::Failed(too_long()),
            (Delivery::Failed(trouble), None) => Sent::Failed(trouble),
            (Delivery::NotSent(last), _) => self.not_sent(last),
        }
    }

    /// A file that is left alone because the batch has ended. Only a stop leaves work that nobody else is told of.
    fn not_sent(&self, last: Option<Trouble>) -> Sent {
        if last.is_none() && self.batch.was_stopped() {
            self.has_failed.set(true);
        }
        last.map_or(Sent::Left, Sent::Failed)
    }

    /// Leaves what has no line to other workers.
    pub(super) fn full(&self) {
        if !self.batch.has_ended() {
            info!("the report is full; another worker sends the remaining files");
        }
        self.batch.end();
        self.write(|report| report.as_mut().full());
    }

    /// Takes note of a failure, of one file or of all; says for which of the two a line is to be written, if any.
    pub(super) fn failed(&self, file: Option<&str>, trouble: &Trouble) -> Option<Scope> {
        warn!(file, reason = %trouble.reason, message = trouble.message(), "failed");
        self.has_failed.set(true);
        self.batch.end_if_shared(trouble);
        self.report_limit(trouble);
        let scope = trouble.reason.scope();
        let is_known = scope == Scope::Resource && self.report.borrow_mut().as_mut().has_shared_failure();
        (!is_known).then_some(scope)
    }

    /// Reports that less should be asked at the same time, if that is the trouble.
    fn report_limit(&self, trouble: &Trouble) {
        if trouble.is_strain() {
            self.write(|report| report.as_mut().limited());
        }
    }

    /// What the report answers.
    pub(super) fn ask<T>(&self, question: impl FnOnce(&mut W) -> T) -> T {
        question(&mut self.report.borrow_mut())
    }

    /// Writes to the report. If that fails nothing new begins, as it could not be reported.
    pub(super) fn write<T: Default>(&self, line: impl FnOnce(&mut W) -> io::Result<T>) -> T {
        line(&mut self.report.borrow_mut()).unwrap_or_else(|error| {
            error!(%error, "cannot write to the report");
            self.batch.end();
            self.has_failed.set(true);
            T::default()
        })
    }
}

fn too_long() -> Trouble {
    Trouble::new(Reason::InvalidResponse, "the Cyberun API answered with a file_key that is too long for any report")
}
