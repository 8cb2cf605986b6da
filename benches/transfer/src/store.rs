//! The bench's side of the sink: starts the process, asks it what has arrived, and judges that.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};

use crate::sink::Tally;
use crate::stage::Files;

/// A sink that runs.
pub(crate) struct Store {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
    pub(crate) api_url: String,
    pub(crate) url: String,
    pub(crate) ca: PathBuf,
}

impl Store {
    /// Starts a sink with these arguments, whose CA certificate is written to `folder`.
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("sink").arg("--folder").arg(folder).args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let asks = child.stdin.take().context("no stdin")?;
        let mut answers = BufReader::new(child.stdout.take().context("no stdout")?);
        let mut line = String::new();
        answers.read_line(&mut line)?;
        let (api, store) = line.trim().split_once(' ').context("the sink did not start")?;
        let (api_url, url) = (format!("https://{api}/api/v1"), format!("https://{store}"));
        Ok(Self { child, asks, answers, api_url, url, ca: folder.join("ca.pem") })
    }

    /// What has arrived since the last time; what arrives from now on is hashed or not.
    pub(crate) fn take(&mut self, hash: bool) -> anyhow::Result<Tally> {
        writeln!(self.asks, "{}", if hash { "hash" } else { "count" })?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).context("the sink's answer cannot be read")
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether exactly these files have arrived, each of its size and, where it was hashed, of its content.
pub(crate) fn check(tally: &Tally, files: &Files) -> anyhow::Result<()> {
    if let Some(strange) = tally.strange.first() {
        bail!("a request that the sink does not know: {strange}");
    }
    for file in &files.files {
        let Some(arrived) = tally.files.get(&file.name) else { bail!("{} did not arrive", file.name) };
        if arrived.length != file.size {
            bail!("{} arrived with {} bytes of {}", file.name, arrived.length, file.size);
        }
        if arrived.sha256.as_ref().is_some_and(|sha256| *sha256 != file.sha256) {
            bail!("{} arrived with another content", file.name);
        }
        if arrived.times != 1 {
            bail!("{} was stored {} times", file.name, arrived.times);
        }
    }
    if tally.files.len() > files.files.len() {
        bail!("{} files arrived that nobody sent", tally.files.len() - files.files.len());
    }
    Ok(())
}

/// Whether each PUT was refused, and no byte of a body came.
pub(crate) fn check_refused(tally: &Tally, said: &str) -> anyhow::Result<()> {
    if tally.refused == 0 || !tally.files.is_empty() {
        bail!("{} PUTs were refused and {} stored", tally.refused, tally.files.len());
    }
    if !said.contains("412") {
        bail!("the status 412 is not reported: {said}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Expected;

    fn files() -> Files {
        let file = |name: &str| Expected { name: name.into(), size: 4, sha256: "aa".into() };
        Files { folder: PathBuf::new(), files: vec![file("a"), file("b")] }
    }

    fn tally(arrived: &[(&str, u64, &str)]) -> Tally {
        let mut tally = Tally::default();
        for (name, length, sha256) in arrived {
            tally.store(name, *length, (!sha256.is_empty()).then(|| (*sha256).to_owned()));
        }
        tally
    }

    #[test]
    fn a_file_that_is_lost_cut_changed_doubled_or_strange_fails() {
        let good = [("a", 4, "aa"), ("b", 4, "")];
        check(&tally(&good), &files()).unwrap();
        for (arrived, said) in [
            (vec![good[0]], "b did not arrive"),
            (vec![good[0], ("b", 3, "aa")], "b arrived with 3 bytes of 4"),
            (vec![good[0], ("b", 4, "ab")], "b arrived with another content"),
            (vec![good[0], good[1], good[1]], "b was stored 2 times"),
            (vec![good[0], good[1], ("c", 4, "")], "1 files arrived that nobody sent"),
        ] {
            assert_eq!(check(&tally(&arrived), &files()).unwrap_err().to_string(), said);
        }
    }

    #[test]
    fn a_refusal_must_be_told_and_store_nothing() {
        let refused = Tally { refused: 1, ..Tally::default() };
        check_refused(&refused, "error: (412)").unwrap();
        assert!(check_refused(&refused, "error: broken pipe").is_err());
        assert!(check_refused(&Tally::default(), "412").is_err());
        assert!(check_refused(&Tally { refused: 1, ..tally(&[("a", 4, "")]) }, "412").is_err());
    }
}
