//! Why a file or a resource is in the state it is in: the one closed vocabulary.
//!
//! The same word serves errors, conditions, events and metrics. Its [`Class`] alone decides when the
//! controller looks again, and its [`Scope`] whether the other files of the same resource share the fate.
//! This module knows nothing of Kubernetes or HTTP, so that every other module may use it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What follows from a reason: nothing, work, waiting, a person, or a retry.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Class {
    /// Reconciled; nothing follows.
    Done,
    /// In progress; the next step follows at once.
    Working,
    /// A named thing is missing; it is watched, or fetched anew within seconds.
    Waiting,
    /// Tried again by itself, with exponential backoff.
    Backoff,
    /// A person must act: the next attempt follows a change of spec, Secret or source.
    Stalled,
}

/// How far a failure reaches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// Only the file it happened to.
    File,
    /// Every file of the resource: trying the next one would fail in the same way.
    Resource,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident: $class:ident, $scope:ident;)+) => {
        /// Why a file or a resource is in its state.
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
        pub enum Reason { $($(#[$doc])* $name,)+ }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The reason as it is written in conditions, events and metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// What follows from it.
            pub const fn class(self) -> Class {
                match self { $(Self::$name => Class::$class,)+ }
            }

            /// How far it reaches.
            pub const fn scope(self) -> Scope {
                match self { $(Self::$name => Scope::$scope,)+ }
            }
        }
    };
}

reasons! {
    /// The file is stored and has a key.
    Uploaded: Done, File;
    /// The key's life is over, and `spec.refreshPolicy` renews none.
    Expired: Done, File;
    /// A file could not be uploaded anew while its old key still lives; only ever said in an event.
    RefreshFailed: Done, File;
    /// The file is being sent, or is about to be.
    Uploading: Working, File;
    /// The worker's report has no room for more; another worker is launched for the rest at once.
    ReportFull: Working, File;

    /// The credentials Secret does not exist.
    SecretNotFound: Waiting, Resource;
    /// The ConfigMap a file comes from does not exist.
    ConfigMapNotFound: Waiting, File;
    /// The ConfigMap exists but not the key in it.
    ConfigMapKeyNotFound: Waiting, File;
    /// The claim does not exist, or is being deleted.
    ClaimNotFound: Waiting, File;
    /// The claim has no volume.
    ClaimNotBound: Waiting, File;
    /// Another Pod holds the claim, and only one may.
    ClaimInUse: Waiting, File;
    /// As many workers run as may at the same time.
    Queued: Waiting, File;
    /// The worker's Pod does not run yet.
    WorkerPending: Waiting, File;
    /// `spec.suspend` is true.
    Suspended: Waiting, Resource;

    /// The spec cannot be carried out as it is written.
    InvalidSpec: Stalled, Resource;
    /// The credential cannot be one of Cyberun's; no call was made with it.
    CredentialsInvalid: Stalled, Resource;
    /// Cyberun refused the credential (401, 403).
    CredentialsRejected: Stalled, Resource;
    /// The deployment's license lacks a feature that uploading needs (403).
    FeatureNotLicensed: Stalled, Resource;
    /// Cyberun refused the request as it is (400, 404, 422).
    RequestRejected: Stalled, File;
    /// The file is larger than the deployment accepts (413), or than one S3 PUT can be.
    TooLarge: Stalled, File;
    /// The file exists but may not be read.
    PermissionDenied: Stalled, File;
    /// The path names something that is not a regular file.
    NotAFile: Stalled, File;
    /// The file was not there for a day.
    FileNeverAppeared: Stalled, File;
    /// The worker wrote a report that this version of the operator does not know.
    ReportUnsupported: Stalled, File;
    /// The path, or a symbolic link on it, leads out of the volume.
    PathEscapes: Stalled, File;
    /// `spec.updatePolicy: OnChange` asks for what this operator is not set up to do.
    UpdateUnsupported: Stalled, Resource;
    /// The output ConfigMap exists and is not ours to write.
    OutputConflict: Stalled, Resource;

    /// The Cyberun API cannot be reached or answered 5xx.
    ApiUnavailable: Backoff, Resource;
    /// The Cyberun API asked to slow down (429).
    RateLimited: Backoff, Resource;
    /// The Cyberun API answered something that is not a presign answer.
    InvalidResponse: Backoff, Resource;
    /// The storage cannot be reached, broke off, is busy, or answered 5xx.
    StorageUnavailable: Backoff, File;
    /// The storage refused the upload, also with a second presigned URL.
    StorageRefused: Backoff, File;
    /// The cluster does not admit what the operator has to write.
    AdmissionDenied: Backoff, File;
    /// The file does not exist.
    FileNotFound: Backoff, File;
    /// The file changed while it was read.
    SourceChanged: Backoff, File;
    /// A quota of the namespace leaves no room for the worker.
    QuotaExceeded: Backoff, File;
    /// The worker's image cannot be pulled.
    ImagePullFailed: Backoff, File;
    /// The worker was killed, evicted, lost with its node, or failed.
    WorkerFailed: Backoff, File;
    /// The worker did not end in the time that a Job has.
    WorkerTimedOut: Backoff, File;
    /// The worker ended without a report that can be read.
    ReportMissing: Backoff, File;
}

impl Reason {
    /// Parses a reason from a status written earlier; `None` if this version does not know it.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == text)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_reads_back_from_what_it_writes() {
        for &reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
        }
        assert_eq!(Reason::parse("SomethingNew"), None);
    }

    #[test]
    fn only_failures_reach_beyond_their_file() {
        for &reason in Reason::ALL {
            if matches!(reason.class(), Class::Done | Class::Working) {
                assert_eq!(reason.scope(), Scope::File, "{reason}");
            }
        }
    }
}
