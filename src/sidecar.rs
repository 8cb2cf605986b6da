//! The sidecar of a Pod: uploads the Pod's inputs, then stays and keeps their keys in a folder.
//!
//! It knows nothing of Kubernetes. What may pass is tried again for ever; what only a person can mend ends it, for who
//! started it to start it again: what is in the folder by then is not sent again. A key whose life is over leaves the
//! folder; if it is to be renewed, the old one stays until the new one is there. A stop begins nothing new, and what is
//! being sent is finished. `folders` does the same for whole folders.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use futures::future::{join_all, join3};
use jiff::{SignedDuration, Timestamp};
use tokio::net::TcpSocket;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub(crate) use self::input::Input;
pub(crate) use self::input_folder::InputFolder;
pub(crate) use self::life::{Life, RefreshPolicy};
use crate::backoff;
use crate::clock;
use crate::delivery::{Batch, Candidate, Courier, Credential, Delivery, USUAL_LIMIT, Window};
use crate::keys::{self, Entry, Folder, Keys, Record};
use crate::outcome::{Trouble, Upload};
use crate::reason::{Class, Reason};

mod folders;
mod input;
mod input_folder;
mod life;
mod probe;
mod recall;

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
    /// The folders.
    pub folders: Vec<InputFolder>,
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
    let Sidecar { courier, credential, owner, inputs, folders, folder, life, socket } = sidecar;
    let batch = Batch::new(&courier, stop, Window::small());
    let (keys, ended, turn) = (watch::Sender::default(), RefCell::default(), Mutex::default());
    let keeper = Keeper { batch, credential, owner, inputs, folders, folder, life, keys, turn, ended };
    let work = async {
        keeper.recall().await;
        let files = join_all(keeper.inputs.iter().map(|input| keeper.keep(input)));
        let folders = join_all(keeper.folders.iter().map(|input| keeper.keep_folder(input)));
        join3(files, folders, keeper.batch.ended()).await
    };
    tokio::select! {
        biased;
        _ = work => {}
        () = keeper.delete_expired() => {}
        () = keeper.answer(socket) => {}
    }
    keeper.ended.into_inner().map_or(Ok(()), Err)
}

/// The failed attempts of a run of attempts, and which reasons were told.
#[derive(Default)]
struct Tries {
    failures: u32,
    logged: Vec<Reason>,
}

/// An attempt that failed.
struct Failure<'a> {
    /// The name of the key that is missing or old.
    key: &'a str,
    /// What failed, for people.
    name: String,
    trouble: Trouble,
    /// Whether a person has to act, whatever the class of the reason.
    is_final: bool,
}

struct Keeper<'a> {
    batch: Batch<'a>,
    credential: Credential,
    owner: String,
    inputs: Vec<Input>,
    folders: Vec<InputFolder>,
    folder: Folder,
    life: Life,
    /// What the folder shows; of a folder's keys the oldest, by the name of their file.
    keys: watch::Sender<Keys>,
    /// Held while a folder is gone through, so that only one is in memory.
    turn: Mutex<()>,
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

    fn keys_files(&self) -> impl Iterator<Item = &str> + Clone {
        self.folders.iter().map(|input| input.keys_file.as_str())
    }

    /// Whether there is a key of this name; of a folder, by the name of the keys' file.
    fn lives(&self, name: &str) -> bool {
        self.keys.borrow().contains_key(name)
    }

    /// Changes the keys, in the record and in the folder before anybody is told; false if that cannot be. What is no
    /// longer a key goes first, whatever the rest meets.
    fn change(&self, change: impl FnOnce(&mut Keys)) -> bool {
        let mut keys = self.keys.borrow().clone();
        change(&mut keys);
        let gone = self.keys_files().filter(|file| self.lives(file) && !keys.contains_key(*file));
        let hidden = gone.map(|file| self.folder.hide_folder(file)).fold(Ok(()), Result::and);
        let hidden = self.folder.hide(&keys, self.names()).and(hidden);
        let changed = hidden.and_then(|()| self.write(&keys)).map(|()| drop(self.keys.send_replace(keys)));
        changed.map_err(|error| self.end(error.into())).is_ok()
    }

    /// Writes the record, then the keys of single files.
    fn write(&self, keys: &Keys) -> Result<(), keys::Error> {
        let of_files: Keys = self.names().filter_map(|name| Some((name.to_owned(), keys.get(name)?.clone()))).collect();
        let folders = self.keys_files().map(str::to_owned).collect();
        let record = Record { owner: self.owner.clone(), keys: of_files, folders };
        self.folder.record(&record)?;
        // Without files there is no list of their keys.
        if self.inputs.is_empty() { Ok(()) } else { self.folder.show(&record.keys, self.names()) }
    }

    /// Whether a key of this credential still lives.
    fn is_live(&self, entry: &Entry) -> bool {
        let now = clock::now();
        // Of one that was uploaded in the future nobody can tell how long it lives: the clock was set back since.
        let is_dated = entry.uploaded_at.duration_since(now) <= AHEAD;
        is_dated && self.life.withdrawn_at(entry) > now
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
        let mut tries = Tries::default();
        loop {
            let trouble = match self.attempt(input).await {
                Delivery::Stored(upload) => {
                    self.uploaded(input, upload);
                    return true;
                }
                Delivery::Failed(trouble) => trouble,
                Delivery::NotSent(_) => return false,
            };
            let failure = Failure { key: &input.name, name: input.name.clone(), trouble, is_final: false };
            if !self.tries_again(&mut tries, failure).await {
                return false;
            }
        }
    }

    /// Waits after a failure; false if there is no further try. What only a person can help ends the sidecar, unless an old
    /// key lives.
    async fn tries_again(&self, tries: &mut Tries, failure: Failure<'_>) -> bool {
        let Failure { key, name, trouble, is_final } = failure;
        // Looks for a file that is not there are no failures of what comes after.
        tries.failures += u32::from(trouble.reason != Reason::FileNotFound);
        let delay = patience(tries.failures, &trouble);
        let lives = self.lives(key);
        if (is_final || trouble.reason.class() == Class::Stalled) && !lives && !self.batch.has_ended() {
            self.end(Error::Stalled { name, trouble });
            return false;
        }
        if !tries.logged.contains(&trouble.reason) {
            let (reason, message, delay) = (trouble.reason, trouble.message(), delay.as_secs());
            warn!(file = name, %reason, message, old_key_lives = lives, delay, "failed; trying again");
            tries.logged.push(reason);
        }
        // The backoff between two attempts.
        tokio::select! { biased; () = self.batch.ended() => false, () = tokio::time::sleep(delay) => true }
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
        let error = probe::answer(socket, self.keys.subscribe(), self.inputs.len() + self.folders.len()).await;
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
