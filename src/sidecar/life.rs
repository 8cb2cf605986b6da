//! What a sidecar does at the end of a key's life: the terms of a key, and whether it is renewed.
//!
//! Pure: the time is given. The rules themselves stand in [`crate::key_life`].

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;

use crate::key_life::Terms;
use crate::keys::Entry;

/// What happens before a key's life ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RefreshPolicy {
    /// Nothing.
    Never,
    /// The file is uploaded again.
    BeforeExpiry,
}

/// How long a key lives, and what happens before its life ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    /// How long a key lives.
    pub terms: Terms,
    /// What happens before that.
    pub refresh: RefreshPolicy,
}

impl Life {
    /// When a key leaves the folder.
    pub(super) fn withdrawn_at(&self, entry: &Entry) -> Timestamp {
        self.terms.withdrawn_at(entry.uploaded_at)
    }

    /// When a key is renewed, if ever. The key itself is the seed, so that a restart changes nothing.
    pub(super) fn renewed_at(&self, entry: &Entry) -> Option<Timestamp> {
        let mut hasher = DefaultHasher::new();
        entry.file_key.hash(&mut hasher);
        let renews = self.refresh == RefreshPolicy::BeforeExpiry;
        renews.then(|| self.terms.renewed_at(entry.uploaded_at, hasher.finish()))
    }
}

impl RefreshPolicy {
    /// The same, for people who read that a key was withdrawn.
    pub(super) fn follows(self) -> &'static str {
        match self {
            Self::Never => "nothing renews it (--refresh-policy Never)",
            Self::BeforeExpiry => "its file could not be uploaded again in time; the sidecar keeps trying",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: usize) -> Entry {
        let (file_key, text) = (key.to_string(), String::new);
        let time = |text: &str| text.parse().unwrap();
        let (uploaded_at, expires_at) = (time("2026-01-01T00:00:00Z"), time("2026-01-02T00:00:00Z"));
        Entry { file_key, file_name: text(), content_type: text(), size: 0, sha256: text(), uploaded_at, expires_at }
    }

    fn life(refresh: RefreshPolicy) -> Life {
        Life { terms: Terms::default(), refresh }
    }

    #[test]
    fn a_key_leaves_the_folder_while_something_of_its_life_is_left() {
        assert_eq!(life(RefreshPolicy::Never).withdrawn_at(&entry(0)), "2026-01-01T23:00:00Z".parse().unwrap());
    }

    #[test]
    fn each_key_has_its_own_moment_of_renewal_which_stays_the_same_and_none_where_nothing_is_renewed() {
        let life_before = life(RefreshPolicy::BeforeExpiry);
        let moments = || (0..100).map(|key| life_before.renewed_at(&entry(key)).unwrap()).collect::<Vec<_>>();
        let distinct: std::collections::BTreeSet<_> = moments().into_iter().collect();
        assert!(distinct.len() > 95, "{}", distinct.len());
        assert_eq!(moments(), moments());
        assert_eq!(life(RefreshPolicy::Never).renewed_at(&entry(0)), None);
    }
}
