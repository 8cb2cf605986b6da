//! What a reason means, from the one table, and the nearest reasons to an unknown word.

use anyhow::anyhow;

use crate::reason::Reason;

/// How many reasons are suggested for an unknown word.
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

/// What `word` means; if it is not a reason, the nearest ones.
pub(super) fn explain(word: &str) -> Result<String, String> {
    let Some(reason) = Reason::parse(word) else {
        let near = nearest(word).map(Reason::as_str).join(", ");
        return Err(format!("there is no reason {word}: did you mean {near}? fileupload explain lists all reasons"));
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
