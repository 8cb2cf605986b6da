//! What the pods of a test wrote, those included that are gone.
//!
//! The kubelet removes a pod's logs with the pod. They are read from the node's folder, and a file that was once opened
//! stays readable, whatever becomes of its name.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

/// More often than a kubelet could start a container and remove it with its log.
const AGAIN: Duration = Duration::from_millis(50);

/// The logs of pods whose folder, `NAMESPACE_POD_UID`, begins in one of these ways.
pub(crate) struct PodLogs {
    folder: PathBuf,
    prefixes: Vec<String>,
    seen: Mutex<Vec<Log>>,
}

/// A start of a container.
struct Log {
    /// `NAMESPACE_POD_UID/CONTAINER/START.log`
    name: PathBuf,
    file: File,
}

impl PodLogs {
    /// Opens every log that appears, as long as somebody has the answer.
    pub(crate) fn follow(folder: &Path, prefixes: Vec<String>) -> Arc<Self> {
        let logs = Arc::new(Self { folder: folder.to_owned(), prefixes, seen: Mutex::default() });
        let weak = Arc::downgrade(&logs);
        tokio::spawn(async move {
            while let Some(logs) = weak.upgrade() {
                logs.look();
                drop(logs);
                sleep(AGAIN).await;
            }
        });
        logs
    }

    /// All lines, as they were written, of pods whose folder begins like this.
    pub(crate) fn text(&self, prefix: &str) -> String {
        self.look();
        let mut text = String::new();
        for log in self.seen.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if log.name.to_string_lossy().starts_with(prefix) {
                text.push_str(&log.text());
            }
        }
        text
    }

    /// As [`PodLogs::text`] of all pods but those, with each start's name above it.
    pub(crate) fn listing(&self, but: &str) -> String {
        self.look();
        let mut text = String::new();
        for log in self.seen.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if !log.name.to_string_lossy().starts_with(but) {
                let _ = writeln!(text, "--- log {}\n{}", log.name.display(), log.text());
            }
        }
        text
    }

    fn look(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for node in entries(&self.folder) {
            for pod in entries(&node.join("logs")) {
                let name = pod.file_name().unwrap_or_default().to_string_lossy();
                if !self.prefixes.iter().any(|prefix| name.starts_with(prefix)) {
                    continue;
                }
                for file in entries(&pod).iter().flat_map(|container| entries(container)) {
                    let name = file.strip_prefix(node.join("logs")).unwrap_or(&file);
                    if seen.iter().all(|log| log.name != name)
                        && let Ok(opened) = File::open(&file)
                    {
                        seen.push(Log { name: name.to_owned(), file: opened });
                    }
                }
            }
        }
    }
}

impl Log {
    /// Without what the container runtime puts before each line: time, stream, and F for a line's last part.
    fn text(&self) -> String {
        let (mut file, mut written) = (&self.file, String::new());
        let read = file.rewind().and_then(|()| file.read_to_string(&mut written));
        if let Err(error) = read {
            return format!("(cannot be read: {error})\n");
        }
        let mut text = String::new();
        for line in written.lines() {
            let mut parts = line.splitn(4, ' ').skip(2);
            let end = if parts.next() == Some("F") { "\n" } else { "" };
            text.push_str(parts.next().unwrap_or_default());
            text.push_str(end);
        }
        text
    }
}

/// What is in a folder, in the order of its names; nothing if it is gone.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    entries
}
