//! Whom a change elsewhere concerns: the `FileUpload`s that are looked at again when another object changes.
//!
//! Nothing is judged here: a look too many costs little, as what is remembered or cached answers it.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};

use super::places::Places;
use super::views::claims_of;
use super::workers::works_for;
use crate::plan;
use crate::resource::FileUpload;

/// The `FileUpload`s that read from a ConfigMap, or write to it.
pub(super) fn on_config_map(
    uploads: &Store<FileUpload>,
    config_map: &PartialObjectMeta<ConfigMap>,
) -> Vec<ObjectRef<FileUpload>> {
    let name = config_map.name_any();
    let refers = |upload: &FileUpload| {
        let reads = upload.spec.files.iter().filter_map(|file| file.source.config_map_key_ref.as_ref());
        upload.spec.output_name() == Some(&name) || reads.into_iter().any(|reference| reference.name == name)
    };
    let same = |upload: &Arc<FileUpload>| upload.namespace() == config_map.namespace() && refers(upload);
    uploads.state().into_iter().filter(same).map(|upload| ObjectRef::from_obj(&*upload)).collect()
}

/// The `FileUpload` that a Job was made for, and once that is over those who wait for its place.
pub(super) fn on_job(places: &Places, job: &Job) -> Vec<ObjectRef<FileUpload>> {
    let status = job.status.as_ref();
    let runs =
        job.metadata.deletion_timestamp.is_none() && status.is_none_or(|status| status.active.unwrap_or_default() > 0);
    let mut woken: Vec<_> = works_for(job).into_iter().collect();
    if !runs {
        woken.extend(places.next_in_line());
    }
    woken
}

/// The `FileUpload` that a Pod works for; of others' Pods those that read the same claims.
pub(super) fn on_pod(uploads: &Store<FileUpload>, pod: &Pod) -> Vec<ObjectRef<FileUpload>> {
    let mut woken: Vec<_> = works_for(pod).into_iter().collect();
    for claim in claims_of(pod) {
        woken.extend(on_claim(uploads, pod.metadata.namespace.as_deref(), claim));
    }
    woken
}

/// The `FileUpload`s that have yet to read a file of a claim.
pub(super) fn on_claim(
    uploads: &Store<FileUpload>,
    namespace: Option<&str>,
    claim: &str,
) -> Vec<ObjectRef<FileUpload>> {
    let on_it = |upload: &FileUpload| {
        let is_open = upload.status.as_ref().is_none_or(plan::is_open);
        let mut claims = upload.spec.files.iter().filter_map(|file| file.source.persistent_volume_claim.as_ref());
        is_open && claims.any(|file| file.claim_name == claim)
    };
    let same = |upload: &Arc<FileUpload>| upload.metadata.namespace.as_deref() == namespace && on_it(upload);
    uploads.state().into_iter().filter(same).map(|upload| ObjectRef::from_obj(&*upload)).collect()
}
