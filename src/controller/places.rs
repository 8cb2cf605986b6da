//! Who waits for a worker's place and who was given one: the queue behind `plan`'s bounds.
//!
//! A place is given before the plan is made and taken back if that does not use it; one that became a Job is counted
//! from the cache. Losing the queue costs nothing but the order of those who wait.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::workers::Workers;
use crate::plan::{self, Asked, Limits, Running, Volume};
use crate::resource::FileUpload;

/// Who has not asked for so long no longer waits.
const STALE: Duration = Duration::from_mins(10);
/// A Job that was created is in the cache by then.
const SEEN: Duration = Duration::from_secs(30);

/// A namespace and a Secret in it.
type Credential = (String, String);

/// Places for workers.
pub(super) struct Places {
    limits: Limits,
    /// The caches of all namespaces that are served.
    caches: Mutex<Vec<Arc<Workers>>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: Vec<Waiting>,
    given: Vec<Given>,
    /// Lowered bounds of credentials with which the API asked to slow down.
    slowed: HashMap<Credential, usize>,
}

struct Waiting {
    uid: String,
    upload: ObjectRef<FileUpload>,
    asked: Asked,
    since: Instant,
}

struct Given {
    uid: String,
    running: Running,
    /// The Job it became.
    job: Option<String>,
    at: Instant,
}

/// Workers that are in the cache, with the name of their Job.
pub(super) type Seen = Vec<(String, Running)>;

impl Places {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, caches: Mutex::default(), state: Mutex::default() }
    }

    /// Counts the workers of this cache too.
    pub(super) fn serve(&self, cache: &Arc<Workers>) {
        self.caches.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(cache));
    }

    /// The caches whose workers count.
    pub(super) fn caches(&self) -> Vec<Arc<Workers>> {
        self.caches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks for places; those that are given are held until [`Places::settle`].
    pub(super) fn ask(&self, upload: &FileUpload, asks: Vec<Asked>, seen: &Seen) -> BTreeMap<Volume, usize> {
        let uid = upload.uid().unwrap_or_default();
        let mut state = self.lock();
        state.queue.retain(|waiting| {
            let still = waiting.uid != uid || asks.iter().any(|asked| asked.volume == waiting.asked.volume);
            still && waiting.since.elapsed() < STALE
        });
        for asked in asks {
            let asked = Asked {
                per_credential: state.slowed.get(&(asked.namespace.clone(), asked.secret.clone())).copied(),
                ..asked
            };
            let mine = |waiting: &&mut Waiting| waiting.uid == uid && waiting.asked.volume == asked.volume;
            match state.queue.iter_mut().find(mine) {
                Some(waiting) => (waiting.asked, waiting.since) = (asked, Instant::now()),
                None => state.queue.push(Waiting {
                    uid: uid.clone(),
                    upload: ObjectRef::from_obj(upload),
                    asked,
                    since: Instant::now(),
                }),
            }
        }
        state.given.retain(|given| match &given.job {
            None => given.uid != uid,
            Some(job) => given.at.elapsed() < SEEN && !seen.iter().any(|(name, _)| name == job),
        });
        let running: Vec<_> = seen
            .iter()
            .map(|(_, running)| running.clone())
            .chain(state.given.iter().map(|given| given.running.clone()))
            .collect();
        let queue: Vec<_> = state.queue.iter().map(|waiting| waiting.asked.clone()).collect();
        let granted = plan::grant(&running, &queue, self.limits);
        let mine: Vec<_> = state
            .queue
            .iter()
            .zip(granted)
            .filter(|(waiting, workers)| waiting.uid == uid && *workers > 0)
            .map(|(waiting, workers)| (waiting.asked.clone(), workers))
            .collect();
        for (asked, workers) in &mine {
            let Asked { namespace, volume, secret, .. } = asked.clone();
            let running = Running { namespace, volume, secret, workers: *workers, placed: false };
            state.given.push(Given { uid: uid.clone(), running, job: None, at: Instant::now() });
        }
        mine.into_iter().map(|(asked, workers)| (asked.volume, workers)).collect()
    }

    /// Which of the given places became Jobs; the others are free again.
    pub(super) fn settle(&self, uid: &str, launched: &BTreeMap<Volume, String>) {
        let mut state = self.lock();
        state.queue.retain(|waiting| waiting.uid != uid || !launched.contains_key(&waiting.asked.volume));
        for given in state.given.iter_mut().filter(|given| given.uid == uid && given.job.is_none()) {
            given.job = launched.get(&given.running.volume).cloned();
        }
        state.given.retain(|given| given.uid != uid || given.job.is_some());
    }

    /// A Job is over: whether the cache has it or not, its place is free.
    pub(super) fn ended(&self, job: &str) {
        self.lock().given.retain(|given| given.job.as_deref() != Some(job));
    }

    /// Lowers or raises the bound of a credential, as a worker met a 429 or ended without one.
    pub(super) fn paced(&self, credential: Credential, slowed: bool) {
        let mut state = self.lock();
        let full = self.limits.per_credential;
        let bound = state.slowed.get(&credential).copied().unwrap_or(full);
        let bound = if slowed { (bound / 2).max(1) } else { bound + 1 };
        if bound >= full {
            state.slowed.remove(&credential)
        } else {
            state.slowed.insert(credential, bound)
        };
    }

    /// A resource that is gone waits for nothing.
    pub(super) fn forget(&self, uid: &str) {
        let mut state = self.lock();
        state.queue.retain(|waiting| waiting.uid != uid);
        state.given.retain(|given| given.uid != uid || given.job.is_some());
    }

    /// Those who wait, the first first: a place may be free for them.
    pub(super) fn next_in_line(&self) -> Vec<ObjectRef<FileUpload>> {
        self.lock().queue.iter().take(self.limits.total).map(|waiting| waiting.upload.clone()).collect()
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.lock().queue.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(uid: &str) -> FileUpload {
        let json = serde_json::json!({
            "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload",
            "metadata": {"name": uid, "namespace": "team", "uid": uid}, "spec": {"files": []},
        });
        serde_json::from_value(json).unwrap()
    }

    fn volume() -> Volume {
        Volume::Claim("c".into())
    }

    fn asked(workers: usize) -> Vec<Asked> {
        let (namespace, secret) = ("team".into(), "cyberun".into());
        vec![Asked { namespace, volume: volume(), secret, workers, shared: true, per_credential: None }]
    }

    fn places(per_claim: usize, per_credential: usize) -> Places {
        Places::new(Limits { total: 64, per_claim, per_credential })
    }

    fn granted(places: &Places, uid: &str, workers: usize) -> usize {
        places.ask(&upload(uid), asked(workers), &Seen::new()).get(&volume()).copied().unwrap_or_default()
    }

    fn launched(places: &Places, uid: &str) {
        places.settle(uid, &[(volume(), format!("job-of-{uid}"))].into());
    }

    #[test]
    fn a_place_is_held_until_it_is_known_what_became_of_it() {
        let places = places(1, 8);
        assert_eq!(granted(&places, "a", 1), 1);
        assert_eq!(granted(&places, "b", 1), 0, "a may be launching");
        places.settle("a", &BTreeMap::new());
        places.forget("a");
        assert_eq!(granted(&places, "b", 1), 1, "a launched nothing");
        launched(&places, "b");
        assert_eq!(granted(&places, "c", 1), 0, "the cache does not have b's Job yet");
        places.ended("job-of-b");
        assert_eq!(granted(&places, "c", 1), 1);
    }

    #[test]
    fn those_who_wait_are_served_in_the_order_in_which_they_came() {
        let places = places(1, 8);
        assert_eq!(granted(&places, "a", 1), 1);
        launched(&places, "a");
        assert_eq!((granted(&places, "b", 1), granted(&places, "c", 1)), (0, 0));
        assert_eq!(places.next_in_line(), [ObjectRef::from_obj(&upload("b")), ObjectRef::from_obj(&upload("c"))]);
        places.ended("job-of-a");
        assert_eq!(granted(&places, "c", 1), 0, "b came first");
        assert_eq!(granted(&places, "b", 1), 1);
    }

    #[test]
    fn a_credential_that_was_slowed_down_has_fewer_workers_until_it_went_well_again() {
        let places = places(8, 8);
        let credential = || ("team".to_owned(), "cyberun".to_owned());
        let bound = |places: &Places| {
            let granted = granted(places, "a", 8);
            places.settle("a", &BTreeMap::new());
            granted
        };
        places.paced(credential(), true);
        assert_eq!(bound(&places), 4);
        (0..5).for_each(|_| places.paced(credential(), true));
        assert_eq!(bound(&places), 1, "never none");
        (0..7).for_each(|_| places.paced(credential(), false));
        assert_eq!(bound(&places), 8);
    }
}
