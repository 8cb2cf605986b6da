//! A worker's report, in version 2 of its format: one `+` line for each file that its Job names.
//!
//! Written by the format's description, not by the operator's own code, which could be wrong on both sides.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// What the bench reads of a file that a worker is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Assignment {
    pub(crate) file_name: String,
}

/// The files among a worker's arguments: those that are JSON documents.
pub(crate) fn assignments(arguments: &[String]) -> Vec<Assignment> {
    arguments.iter().filter_map(|argument| serde_json::from_str(argument).ok()).collect()
}

/// The files of this worker if there are `shards`: contiguous, and as many as any other's but for one.
pub(crate) fn share(files: usize, shards: usize, index: usize) -> Range<usize> {
    let start = |index: usize| index * (files / shards) + index.min(files % shards);
    start(index)..start(index + 1)
}

/// The report of the worker that had these of the Job's files, and the keys that it tells.
pub(crate) fn write(files: &[Assignment], mine: Range<usize>, job: &str, now: i64) -> (String, Vec<String>) {
    let mut report = "fileupload-report/2\n".to_owned();
    let mut keys = Vec::new();
    let mut before = 0;
    for (index, file) in files.iter().enumerate().filter(|(index, _)| mine.contains(index)) {
        let name = &file.file_name;
        let stem = format!("inputs/bench/{job}/{index}/");
        let sha256 = URL_SAFE_NO_PAD.encode(Sha256::digest(name));
        let seconds = now - before;
        before = now;
        // Nothing is taken over from the first key; the file's own name follows.
        let (seconds, size) = (base36(seconds), base36(name.len().try_into().unwrap_or_default()));
        let line = format!("+{sha256}{index} {seconds} {size} 0~0 text/plain {stem}\n");
        report.push_str(&line);
        keys.push(stem + name);
    }
    (report, keys)
}

/// A number in base 36; none here is negative.
fn base36(number: i64) -> String {
    let digit = char::from_digit(u32::try_from(number % 36).unwrap_or_default(), 36).unwrap_or('0');
    if number < 36 { digit.to_string() } else { base36(number / 36) + &digit.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_of_the_share_has_a_line() {
        let arguments = ["worker", "--api-url", "http://x", r#"{"fileName":"a.txt"}"#, r#"{"fileName":"b.txt"}"#];
        let files = assignments(&arguments.map(str::to_owned));
        let (report, keys) = write(&files, share(2, 2, 1), "uid", 1_700_000_000);
        let sha256 = URL_SAFE_NO_PAD.encode(Sha256::digest("b.txt"));
        assert_eq!(report, format!("fileupload-report/2\n+{sha256}1 s44we8 5 0~0 text/plain inputs/bench/uid/1/\n"));
        assert_eq!(keys, ["inputs/bench/uid/1/b.txt"]);
        assert_eq!([share(5, 3, 0), share(5, 3, 1), share(5, 3, 2)], [0..2, 2..4, 4..5]);
    }
}
