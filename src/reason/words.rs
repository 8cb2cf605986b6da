//! The words: what each reason means, what usually causes it, and how a person fixes it.
//!
//! A cause names the most likely one first. A fix is one step, and says so where none is needed. The command line and
//! `docs/reasons.md` print this table.

use serde::{Deserialize, Serialize};

use super::{Class, Scope};

reasons! {
    /// The file is stored and has a key.
    Uploaded: Done, File,
        cause: "The upload went well.",
        fix: "Do nothing: the key is in the status, and in the output if the spec has one.";
    /// The key has expired, and `spec.refreshPolicy` does not renew it.
    Expired: Done, File,
        cause: "Cyberun deletes an upload after a day, and the operator withdraws its key an hour before that.",
        fix: "Ask for a fresh upload with `fileupload refresh NAME`, or set spec.refreshPolicy: BeforeExpiry.";
    /// A re-upload failed while the old key still lives; only events have this reason.
    RefreshFailed: Done, File,
        cause: "The file was uploaded again before its key expired, on request or after a change, and failed for the \
                reason in its entry.",
        fix: "Fix what the file's own reason names before its expiresAt; the old key serves until then.";
    /// The file is being uploaded, or will be next.
    Uploading: Working, File,
        cause: "The operator or a worker is uploading the file, or the operator is writing its key.",
        fix: "Wait: the upload ends with a key or with another reason.";
    /// The worker's report has no room for more files; another worker uploads the rest at once.
    ReportFull: Working, File,
        cause: "The files have long names or keys, and a report holds 3000 bytes.",
        fix: "Wait: the next worker starts automatically.";

    /// The credentials Secret does not exist, or the operator may not read it.
    SecretNotFound: Waiting, Resource,
        cause: "The Secret was never created in this namespace, the spec names another one, or the operator may not read it.",
        fix: "Create the Secret with the team's key under CYBERUN_API_KEY, correct spec.credentials.secretRef, or have its \
              name added to the chart's rbac.secretNames; the operator finds the Secret within 15 seconds.";
    /// The ConfigMap of a file does not exist.
    ConfigMapNotFound: Waiting, File,
        cause: "The ConfigMap is not applied yet, is in another namespace or has another name.",
        fix: "Create the ConfigMap in this namespace, or correct the file's source; the upload then starts at once.";
    /// The ConfigMap exists but has no such key.
    ConfigMapKeyNotFound: Waiting, File,
        cause: "The key is spelled differently, often with another file name or extension.",
        fix: "Add the key to the ConfigMap, or correct the file's source; the upload then starts at once.";
    /// The PersistentVolumeClaim does not exist, or is being deleted.
    ClaimNotFound: Waiting, File,
        cause: "The PersistentVolumeClaim is not applied yet, is in another namespace or has another name.",
        fix: "Create the PersistentVolumeClaim in this namespace, or correct claimName; the upload then starts at \
              once.";
    /// The PersistentVolumeClaim is not bound to a volume.
    ClaimNotBound: Waiting, File,
        cause: "The storage class binds the claim only when a Pod uses it, or no volume fits it.",
        fix: "Run the Pod that fills the claim, since the operator binds none but those with a data source; if the claim stays unbound, see \
              `kubectl describe pvc`.";
    /// Another Pod uses the PersistentVolumeClaim, or waits for it, and only one can have it.
    ClaimInUse: Waiting, File,
        cause: "The claim is ReadWriteOncePod, its volume is attached to another node, or a worker that could not \
                start made way for a Pod on another node.",
        fix: "Wait until the other Pod has ended or runs: the upload then starts automatically.";
    /// As many uploads run as are allowed at the same time.
    Queued: Waiting, File,
        cause: "Many files are being uploaded in this namespace or in the whole cluster.",
        fix: "Wait: the upload starts automatically; the flags --max-workers, --max-workers-per-namespace and \
              --max-sends of the operator set the limits.";
    /// The worker's Pod does not run yet.
    WorkerPending: Waiting, File,
        cause: "No node fits the Pod, its volume does not mount, or its image is still being pulled.",
        fix: "Fix what the message quotes: often spec.worker (nodeSelector, tolerations, resources), the capacity of a \
              node, or the volume.";
    /// `spec.suspend` is true.
    Suspended: Waiting, Resource,
        cause: "A person or a tool suspended the resource.",
        fix: "Set spec.suspend to false: the upload then goes on at once.";

    /// The spec of the resource is invalid.
    InvalidSpec: Stalled, Resource,
        cause: "The resource was admitted by an older or edited CustomResourceDefinition.",
        fix: "Correct the field that the message names, and install this version's CustomResourceDefinition.";
    /// The operator knows no such deployment of Cyberun, or the namespace may not use it.
    DeploymentUnknown: Stalled, Resource,
        cause: "The name in spec.deployment is misspelled, there is no default deployment, or the deployment is for other \
                namespaces.",
        fix: "Set spec.deployment to one that the message names, or have the operator's --deployments changed; keys that \
              are there stay until their time.";
    /// The credential is not a Cyberun credential; it was not sent.
    CredentialsInvalid: Stalled, Resource,
        cause: "The Secret has no CYBERUN_API_KEY, has another kind of token there, or has a user JWT without a team.",
        fix: "Put the team's sk- or dk- key into CYBERUN_API_KEY, or a user JWT with its team in CYBERUN_TEAM_ID; it \
              is tried within 15 seconds.";
    /// Cyberun rejected the credential (401, 403).
    CredentialsRejected: Stalled, Resource,
        cause: "The key was revoked, has expired, belongs to another deployment or lacks a permission.",
        fix: "Put a valid key of the right deployment into the Secret; it is tried within 15 seconds.";
    /// The deployment's license lacks a feature that uploads need (403).
    FeatureNotLicensed: Stalled, Resource,
        cause: "The deployment's license does not include what the message names.",
        fix: "Have the license extended and run `fileupload refresh NAME`, or use another team's credential.";
    /// Cyberun rejected the request (400, 404, 422).
    RequestRejected: Stalled, File,
        cause: "The API does not accept the file's name or type, or --api-url is not the URL of the API.",
        fix: "Correct fileName or contentType as the message says, or have the operator's --api-url checked.";
    /// The file is larger than the deployment accepts (413), or than one S3 PUT can be.
    TooLarge: Stalled, File,
        cause: "The deployment has a limit of its own, and no upload can exceed 5 GB.",
        fix: "Make the file smaller or split it, or have the deployment's limit raised; then run `fileupload refresh \
              NAME`.";
    /// The file exists but the worker may not read it.
    PermissionDenied: Stalled, File,
        cause: "The worker runs as another user than the file's owner, and the file's mode does not let others read \
                it, or SELinux keeps the worker from files that another Pod has written.",
        fix: "Set spec.worker.securityContext.runAsUser or supplementalGroups to the owner that the message names, or change the mode, \
              or set spec.worker.securityContext.seLinuxOptions to those of the Pod that writes the files; then run `fileupload \
              refresh NAME`.";
    /// The path is not a regular file.
    NotAFile: Stalled, File,
        cause: "The path names a folder, a socket or a device, or the claim is a raw block device.",
        fix: "Name a regular file in the file's source.";
    /// The file was missing for a day.
    FileNeverAppeared: Stalled, File,
        cause: "The program that writes the file never ran, or writes it elsewhere.",
        fix: "Create the file and run `fileupload refresh NAME`, or correct the path.";
    /// This version of the operator cannot read the report of the worker.
    ReportUnsupported: Stalled, File,
        cause: "The operator's --worker-image is of another version than the operator.",
        fix: "Set --worker-image to the operator's own image, then run `fileupload refresh NAME`.";
    /// The folder holds more files than `maxFiles`, or more keys than one ConfigMap holds.
    TooManyFiles: Stalled, File,
        cause: "The folder holds other files too, or include matches more than was meant.",
        fix: "Narrow include, add to exclude, raise maxFiles (at most 2000), or split the folder into several entries.";
    /// The path, or a symbolic link on it, leads out of the volume.
    PathEscapes: Stalled, File,
        cause: "A symbolic link on the path is absolute or climbs above the volume's root.",
        fix: "Name the file itself, or make the link relative and keep it within the volume.";
    /// This operator does not support `spec.updatePolicy: OnChange`.
    UpdateUnsupported: Stalled, Resource,
        cause: "The operator runs with --direct-uploads=false, and so does not read ConfigMaps.",
        fix: "Set spec.updatePolicy: Once, or have the operator run with --direct-uploads.";
    /// The output ConfigMap exists and does not belong to this FileUpload.
    OutputConflict: Stalled, Resource,
        cause: "A ConfigMap of that name was created by a person, by another tool or for another FileUpload.",
        fix: "Name another ConfigMap in spec.output, or delete the existing one.";

    /// The Cyberun API cannot be reached or answered 5xx.
    ApiUnavailable: Backoff, Resource,
        cause: "The API is down, or a proxy, a firewall, a certificate or --api-url keeps the operator from reaching \
                it.",
        fix: "Wait: it is retried automatically; if it lasts, check the operator's network path to the API.";
    /// The Cyberun API asked to slow down (429).
    RateLimited: Backoff, Resource,
        cause: "The team, or everyone who shares its credential, makes more calls than allowed.",
        fix: "Wait: it is retried automatically once the API allows it.";
    /// The Cyberun API did not answer with a valid presigned URL.
    InvalidResponse: Backoff, Resource,
        cause: "A proxy or a login page answers instead of the API, or --api-url lacks its /api/v1.",
        fix: "Check --api-url and the proxies on the way; it is retried automatically.";
    /// The storage cannot be reached, closed the connection, is busy, or answered 5xx.
    StorageUnavailable: Backoff, File,
        cause: "The storage is down or slow, a proxy or a firewall blocks its host, or its certificate is not trusted.",
        fix: "Wait: it is retried automatically; if it lasts, check the network path to the host that presigned URLs \
              name.";
    /// The storage refused the upload.
    StorageRefused: Backoff, File,
        cause: "A proxy changes the request, the clock, the permissions or the bucket of the storage are wrong, or the \
                storage lacks something that uploads need, such as conditional writes.",
        fix: "Check the proxies, and ask the deployment's operators if it lasts; it is retried automatically.";
    /// The cluster rejects an object that the operator has to write.
    AdmissionDenied: Backoff, File,
        cause: "Pod Security, a LimitRange, a policy or a webhook rejects the worker or the output, or the operator \
                lacks a right.",
        fix: "Meet the rule that the message quotes, often by spec.worker, or have it changed; it is retried \
              automatically.";
    /// The file does not exist.
    FileNotFound: Backoff, File,
        cause: "The file is not written yet, or the path is not relative to the volume's root.",
        fix: "Compare the path with what the message says is there; the file is retried automatically for a day.";
    /// The file changed while it was read.
    SourceChanged: Backoff, File,
        cause: "A program is still writing the file.",
        fix: "Wait until the writer is done: it is retried automatically; or write the file elsewhere and rename it.";
    /// A quota of the namespace leaves no room for the worker.
    QuotaExceeded: Backoff, File,
        cause: "Other Pods or Jobs use up a ResourceQuota.",
        fix: "Free room, raise the ResourceQuota or request less in spec.worker.resources; it is retried \
              automatically.";
    /// The worker's image cannot be pulled.
    ImagePullFailed: Backoff, File,
        cause: "The namespace lacks the registry's pull Secret, the nodes cannot reach the registry, or --worker-image \
                is wrong.",
        fix: "Create the pull Secret in this namespace, or have --worker-image corrected; it is retried automatically.";
    /// The worker was killed, evicted, lost with its node, or failed.
    WorkerFailed: Backoff, File,
        cause: "A node was drained or lost, memory ran out, or the Pod was deleted.",
        fix: "Wait: it is retried automatically; if memory ran out, raise spec.worker.resources.";
    /// The worker exceeded the deadline of its Job.
    WorkerTimedOut: Backoff, File,
        cause: "The Pod could not start in time, or the upload takes longer than --worker-deadline allows.",
        fix: "Fix what the message says last, or have --worker-deadline raised; it is retried automatically.";
    /// The worker ended without a readable report.
    ReportMissing: Backoff, File,
        cause: "The Pod was deleted before the operator saw its end, or --worker-image is not this operator's image.",
        fix: "Wait: it is retried automatically; if it lasts, check --worker-image.";
}
