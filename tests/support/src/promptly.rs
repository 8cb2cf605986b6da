//! How soon one namespace is served, whatever another one does.

use std::time::{Duration, SystemTime};

use anyhow::ensure;
use serde_json::json;

use crate::DEADLINE;
use crate::objects::file;
use crate::space::Space;
use crate::view::state;

/// What the design promises: a namespace that had nothing waiting is served, and a key that dies is gone, within this.
const PROMISED: Duration = Duration::from_secs(2);
/// What a machine may add that does other things at the same time. This is the one place where tests allow for that.
const MACHINE: Duration = Duration::from_secs(3);

/// That something was done as soon as the design promises.
pub fn prompt(what: &str, due: SystemTime, done: SystemTime) -> anyhow::Result<()> {
    let took = done.duration_since(due).unwrap_or_default();
    ensure!(
        took <= PROMISED + MACHINE,
        "{what}: {took:?} late; {PROMISED:?} are promised, {MACHINE:?} are the machine's"
    );
    Ok(())
}

impl Space {
    /// A new `FileUpload` of this name is Available as soon as promised after its creation.
    pub async fn is_served(&self, name: &str) -> anyhow::Result<()> {
        self.config_map(name, &[("x.txt", name)]).await?;
        let uploads = self.history("FileUpload").await?;
        let created = SystemTime::now();
        let output = json!({"configMap": {"name": format!("{name}-keys")}});
        self.file_upload(name, json!({"files": [file("x", name, "x.txt")], "output": output})).await?;
        let what = format!("FileUpload {name} of a namespace that had nothing waiting to be Available");
        let is_it =
            |upload: &serde_json::Value| upload["metadata"]["name"] == name && state(upload, "Available") == "True";
        let done = uploads.until(DEADLINE, &what, is_it).await?;
        prompt(&what, created, done)
    }
}
