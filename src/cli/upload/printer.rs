//! Standard output, written by a thread of its own: a reader that pauses holds back files that have not begun, and neither
//! those that are on their way nor a signal.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// How many texts may wait to be written before no other file begins.
const WAITING: usize = 256;
/// How long a reader has for the rest after a stop.
const PATIENCE: Duration = Duration::from_secs(5);

const UNREAD: &str = "stopped by a signal before the whole output was read: the keys that were not read are lost unless \
                      --keys-dir keeps them";

/// Writes texts in their order.
pub(super) struct Printer {
    texts: Sender<Vec<u8>>,
    state: Arc<State>,
}

/// Who reads the texts, as far as it is known.
#[derive(Clone)]
pub(super) struct Reader(Arc<State>);

struct State {
    room: Semaphore,
    /// What became of standard output, if it can no longer be written to.
    broken: Mutex<Option<io::Error>>,
    is_broken: CancellationToken,
    has_ended: CancellationToken,
}

impl Printer {
    pub(super) fn start() -> io::Result<Self> {
        let (texts, written) = mpsc::channel();
        let state = Arc::new(State {
            room: Semaphore::new(WAITING),
            broken: Mutex::default(),
            is_broken: CancellationToken::new(),
            has_ended: CancellationToken::new(),
        });
        let writes = Arc::clone(&state);
        thread::Builder::new().name("printer".to_owned()).spawn(move || writes.write(written))?;
        Ok(Self { texts, state })
    }

    /// Writes a text once those before it are written. It goes out at once and by one call, so that a reader never sees
    /// half a line of a run that is killed.
    pub(super) fn write(&self, text: Vec<u8>) {
        // The thread outlives this.
        let _ = self.texts.send(text);
    }

    /// Who reads them.
    pub(super) fn reader(&self) -> Reader {
        Reader(Arc::clone(&self.state))
    }

    /// Waits until everything is written, or for some seconds after `stop`.
    pub(super) async fn finish(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let Self { texts, state } = self;
        drop(texts);
        let patience = async {
            stop.await;
            // The deadline of a reader that is slow. It ends early if everything is written.
            tokio::time::sleep(PATIENCE).await;
        };
        tokio::select! {
            () = state.has_ended.cancelled() => {}
            () = patience => return Err(io::Error::other(UNREAD)),
        }
        state.broken.lock().take().map_or(Ok(()), Err)
    }
}

impl Reader {
    /// Waits until there is room for one more text.
    pub(super) async fn room(&self) {
        // The semaphore is never closed.
        if let Ok(permit) = self.0.room.acquire().await {
            permit.forget();
        }
    }

    /// Waits until it has gone.
    pub(super) async fn gone(&self) {
        self.0.is_broken.cancelled().await;
    }
}

impl State {
    fn write(&self, texts: Receiver<Vec<u8>>) {
        for text in texts {
            if !self.is_broken.is_cancelled() {
                let mut out = io::stdout().lock();
                if let Err(error) = out.write_all(&text).and_then(|()| out.flush()) {
                    *self.broken.lock() = Some(error);
                    self.is_broken.cancel();
                }
            }
            self.room.add_permits(1);
        }
        self.has_ended.cancel();
    }
}
