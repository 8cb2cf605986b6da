//! `fileupload render -f …`: what the operator would do about manifests on disk, by the production planner.
//!
//! It reads `FileUpload`s and the objects beside them, and touches nothing. A manifest without a status is one that
//! was just applied, so the first step (writing down what is wanted) is taken for it. Of a Job that is under way the
//! manifest is printed too: the plan that made it is made again.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Parser;
use jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;
use serde_json::{Value, json};

use self::manifests::Manifests;
use super::operating::Operating;
use super::print;
use crate::clock;
use crate::controller::Settings;
use crate::cyberun;
use crate::plan::{self, ClaimView, Launch, Outcome, OutputAct, Plan};
use crate::resource::{FileState, FileUpload, FileUploadStatus};

mod manifests;

/// Print what would be done about FileUploads in manifests, Jobs included; touches nothing.
///
/// Secrets, ConfigMaps, PersistentVolumeClaims, Jobs, Pods and Events are taken from the same manifests.
#[derive(Parser)]
pub(super) struct Render {
    /// A manifest, a folder of them, or - for standard input (repeatable)
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    filename: Vec<PathBuf>,
    /// Print what would be done at this time, as 2026-11-24T10:00:00Z, rather than now
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// The Cyberun API that the operator calls, with its /api/v1
    #[arg(long, env = "CYBERUN_API_URL", default_value = cyberun::HOSTED)]
    api_url: String,
    #[command(flatten)]
    api: super::Api,
    #[command(flatten)]
    operating: Operating,
}

impl Render {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let settings = self.operating.settings(&self.api_url, self.api.allow_http)?;
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

/// Prints the plan of one resource, then its Jobs.
fn render(manifests: &Manifests, upload: &FileUpload, settings: &Settings, now: Timestamp) -> anyhow::Result<()> {
    let mut upload = upload.clone();
    if upload.status.as_ref().map(|status| status.observed_generation) != upload.metadata.generation {
        let plan = plan::next(&upload, &manifests.observe(&upload, settings, now), now);
        upload.status = Some(plan::status(&upload, &plan, &Outcome::default(), now));
    }
    let observed = manifests.observe(&upload, settings, now);
    let plan = plan::next(&upload, &observed, now);
    let act = plan::output(&upload, &plan.files, &observed.output);
    let output = (act == OutputAct::Conflict).then(|| plan::conflict(&upload));
    let launched = plan.launch.iter().map(|launch| (launch.name.clone(), None)).collect();
    let status = plan::status(&upload, &plan, &Outcome { launched, output, ..Outcome::default() }, now);
    document(&describe(&upload, &plan, &act, &status))?;
    for launch in plan.launch.iter().chain(&under_way(manifests, &upload, settings, now)) {
        document(&plan::job(&upload, launch, &settings.worker)?)?;
    }
    Ok(())
}

fn document(value: &impl Serialize) -> anyhow::Result<()> {
    print(&format!("---\n{}", serde_yaml::to_string(value)?))
}

/// The launches of the Jobs that the status names, from the state before them.
fn under_way(manifests: &Manifests, upload: &FileUpload, settings: &Settings, now: Timestamp) -> Vec<Launch> {
    let mut before = upload.clone();
    let Some(status) = &mut before.status else { return Vec::new() };
    let jobs = std::mem::take(&mut status.jobs);
    status.attempts -= i64::try_from(jobs.len()).unwrap_or_default();
    status.next_attempt_at = None;
    for entry in status.files.iter_mut().filter(|entry| entry.file_key.is_none() && entry.state != FileState::Failed) {
        (entry.state, entry.reason, entry.message) = (FileState::Pending, None, None);
    }
    let names_one = |name: &Option<String>| jobs.iter().any(|job| Some(&job.name) == name.as_ref());
    let mut observed = manifests.observe(&before, settings, now);
    observed.jobs.clear();
    let others = |claim: &mut ClaimView| claim.users.retain(|user| !names_one(&user.worker_of));
    observed.claims.values_mut().for_each(others);
    let mut launches = plan::next(&before, &observed, now).launch;
    launches.retain(|launch| names_one(&Some(launch.name.clone())));
    launches
}

fn describe(upload: &FileUpload, plan: &Plan, act: &OutputAct, status: &FileUploadStatus) -> Value {
    let output = match act {
        OutputAct::None => json!("none"),
        OutputAct::Create(_) => json!("create"),
        OutputAct::Adopt(_) => json!("adopt"),
        OutputAct::Replace(data) => json!({ "replace": data.keys().collect::<Vec<_>>() }),
        OutputAct::Conflict => json!("conflict"),
    };
    let condition = |condition: &crate::resource::Condition| {
        (
            condition.type_.clone(),
            json!({ "status": condition.status, "reason": condition.reason, "message": condition.message }),
        )
    };
    let conditions: serde_json::Map<_, _> = status.conditions.iter().map(condition).collect();
    let mut described = json!({
        "fileUpload": upload.name_any(),
        "secret": upload.spec.secret_name(),
        "send": plan.send,
        "output": output,
        "files": plan.files,
        "status": { "phase": status.phase, "summary": status.summary, "conditions": conditions },
    });
    if plan.discards {
        described["delete"] = json!("it has finished, and spec.ttlSecondsAfterFinished is over");
    }
    if !plan.launch.is_empty() {
        described["launch"] = json!(plan.launch);
    }
    if !plan.remove.is_empty() {
        described["remove"] = json!(plan.remove);
    }
    if !status.jobs.is_empty() {
        described["status"]["jobs"] = json!(status.jobs);
    }
    described
}
