//! The words: what each means, how it usually comes about, and what a person does about it.
//!
//! A cause tells what to think of first; a fix is one step, and says where none is needed. Everything that people read
//! of a reason, on the command line and in `docs/reasons.md`, is made from this table.

use serde::{Deserialize, Serialize};

use super::{Class, Scope};

reasons! {
    /// The file is stored and has a key.
    Uploaded: Done, File,
        cause: "The upload went well.",
        fix: "Do nothing: the key is in the status, and in the output if one is asked for.";
    /// The key's life is over, and `spec.refreshPolicy` renews none.
    Expired: Done, File,
        cause: "Cyberun deletes what was uploaded after a day, and a key is withdrawn an hour before that.",
        fix: "Ask for a fresh upload with `fileupload refresh NAME`, or set spec.refreshPolicy: BeforeExpiry.";
    /// A file could not be uploaded anew while its old key still lives; only ever said in an event.
    RefreshFailed: Done, File,
        cause: "A renewal before the key expires, or a fresh upload, met the failure that the file's entry names.",
        fix: "Mend what the file's own reason names before its expiresAt; the old key serves until then.";
    /// The file is being sent, or is about to be.
    Uploading: Working, File,
        cause: "The operator or a worker is at it.",
        fix: "Wait: it ends by itself, with a key or with a reason.";
    /// The worker's report has no room for more; another worker is launched for the rest at once.
    ReportFull: Working, File,
        cause: "The files have long names or keys, and a report holds 4096 bytes.",
        fix: "Wait: the rest follows by itself.";

    /// The credentials Secret does not exist, or the operator may not read it.
    SecretNotFound: Waiting, Resource,
        cause: "The Secret was never made in this namespace, or the spec names another than there is.",
        fix: "Create the Secret with the team's key under CYBERUN_API_KEY, which is found by itself within 15 seconds, \
              or correct spec.credentials.secretRef.";
    /// The ConfigMap a file comes from does not exist.
    ConfigMapNotFound: Waiting, File,
        cause: "The ConfigMap is applied later, lies in another namespace or is called otherwise.",
        fix: "Create the ConfigMap in this namespace, after which it goes on at once, or correct the file's source.";
    /// The ConfigMap exists but not the key in it.
    ConfigMapKeyNotFound: Waiting, File,
        cause: "The key is written otherwise, often as another file name or extension.",
        fix: "Add the key to the ConfigMap, after which it goes on at once, or correct the file's source.";
    /// The claim does not exist, or is being deleted.
    ClaimNotFound: Waiting, File,
        cause: "The claim is applied later, lies in another namespace or is called otherwise.",
        fix: "Create the PersistentVolumeClaim in this namespace, after which it goes on at once, or correct \
              claimName.";
    /// The claim has no volume.
    ClaimNotBound: Waiting, File,
        cause: "Its storage class binds a claim only once a Pod uses it, or no volume fits it.",
        fix: "Run the Pod that fills the claim, as the operator never binds one, and see `kubectl describe pvc` if it \
              stays unbound.";
    /// Another Pod holds the claim, and only one may.
    ClaimInUse: Waiting, File,
        cause: "The claim is ReadWriteOncePod, or its volume is attached to another node.",
        fix: "Wait until the Pod that uses the claim has ended, after which it goes on by itself.";
    /// As many workers run as may at the same time.
    Queued: Waiting, File,
        cause: "Many files are uploaded at once from the same claim, with the same Secret or in the whole cluster.",
        fix: "Wait: it goes on by itself; an operator's --max-workers, --max-workers-per-claim and \
              --max-workers-per-credential set how many run.";
    /// The worker's Pod does not run yet.
    WorkerPending: Waiting, File,
        cause: "No node fits the Pod, its volume does not mount, or its image is still on its way.",
        fix: "Mend what the message quotes: often spec.worker (nodeSelector, tolerations, resources), a node's room or \
              its volume.";
    /// `spec.suspend` is true.
    Suspended: Waiting, Resource,
        cause: "Somebody, or a tool, suspended the resource.",
        fix: "Set spec.suspend to false, after which it goes on at once.";

    /// The spec cannot be carried out as it is written.
    InvalidSpec: Stalled, Resource,
        cause: "The resource was admitted by an older or edited CustomResourceDefinition.",
        fix: "Correct the field that the message names, and install this version's CustomResourceDefinition.";
    /// The credential cannot be one of Cyberun's; no call was made with it.
    CredentialsInvalid: Stalled, Resource,
        cause: "The Secret lacks CYBERUN_API_KEY, holds another kind of token there, or a user JWT without a team.",
        fix: "Put the team's sk- or dk- key into CYBERUN_API_KEY, or a user JWT with its team in CYBERUN_TEAM_ID; it is \
              tried within 15 seconds.";
    /// Cyberun refused the credential (401, 403).
    CredentialsRejected: Stalled, Resource,
        cause: "The key was revoked, has expired, belongs to another deployment or lacks a permission.",
        fix: "Put a valid key of the right deployment into the Secret; it is tried within 15 seconds.";
    /// The deployment's license lacks a feature that uploading needs (403).
    FeatureNotLicensed: Stalled, Resource,
        cause: "The deployment's license does not include what the message names.",
        fix: "Have the license extended, then run `fileupload refresh NAME`, or use another team's credential.";
    /// Cyberun refused the request as it is (400, 404, 422).
    RequestRejected: Stalled, File,
        cause: "The API does not accept the file's name or type, or --api-url is not that of the API.",
        fix: "Correct fileName or contentType as the message says, or have the operator's --api-url checked.";
    /// The file is larger than the deployment accepts (413), or than one S3 PUT can be.
    TooLarge: Stalled, File,
        cause: "The deployment has a limit of its own, and no upload can exceed 5 GB.",
        fix: "Make the file smaller or split it, or have the deployment's limit raised, then run `fileupload refresh \
              NAME`.";
    /// The file exists but may not be read.
    PermissionDenied: Stalled, File,
        cause: "The worker runs as another user than the file's owner, and the file's mode lets nobody else read.",
        fix: "Set spec.worker.runAsUser or supplementalGroups to the owner that the message names, or change the mode, \
              then run `fileupload refresh NAME`.";
    /// The path names something that is not a regular file.
    NotAFile: Stalled, File,
        cause: "The path names a folder, a socket or a device, or the claim is a raw block device.",
        fix: "Name a regular file in the file's source.";
    /// The file was not there for a day.
    FileNeverAppeared: Stalled, File,
        cause: "What was to write the file never ran, or writes it elsewhere.",
        fix: "Put the file there, then run `fileupload refresh NAME`, or correct the path.";
    /// The worker wrote a report that this version of the operator does not know.
    ReportUnsupported: Stalled, File,
        cause: "The operator's --worker-image is of another version than the operator.",
        fix: "Let --worker-image name the operator's own image, then run `fileupload refresh NAME`.";
    /// The path, or a symbolic link on it, leads out of the volume.
    PathEscapes: Stalled, File,
        cause: "A symbolic link on the path is absolute or climbs above the volume's root.",
        fix: "Name the file itself, or make the link relative and let it stay within the volume.";
    /// `spec.updatePolicy: OnChange` asks for what this operator is not set up to do.
    UpdateUnsupported: Stalled, Resource,
        cause: "The operator runs with --direct-uploads=false, so that it does not read ConfigMaps.",
        fix: "Set spec.updatePolicy: Once, or have the operator run with --direct-uploads.";
    /// The output ConfigMap exists and is not ours to write.
    OutputConflict: Stalled, Resource,
        cause: "A ConfigMap of that name was made by somebody else, or for another FileUpload.",
        fix: "Name another ConfigMap in spec.output, or delete the one that is in the way.";

    /// The Cyberun API cannot be reached or answered 5xx.
    ApiUnavailable: Backoff, Resource,
        cause: "The API is down, or a proxy, a firewall, a certificate or --api-url keeps the operator from it.",
        fix: "Wait, as it is tried again by itself, and check the operator's way to the API if it lasts.";
    /// The Cyberun API asked to slow down (429).
    RateLimited: Backoff, Resource,
        cause: "The team, or all who share its credential, make more calls than they may.",
        fix: "Wait: it is tried again by itself once the API allows it.";
    /// The Cyberun API answered something that is not a presign answer.
    InvalidResponse: Backoff, Resource,
        cause: "A proxy or a login page answers in the API's place, or --api-url lacks its /api/v1.",
        fix: "Check --api-url and what lies between; it is tried again by itself.";
    /// The storage cannot be reached, broke off, is busy, or answered 5xx.
    StorageUnavailable: Backoff, File,
        cause: "The storage is down or slow, or a proxy or a firewall keeps the sender from its host.",
        fix: "Wait, as it is tried again by itself, and check the way to the host that presigned URLs name if it \
              lasts.";
    /// The storage refused the upload, also with a second presigned URL.
    StorageRefused: Backoff, File,
        cause: "A proxy changes the request, or the storage's clock or rights are not as they should be.",
        fix: "Check proxies, and ask whoever runs the deployment if it lasts; it is tried again by itself.";
    /// The cluster does not admit what the operator has to write.
    AdmissionDenied: Backoff, File,
        cause: "Pod Security, a LimitRange, a policy or a webhook refuses the worker or the output, or a right is \
              missing.",
        fix: "Meet the rule that the message quotes, often by spec.worker, or have it changed; it is tried again by \
              itself.";
    /// The file does not exist.
    FileNotFound: Backoff, File,
        cause: "The file is not written yet, or the path is not relative to the volume's root.",
        fix: "Compare the path with what the message says is there; a file that comes later is found by itself for a \
              day.";
    /// The file changed while it was read.
    SourceChanged: Backoff, File,
        cause: "Something still writes to the file.",
        fix: "Wait until its writer is done, as it is tried again by itself, or write elsewhere and rename.";
    /// A quota of the namespace leaves no room for the worker.
    QuotaExceeded: Backoff, File,
        cause: "A ResourceQuota is used up by other Pods or Jobs.",
        fix: "Free room, raise the ResourceQuota or ask for less in spec.worker.resources; it is tried again by \
              itself.";
    /// The worker's image cannot be pulled.
    ImagePullFailed: Backoff, File,
        cause: "The namespace lacks the registry's pull Secret, the nodes cannot reach it, or --worker-image is wrong.",
        fix: "Create the pull Secret in this namespace, or have --worker-image corrected; it is tried again by itself.";
    /// The worker was killed, evicted, lost with its node, or failed.
    WorkerFailed: Backoff, File,
        cause: "A node was drained or lost, memory ran out, or somebody deleted the Pod.",
        fix: "Wait, as it is tried again by itself; raise spec.worker.resources if memory ran out.";
    /// The worker did not end in the time that a Job has.
    WorkerTimedOut: Backoff, File,
        cause: "The Pod could not run all the while, or the upload is slower than --worker-deadline allows.",
        fix: "Mend what the message says last, or have --worker-deadline raised; it is tried again by itself.";
    /// The worker ended without a report that can be read.
    ReportMissing: Backoff, File,
        cause: "The Pod was deleted before its end was seen, or --worker-image is not this operator's image.",
        fix: "Wait, as it is tried again by itself, and check --worker-image if it lasts.";
}
