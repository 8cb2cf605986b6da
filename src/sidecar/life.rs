//! The life of a key: when it is over, and when it is renewed. Pure: the time is given.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::backoff;
use crate::keys::Entry;

/// What follows when a key's life comes to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RefreshPolicy {
    /// Nothing.
    Never,
    /// The file is uploaded anew before.
    BeforeExpiry,
}

/// How long a key lives.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// How long the deployment keeps a file.
    pub retention: Duration,
    /// A key that has less than this left counts as dead: what is started with it needs it for a while.
    pub minimum: Duration,
    /// What follows.
    pub refresh: RefreshPolicy,
}

impl Life {
    /// When a key counts as dead.
    pub(super) fn end(&self, entry: &Entry) -> Timestamp {
        let minimum = SignedDuration::try_from(self.minimum).unwrap_or(SignedDuration::MAX);
        entry.expires_at.checked_sub(minimum).unwrap_or(Timestamp::MIN)
    }

    /// When a key is renewed, if ever: at two thirds of its life, give or take a tenth of it. The key itself decides
    /// which, so that a restart changes nothing.
    pub(super) fn renewal(&self, entry: &Entry) -> Option<Timestamp> {
        if self.refresh == RefreshPolicy::Never {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        entry.file_key.hash(&mut hasher);
        let part = 2.0 / 3.0 + 0.1 * (2.0 * backoff::fraction(hasher.finish()) - 1.0);
        let life = self.end(entry).duration_since(entry.uploaded_at);
        Some(entry.uploaded_at.checked_add(life.mul_f64(part)).unwrap_or(Timestamp::MAX))
    }
}

impl RefreshPolicy {
    /// The same, for people who hear of a dead key.
    pub(super) fn follows(self) -> &'static str {
        match self {
            Self::Never => "nothing renews it (--refresh-policy Never)",
            Self::BeforeExpiry => "its file could not be uploaded anew in time, which is tried on",
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
        Life { retention: Duration::from_hours(24), minimum: Duration::from_hours(1), refresh }
    }

    #[test]
    fn a_key_counts_as_dead_while_something_of_its_life_is_left() {
        assert_eq!(life(RefreshPolicy::Never).end(&entry(0)), "2026-01-01T23:00:00Z".parse().unwrap());
    }

    #[test]
    fn keys_are_renewed_at_about_two_thirds_of_their_lives_each_at_another_time_and_never_if_not_asked() {
        let life_before = life(RefreshPolicy::BeforeExpiry);
        let hours = |key| {
            life_before.renewal(&entry(key)).unwrap().duration_since(entry(key).uploaded_at).as_secs_f64() / 3600.0
        };
        let all: Vec<f64> = (0..100).map(hours).collect();
        assert!(all.iter().all(|hours| (13.0..17.7).contains(hours)), "{all:?}");
        let early = all.iter().filter(|hours| **hours < 23.0 * 2.0 / 3.0).count();
        assert!((30..70).contains(&early), "{all:?}");
        assert_eq!(life(RefreshPolicy::Never).renewal(&entry(0)), None);
    }
}
