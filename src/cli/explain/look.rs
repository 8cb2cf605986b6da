//! Reads a `FileUpload` and what belongs to it: its Jobs and Pods, the claims that it names, and their events.
//!
//! It uses the user's own rights. What they do not allow is noted, and the rest is answered. Secrets and ConfigMaps are
//! never read.

use futures::stream::{self, StreamExt};
use kube::api::{Api, ListParams};
use kube::core::NamespaceResourceScope;
use kube::{Error, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::super::cluster::Cluster;
use crate::plan::objects::{Event, Job, PersistentVolumeClaim, Pod};
use crate::resource::{FileUpload, LABEL_UID};

/// Requests that are made at the same time.
const CONCURRENT: usize = 8;

/// What was read.
pub(super) struct Seen {
    pub(super) upload: FileUpload,
    pub(super) jobs: Vec<Job>,
    /// All Pods of the namespace if the spec names claims, since any Pod may use one; else only its own.
    pub(super) pods: Vec<Pod>,
    pub(super) claims: Vec<PersistentVolumeClaim>,
    pub(super) events: Vec<Event>,
    pub(super) unread: Vec<Unread>,
}

/// A kind that could not be read.
pub(in super::super) struct Unread {
    pub(in super::super) kind: &'static str,
    pub(in super::super) why: String,
}

impl Seen {
    pub(super) fn is_read(&self, kinds: &[&str]) -> bool {
        !self.unread.iter().any(|unread| kinds.contains(&unread.kind))
    }

    /// The Pods of its workers.
    pub(super) fn own_pods(&self) -> impl Iterator<Item = &Pod> {
        let uid = self.upload.metadata.uid.as_ref();
        self.pods.iter().filter(move |pod| pod.labels().get(LABEL_UID) == uid)
    }
}

/// Reads all that the user may read.
pub(super) async fn look(cluster: &Cluster, name: &str) -> anyhow::Result<Seen> {
    let upload = cluster.ask(name, cluster.uploads().get(name)).await?;
    let mut seen = Seen { upload, jobs: vec![], pods: vec![], claims: vec![], events: vec![], unread: vec![] };
    let own = ListParams::default().labels(&format!("{LABEL_UID}={}", seen.upload.uid().unwrap_or_default()));
    let spec = &seen.upload.spec;
    let on_claim = spec.files.iter().any(|file| file.source.persistent_volume_claim.is_some());
    let names_claims = on_claim || !spec.folders.is_empty();
    let everything = async {
        let of_pods = if names_claims { ListParams::default() } else { own.clone() };
        let (jobs, pods) = tokio::join!(list(cluster, &own), list(cluster, &of_pods));
        let (jobs, pods) = (take(jobs, "Jobs", &mut seen.unread), take(pods, "Pods", &mut seen.unread));
        (seen.jobs, seen.pods) = (jobs, pods);
        if names_claims {
            let claims = list(cluster, &ListParams::default()).await;
            seen.claims = take(claims, "PersistentVolumeClaims", &mut seen.unread);
        }
        let events = events(cluster, &seen).await;
        seen.events = take(events, "Events", &mut seen.unread);
        Ok(())
    };
    cluster.ask(name, everything).await?;
    Ok(seen)
}

async fn list<K>(cluster: &Cluster, which: &ListParams) -> kube::Result<Vec<K>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    Ok(Api::<K>::namespaced(cluster.client.clone(), &cluster.namespace).list(which).await?.items)
}

/// The events of the Jobs and their Pods.
async fn events(cluster: &Cluster, seen: &Seen) -> kube::Result<Vec<Event>> {
    let jobs = seen.jobs.iter().map(|job| ("Job", job.name_any()));
    let about = jobs.chain(seen.own_pods().map(|pod| ("Pod", pod.name_any())));
    let which = about.map(|(kind, name)| format!("regarding.kind={kind},regarding.name={name}"));
    let which: Vec<_> = which.map(|fields| ListParams::default().fields(&fields)).collect();
    let answers = stream::iter(which.iter().map(|which| list::<Event>(cluster, which)));
    let answers: Vec<_> = answers.buffered(CONCURRENT).collect().await;
    let events: kube::Result<Vec<_>> = answers.into_iter().collect();
    Ok(events?.into_iter().flatten().collect())
}

fn take<K>(answer: kube::Result<Vec<K>>, kind: &'static str, unread: &mut Vec<Unread>) -> Vec<K> {
    answer.unwrap_or_else(|error| {
        let why = match error {
            Error::Api(said) if said.is_forbidden() => "you have no right to list them".to_owned(),
            Error::Api(said) => said.message,
            error => anyhow::Error::from(error).root_cause().to_string(),
        };
        unread.push(Unread { kind, why });
        Vec::new()
    })
}
