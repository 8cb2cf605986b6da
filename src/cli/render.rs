//! `fileupload render -f …`: what the operator would do with manifests on disk, by the production planner.
//!
//! It reads `FileUpload`s and the other objects in the manifests, and changes nothing. It also prints the manifest of
//! each running Job, as the operator would create it with these settings.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Parser;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use self::manifests::Manifests;
use super::operating::Operating;
use super::print;
use crate::clock;
use crate::controller::Settings;
use crate::cyberun;
use crate::plan::{
    self, Absorb, Case, Done, JobFacts, KeysAct, KeysWhat, OutputAct, OutputFacts, Plan, Stand, WorkFacts, Written,
};
use crate::resource::{FileUpload, FileUploadStatus};

mod manifests;

/// Print what the operator would do with the FileUploads in manifests, including Jobs; changes nothing.
///
/// It reads Secrets, ConfigMaps, PersistentVolumeClaims, Jobs, Pods and Events from the same manifests.
#[derive(Parser)]
pub(super) struct Render {
    /// A manifest, a folder of manifests, or - for stdin (repeatable)
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    filename: Vec<PathBuf>,
    /// The time to plan for, such as 2026-11-24T10:00:00Z; default: now
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// The URL of the Cyberun API that the operator calls, with its /api/v1; default: the hosted platform's
    #[arg(long, env = "CYBERUN_API_URL")]
    api_url: Option<String>,
    #[command(flatten)]
    api: super::Api,
    #[command(flatten)]
    operating: Operating,
}

impl Render {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let hosted = Some(cyberun::HOSTED).filter(|_| !self.operating.names_deployments());
        let settings = self.api.settings(&self.operating, self.api_url.as_deref().or(hosted))?;
        let mut manifests = Manifests::default();
        for path in &self.filename {
            manifests.read(path)?;
        }
        if manifests.uploads.is_empty() {
            bail!(
                "no FileUpload in {}",
                self.filename.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
            );
        }
        let now = self.at.unwrap_or_else(clock::now);
        for upload in &manifests.uploads {
            render(&manifests, upload, &settings, now)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints the plan of one resource, then its Jobs, if it may use its deployment: those to create, and those that run.
fn render(manifests: &Manifests, upload: &FileUpload, settings: &Settings, now: Timestamp) -> anyhow::Result<()> {
    let found = settings.deployments.find(upload);
    let case = Case::new(upload, now, found.deployment(), settings.senders());
    let facts = manifests.observe(upload, settings, &found);
    let plan = plan::plan(&case, &facts);
    let settled = plan::settle(&plan, Done::default());
    let written = written(&settled.output, &facts.output);
    let keys = settled.keys.clone();
    let output = describe_output(&settled.output);
    let status = settled.status(&written);
    let ending = settled.finish(&written);
    document(&describe(&plan, (&output, &keys), &status, ending.look))?;
    let version = facts.secret.version().unwrap_or_default();
    let Ok(worker) = found.worker() else { return Ok(()) };
    for launch in &plan.acts.launch {
        document(&plan::job(upload, launch, version, worker)?)?;
    }
    for job in facts.work.iter().filter_map(under_way) {
        let launch = plan::manifest::launch_of(job, facts.claims.get(job.volume.name()), case.now);
        document(&plan::job(upload, &launch, &job.credentials_version, worker)?)?;
    }
    Ok(())
}

fn under_way(work: &WorkFacts) -> Option<&JobFacts> {
    match work {
        WorkFacts::Job(job) if !job.is_over() => Some(job),
        _ => None,
    }
}

/// What would happen to the output.
fn written(act: &OutputAct, facts: &OutputFacts) -> Written {
    let exists = matches!(facts, OutputFacts::Ours { .. }) || matches!(act, OutputAct::Create(_));
    let trouble = match act {
        OutputAct::Discard(trouble) | OutputAct::Held(trouble) => Some(trouble.clone()),
        _ => None,
    };
    Written { trouble, exists }
}

fn document(value: &impl Serialize) -> anyhow::Result<()> {
    print(&format!("---\n{}", serde_yaml::to_string(value)?))
}

fn describe_output(act: &OutputAct) -> Value {
    match act {
        OutputAct::None => json!("none"),
        OutputAct::Create(_) => json!("create"),
        OutputAct::Replace(data) => json!({ "replace": data.keys().collect::<Vec<_>>() }),
        OutputAct::Discard(_) => json!("discard"),
        OutputAct::Held(trouble) => json!({ "held": trouble.reason.as_str() }),
    }
}

fn describe(
    plan: &Plan<'_>,
    (output, folder_keys): (&Value, &[KeysAct]),
    status: &FileUploadStatus,
    look: Duration,
) -> Value {
    let condition = |condition: &crate::resource::Condition| {
        (
            condition.type_.clone(),
            json!({ "status": condition.status, "reason": condition.reason, "message": condition.message }),
        )
    };
    let conditions: serde_json::Map<_, _> = status.conditions.iter().map(condition).collect();
    let sent: Vec<_> = plan.acts.send.iter().flat_map(|send| &send.files).map(|item| &item.id.name).collect();
    let mut described = json!({
        "fileUpload": plan.case.upload.metadata.name,
        "secret": plan.case.upload.spec.secret_name(),
        "send": sent,
        "output": output,
        "files": status.files,
        "lookIn": format!("{} s", look.as_secs()),
        "status": { "phase": status.phase, "summary": status.summary, "conditions": conditions },
    });
    let shown = [
        ("attempts", (status.attempts > 0).then(|| json!(status.attempts))),
        ("availableUntil", status.available_until.as_ref().map(|at| json!(at))),
        ("nextAttemptAt", status.next_attempt_at.as_ref().map(|at| json!(at))),
        ("requestedAttempt", status.requested_attempt.map(|attempt| json!(attempt))),
        ("lastHandledRequestedAt", status.last_handled_requested_at.as_ref().map(|at| json!(at))),
        ("jobs", (!status.jobs.is_empty()).then(|| json!(status.jobs))),
    ];
    for (name, value) in shown {
        if let Some(value) = value {
            described["status"][name] = value;
        }
    }
    if !status.folders.is_empty() {
        described["folders"] = json!(status.folders);
    }
    let keys = |act: &KeysAct| {
        let what = match &act.what {
            KeysWhat::Write(_) => json!("write"),
            KeysWhat::Withdraw => json!("withdraw"),
            KeysWhat::Discard(..) => json!("discard"),
            KeysWhat::Held(trouble) => json!({ "held": trouble.reason.as_str() }),
        };
        json!({ "folder": act.folder, "keys": what })
    };
    let absorb = |absorb: &Absorb| {
        let entries: usize = absorb.reports.iter().map(|report| report.entries.len()).sum();
        json!({ "folder": absorb.folder, "attempt": absorb.attempt, "entries": entries })
    };
    if plan.stand == Stand::Finished {
        described["delete"] = json!("it has finished, and spec.ttlSecondsAfterFinished is over");
    }
    let launched = plan.acts.launch.iter().map(|launch| {
        json!({ "name": launch.name, "attempt": launch.attempt, "shards": launch.shards, "parallelism": launch.parallelism })
    });
    let removed = plan.acts.remove.iter().map(|gone| json!({ "name": gone.name, "because": gone.because }));
    let absorbed = plan.acts.absorb.iter().map(absorb);
    let acts: [(&str, Vec<Value>); 4] = [
        ("launch", launched.collect()),
        ("remove", removed.collect()),
        ("absorb", absorbed.collect()),
        ("folderKeys", folder_keys.iter().map(keys).collect()),
    ];
    for (name, acts) in acts.into_iter().filter(|(_, acts)| !acts.is_empty()) {
        described[name] = Value::Array(acts);
    }
    described
}
