//! What happens next for each reason, as far as it can be said without the resource: by itself, or after which change.

use super::Reason;

impl Reason {
    /// When the operator goes on, in a sentence.
    pub const fn next(self) -> &'static str {
        match self {
            Self::Expired => "Nothing more happens until a fresh upload is requested or the spec changes.",
            Self::RefreshFailed => "The file's own reason says whether the upload is tried again.",
            Self::SecretNotFound => {
                "The Secret is looked for every 10 seconds, and every 5 minutes after an hour of waiting."
            }
            Self::ConfigMapNotFound => "The upload starts as soon as the ConfigMap exists.",
            Self::ConfigMapKeyNotFound => "The upload starts as soon as the ConfigMap has the key.",
            Self::ClaimNotFound => "The upload starts as soon as the PersistentVolumeClaim exists and is bound.",
            Self::ClaimNotBound => "The upload starts as soon as the PersistentVolumeClaim is bound.",
            Self::ClaimInUse => "The upload starts as soon as the claim can be used.",
            Self::Queued => "The upload starts as soon as another one has ended.",
            Self::WorkerPending => "The upload starts as soon as the worker's Pod runs.",
            Self::Suspended => "Nothing happens until spec.suspend is false.",
            Self::DeploymentUnknown => "The operator looks again when the spec changes, and when its deployments do.",
            Self::InvalidSpec | Self::UpdateUnsupported => "The operator looks again when the spec changes.",
            Self::CredentialsInvalid | Self::CredentialsRejected | Self::FeatureNotLicensed => {
                "It is tried again when the content of the Secret or the spec changes, or when a fresh upload is \
                 requested."
            }
            Self::RequestRejected | Self::TooLarge | Self::ReportUnsupported => {
                "It is tried again when the spec or the content of the file's ConfigMap changes, or when a fresh upload \
                 is requested; a file on a volume is not watched."
            }
            // Only files on volumes have these.
            Self::PermissionDenied
            | Self::NotAFile
            | Self::FileNeverAppeared
            | Self::PathEscapes
            | Self::TooManyFiles => {
                "It is tried again when the spec changes, or when a fresh upload is requested; volumes are not watched."
            }
            Self::OutputConflict => {
                "The output is written as soon as that ConfigMap is gone or spec.output names another one."
            }
            _ => self.class().again(),
        }
    }
}
