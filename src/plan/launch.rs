//! Which workers to launch: one Job at a time for each volume of a resource, with all files that are due on it.
//!
//! A retry is a new Job with only the files that still have no key. Its name comes from the resource's uid, the due
//! revisions and the number of the attempt, which never decreases: so creating it twice is harmless, and no name
//! comes back.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::observed::{ClaimView, Observed};
use super::revision::hex;
use super::volume::{Placement, Volume, access};
use super::workers::UnderWay;
use super::{Plan, fail, text};
use crate::reason::Reason;
use crate::report::{Assignment, PER_REPORT};
use crate::resource::{File, FileState, FileStatus, FileUpload, JobStatus};

/// The most workers of one Job that run at the same time: as many as a claim may have.
const PARALLEL: usize = 4;
/// Job names keep room for what the Job controller adds to name its Pods.
const NAME: usize = 40;

/// A Job to create.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Launch {
    /// Its name.
    pub name: String,
    /// What it reads.
    #[serde(skip)]
    pub volume: Volume,
    /// Which attempt it is.
    pub attempt: i64,
    /// Its files.
    #[serde(skip)]
    pub files: Vec<Assignment>,
    /// Into how many shares they are cut, each with a Pod of its own.
    pub shards: usize,
    /// How many of those run at the same time.
    pub parallelism: usize,
    /// Where it runs.
    #[serde(skip)]
    pub placement: Placement,
    /// The resourceVersion of the Secret.
    #[serde(skip)]
    pub credentials_version: String,
    /// Identifies the settings it is made with.
    #[serde(skip)]
    pub settings: String,
}

/// Files that are due, by volume.
pub(super) type Due<'a> = BTreeMap<Volume, Vec<&'a File>>;

/// Plans a Job for each volume that is free, as far as there are slots; what waits says for what.
pub(super) fn launch(
    upload: &FileUpload,
    observed: &Observed,
    version: &str,
    due: Due<'_>,
    under_way: &UnderWay,
    plan: &mut Plan,
) {
    for (volume, files) in due {
        let placement = match &volume {
            Volume::Claim(name) => access(name, observed.claims.get(name).unwrap_or(&ClaimView::default())),
            Volume::ConfigMap(_) => Ok(Placement { shared: true, ..Placement::default() }),
        };
        let placement = match placement {
            Ok(placement) => placement,
            Err((reason, message)) => {
                each(&files, plan, |entry| fail(entry, reason, message.clone()));
                continue;
            }
        };
        let shards = files.len().div_ceil(PER_REPORT);
        let wanted = if placement.shared { shards.min(PARALLEL) } else { 1 };
        let slots = observed.slots.as_ref().map_or(wanted, |slots| slots.get(&volume).copied().unwrap_or_default());
        if under_way.volumes.contains(&volume) || slots == 0 {
            let message = text::queued(&volume);
            each(&files, plan, |entry| fail(entry, Reason::Queued, message.clone()));
            continue;
        }
        each(&files, plan, |entry| (entry.state, entry.reason, entry.message) = (FileState::Uploading, None, None));
        let assignments: Vec<_> = files.iter().map(|file| assignment(file, &plan.files)).collect();
        plan.attempts += 1;
        plan.launch.push(Launch {
            name: name(upload, plan.attempts, &volume, &assignments),
            volume,
            attempt: plan.attempts,
            files: assignments,
            shards,
            parallelism: wanted.min(slots),
            placement,
            credentials_version: version.to_owned(),
            settings: observed.settings.clone(),
        });
    }
}

fn each(files: &[&File], plan: &mut Plan, act: impl Fn(&mut FileStatus)) {
    plan.files.iter_mut().filter(|entry| files.iter().any(|file| file.name == entry.name)).for_each(act);
}

fn assignment(file: &File, entries: &[FileStatus]) -> Assignment {
    let revision = entries.iter().find(|entry| entry.name == file.name).map(|entry| entry.revision.clone());
    Assignment {
        name: file.name.clone(),
        revision: revision.unwrap_or_default(),
        path: Volume::path(file).to_owned(),
        file_name: file.effective_name().to_owned(),
        content_type: file.content_type.clone(),
    }
}

fn name(upload: &FileUpload, attempt: i64, volume: &Volume, files: &[Assignment]) -> String {
    let uid = upload.metadata.uid.as_deref().unwrap_or_default();
    let mut hasher = Sha256::new();
    hasher.update(format!("{uid}/{attempt}/{}", volume.describe()));
    for file in files {
        hasher.update(format!("/{}={}", file.name, file.revision));
    }
    let own = upload.metadata.name.as_deref().unwrap_or_default().replace('.', "-");
    let own: String = own.chars().take(NAME).collect();
    format!("{}-{}", own.trim_end_matches('-'), hex(&hasher.finalize()[..5]))
}

/// How the status names a Job.
pub fn job_status(name: &str, volume: &Volume) -> JobStatus {
    let (claim_name, config_map_name) = match volume {
        Volume::Claim(claim) => (Some(claim.clone()), None),
        Volume::ConfigMap(config_map) => (None, Some(config_map.clone())),
    };
    JobStatus { name: name.to_owned(), claim_name, config_map_name }
}
