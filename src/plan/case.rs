//! The case that is planned: one resource at one moment, under the operator's settings, parsed once.
//!
//! Nothing here is observed in the cluster besides the resource itself; that is the matter of `facts`.

use jiff::Timestamp;

use super::revision::{self, Receiver};
use crate::key_life::Terms;
use crate::outcome::Trouble;
use crate::resource::{ANNOTATION_REQUESTED_AT, FileUpload, FileUploadStatus};

/// The longest value of a request for a fresh upload, in characters: the status repeats it.
pub(crate) const LONGEST_REQUEST: usize = 256;

/// The Cyberun that a resource uses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deployment<'a> {
    /// Its name; empty where the operator knows one alone, which has none.
    pub name: &'a str,
    /// How long keys live.
    pub terms: Terms,
    /// Why the resource may not use it: then name and life are those of the keys that it has.
    pub refused: Option<&'a Trouble>,
}

/// Who sends the files of ConfigMaps.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Senders {
    /// The operator itself, which reads Secrets and ConfigMaps.
    #[default]
    Operator,
    /// Workers, as for volumes; the operator needs no right on Secrets.
    Workers,
}

/// One resource at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case<'a> {
    /// The resource.
    pub upload: &'a FileUpload,
    /// Its status, if it has one.
    pub status: Option<&'a FileUploadStatus>,
    /// The moment for which all is decided.
    pub now: Timestamp,
    /// The Cyberun that it uses.
    pub deployment: Deployment<'a>,
    /// Who sends the files of ConfigMaps.
    pub senders: Senders,
    /// The request for a fresh upload, if the annotation is there and the status has room for it.
    pub request: Option<&'a str>,
    /// The generation of its spec.
    pub generation: i64,
}

impl<'a> Case<'a> {
    /// Parses the case.
    pub(crate) fn new(upload: &'a FileUpload, now: Timestamp, deployment: Deployment<'a>, senders: Senders) -> Self {
        let request = request(upload).filter(|request| is_short(request));
        let generation = upload.metadata.generation.unwrap_or_default();
        Self { upload, status: upload.status.as_ref(), now, deployment, senders, request, generation }
    }

    /// Where its files are sent, and as whom.
    pub(super) fn receiver(&self) -> Receiver<'a> {
        Receiver { secret: self.upload.spec.secret_name(), deployment: self.deployment.name }
    }

    /// Whether workers send the files of ConfigMaps too.
    pub(super) fn leaves_all_to_workers(&self) -> bool {
        self.senders == Senders::Workers
    }

    /// Whether the status is about this generation of the spec.
    pub(super) fn is_observed(&self) -> bool {
        self.status.is_some_and(|status| status.observed_generation == self.generation)
    }

    /// Whether a file whose ConfigMap changes is uploaded again.
    pub(super) fn follows_changes(&self) -> bool {
        self.upload.spec.follows_changes() && self.senders == Senders::Operator
    }

    /// The attempt after which a file has what was requested, if the status has taken up this very request.
    pub(super) fn requested_attempt(&self) -> Option<i64> {
        let status = self.status?;
        status.requested_attempt.filter(|_| self.request.is_some() && status.requested_at.as_deref() == self.request)
    }

    /// Seeds the jitter of this attempt.
    pub(super) fn seed(&self) -> u64 {
        revision::seed(self.uid(), self.status.map_or(0, |status| status.attempts))
    }

    /// Seeds the jitter of the life of its keys.
    pub(super) fn seed_of_life(&self) -> u64 {
        revision::number(self.uid())
    }

    fn uid(&self) -> &'a str {
        self.upload.metadata.uid.as_deref().unwrap_or_default()
    }
}

/// The request for a fresh upload as it is written.
pub(super) fn request(upload: &FileUpload) -> Option<&str> {
    Some(upload.metadata.annotations.as_ref()?.get(ANNOTATION_REQUESTED_AT)?.as_str())
}

/// Whether the status has room for a request.
pub(super) fn is_short(request: &str) -> bool {
    request.chars().count() <= LONGEST_REQUEST
}
