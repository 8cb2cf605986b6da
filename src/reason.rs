//! Why a file or a resource is in the state it is in: the one closed vocabulary.
//!
//! The same word serves errors, conditions, events, metrics, `fileupload explain` and `docs/reasons.md`. Its [`Class`]
//! alone decides when the controller looks again, and its [`Scope`] whether the other files of the same resource share
//! the fate. This module knows nothing of Kubernetes or HTTP, so that every other module may use it. The words
//! themselves are the table in `words`.

use std::fmt;

/// What follows from a reason: nothing, work, waiting, a person, or a retry.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Class {
    /// Reconciled; nothing follows.
    Done,
    /// In progress; the next step follows at once.
    Working,
    /// A named thing is missing; it is watched, or fetched anew within seconds.
    Waiting,
    /// Tried again by itself, with exponential backoff.
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

/// Makes [`Reason`] of the table: a line with what the word means, then its class and scope, how it usually comes
/// about, and what a person does.
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

            /// What the word means, in a sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning.trim_ascii(),)+ }
            }

            /// How it usually comes about, in a sentence.
            pub const fn cause(self) -> &'static str {
                match self { $(Self::$name => $cause,)+ }
            }

            /// What a person does about it, in a sentence.
            pub const fn fix(self) -> &'static str {
                match self { $(Self::$name => $fix,)+ }
            }
        }
    };
}

mod words;

pub use self::words::Reason;

impl Class {
    /// Every class there is.
    pub const ALL: [Self; 5] = [Self::Done, Self::Working, Self::Waiting, Self::Backoff, Self::Stalled];

    /// What it means, in a sentence.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "Nothing is left to do.",
            Self::Working => "It is being worked on.",
            Self::Waiting => "Something that the reason names is missing or in the way.",
            Self::Backoff => "An attempt failed in a way that may pass by itself.",
            Self::Stalled => "A person must act: another attempt would fail in the same way.",
        }
    }

    /// When the operator looks again, in a sentence.
    pub const fn again(self) -> &'static str {
        match self {
            Self::Done => "It is looked at again when its spec, its output or its key's life asks for it.",
            Self::Working => "The next step follows at once.",
            Self::Waiting => {
                "It goes on as soon as what is missing is there; a Secret is found within 15 seconds, or within \
                 5 minutes once it was missing for an hour."
            }
            Self::Backoff => {
                "It is tried again by itself at `status.nextAttemptAt`: a second later at first, then at intervals \
                 that grow to 5 minutes, or later where the other side asks for that."
            }
            Self::Stalled => {
                "It is tried again when the spec, the Secret or the content of a ConfigMap changes, or when a fresh \
                 upload is asked for (`fileupload refresh`); the files of volumes are not watched."
            }
        }
    }
}

impl Scope {
    /// How far it reaches, in a sentence.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::File => "It is about one file; the others go on.",
            Self::Resource => "It is about every file of the resource.",
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
        let said = |reason: &Reason| [reason.meaning(), reason.cause(), reason.fix()];
        let classes = Class::ALL.iter().flat_map(|class| [class.meaning(), class.again()]);
        for text in Reason::ALL.iter().flat_map(said).chain(classes) {
            assert!(text.starts_with(|c: char| c.is_uppercase() || c == '`'), "{text}");
            assert!(text.ends_with('.') && !text.trim_end_matches('.').contains(". "), "{text}");
            assert!(text.len() > 20 && !text.contains("  ") && !text.contains('\n'), "{text}");
        }
    }

    #[test]
    fn what_heals_by_itself_says_so() {
        let heals = |reason: &Reason| reason.fix().contains("by itself");
        for reason in Reason::ALL.iter().filter(|reason| reason.class() == Class::Backoff) {
            assert!(heals(reason), "{reason}: {}", reason.fix());
        }
    }
}
