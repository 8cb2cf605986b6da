//! Creates one Job, once it has its place: what it reads is there, the credential is usable, and the API server takes it.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use kube::core::Request;
use kube::{Api, Error, Resource};
use tracing::warn;

use super::{Order, State};
use crate::controller::index::Key;
use crate::controller::outputs::is_refusal;
use crate::outcome::Trouble;
use crate::plan::objects::Job;
use crate::plan::{self, Launch, SecretFacts, Volume};
use crate::reason::Reason;
use crate::resource::{FIELD_MANAGER, File, FileUpload};

impl State {
    /// Reads the Secret and creates the Job.
    pub(super) async fn create(
        &self,
        order: &Order,
        upload: &FileUpload,
        launch: &Launch,
    ) -> Result<Job, (Trouble, Option<String>)> {
        if let Some(trouble) = self.missing_config_map(order, upload).await {
            return Err((trouble, None));
        }
        let version = self.credentials(order, upload).await?;
        self.create_job(order, upload, launch, &version).await.map_err(|trouble| (trouble, Some(version)))
    }

    /// Why the ConfigMap that a worker is to read cannot be mounted: the watch need not have told of it.
    async fn missing_config_map(&self, order: &Order, upload: &FileUpload) -> Option<Trouble> {
        let Volume::ConfigMap(name) = &order.launch.volume else { return None };
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), order.key.namespace());
        let before = self.index.config_map(&order.key, name);
        // If nobody can tell, the kubelet will.
        let found = api.get_metadata_opt(name).await.ok()?;
        let version = found.as_ref().and_then(|found| found.metadata.resource_version.as_deref());
        self.index.looked_up(&Key::new(order.key.namespace(), name), &before, version);
        let reads = |file: &&File| Volume::of(file, true).as_ref() == Some(&order.launch.volume);
        let file = upload.spec.files.iter().find(reads)?;
        found.is_none().then(|| plan::config_map_missing(file))
    }

    /// What stands for the content of the Secret; or why it cannot be used.
    async fn credentials(&self, order: &Order, upload: &FileUpload) -> Result<String, (Trouble, Option<String>)> {
        if !self.reads_secrets {
            return Ok(String::new());
        }
        let secret = Key::new(order.key.namespace(), upload.spec.secret_name());
        let fetched = self.secrets.read(&secret).await.map_err(|error| {
            warn!(secret = %secret, error = %crate::redact::cause(&*error), "cannot read the credentials");
            (Trouble::new(Reason::WorkerPending, "the worker's Job is being created"), None)
        })?;
        match fetched.facts(&order.uid) {
            SecretFacts::Usable { version } => Ok(version),
            SecretFacts::Invalid { version, problem } => Err((plan::secret_invalid(&problem), Some(version))),
            SecretFacts::Forbidden => Err((plan::secret_forbidden(upload), None)),
            SecretFacts::Missing | SecretFacts::Unknown => Err((plan::secret_missing(upload), None)),
        }
    }

    async fn create_job(
        &self,
        order: &Order,
        upload: &FileUpload,
        launch: &Launch,
        version: &str,
    ) -> Result<Job, Trouble> {
        let pending = || Trouble::new(Reason::WorkerPending, "the worker's Job is being created");
        let found = self.deployments.find(upload);
        let job = plan::job(upload, launch, version, found.worker().map_err(Clone::clone)?).map_err(|error| {
            Trouble::new(Reason::WorkerPending, format!("the worker's Job cannot be written: {error}"))
        })?;
        let api = Api::<Job>::namespaced(self.client.clone(), order.key.namespace());
        let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        let path = Job::url_path(&(), Some(order.key.namespace()));
        let created = async {
            let body = serde_json::to_vec(&job).map_err(Error::SerdeError)?;
            let request = Request::new(path).create(&params, body).map_err(Error::BuildRequest)?;
            self.client.request::<Job>(request).await
        };
        let error = match created.await {
            Ok(created) => return Ok(created),
            Err(error) => error,
        };
        match &error {
            Error::Api(refusal) if is_refusal(refusal) => {
                warn!(job = launch.name, cause = refusal.message, "the API server refused a worker");
                return Err(plan::refused("the worker's Job", &refusal.message, &launch.name));
            }
            error => {
                let error = crate::redact::cause(error);
                warn!(job = launch.name, error, "it is not known whether a worker was created");
            }
        }
        // It may exist by now, from this request or from one before a restart.
        let is_ours = |found: &Job| {
            let uid = found.metadata.labels.as_ref().and_then(plan::read::upload_uid);
            uid.is_some_and(|uid| **uid == *order.uid)
        };
        match api.get_opt(&launch.name).await {
            Ok(Some(found)) if is_ours(&found) => Ok(found),
            _ => Err(pending()),
        }
    }
}
