//! What a reason means, from the one table, and the nearest reasons to an unknown word.

use anyhow::anyhow;
use serde::Serialize;

use crate::reason::Reason;

/// How many reasons are suggested for an unknown word.
const OFFERED: usize = 3;

/// What a reason means. Its fields are the output of `-o json`, which programs read.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "they are the names of the JSON")]
pub(super) struct Meaning {
    reason: Reason,
    class: String,
    scope: String,
    meaning: &'static str,
    cause: &'static str,
    fix: &'static str,
    next: &'static str,
}

impl From<Reason> for Meaning {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            class: reason.class().to_string(),
            scope: format!("{:?}", reason.scope()),
            meaning: reason.meaning(),
            cause: reason.cause(),
            fix: reason.fix(),
            next: reason.next(),
        }
    }
}

impl Meaning {
    pub(super) fn text(&self) -> String {
        let Self { reason, class, meaning, cause, fix, next, .. } = self;
        let (of_class, scope) = (reason.class().meaning(), reason.scope().meaning());
        format!("{reason}: {meaning}\nCause: {cause}\nFix: {fix}\nNext: {next}\nClass: {class}. {of_class} {scope}\n")
    }
}

/// Every reason.
pub(super) fn all() -> Vec<Meaning> {
    Reason::ALL.iter().copied().map(Meaning::from).collect()
}

/// These reasons, a line each.
pub(super) fn list(reasons: &[Meaning]) -> String {
    let width = reasons.iter().map(|said| said.reason.as_str().len()).max().unwrap_or_default();
    let line = |said: &Meaning| {
        // Padding counts only for strings.
        let (word, class) = (said.reason.as_str(), &said.class);
        format!("{word:width$}  {class:8}  {}\n", said.meaning)
    };
    reasons.iter().map(line).collect()
}

/// What `word` means; if it is not a reason, the nearest ones.
pub(super) fn explain(word: &str) -> Result<Meaning, String> {
    Reason::parse(word).map(Meaning::from).ok_or_else(|| {
        let near = nearest(word).map(Reason::as_str).join(", ");
        format!("there is no reason {word}: did you mean {near}? fileupload explain lists all reasons")
    })
}

/// The error about an object. If its name is a reason in the wrong case, it suggests that reason.
pub(super) fn or_meant(name: &str, error: anyhow::Error) -> anyhow::Error {
    match Reason::ALL.iter().find(|reason| reason.as_str().eq_ignore_ascii_case(name)) {
        Some(reason) => anyhow!("{error:#}; for the reason, write {reason}"),
        None => error,
    }
}

fn nearest(word: &str) -> [Reason; OFFERED] {
    let word = word.to_ascii_lowercase();
    let mut ranked = Reason::ALL.to_vec();
    ranked.sort_by_key(|reason| {
        let known = reason.as_str().to_ascii_lowercase();
        (!known.contains(&word), strsim::levenshtein(&known, &word))
    });
    std::array::from_fn(|at| ranked[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_not_known_gets_the_nearest_ones() {
        for (word, meant) in [
            ("ClaimNotFond", Reason::ClaimNotFound),
            ("PermisionDenied", Reason::PermissionDenied),
            ("Quota", Reason::QuotaExceeded),
            ("ImagePullBackOff", Reason::ImagePullFailed),
        ] {
            assert_eq!(nearest(word)[0], meant, "{word}");
            let said = explain(word).unwrap_err();
            assert!(said.contains(word) && said.contains(meant.as_str()), "{said}");
        }
    }
}
