//! A FileUpload `render` of the folder `out/frames` of a claim `data`, and the keys that it gives in `keys-frames`.

use anyhow::ensure;
use serde_json::{Value, json};

use crate::DEADLINE;
use crate::view::state;
use crate::volumes::write;
use crate::world::World;

impl World {
    /// The credential, and the claim with these files in the folder.
    pub async fn frames(&mut self, files: impl IntoIterator<Item = (String, Vec<u8>)>) -> anyhow::Result<()> {
        self.credential().await?;
        let folder = self.volume("data", &["ReadWriteMany"], &[]).await?;
        for (name, content) in files {
            write(&folder, &format!("out/frames/{name}"), &content)?;
        }
        Ok(())
    }

    /// Creates the FileUpload, whose folder has further fields.
    pub async fn render(&self, fields: &Value) -> anyhow::Result<()> {
        self.file_upload("render", rendered(fields)).await
    }

    /// Waits until it is Available; returns its status.
    pub async fn has_rendered(&self) -> anyhow::Result<Value> {
        let look = async || {
            let upload = self.read("FileUpload", "render").await?;
            Ok((state(&upload, "Available") == "True", upload["status"].clone()))
        };
        self.wait_for(DEADLINE * 20, "FileUpload render: Available", look).await
    }

    /// Waits until the request with this text is handled: its workers take their time.
    pub async fn has_handled(&self, request: &str) -> anyhow::Result<()> {
        let look = async || {
            let status = self.read("FileUpload", "render").await?["status"].take();
            Ok((status["lastHandledRequestedAt"] == request, status))
        };
        self.wait_for(DEADLINE * 20, "FileUpload render: the request to be handled", look).await.map(drop)
    }

    /// The complete keys by path, each checked against the store; none if there is no such entry.
    pub async fn keys_of_frames(&self) -> anyhow::Result<Option<serde_json::Map<String, Value>>> {
        let Some(text) = self.entry("keys-frames", "frames.json").await? else { return Ok(None) };
        let keys: serde_json::Map<_, _> = serde_json::from_str(&text)?;
        let objects = self.stub.objects();
        for (path, entry) in &keys {
            let object = &objects[entry["fileKey"].as_str().unwrap_or_default()];
            let is_right =
                Some(object.file_name.as_str()) == path.rsplit('/').next() && entry["sha256"] == object.sha256;
            let has_times = entry["modifiedAt"].is_string() && entry["expiresAt"].is_string();
            ensure!(is_right && has_times, "{path}: {entry}, stored as {}: {}", object.file_name, object.sha256);
        }
        Ok(Some(keys))
    }
}

/// The spec of the FileUpload, whose folder has further fields.
pub fn rendered(fields: &Value) -> Value {
    let source = json!({"persistentVolumeClaim": {"claimName": "data", "path": "out/frames"}});
    let mut folder = json!({"name": "frames", "source": source});
    for (name, value) in fields.as_object().into_iter().flatten() {
        folder[name] = value.clone();
    }
    json!({"folders": [folder], "output": {"configMap": {"name": "keys"}}})
}
