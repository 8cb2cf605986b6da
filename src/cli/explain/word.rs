//! What is said of a reason by itself: the words of the one table, and the nearest ones to a word that it lacks.

use anyhow::anyhow;

use crate::reason::Reason;

/// How many words are offered for one that is not known.
const OFFERED: usize = 3;

/// Every reason, a line each.
pub(super) fn all() -> String {
    let width = Reason::ALL.iter().map(|reason| reason.as_str().len()).max().unwrap_or_default();
    let line = |reason: &Reason| {
        // Padding counts only for strings.
        let (word, class) = (reason.as_str(), reason.class().to_string());
        format!("{word:width$}  {class:8}  {}\n", reason.meaning())
    };
    Reason::ALL.iter().map(line).collect()
}

/// What `word` means; if it is no reason, which ones come near it.
pub(super) fn explain(word: &str) -> Result<String, String> {
    let Some(reason) = Reason::parse(word) else {
        let near = nearest(word).map(Reason::as_str).join(", ");
        return Err(format!("there is no reason {word}: did you mean {near}? fileupload explain lists them all"));
    };
    let (class, scope) = (reason.class(), reason.scope());
    Ok(format!(
        "{reason}: {}\nCause: {}\nFix: {}\nNext: {}\nClass: {class}. {} {}\n",
        reason.meaning(),
        reason.cause(),
        reason.fix(),
        class.again(),
        class.meaning(),
        scope.meaning(),
    ))
}

/// The complaint about an object, unless its name is a reason in the wrong case: then that may be meant.
pub(super) fn or_meant(name: &str, error: anyhow::Error) -> anyhow::Error {
    match Reason::ALL.iter().find(|reason| reason.as_str().eq_ignore_ascii_case(name)) {
        Some(reason) => anyhow!("{error:#}; if the reason is meant, write {reason}"),
        None => error,
    }
}

fn nearest(word: &str) -> [Reason; OFFERED] {
    let word = word.to_ascii_lowercase();
    let mut ranked = Reason::ALL.to_vec();
    ranked.sort_by_key(|reason| {
        let known = reason.as_str().to_ascii_lowercase();
        (!known.contains(&word), distance(&known, &word))
    });
    std::array::from_fn(|at| ranked[at])
}

/// How many letters must be added, left out or exchanged to make one word of the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, a) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (to, b) in other.bytes().enumerate() {
            let exchanged = diagonal + usize::from(a != b);
            diagonal = row[to + 1];
            row[to + 1] = exchanged.min(diagonal + 1).min(row[to] + 1);
        }
    }
    row[other.len()]
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

    #[test]
    fn a_distance_counts_letters() {
        for (one, other, expected) in
            [("", "", 0), ("abc", "abc", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!((distance(one, other), distance(other, one)), (expected, expected), "{one} {other}");
        }
    }
}
