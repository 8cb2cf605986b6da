//! Why a file or a resource is in the state it is in: the one closed vocabulary.
//!
//! Errors, conditions, events, metrics, `fileupload explain` and `docs/reasons.md` use the same words. The [`Class`] of
//! a reason alone decides when the controller looks again. Its [`Scope`] decides whether the other files of the same
//! resource fail too. This module knows nothing of Kubernetes or HTTP, so every other module may use it. The table of
//! reasons is in `words`, what happens next in `next`.

use std::fmt;

/// What follows from a reason: nothing, work, waiting, a person, or a retry.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Class {
    /// Reconciled; nothing follows.
    Done,
    /// In progress; the next step follows at once.
    Working,
    /// A named thing is missing; it is watched, or fetched again within seconds.
    Waiting,
    /// Retried automatically, with exponential backoff.
    Backoff,
    /// A person must act: the next attempt follows a change of spec, Secret or source.
    Stalled,
}

/// How far a failure reaches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// Only the file it happened to.
    File,
    /// Every file of the resource: trying the next one would fail in the same way.
    Resource,
}

/// Makes [`Reason`] from the table: what the word means, its class and scope, its usual cause, and how a person fixes
/// it.
macro_rules! reasons {
    ($(
        #[doc = $meaning:literal]
        $name:ident: $class:ident, $scope:ident, cause: $cause:literal, fix: $fix:literal;
    )+) => {
        /// Why a file or a resource is in its state.
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
        pub enum Reason { $(#[doc = $meaning] $name,)+ }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The reason as it is written in conditions, events and metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// What follows from it.
            pub const fn class(self) -> Class {
                match self { $(Self::$name => Class::$class,)+ }
            }

            /// How far it reaches.
            pub const fn scope(self) -> Scope {
                match self { $(Self::$name => Scope::$scope,)+ }
            }

            /// What the reason means, in a sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning.trim_ascii(),)+ }
            }

            /// What usually causes it, in a sentence.
            pub const fn cause(self) -> &'static str {
                match self { $(Self::$name => $cause,)+ }
            }

            /// How a person fixes it, in a sentence.
            pub const fn fix(self) -> &'static str {
                match self { $(Self::$name => $fix,)+ }
            }
        }
    };
}

mod next;
mod words;

pub use self::words::Reason;

impl Class {
    /// Every class there is.
    pub const ALL: [Self; 5] = [Self::Done, Self::Working, Self::Waiting, Self::Backoff, Self::Stalled];

    /// What it means, in a sentence.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "Nothing is left to do.",
            Self::Working => "The work is in progress.",
            Self::Waiting => "Something that the reason names is missing or in use.",
            Self::Backoff => "An attempt failed, and a later one may succeed.",
            Self::Stalled => "A person must act: another attempt would fail in the same way.",
        }
    }

    /// When the operator looks again, in a sentence.
    pub const fn again(self) -> &'static str {
        match self {
            Self::Done => "The operator looks again when the spec or the output changes, and when a key nears its end.",
            Self::Working => "The next step follows at once.",
            Self::Waiting => {
                "It goes on as soon as the missing thing is there; a Secret is found within 15 seconds, or within \
                 5 minutes after an hour of waiting."
            }
            Self::Backoff => {
                "It is retried automatically at `status.nextAttemptAt`: it waits as long again as the trouble has \
                 lasted, from 1 second to 5 minutes, longer if the server asks for that, and 5 minutes at once if only \
                 a change can help."
            }
            Self::Stalled => {
                "It is tried again when the spec, the Secret or the content of a ConfigMap changes, or when a fresh \
                 upload is requested (`fileupload refresh`); files on volumes are not watched."
            }
        }
    }
}

impl Scope {
    /// How far it reaches, in a sentence.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::File => "It affects one file; the others go on.",
            Self::Resource => "It affects every file of the resource.",
        }
    }
}

impl Reason {
    /// Parses a reason from a status written earlier; `None` if this version does not know it.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == text)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Display for Class {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_reads_back_from_what_it_writes() {
        for &reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
        }
        assert_eq!(Reason::parse("SomethingNew"), None);
    }

    #[test]
    fn only_failures_reach_beyond_their_file() {
        for &reason in Reason::ALL {
            if matches!(reason.class(), Class::Done | Class::Working) {
                assert_eq!(reason.scope(), Scope::File, "{reason}");
            }
        }
    }

    #[test]
    fn meaning_cause_and_fix_are_each_one_sentence() {
        let said = |reason: &Reason| [reason.meaning(), reason.cause(), reason.fix(), reason.next()];
        let classes = Class::ALL.iter().flat_map(|class| [class.meaning(), class.again()]);
        for text in Reason::ALL.iter().flat_map(said).chain(classes) {
            assert!(text.starts_with(|c: char| c.is_uppercase() || c == '`'), "{text}");
            assert!(text.ends_with('.') && !text.trim_end_matches('.').contains(". "), "{text}");
            assert!(text.len() > 20 && !text.contains("  ") && !text.contains('\n'), "{text}");
        }
    }

    #[test]
    fn what_waits_for_something_says_for_what_and_not_for_all_that_may_be_waited_for() {
        let general = |reason: &&Reason| reason.next() == reason.class().again();
        let waits = |reason: &&Reason| matches!(reason.class(), Class::Waiting | Class::Stalled);
        let left: Vec<_> = Reason::ALL.iter().filter(waits).filter(general).collect();
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn what_is_retried_automatically_says_so() {
        let says_so = |reason: &Reason| reason.fix().contains("retried automatically");
        for reason in Reason::ALL.iter().filter(|reason| reason.class() == Class::Backoff) {
            assert!(says_so(reason), "{reason}: {}", reason.fix());
        }
    }
}
