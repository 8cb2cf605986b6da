//! The planner over several steps, as the operator takes them: each status is what the next plan starts from.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::facts::{Said, Terminated};
use super::*;
use crate::outcome::{Trouble, Upload};
use crate::reason::Reason;
use crate::report::Assignment;
use crate::resource::{ANNOTATION_REQUESTED_AT, FileState, FileUpload, FileUploadStatus, Phase};

mod any;
mod folders;
mod life;
mod outputs;
mod reports;
mod sends;
mod workers;

const START: &str = "2026-11-23T10:00:00Z";

/// A resource over time, with what the operator remembers of its work.
struct Story {
    upload: FileUpload,
    now: Timestamp,
    facts: Facts,
    written: Written,
    deployment: &'static str,
    refused: Option<Trouble>,
}

fn hours(hours: f64) -> SignedDuration {
    SignedDuration::from_secs_f64(hours * 3600.0)
}

fn of_config_map(name: &str) -> Value {
    json!({"name": name, "source": {"configMapKeyRef": {"name": "m", "key": name}}})
}

fn on_claim(name: &str) -> Value {
    json!({"name": name, "source": {"persistentVolumeClaim": {"claimName": "c", "path": name}}})
}

fn stored(key: &str, at: Timestamp) -> SendResult {
    let (file_key, content_type, sha256) = (key.to_owned(), "a/b".to_owned(), "sum".to_owned());
    let upload = Upload { file_key, content_type, size: 1, sha256, at };
    SendResult::Stored { upload, source_version: "1".to_owned() }
}

fn failed(reason: Reason) -> SendResult {
    let content = Some(Content { size: 1, sha256: "sum".to_owned() });
    SendResult::Failed { trouble: Trouble::new(reason, "so it was"), source_version: Some("1".into()), content }
}

impl Story {
    fn of(fields: Value, files: &[Value]) -> Self {
        let mut spec = fields;
        spec["files"] = files.into();
        let upload = serde_json::from_value(json!({
            "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload",
            "metadata": {"name": "a.rather.long.name.that.no.pod.could.have.as.it.stands.here", "uid": "u", "generation": 1},
            "spec": spec,
        }));
        let claim =
            ClaimFacts { phase: "Bound".into(), access_modes: vec!["ReadWriteMany".into()], ..ClaimFacts::default() };
        let there = ConfigMapFacts::There { version: "1".into(), contents: None };
        let facts = Facts {
            claims: [("c".to_owned(), claim)].into(),
            config_maps: [("m".to_owned(), there)].into(),
            ..Facts::default()
        };
        Self {
            upload: upload.unwrap(),
            now: START.parse().unwrap(),
            facts,
            written: Written::default(),
            deployment: "",
            refused: None,
        }
    }

    fn later(&mut self, span: SignedDuration) -> &mut Self {
        self.now += span;
        self
    }

    /// Plans, remembers what is begun, forgets what the status has, and writes the status.
    fn step(&mut self) -> Step {
        let (upload, facts, refused) = (self.upload.clone(), self.facts.clone(), self.refused.clone());
        let deployment = Deployment { name: self.deployment, refused: refused.as_ref(), ..Deployment::default() };
        let case = Case::new(&upload, self.now, deployment, Senders::Operator);
        let plan = plan(&case, &facts);
        let settled = settle(&plan, Done::default());
        let output = settled.output.clone();
        let ending = settled.finish(&self.written);
        for attempt in &plan.acts.forget {
            self.facts.work.retain(|work| !matches!(work, WorkFacts::Send(send) if send.attempt == *attempt));
        }
        if let Some(send) = &plan.acts.send {
            self.facts.work.push(WorkFacts::Send(SendFacts {
                attempt: send.attempt,
                stage: SendStage::Waiting(self.now),
                files: send.files.iter().map(|item| item.id.clone()).collect(),
                results: BTreeMap::new(),
                trouble: None,
                credentials_version: None,
            }));
        }
        let sent = plan.acts.send.iter().flat_map(|send| &send.files).map(|item| item.id.name.clone()).collect();
        let unless = plan.acts.send.iter().flat_map(|send| &send.files).map(|item| item.unless.clone()).collect();
        let keys = |status: Option<&FileUploadStatus>| -> Vec<String> {
            status.into_iter().flat_map(|status| &status.files).filter_map(|file| file.file_key.clone()).collect()
        };
        let after = keys(ending.status.as_ref().or(case.status));
        let step = Step {
            withdraws: keys(case.status).iter().any(|key| !after.contains(key)),
            written: ending.status.clone(),
            look: ending.look,
            launched: plan.acts.launch.clone(),
            removed: plan.acts.remove.len(),
            sent,
            unless,
            output,
        };
        if let Some(status) = ending.status {
            self.upload.status = Some(status);
        }
        step
    }

    fn send(&mut self) -> &mut SendFacts {
        let sends = self.facts.work.iter_mut().filter_map(|work| match work {
            WorkFacts::Send(send) => Some(send),
            _ => None,
        });
        sends.last().unwrap()
    }

    /// The latest Send ends with these results, in the order of its files.
    fn ends(&mut self, results: Vec<SendResult>) -> &mut Self {
        let send = self.send();
        send.stage = SendStage::Ended;
        send.results = results.into_iter().enumerate().collect();
        self
    }

    fn uploads(&mut self, keys: &[&str]) -> &mut Self {
        let now = self.now;
        self.ends(keys.iter().map(|key| stored(key, now)).collect());
        self.step();
        self
    }

    /// Somebody asks for a fresh upload.
    fn request(&mut self, value: &str) {
        let annotation = [(ANNOTATION_REQUESTED_AT.to_owned(), value.to_owned())].into();
        self.upload.metadata.annotations = Some(annotation);
    }

    fn status(&self) -> &FileUploadStatus {
        self.upload.status.as_ref().unwrap()
    }

    fn keys(&self) -> Vec<Option<&str>> {
        self.status().files.iter().map(|file| file.file_key.as_deref()).collect()
    }

    fn reasons(&self) -> Vec<Option<&str>> {
        self.status().files.iter().map(|file| file.reason.as_deref()).collect()
    }

    fn states(&self) -> Vec<FileState> {
        self.status().files.iter().map(|file| file.state).collect()
    }

    fn change_config_map(&mut self, version: &str) {
        let there = ConfigMapFacts::There { version: version.into(), contents: None };
        self.facts.config_maps.insert("m".to_owned(), there);
    }
}

struct Step {
    written: Option<FileUploadStatus>,
    look: Duration,
    sent: Vec<String>,
    unless: Vec<Option<String>>,
    launched: Vec<Launch>,
    removed: usize,
    withdraws: bool,
    output: OutputAct,
}

/// What a worker says of a file with the key `k`.
fn uploaded() -> Upload {
    Upload {
        file_key: "k".into(),
        content_type: "a/b".into(),
        size: 1,
        sha256: "0".repeat(64),
        at: START.parse().unwrap(),
    }
}
