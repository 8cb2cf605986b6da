//! The sidecar of a Pod: uploads the Pod's inputs, then stays and keeps their keys in a folder.
//!
//! It knows nothing of Kubernetes. What may pass is tried again for ever; what only a person can mend ends it, for who
//! started it to start it again: what is in the folder by then is not sent again. A key whose life is over leaves the
//! folder; if it is to be renewed, the old one stays until the new one is there. A stop begins nothing new, and what is
//! being sent is finished.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use futures::future::{join, join_all};
use jiff::{SignedDuration, Timestamp};
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub(crate) use self::input::Input;
pub(crate) use self::life::{Life, RefreshPolicy};
use crate::backoff;
use crate::clock;
use crate::delivery::{Batch, Candidate, Courier, Credential, Delivery, USUAL_LIMIT, Window};
use crate::keys::{self, Entry, Folder, Keys, Record};
use crate::outcome::{Trouble, Upload};
use crate::reason::{Class, Reason};

mod input;
mod life;
mod probe;

/// How often a file that is not there is looked for: that costs nobody anything.
const LOOK: Duration = Duration::from_secs(1);
/// A clock that is set must not be noticed much later.
const NAP: Duration = Duration::from_secs(30);
/// So far ahead another clock may be.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// What a sidecar is to do.
pub(crate) struct Sidecar {
    /// Carries the files.
    pub courier: Courier,
    /// Whose files they are.
    pub credential: Credential,
    /// Stands for the API and the team: keys of another one are not taken over.
    pub owner: String,
    /// The files.
    pub inputs: Vec<Input>,
    /// Where the keys go.
    pub folder: Folder,
    /// How long a key lives, and what follows.
    pub life: Life,
    /// Where probes are answered: bound, and listened on once every key is there.
    pub socket: TcpSocket,
}

/// Why a sidecar ended by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file that only a person can help.
    #[error("{name}: {}: {trouble}", trouble.reason)]
    Stalled {
        /// The name of its key.
        name: String,
        /// What is wrong.
        trouble: Trouble,
    },
    /// The folder cannot be written.
    #[error(transparent)]
    Folder(#[from] keys::Error),
    /// Probes cannot be answered.
    #[error("cannot answer probes")]
    Probe(#[source] io::Error),
}

/// Uploads, and keeps the keys until `stop` is true.
pub(crate) async fn run(sidecar: Sidecar, stop: CancellationToken) -> Result<(), Error> {
    let Sidecar { courier, credential, owner, inputs, folder, life, socket } = sidecar;
    let batch = Batch::new(&courier, stop, Window::small());
    let (keys, ended) = (watch::Sender::default(), RefCell::default());
    let keeper = Keeper { batch, credential, owner, inputs, folder, life, keys, ended };
    let work = async {
        keeper.recall().await;
        join(join_all(keeper.inputs.iter().map(|input| keeper.keep(input))), keeper.batch.ended()).await
    };
    tokio::select! {
        biased;
        _ = work => {}
        () = keeper.delete_expired() => {}
        () = keeper.answer(socket) => {}
    }
    keeper.ended.into_inner().map_or(Ok(()), Err)
}

struct Keeper<'a> {
    batch: Batch<'a>,
    credential: Credential,
    owner: String,
    inputs: Vec<Input>,
    folder: Folder,
    life: Life,
    /// What the folder shows.
    keys: watch::Sender<Keys>,
    ended: RefCell<Option<Error>>,
}

impl Keeper<'_> {
    /// The first reason to end is the one that counts.
    fn end(&self, error: Error) {
        let mut ended = self.ended.borrow_mut();
        if ended.is_none() {
            info!("ending after what is under way");
            *ended = Some(error);
        }
        self.batch.end();
    }

    fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.inputs.iter().map(|input| input.name.as_str())
    }

    /// Changes the keys, in the record and in the folder before anybody is told; false if that cannot be. What is no
    /// longer a key goes first, whatever the rest meets.
    fn change(&self, change: impl FnOnce(&mut Keys)) -> bool {
        let mut keys = self.keys.borrow().clone();
        change(&mut keys);
        let hidden = self.folder.hide(&keys, self.names());
        let record = Record { owner: self.owner.clone(), keys };
        let recorded = hidden.and_then(|()| self.folder.record(&record));
        let shown = recorded.and_then(|()| self.folder.show(&record.keys, self.names()));
        let changed = shown.map(|()| drop(self.keys.send_replace(record.keys)));
        changed.map_err(|error| self.end(error.into())).is_ok()
    }

    /// Takes over what a predecessor uploaded. It writes in any case, so that a folder that cannot be written costs no
    /// call.
    async fn recall(&self) {
        let (Record { owner, keys: recorded }, now) = (self.folder.recorded(), clock::now());
        let asked = |name: &str| self.names().any(|known| known == name);
        let (mut recorded, unasked): (Keys, Keys) = recorded.into_iter().partition(|(name, _)| asked(name));
        recorded.retain(|_, entry| {
            // Of one that was uploaded in the future nobody can tell how long it lives: the clock was set back since.
            let is_dated = entry.uploaded_at.duration_since(now) <= AHEAD;
            owner == self.owner && is_dated && self.life.withdrawn_at(entry) > now
        });
        // What can be no key goes before others are looked at, as large files take their time.
        if let Err(error) = self.folder.forget(&unasked).and(self.folder.hide(&recorded, self.names())) {
            return self.end(error.into());
        }
        let mut keys = Keys::new();
        for input in &self.inputs {
            let Some(entry) = recorded.remove(&input.name) else { continue };
            // What is there stays as it is if this is cut short.
            let same = tokio::select! { biased; () = self.batch.ended() => return, same = input.is_of(&entry) => same };
            if same {
                info!(file = input.name, "uploaded before");
                keys.insert(input.name.clone(), entry);
            }
        }
        self.change(|none| *none = keys);
    }

    /// Uploads a file, again and again if its key is renewed.
    async fn keep(&self, input: &Input) {
        while self.due(&input.name).await && self.upload(input).await {}
    }

    /// Waits until a file is due; false if it will never be.
    async fn due(&self, name: &str) -> bool {
        let due = self.keys.borrow().get(name).map(|entry| self.life.renewed_at(entry));
        match due {
            None => !self.batch.has_ended(),
            Some(None) => false,
            Some(Some(at)) => tokio::select! { biased; () = self.batch.ended() => false, () = until(at) => true },
        }
    }

    /// Tries until the file is uploaded; false if that is not to be.
    async fn upload(&self, input: &Input) -> bool {
        let (mut failures, mut logged) = (0, Vec::new());
        loop {
            let trouble = match self.attempt(input).await {
                Delivery::Stored(upload) => {
                    self.uploaded(input, upload);
                    return true;
                }
                Delivery::Failed(trouble) => trouble,
                Delivery::NotSent(_) => return false,
            };
            // Looks for a file that is not there are no failures of what comes after.
            failures += u32::from(trouble.reason != Reason::FileNotFound);
            let delay = patience(failures, &trouble);
            let lives = self.keys.borrow().contains_key(&input.name);
            if trouble.reason.class() == Class::Stalled && !lives && !self.batch.has_ended() {
                self.end(Error::Stalled { name: input.name.clone(), trouble });
                return false;
            }
            if !logged.contains(&trouble.reason) {
                let (reason, message, delay) = (trouble.reason, trouble.message(), delay.as_secs());
                warn!(file = input.name, %reason, message, old_key_lives = lives, delay, "failed; trying again");
                logged.push(reason);
            }
            // The backoff between two attempts.
            tokio::select! { biased; () = self.batch.ended() => return false, () = tokio::time::sleep(delay) => {} }
        }
    }

    /// One attempt. Its place is free while the file waits for the next one.
    async fn attempt(&self, input: &Input) -> Delivery {
        let Some(place) = self.batch.place(&input.parcel.source).await else { return Delivery::NotSent(None) };
        let admit = |candidate: &Candidate<'_>| {
            if candidate.size > USUAL_LIMIT {
                warn!(file = input.name, "larger than 500 MB, which the hosted platform may refuse");
            }
            true
        };
        place.attempt(&self.credential, &input.parcel, admit).await
    }

    fn uploaded(&self, input: &Input, upload: Upload) {
        info!(file = input.name, size = upload.size, sha256 = upload.sha256, "uploaded");
        let entry = Entry::new(input.parcel.file_name.clone(), upload, &self.life.terms);
        self.change(|keys| drop(keys.insert(input.name.clone(), entry)));
    }

    /// Takes keys whose life is over out of the folder; never ends.
    async fn delete_expired(&self) {
        let mut keys = self.keys.subscribe();
        loop {
            let next = keys.borrow_and_update().values().map(|entry| self.life.withdrawn_at(entry)).min();
            tokio::select! {
                _ = keys.changed() => continue,
                () = until(next.unwrap_or(Timestamp::MAX)) => {}
            }
            let (now, follows) = (clock::now(), self.life.refresh.follows());
            let changed = self.change(|keys| {
                keys.retain(|name, entry| {
                    let lives = self.life.withdrawn_at(entry) > now;
                    if !lives {
                        warn!(file = name, reason = %Reason::Expired, follows, "the key's life is over: it is removed");
                    }
                    lives
                });
            });
            if !changed {
                // The end has been told of; the same again would come to the same.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Answers probes once every key is there; never ends.
    async fn answer(&self, socket: TcpSocket) {
        let error = probe::answer(socket, self.keys.subscribe(), self.inputs.len()).await;
        self.end(Error::Probe(error));
        std::future::pending::<()>().await;
    }
}

/// How long to wait after so many failures in a row.
fn patience(failures: u32, trouble: &Trouble) -> Duration {
    if trouble.reason == Reason::FileNotFound {
        return LOOK;
    }
    let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), failures);
    backoff::delay_asked(failures, seed, trouble.retry_after)
}

/// Waits for a moment of the clock.
async fn until(moment: Timestamp) {
    while let Ok(left) = Duration::try_from(moment.duration_since(clock::now()))
        && !left.is_zero()
    {
        // In short naps, as a timer does not follow a clock that is set.
        tokio::time::sleep(left.min(NAP)).await;
    }
}
