//! Who tells of an object, and whether that is believed.
//!
//! A list, a watch and the answers to this process's own writes tell of the same objects, and none is always ahead.

use std::time::Instant;

/// Which list an object was last seen in: what a new list lacks is gone.
pub(super) type Round = u32;

/// A list.
#[derive(Clone, Copy, Debug)]
pub(in crate::controller) struct List {
    pub(in crate::controller) round: Round,
    /// When it was asked for. Of what this process wrote later it may know nothing. All else it knows best, also where that
    /// is older than what is known, as when the cluster was restored from a backup.
    pub(in crate::controller) began: Instant,
}

/// Who tells of an object.
#[derive(Clone, Copy, Debug)]
pub(in crate::controller) enum Told {
    /// The answer to a request of this process.
    Answer,
    /// A list.
    List(List),
    /// A watch that goes on from that list.
    Watch(Round),
}

/// The version that an object is known in, and when the API server's answer told it, if that was the last to tell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Version {
    pub(super) number: u64,
    pub(super) answered: Option<Instant>,
}

impl List {
    /// Whether it was on its way when an answer told of an object, if one did.
    pub(super) fn may_miss(self, answered: Option<Instant>) -> bool {
        answered.is_some_and(|at| at >= self.began)
    }
}

impl Told {
    pub(in crate::controller) fn round(self) -> Option<Round> {
        match self {
            Self::Answer => None,
            Self::List(list) => Some(list.round),
            Self::Watch(round) => Some(round),
        }
    }

    /// The moment of an answer, which is now.
    pub(super) fn answered(self) -> Option<Instant> {
        matches!(self, Self::Answer).then(Instant::now)
    }
}

impl Version {
    /// resourceVersions compare as numbers (KEP-5504).
    pub(super) fn new(version: Option<&str>, told: Told) -> Self {
        let number = version.and_then(|version| version.parse().ok()).unwrap_or_default();
        Self { number, answered: told.answered() }
    }

    /// Whether what is known already is newer than this.
    pub(super) fn is_behind(self, known: Self, told: Told) -> bool {
        let is_believed = matches!(told, Told::List(list) if !list.may_miss(known.answered));
        self.number < known.number && !is_believed
    }
}
