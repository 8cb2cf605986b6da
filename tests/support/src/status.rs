//! What the status of a `FileUpload` must come to say, waited for and judged as a whole.

use anyhow::Context as _;
use cyberun_stub::Step;
use serde_json::Value;

use crate::history::History;
use crate::space::Space;
use crate::view::{condition, files, key_of, message, reason, sha256, state};
use crate::world::World;
use crate::{DEADLINE, PATIENCE};

impl Space {
    /// Waits until a `FileUpload` gives this reason, whose class is `Reconciling` or `Stalled`; checks that everything
    /// else in the status agrees with that, and that the message has these words.
    pub async fn says(&self, upload: &str, (expected, class): (&str, &str), words: &[&str]) -> anyhow::Result<Value> {
        let holds = |object: &Value| {
            object["status"]["observedGeneration"] == object["metadata"]["generation"] && reason(object) == expected
        };
        let look = async || self.read("FileUpload", upload).await.map(|object| (holds(&object), object));
        let object = self.wait_for(PATIENCE, &format!("FileUpload {upload}: {expected}"), look).await?;
        agrees(&object, (expected, class), words);
        Ok(object)
    }

    /// The entry of a file, once it gives this reason.
    pub async fn told(&self, upload: &str, file: &str, reason: &str) -> anyhow::Result<Value> {
        let entry = |upload: &Value| files(upload).iter().find(|entry| entry["name"] == file).cloned();
        let says = |upload: &Value| entry(upload).is_some_and(|entry| entry["reason"] == reason);
        let upload = self.upload(upload, &format!("{file}: {reason}"), says).await?;
        entry(&upload).context("no such file")
    }

    /// Another `FileUpload` of this name goes the whole road: what the operator had to do before it is done, and what it
    /// has not done by then it did not want to do.
    pub async fn meanwhile(&self, name: &str) -> anyhow::Result<()> {
        self.config_map(name, &[("x.txt", name)]).await?;
        self.file_upload(name, serde_json::json!({"files": [crate::file("x", name, "x.txt")]})).await?;
        self.available(name).await.map(drop)
    }
}

impl World {
    /// Waits until every file has its key, and nothing is said of what is over; returns the keys, which differ and are
    /// in the store.
    ///
    /// # Panics
    /// If what is there then is otherwise.
    pub async fn heals(&self, upload: &str) -> anyhow::Result<Vec<String>> {
        let look = async || {
            let object = self.read("FileUpload", upload).await?;
            let observed = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            Ok((observed && state(&object, "Available") == "True", object))
        };
        let object = self.wait_for(PATIENCE, &format!("FileUpload {upload}: Available"), look).await?;
        assert!(files(&object).iter().all(|file| file["reason"].is_null()), "nothing is said of what is over");
        let keys = self.stored_keys(&object)?;
        let mut different = keys.clone();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), keys.len(), "each file has a key of its own");
        Ok(keys)
    }

    /// Waits for the keys, whose objects have these bytes, and for the end of all that was made for them; each file was
    /// sent once.
    ///
    /// # Panics
    /// If what is there then is otherwise.
    pub async fn stored(&self, upload: &str, contents: &[(&str, &[u8])]) -> anyhow::Result<Value> {
        self.available(upload).await?;
        self.jobs(0).await?;
        let upload = self.read("FileUpload", upload).await?;
        let objects = self.stub.objects();
        for (name, bytes) in contents {
            let key = key_of(&upload, name).with_context(|| format!("{name} has no key"))?;
            assert_eq!(
                objects.get(key).map(|object| object.sha256.clone()),
                Some(sha256(bytes)),
                "the bytes of {name}"
            );
        }
        let calls = (self.calls(Step::Presign).len(), self.calls(Step::Put).len());
        assert_eq!(calls, (contents.len(), contents.len()), "presigns and puts in all");
        Ok(upload)
    }

    /// Waits until the namespace's Jobs are gone with their pods, as they are once their report is in the status.
    pub async fn tidied(&self) -> anyhow::Result<()> {
        self.jobs(0).await?;
        let pods = async || {
            let mut pods = self.list("Pod").await?;
            pods.retain(|pod| pod["metadata"]["labels"]["batch.kubernetes.io/job-name"].is_string());
            Ok((pods.is_empty(), pods.len()))
        };
        self.wait_for(DEADLINE * 2, "no pod of a worker", pods).await?;
        Ok(())
    }
}

impl History {
    /// The first state of a `FileUpload` that gave this reason, even if it was over at once.
    pub fn said(&self, expected: &str, words: &[&str]) -> anyhow::Result<Value> {
        let states = self.states();
        let state = states.iter().find(|state| reason(state) == expected);
        let reasons =
            || states.iter().map(|state| format!("{}: {}", reason(state), message(state))).collect::<Vec<_>>();
        let state = state.with_context(|| format!("{expected} was never said, but {:#?}", reasons()))?;
        agrees(state, (expected, "Reconciling"), words);
        Ok(state.clone())
    }
}

fn agrees(object: &Value, (expected, class): (&str, &str), words: &[&str]) {
    let (absent, phase) = if class == "Stalled" { ("Reconciling", "Failed") } else { ("Stalled", "Pending") };
    assert_eq!((state(object, "Ready"), state(object, "Available")), ("False", "False"));
    assert_eq!((state(object, class), state(object, absent)), ("True", ""), "{:#}", object["status"]);
    assert_eq!(object["status"]["phase"], phase, "{:#}", object["status"]);
    assert_eq!(condition(object, class)["reason"], expected);
    for word in words {
        assert!(message(object).contains(word), "{word:?} is not in: {}", message(object));
    }
}
