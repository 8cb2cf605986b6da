//! Places for work, given fairly: so many per namespace and so many in the whole process.
//!
//! Each namespace has a queue of its own, and one waiter of it at a time stands in the queue of the process. So a
//! namespace that had nothing waiting stands behind at most one waiter of each other namespace, however long their
//! queues are. Waiting costs a future and no task; dropping that future leaves the queue. The Gate never decides what
//! work is done, and it knows neither Kubernetes nor files.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// What a namespace lost by [`Gate::slow_down`] or [`Gate::hold`] it has again after so long without any work.
const FORGIVEN: Duration = Duration::from_mins(5);

/// Gives places. Clones give the same places.
#[derive(Clone)]
pub(super) struct Gate(Arc<Shared>);

struct Shared {
    /// Places per namespace, less those that a namespace lost by [`Gate::slow_down`].
    per_namespace: usize,
    process: Semaphore,
    waiting: AtomicUsize,
    books: Mutex<Books>,
}

/// What the semaphores do not say.
#[derive(Default)]
struct Books {
    /// Only namespaces that have a place, wait for one, or have lost part of their share.
    lanes: HashMap<Arc<str>, Account>,
    /// Process places that are out beyond the bound: as many that come back are not given again.
    debt: usize,
    taken: usize,
    kept: usize,
}

/// The account of one namespace.
struct Account {
    lane: Arc<Lane>,
    share: usize,
    /// When it lost part of its share last.
    slowed: Option<Instant>,
    /// Until when its next ones are held back.
    held: Option<Instant>,
    debt: usize,
    /// Places and waiters.
    visits: usize,
}

/// The queue of one namespace.
struct Lane {
    namespace: Arc<str>,
    places: Semaphore,
    /// Its holder alone stands in the queue of the process.
    turn: Semaphore,
}

/// The right to do one thing, until it is dropped.
pub(super) struct Place {
    visit: Visit,
    process: ProcessPlace,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum ProcessPlace {
    Awaited,
    Held,
    Released,
}

/// Keeps the account of a namespace.
struct Visit {
    gate: Gate,
    lane: Arc<Lane>,
}

/// One caller of [`Gate::enter`] that has no place yet.
struct Waiting<'a>(&'a AtomicUsize);

impl Gate {
    /// A Gate of `per_namespace` places for each namespace and `process` places in all; each is at least 1.
    pub(super) fn new(per_namespace: usize, process: usize) -> Self {
        Self(Arc::new(Shared {
            per_namespace: per_namespace.max(1),
            process: Semaphore::new(process.max(1)),
            waiting: AtomicUsize::new(0),
            books: Mutex::default(),
        }))
    }

    /// Waits for a place. Within a namespace places are given in the order of arrival.
    #[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice")]
    pub(super) fn enter(&self, namespace: &str) -> impl Future<Output = Place> {
        async move {
            let _waiting = Waiting::new(&self.0.waiting);
            let visit = self.visit(namespace);
            let lane = Arc::clone(&visit.lane);
            obtain(&lane.places).await;
            let mut place = Place { visit, process: ProcessPlace::Awaited };
            let turn = lane.turn.acquire().await;
            while let Some(until) = self.held_until(&lane) {
                // The moment that the server asked for.
                tokio::time::sleep_until(until).await;
            }
            obtain(&self.0.process).await;
            place.process = ProcessPlace::Held;
            self.0.books.lock().taken += 1;
            drop(turn);
            place
        }
    }

    /// A further place for who has one, if there is one that nobody waits for.
    pub(super) fn try_enter(&self, namespace: &str) -> Option<Place> {
        if self.waiting() > 0 {
            return None;
        }
        let visit = self.visit(namespace);
        let lane = Arc::clone(&visit.lane);
        if self.held_until(&lane).is_some() {
            return None;
        }
        let of_namespace = lane.places.try_acquire().ok()?;
        let of_process = self.0.process.try_acquire().ok()?;
        of_namespace.forget();
        of_process.forget();
        self.0.books.lock().taken += 1;
        Some(Place { visit, process: ProcessPlace::Held })
    }

    /// A place for work that exists already, at once and even beyond the bounds: later work waits until there is room.
    pub(super) fn take(&self, namespace: &str) -> Place {
        let visit = self.visit(namespace);
        let mut books = self.0.books.lock();
        books.taken += 1;
        books.debt += 1 - self.0.process.forget_permits(1);
        let account = books.account(&visit.lane);
        account.debt += 1 - visit.lane.places.forget_permits(1);
        drop(books);
        Place { visit, process: ProcessPlace::Held }
    }

    /// Halves the share of a namespace, to no less than 1. Places that are out come back before new ones are given.
    pub(super) fn slow_down(&self, namespace: &str) {
        let visit = self.visit(namespace);
        let mut books = self.0.books.lock();
        let account = books.account(&visit.lane);
        let lost = account.share - (account.share / 2).max(1);
        account.share -= lost;
        account.slowed = Some(Instant::now());
        account.debt += lost - visit.lane.places.forget_permits(lost);
    }

    /// Gives no further place to a namespace for so long, unless it is held back for longer already.
    pub(super) fn hold(&self, namespace: &str, pause: Duration) {
        let visit = self.visit(namespace);
        let mut books = self.0.books.lock();
        let account = books.account(&visit.lane);
        account.held = account.held.max(Some(Instant::now() + pause));
        account.slowed = Some(Instant::now());
    }

    fn held_until(&self, lane: &Lane) -> Option<Instant> {
        self.0.books.lock().account(lane).held.filter(|until| *until > Instant::now())
    }

    /// The namespaces that have less than their full share, or are held back.
    pub(super) fn slowed(&self) -> Vec<Arc<str>> {
        let (books, now) = (self.0.books.lock(), Instant::now());
        let is_slowed = |account: &&Account| account.share < self.0.per_namespace || account.held > Some(now);
        let slowed = books.lanes.values().filter(is_slowed);
        slowed.map(|account| Arc::clone(&account.lane.namespace)).collect()
    }

    /// Gives one place of its share back to a namespace that had lost it.
    pub(super) fn speed_up(&self, namespace: &str) {
        let mut books = self.0.books.lock();
        let Some(account) = books.lanes.get_mut(namespace) else { return };
        if account.share < self.0.per_namespace {
            account.share += 1;
            give_back(&mut account.debt, &account.lane.places);
            books.remove_if_idle(namespace, self.0.per_namespace);
        }
    }

    /// A namespace that has asked for nothing since it was slowed down, for so long, begins anew.
    pub(super) fn forgive(&self) {
        let is_over = |account: &Account| account.slowed.is_some_and(|at| at.elapsed() >= FORGIVEN);
        self.0.books.lock().lanes.retain(|_, account| account.visits > 0 || !is_over(account));
    }

    /// How many callers wait for a place.
    pub(super) fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }

    /// How many places of the process are out.
    pub(super) fn taken(&self) -> usize {
        self.0.books.lock().taken
    }

    /// How many places have given back the process's part and keep their namespace's.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.0.books.lock().kept
    }

    fn visit(&self, namespace: &str) -> Visit {
        let mut books = self.0.books.lock();
        if let Some(account) = books.lanes.get_mut(namespace) {
            account.visits += 1;
            return Visit { gate: self.clone(), lane: Arc::clone(&account.lane) };
        }
        let share = self.0.per_namespace;
        let namespace: Arc<str> = namespace.into();
        let lane = Lane { namespace: Arc::clone(&namespace), places: Semaphore::new(share), turn: Semaphore::new(1) };
        let lane = Arc::new(lane);
        books.lanes.insert(
            namespace,
            Account { lane: Arc::clone(&lane), share, slowed: None, held: None, debt: 0, visits: 1 },
        );
        Visit { gate: self.clone(), lane }
    }
}

impl Place {
    /// Gives back the place of the process and keeps that of the namespace.
    pub(super) fn release_process(&mut self) {
        if self.process == ProcessPlace::Held {
            self.process = ProcessPlace::Released;
            let gate = &self.visit.gate.0;
            let mut books = gate.books.lock();
            books.kept += 1;
            books.release_process(&gate.process);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let gate = &self.visit.gate.0;
        let mut books = gate.books.lock();
        match self.process {
            ProcessPlace::Awaited => {}
            ProcessPlace::Held => books.release_process(&gate.process),
            ProcessPlace::Released => books.kept -= 1,
        }
        give_back(&mut books.account(&self.visit.lane).debt, &self.visit.lane.places);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let gate = &self.gate.0;
        let mut books = gate.books.lock();
        // A dropped waiter returns its place to the semaphore itself, past the debt.
        books.debt -= gate.process.forget_permits(books.debt);
        let account = books.account(&self.lane);
        account.debt -= self.lane.places.forget_permits(account.debt);
        account.visits -= 1;
        books.remove_if_idle(&self.lane.namespace, gate.per_namespace);
    }
}

impl Books {
    #[expect(clippy::expect_used, reason = "an account is kept while there are visits")]
    fn account(&mut self, lane: &Lane) -> &mut Account {
        self.lanes.get_mut(&lane.namespace).expect("a visit keeps the account of its namespace")
    }

    fn release_process(&mut self, process: &Semaphore) {
        self.taken -= 1;
        give_back(&mut self.debt, process);
    }

    fn remove_if_idle(&mut self, namespace: &str, full: usize) {
        let is_idle = |account: &Account| {
            account.visits == 0 && account.share == full && account.held.is_none_or(|until| until <= Instant::now())
        };
        if self.lanes.get(namespace).is_some_and(is_idle) {
            self.lanes.remove(namespace);
        }
    }
}

impl<'a> Waiting<'a> {
    fn new(number: &'a AtomicUsize) -> Self {
        number.fetch_add(1, Ordering::Relaxed);
        Self(number)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits for one permit, which comes back by [`give_back`] alone.
async fn obtain(places: &Semaphore) {
    // It fails only for a semaphore that was closed, and nobody closes these.
    if let Ok(permit) = places.acquire().await {
        permit.forget();
    }
}

/// Pays a debt with a permit that came back, or makes it available.
fn give_back(debt: &mut usize, places: &Semaphore) {
    match debt.checked_sub(1) {
        Some(rest) => *debt = rest,
        None => places.add_permits(1),
    }
}

#[cfg(test)]
mod tests;
