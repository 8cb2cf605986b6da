//! Claims, and the Pods that use them. Of a Pod that names no claim nothing is kept.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Toleration;
use kube::ResourceExt;

use super::{Key, Readers, Round, is_in};
use crate::plan::objects::{PersistentVolumeClaim, Pod};
use crate::plan::{ClaimFacts, ClaimUser, read};

/// Claims and their users.
#[derive(Default)]
pub(super) struct Volumes {
    readers: Readers,
    claims: HashMap<Key, (ClaimFacts, Round)>,
    /// By claim, the Pods that name it and have not ended, by their names: most claims have one, to which a Vec is small,
    /// and some have thousands.
    users: HashMap<Key, Vec<(Arc<User>, Round)>>,
}

/// A Pod that names claims, which share it.
pub(super) struct User {
    pod: Box<str>,
    facts: ClaimUser,
}

/// The most claims of a Pod that are looked at, and the most tolerations of it that are kept: anybody may write Pods.
const MAX_CLAIMS: usize = 100;
const MAX_TOLERATIONS: usize = 16;
/// The most users of a claim that a plan is told of.
const MAX_USERS: usize = 64;

impl Volumes {
    /// A FileUpload names other claims than before.
    pub(super) fn rename(&mut self, upload: &Key, before: &[Key], after: &[Key]) {
        for key in after.iter().filter(|key| !before.contains(key)) {
            self.readers.entry(key.clone()).or_default().push(upload.clone());
        }
        for key in before.iter().filter(|key| !after.contains(key)) {
            if let Some(readers) = self.readers.get_mut(key) {
                readers.retain(|reader| reader != upload);
                if readers.is_empty() {
                    self.readers.remove(key);
                }
            }
        }
    }

    fn wakes(&self, key: &Key) -> HashSet<Key> {
        self.readers.get(key).into_iter().flatten().cloned().collect()
    }

    /// Who uses a claim matters only where its volume is on one node, or for one Pod.
    fn wakes_of_user(&self, key: &Key) -> HashSet<Key> {
        let is_shared = self.claims.get(key).is_some_and(|(claim, _)| claim.is_shared());
        if is_shared { HashSet::new() } else { self.wakes(key) }
    }

    pub(super) fn apply_claim(&mut self, claim: &PersistentVolumeClaim, round: Round) -> HashSet<Key> {
        let key = Key::of(claim);
        let facts = read::claim(claim);
        let known = self.claims.insert(key.clone(), (facts.clone(), round));
        if known.is_some_and(|(known, _)| known == facts) { HashSet::new() } else { self.wakes(&key) }
    }

    pub(super) fn delete_claim(&mut self, key: &Key) -> HashSet<Key> {
        self.claims.remove(key);
        self.wakes(key)
    }

    pub(super) fn sweep_claims(&mut self, namespace: Option<&str>, round: Round) -> HashSet<Key> {
        let is_gone = |key: &Key, seen: Round| is_in(key, namespace) && seen != round;
        let gone: Vec<_> =
            self.claims.iter().filter(|(key, (_, seen))| is_gone(key, *seen)).map(|(key, _)| key.clone()).collect();
        gone.iter().flat_map(|key| self.delete_claim(key)).collect()
    }

    /// A claim, and its users apart from it.
    pub(super) fn claim(&self, key: &Key) -> (ClaimFacts, Vec<Arc<User>>) {
        let Some((claim, _)) = self.claims.get(key) else { return <_>::default() };
        let users = self.users.get(key).into_iter().flatten().map(|(user, _)| Arc::clone(user));
        (claim.clone(), users.collect())
    }

    pub(super) fn apply_pod(&mut self, pod: &Pod, round: Round) -> HashSet<Key> {
        if read::has_ended(pod) {
            return self.delete_pod(pod);
        }
        let (place, mut wakes) = (Key::of(pod), HashSet::new());
        let mut user = None;
        for claim in read::claims_of(pod).take(MAX_CLAIMS) {
            let user = user.get_or_insert_with(|| Arc::new(User::of(pod)));
            let key = place.beside(claim);
            if put(self.users.entry(key.clone()).or_default(), user, round) {
                wakes.extend(self.wakes_of_user(&key));
            }
        }
        wakes
    }

    pub(super) fn delete_pod(&mut self, pod: &Pod) -> HashSet<Key> {
        let (place, mut wakes) = (Key::of(pod), HashSet::new());
        let name = pod.name_any();
        for claim in read::claims_of(pod).take(MAX_CLAIMS) {
            let key = place.beside(claim);
            let Some(users) = self.users.get_mut(&key) else { continue };
            let Ok(at) = place_of(&name, users) else { continue };
            users.remove(at);
            if users.is_empty() {
                self.users.remove(&key);
            }
            wakes.extend(self.wakes_of_user(&key));
        }
        wakes
    }

    /// A Pod of which nothing but its name is known is gone. This looks at all claims, and is rare.
    pub(super) fn lose_pod(&mut self, pod: &Key) -> HashSet<Key> {
        self.remove_users(Some(pod.namespace()), |user, _| *user.pod == *pod.name())
    }

    pub(super) fn sweep_pods(&mut self, namespace: Option<&str>, round: Round) -> HashSet<Key> {
        self.remove_users(namespace, |_, seen| seen != round)
    }

    fn remove_users(&mut self, namespace: Option<&str>, is_gone: impl Fn(&User, Round) -> bool) -> HashSet<Key> {
        let mut changed = Vec::new();
        for (key, users) in self.users.iter_mut().filter(|(key, _)| is_in(key, namespace)) {
            let before = users.len();
            users.retain(|(user, seen)| !is_gone(user, *seen));
            if users.len() != before {
                changed.push(key.clone());
            }
        }
        self.users.retain(|_, users| !users.is_empty());
        changed.iter().flat_map(|key| self.wakes_of_user(key)).collect()
    }
}

impl User {
    fn of(pod: &Pod) -> Self {
        Self { pod: pod.name_any().into(), facts: slim(read::claim_user(pod)) }
    }
}

/// Where a Pod is among the users of a claim, or would be.
fn place_of(pod: &str, users: &[(Arc<User>, Round)]) -> Result<usize, usize> {
    users.binary_search_by(|(user, _)| (*user.pod).cmp(pod))
}

/// Puts a Pod among the users of a claim; returns whether that is news.
fn put(users: &mut Vec<(Arc<User>, Round)>, user: &Arc<User>, round: Round) -> bool {
    match place_of(&user.pod, users) {
        Ok(at) => {
            let (known, seen) = &mut users[at];
            *seen = round;
            std::mem::replace(known, Arc::clone(user)).facts != user.facts
        }
        Err(at) => {
            if users.is_empty() {
                users.reserve_exact(1);
            }
            users.insert(at, (Arc::clone(user), round));
            true
        }
    }
}

/// The users of a claim that a plan may depend on. Where there are more than a few, many are alike but for their age, and
/// of those the oldest tells whether one has waited for long.
pub(super) fn users_that_matter(users: &[Arc<User>]) -> Vec<ClaimUser> {
    let all = || users.iter().map(|user| &user.facts);
    if users.len() <= MAX_USERS {
        return all().cloned().collect();
    }
    let mut oldest: BTreeMap<_, &ClaimUser> = BTreeMap::new();
    for user in all() {
        // Those that hold the volume come first, as theirs is the node.
        let alike = (!user.started, user.node.is_none(), &user.worker_of, &user.node, &user.level);
        let known = oldest.entry(alike).or_insert(user);
        if user.created < known.created {
            *known = user;
        }
    }
    oldest.into_values().take(MAX_USERS).cloned().collect()
}

/// Every Pod has these tolerations from the API server, workers too.
fn slim(mut user: ClaimUser) -> ClaimUser {
    let is_usual = |toleration: &Toleration| {
        let key = toleration.key.as_deref().unwrap_or_default();
        matches!(key, "node.kubernetes.io/not-ready" | "node.kubernetes.io/unreachable")
            && toleration.effect.as_deref() == Some("NoExecute")
            && toleration.toleration_seconds == Some(300)
    };
    user.tolerations.retain(|toleration| !is_usual(toleration));
    user.tolerations.truncate(MAX_TOLERATIONS);
    user.tolerations.shrink_to_fit();
    user
}
