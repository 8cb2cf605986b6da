//! What one account asked the API server for, counted from the audit log as it grows.
//!
//! The log is written before an answer is sent, so what was answered is counted. Each reading
//! starts where the last one ended, and follows a rotated log. Watches have a count of their own, as they stay open.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Requests by verb and resource, and what was refused by status.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counts {
    /// All but watches and what keeps a lease, by `VERB RESOURCE`.
    pub(crate) requests: BTreeMap<String, usize>,
    /// Watches and requests for a lease: they come with time, not with work.
    pub(crate) standing: BTreeMap<String, usize>,
    /// Answers of 400 and above, by status, verb and resource.
    pub(crate) refused: BTreeMap<String, usize>,
}

impl Counts {
    /// All but watches and what keeps a lease.
    pub(crate) fn total(&self) -> usize {
        self.requests.values().sum()
    }

    /// What came after `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let less = |now: &BTreeMap<String, usize>, then: &BTreeMap<String, usize>| {
            let left = |(name, count): (&String, &usize)| (name.clone(), count - then.get(name).unwrap_or(&0));
            now.iter().map(left).filter(|(_, count)| *count > 0).collect()
        };
        Self {
            requests: less(&self.requests, &before.requests),
            standing: less(&self.standing, &before.standing),
            refused: less(&self.refused, &before.refused),
        }
    }

    fn add(&mut self, entry: &Entry) {
        let object = &entry.object_ref;
        let separator = if object.subresource.is_empty() { "" } else { "/" };
        let what = format!("{} {}{separator}{}", entry.verb, object.resource, object.subresource);
        let code = entry.response_status.code;
        if code >= 400 {
            *self.refused.entry(format!("{code} {what}")).or_default() += 1;
        }
        let stands = entry.verb == "watch" || object.resource == "leases";
        let of = if stands { &mut self.standing } else { &mut self.requests };
        *of.entry(what).or_default() += 1;
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Entry {
    stage: String,
    verb: String,
    user: User,
    object_ref: Object,
    response_status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Object {
    resource: String,
    subresource: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
}

/// The audit log, read for one account.
pub(crate) struct AuditLog {
    path: PathBuf,
    file: BufReader<File>,
    account: String,
    /// A line whose end is not written yet.
    begun: String,
    counts: Counts,
}

impl AuditLog {
    pub(crate) fn open(path: &Path, account: &str) -> anyhow::Result<Self> {
        let file = BufReader::new(File::open(path)?);
        Ok(Self {
            path: path.to_owned(),
            file,
            account: account.to_owned(),
            begun: String::new(),
            counts: Counts::default(),
        })
    }

    /// All that is written by now.
    pub(crate) fn read(&mut self) -> anyhow::Result<&Counts> {
        self.read_on()?;
        // Rotated: the file that is open has another name now and grows no more.
        if self.file.get_ref().metadata()?.ino() != std::fs::metadata(&self.path)?.ino() {
            self.read_on()?;
            self.file = BufReader::new(File::open(&self.path)?);
            self.begun.clear();
            self.read_on()?;
        }
        Ok(&self.counts)
    }

    fn read_on(&mut self) -> anyhow::Result<()> {
        while self.file.read_line(&mut self.begun)? > 0 && self.begun.ends_with('\n') {
            if self.begun.contains(&self.account) {
                let entry: Entry = serde_json::from_str(&self.begun)?;
                if entry.stage == "ResponseComplete" && entry.user.username == self.account {
                    self.counts.add(&entry);
                }
            }
            self.begun.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use serde_json::json;

    use super::*;

    fn line(user: &str, verb: &str, code: u16) -> String {
        let entry = json!({
            "stage": "ResponseComplete", "verb": verb, "user": {"username": user},
            "objectRef": {"resource": "fileuploads", "subresource": "status"}, "responseStatus": {"code": code},
        });
        format!("{entry}\n")
    }

    #[test]
    fn one_account_is_counted_over_half_lines_and_a_rotation() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("audit.jsonl");
        let mut file = File::create(&path)?;
        let mut log = AuditLog::open(&path, "me")?;
        let (half, rest) = (line("me", "patch", 409), line("other me", "patch", 200));
        file.write_all(&half.as_bytes()[..20])?;
        assert_eq!(log.read()?.total(), 0, "half a line is none");
        file.write_all(&half.as_bytes()[20..])?;
        file.write_all(rest.as_bytes())?;
        assert_eq!(log.read()?.total(), 1);
        file.write_all(line("me", "watch", 200).as_bytes())?;
        std::fs::rename(&path, folder.path().join("audit-old.jsonl"))?;
        File::create(&path)?.write_all(line("me", "patch", 200).as_bytes())?;
        let counts = log.read()?;
        assert_eq!(counts.requests, BTreeMap::from([("patch fileuploads/status".to_owned(), 2)]));
        assert_eq!(counts.standing, BTreeMap::from([("watch fileuploads/status".to_owned(), 1)]));
        assert_eq!(counts.refused, BTreeMap::from([("409 patch fileuploads/status".to_owned(), 1)]));
        Ok(())
    }
}
