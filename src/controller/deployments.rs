//! Which Cyberun a resource uses: its API, the certificates that are trusted there, and how long it keeps an upload.
//!
//! An operator with one deployment has no name for it. Of several a resource names one in `spec.deployment`, or has the
//! default one. One that it may not use is a refusal, under which the keys that it has live on until their time.

use std::time::Duration;

use globset::GlobSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::key_life::Terms;
use crate::outcome::Trouble;
use crate::plan::{Deployment, WorkerSettings};
use crate::reason::Reason;
use crate::resource::{FileUpload, FileUploadStatus};

/// The deployments of Cyberun that this operator knows.
#[derive(Clone, Debug)]
pub(crate) struct Deployments {
    all: Vec<Target>,
    default: Option<usize>,
}

/// One of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Target {
    /// Its name; empty if there is no other.
    pub name: String,
    /// How its workers are made: they call its API.
    pub worker: WorkerSettings,
    /// How long it keeps an upload.
    pub terms: Terms,
    /// The namespaces that may use it; none if all may.
    pub namespaces: Option<GlobSet>,
}

/// What a resource has of them.
pub(crate) struct Found<'a> {
    target: Result<(usize, &'a Target), Trouble>,
    name: &'a str,
    terms: Terms,
}

impl Default for Deployments {
    fn default() -> Self {
        Self { all: vec![Target::default()], default: Some(0) }
    }
}

impl Deployments {
    /// These, of which one may be the default.
    pub(crate) fn new(all: Vec<Target>, default: Option<usize>) -> Self {
        Self { all, default }
    }

    /// All of them.
    pub(crate) fn targets(&self) -> &[Target] {
        &self.all
    }

    /// The one that a resource uses, or why it may use none.
    pub(crate) fn find<'a>(&'a self, upload: &'a FileUpload) -> Found<'a> {
        let target = self.place(upload).map(|at| (at, &self.all[at]));
        let name = target.map_or_else(|| shown_name(upload), |(_, target)| &target.name);
        Found { target: target.ok_or_else(|| self.refusal(upload)), name, terms: self.terms_of(upload) }
    }

    /// How long the keys of a resource live.
    pub(super) fn terms_of(&self, upload: &FileUpload) -> Terms {
        if let Some(at) = self.place(upload) {
            return self.all[at].terms;
        }
        let known = self.all.iter().find(|target| target.name == shown_name(upload)).map(|target| target.terms);
        known.or_else(|| shown_terms(upload.status.as_ref()?)).unwrap_or_else(|| self.shortest())
    }

    /// The terms that no key outlives, whichever of the deployments it is of.
    fn shortest(&self) -> Terms {
        let all = || self.all.iter().map(|target| target.terms).chain([Terms::default()]);
        let first = all().min_by_key(|terms| terms.retention.saturating_sub(terms.minimum_life));
        first.unwrap_or_default()
    }

    /// The place of the one that a resource uses, if it may use it.
    fn place(&self, upload: &FileUpload) -> Option<usize> {
        let at = self.named(upload)?;
        self.all[at].serves(namespace(upload)).then_some(at)
    }

    fn named(&self, upload: &FileUpload) -> Option<usize> {
        match upload.spec.deployment.as_deref() {
            Some(name) => self.all.iter().position(|target| target.name == name),
            None => self.default,
        }
    }

    fn refusal(&self, upload: &FileUpload) -> Trouble {
        let (namespace, named) = (namespace(upload), upload.spec.deployment.as_deref());
        let problem = match (self.named(upload), named) {
            (Some(at), _) => format!("the deployment {} does not serve namespace {namespace}", self.all[at].name),
            (None, Some(name)) => format!("the operator knows no deployment {name}"),
            (None, None) => "the operator has no default deployment".to_owned(),
        };
        let offered: Vec<_> =
            self.all.iter().filter(|target| target.serves(namespace) && !target.name.is_empty()).collect();
        let fix = match offered.as_slice() {
            [] if self.default.is_some() && named.is_some() => "remove spec.deployment".to_owned(),
            [] => format!("have one that serves {namespace} added to the operator's --deployments"),
            offered => {
                let choice: Vec<_> = offered.iter().map(|target| target.name.as_str()).collect();
                format!("set spec.deployment to {}", choice.join(" or "))
            }
        };
        Trouble::new(Reason::DeploymentUnknown, format!("{problem}: {fix}"))
    }
}

/// The deployment that the keys of a status are of.
fn shown_name(upload: &FileUpload) -> &str {
    upload.status.as_ref().and_then(|status| status.deployment.as_deref()).unwrap_or_default()
}

fn namespace(upload: &FileUpload) -> &str {
    upload.metadata.namespace.as_deref().unwrap_or_default()
}

impl Target {
    fn serves(&self, namespace: &str) -> bool {
        self.namespaces.as_ref().is_none_or(|globs| globs.is_match(namespace))
    }
}

impl Found<'_> {
    /// What the planner needs to know.
    pub(crate) fn deployment(&self) -> Deployment<'_> {
        Deployment { name: self.name, terms: self.terms, refused: self.target.as_ref().err() }
    }

    /// How its workers are made, if it may be used.
    pub(crate) fn worker(&self) -> Result<&WorkerSettings, &Trouble> {
        self.target.as_ref().map(|(_, target)| &target.worker)
    }

    /// Its place among all, if it may be used.
    pub(super) fn place(&self) -> Result<usize, &Trouble> {
        self.target.as_ref().map(|(at, _)| *at)
    }
}

/// What a namespace uses of one deployment: what that asks to wait for, another need not wait for.
#[derive(Clone)]
pub(super) struct Lane(
    /// None where a namespace has only one; many may wait.
    Option<Box<str>>,
);

impl Lane {
    pub(super) fn of(deployment: Deployment<'_>, namespace: &str) -> Self {
        // No namespace has a slash in its name.
        Self((!deployment.name.is_empty()).then(|| format!("{namespace}/{}", deployment.name).into()))
    }

    /// Its name at the Gates, in this namespace.
    pub(super) fn name<'a>(&'a self, namespace: &'a str) -> &'a str {
        self.0.as_deref().unwrap_or(namespace)
    }
}

/// The namespace of a lane with this name.
pub(super) fn namespace_of(lane: &str) -> &str {
    lane.split_once('/').map_or(lane, |(namespace, _)| namespace)
}

/// How long keys live, if a status shows the settings under which they were uploaded.
pub(crate) fn shown_terms(status: &FileUploadStatus) -> Option<Terms> {
    let span = |from: &Time, to: &Time| Duration::try_from(to.0.duration_since(from.0)).ok();
    let kept = |file: &crate::resource::FileStatus| span(file.uploaded_at.as_ref()?, file.expires_at.as_ref()?);
    let files = status.files.iter().filter(|file| file.file_key.is_some()).filter_map(|file| file.uploaded_at.as_ref());
    let folders = status.folders.iter().filter(|folder| folder.available_until.is_some());
    let first = files.chain(folders.filter_map(|folder| folder.uploaded_at.as_ref())).min_by_key(|at| at.0);
    let live = first.zip(status.available_until.as_ref()).and_then(|(first, until)| span(first, until));
    match (status.files.iter().filter_map(kept).max(), live) {
        (Some(retention), Some(live)) => Some(Terms { retention, minimum_life: retention.saturating_sub(live) }),
        // No key is left to tell when it is withdrawn.
        (Some(retention), None) => {
            Some(Terms { retention, minimum_life: Terms::default().minimum_life.min(retention / 2) })
        }
        (None, Some(live)) => Some(Terms { retention: live, minimum_life: Duration::ZERO }),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use globset::{Glob, GlobSetBuilder};
    use serde_json::json;

    use super::*;

    fn target(name: &str, namespaces: Option<&str>) -> Target {
        let globs = |glob: &str| GlobSetBuilder::new().add(Glob::new(glob).unwrap()).build().unwrap();
        let terms = Terms { retention: Duration::from_hours(12), minimum_life: Duration::from_hours(1) };
        Target { name: name.to_owned(), namespaces: namespaces.map(globs), terms, ..Target::default() }
    }

    fn upload(deployment: Option<&str>) -> FileUpload {
        serde_json::from_value(json!({
            "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload",
            "metadata": {"name": "x", "namespace": "team-a"}, "spec": {"deployment": deployment},
        }))
        .unwrap()
    }

    #[test]
    fn a_resource_has_the_deployment_that_it_names_or_the_default_one_if_it_may_use_it() {
        let all = || vec![target("main", None), target("lab", Some("team-*")), target("secret", Some("ops"))];
        let (with_default, without) = (Deployments::new(all(), Some(0)), Deployments::new(all(), None));
        let ops = Deployments::new(all(), Some(2));
        let only_ops = Deployments::new(vec![target("secret", Some("ops"))], None);
        let said = |deployments: &Deployments, named: Option<&str>| {
            let upload = upload(named);
            let found = deployments.find(&upload);
            let deployment = found.deployment();
            deployment
                .refused
                .map_or(Ok(deployment.name.to_owned()), |trouble| Err((trouble.reason, trouble.message())))
        };
        let refused = |why: &str| Err((Reason::DeploymentUnknown, why.to_owned()));
        assert_eq!(said(&with_default, None), Ok("main".to_owned()));
        assert_eq!(said(&with_default, Some("lab")), Ok("lab".to_owned()));
        let fix = "set spec.deployment to main or lab";
        assert_eq!(said(&without, None), refused(&format!("the operator has no default deployment: {fix}")));
        assert_eq!(said(&without, Some("la")), refused(&format!("the operator knows no deployment la: {fix}")));
        let foreign = format!("the deployment secret does not serve namespace team-a: {fix}");
        assert_eq!(said(&without, Some("secret")), refused(&foreign));
        assert_eq!(said(&ops, None), refused(&foreign), "nor as the default one");
        let none = "have one that serves team-a added to the operator's --deployments";
        assert_eq!(said(&only_ops, None), refused(&format!("the operator has no default deployment: {none}")));
        let nameless = Deployments::default();
        assert_eq!(said(&nameless, None), Ok(String::new()));
        let why = "the operator knows no deployment lab: remove spec.deployment";
        assert_eq!(said(&nameless, Some("lab")), refused(why));
    }

    #[test]
    fn under_a_refusal_the_keys_keep_their_deployment_and_their_time() {
        let mut upload = upload(Some("gone"));
        let file = json!({"name": "a", "state": "Uploaded", "revision": "r", "fileKey": "k",
            "uploadedAt": "2026-11-27T00:00:00Z", "expiresAt": "2026-11-27T10:00:00Z"});
        let status = json!({"deployment": "old", "availableUntil": "2026-11-27T09:30:00Z", "files": [file]});
        upload.status = Some(serde_json::from_value(status).unwrap());
        let deployments = Deployments::new(vec![target("main", None)], Some(0));
        let found = deployments.find(&upload);
        let terms = Terms { retention: Duration::from_hours(10), minimum_life: Duration::from_mins(30) };
        assert_eq!((found.deployment().name, found.deployment().terms), ("old", terms), "as the status shows it");
        let known = Deployments::new(vec![target("old", Some("ops"))], None);
        assert_eq!(known.find(&upload).deployment().terms.retention, Duration::from_hours(12), "as it is set now");
        upload.status = Some(FileUploadStatus { files: Vec::new(), available_until: None, ..upload.status.unwrap() });
        assert_eq!(
            deployments.find(&upload).deployment().terms.retention,
            Duration::from_hours(12),
            "as the shortest that is known"
        );
    }
}
