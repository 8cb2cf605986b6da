//! Why a worker does not run, or has ended without an answer: the cluster's many words as our few reasons.
//!
//! A reason must be found within a minute of the cluster knowing, so every place where the cluster may say it is
//! looked at: events, conditions and container states. What is quoted is cleaned of Pod names and of all that
//! varies; `workers` sees to it that it is frozen at first sight.

use jiff::Timestamp;

use super::observed::{JobView, PodView, Said, Terminated};
use super::volume::Volume;
use crate::reason::Reason;
use crate::redact::quote;
use crate::resource::FileUpload;

/// How long a worker may be on its way before that is worth saying.
const ON_ITS_WAY: i64 = 15;

const NO_POD: &str = "has no Pod yet";
const NOT_STARTED: &str = "has not started yet";

type Why = (Reason, String);

/// What keeps the Pod of a share from running; `None` if it runs, or is on its way.
pub(super) fn pending(upload: &FileUpload, job: &JobView, pod: Option<&PodView>, now: Timestamp) -> Option<Why> {
    let Some(pod) = pod else { return not_created(job).or_else(|| slow(job, NO_POD, now)) };
    if pod.running {
        return node_silent(pod);
    }
    image(upload, job, pod)
        .or_else(|| unschedulable(job, pod))
        .or_else(|| volume(upload, job, pod))
        .or_else(|| container(job, pod))
        .or_else(|| slow(job, NOT_STARTED, now))
}

/// Why a share has ended without a word on some of its files.
pub(super) fn ended(upload: &FileUpload, job: &JobView, pod: Option<&PodView>, now: Timestamp) -> Why {
    if job.ended.as_ref().is_some_and(|said| said.reason == "DeadlineExceeded") {
        let last = pod.filter(|pod| pod.terminated.is_none()).and_then(|pod| pending(upload, job, Some(pod), now));
        let last = last.or_else(|| if job.pods.is_empty() { not_created(job) } else { None });
        let last = last.map(|(_, message)| format!("; last: {message}")).unwrap_or_default();
        return (Reason::WorkerTimedOut, format!("the worker did not end within the time that a Job has{last}"));
    }
    let Some(pod) = pod else {
        return failed(match not_created(job) {
            Some((_, message)) => message,
            None => "the worker's Job was deleted before it ended".to_owned(),
        });
    };
    killed(pod).unwrap_or_else(|| match &pod.terminated {
        _ if pod.gone || pod.deleting => {
            failed("the worker's Pod was deleted before it had sent every file".to_owned())
        }
        Some(terminated) => by_itself(terminated),
        None => failed("the worker's Pod ended before its container started".to_owned()),
    })
}

fn failed(message: String) -> Why {
    (Reason::WorkerFailed, message)
}

/// Something ended it: the node, the cluster, or a person.
fn killed(pod: &PodView) -> Option<Why> {
    if pod.terminated.as_ref().is_some_and(|terminated| terminated.reason == "OOMKilled") {
        let fix = "raise spec.worker.resources.limits.memory";
        return Some(failed(format!("the worker used more memory than it may and was killed: {fix}")));
    }
    let said = |said: &Said, what: &str| failed(join(what, &clean(pod, &said.message)));
    let evicted = pod.said.as_ref().filter(|of_pod| of_pod.reason == "Evicted");
    let lost =
        pod.said.as_ref().filter(|of_pod| matches!(of_pod.reason.as_str(), "NodeLost" | "NodeShutdown" | "Terminated"));
    evicted
        .map(|of_pod| said(of_pod, "the node evicted the worker"))
        .or_else(|| lost.map(|of_pod| said(of_pod, "the worker was lost with its node")))
        .or_else(|| {
            pod.disrupted.as_ref().map(|why| {
                let what = match why.reason.as_str() {
                    "EvictionByEvictionAPI" => "the worker was evicted by request",
                    "PreemptionByScheduler" => "the worker made way for a Pod of higher priority",
                    "DeletionByTaintManager" => "the worker's node does not answer or was tainted",
                    "DeletionByPodGC" => "the worker was lost with its node",
                    _ => "the cluster ended the worker",
                };
                failed(what.to_owned())
            })
        })
        .or_else(|| node_silent(pod))
}

fn by_itself(terminated: &Terminated) -> Why {
    let Terminated { reason, exit_code, message } = terminated;
    match (reason.as_str(), exit_code) {
        ("StartError" | "ContainerCannotRun", _) => {
            failed(join("the worker's container cannot be started", &quote(message)))
        }
        ("DeadlineExceeded", _) => {
            (Reason::WorkerTimedOut, "the worker did not end within the time that a Job has".to_owned())
        }
        (_, 137) => failed("the worker was killed (exit code 137)".to_owned()),
        (_, 0 | 143) => failed("the worker was asked to end before it had sent every file".to_owned()),
        (_, code) => failed(format!(
            "the worker ended with exit code {code} before it had sent every file: see the log of its Pod"
        )),
    }
}

/// The API server does not take the Pod: it says so only in events of the Job.
fn not_created(job: &JobView) -> Option<Why> {
    let event = job.events.iter().rev().find(|event| event.reason == "FailedCreate")?;
    Some(refused(&format!("the worker's Pod for {}", job.volume.describe()), &event.message, &job.name))
}

/// What an API server that refuses a Job or a Pod means.
pub fn refused(what: &str, message: &str, job: &str) -> Why {
    let message = without_names(message, job);
    let message = message.strip_prefix("Error creating: ").unwrap_or(&message);
    let message = message.split_once("is forbidden: ").map_or(message, |(_, why)| why);
    if message.contains("exceeded quota") {
        let fix = "have the ResourceQuota raised, or ask for less in spec.worker.resources";
        return (Reason::QuotaExceeded, format!("a quota leaves no room for {what}: {}: {fix}", quote(message)));
    }
    (Reason::AdmissionDenied, format!("the cluster does not admit {what}: {}", quote(message)))
}

fn image(upload: &FileUpload, job: &JobView, pod: &PodView) -> Option<Why> {
    const WORDS: [&str; 7] = [
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    ];
    let waiting = pod.waiting.as_ref().filter(|waiting| WORDS.contains(&waiting.reason.as_str()))?;
    // While it backs off the kubelet repeats the image only; the pull's own error is in the events.
    let pull = pod.events.iter().rev().find(|event| event.reason == "Failed" && event.message.contains("pull"));
    let cause = pull.map_or(&waiting.message, |event| &event.message);
    let (image, cause) = (&job.image, clean(pod, cause));
    let namespace = upload.metadata.namespace.as_deref().unwrap_or("default");
    let message = format!(
        "image {image} cannot be pulled for the worker in namespace {namespace}: {cause}: see --worker-image; a registry that asks for credentials needs their pull Secret in this namespace, named by --worker-pull-secret"
    );
    Some((Reason::ImagePullFailed, message))
}

fn unschedulable(job: &JobView, pod: &PodView) -> Option<Why> {
    let said = pod.unschedulable.as_ref()?;
    let message = clean(pod, &said.message);
    let claim = job.volume.describe();
    Some(match () {
        () if said.message.contains("persistentvolumeclaim") && said.message.contains("not found") => (
            Reason::ClaimNotFound,
            format!("{claim} does not exist in this namespace: create it, or correct claimName"),
        ),
        () if said.message.contains("is being deleted") => {
            (Reason::ClaimNotFound, format!("{claim} is being deleted: name another, or create it anew"))
        }
        () if said.message.contains("unbound immediate PersistentVolumeClaims") => {
            (Reason::ClaimNotBound, format!("{claim} is not bound to a volume yet"))
        }
        () if said.message.contains("ReadWriteOncePod") => {
            (Reason::ClaimInUse, format!("{claim} may be used by one Pod at a time (ReadWriteOncePod) and is in use"))
        }
        () => {
            let fix = "see spec.worker.nodeSelector, tolerations and resources";
            (Reason::WorkerPending, format!("no node can run the worker: {message}: {fix}"))
        }
    })
}

/// Volumes that do not attach or mount are told of in events only.
fn volume(upload: &FileUpload, job: &JobView, pod: &PodView) -> Option<Why> {
    let event =
        pod.events.iter().rev().find(|event| matches!(event.reason.as_str(), "FailedMount" | "FailedAttachVolume"))?;
    let (message, secret) = (&event.message, upload.spec.secret_name());
    let what = job.volume.describe();
    Some(match () {
        () if message.contains(&format!("secret \"{secret}\" not found")) => {
            (Reason::SecretNotFound, super::text::secret_missing(upload))
        }
        () if message.contains("non-existent secret key") => (
            Reason::CredentialsInvalid,
            format!("Secret {secret}: it has no key CYBERUN_API_KEY: put the team's sk- or dk- key there"),
        ),
        () if message.contains("configmap") && message.contains("not found") => (
            Reason::ConfigMapNotFound,
            format!("{what} does not exist in this namespace: create it, or correct the source"),
        ),
        () if message.contains("Multi-Attach error") => (
            Reason::ClaimInUse,
            format!(
                "{what} is attached to another node: the worker follows once that is known, or waits until it is free"
            ),
        ),
        () => (Reason::WorkerPending, format!("{what} cannot be mounted: {}", clean(pod, message))),
    })
}

fn container(job: &JobView, pod: &PodView) -> Option<Why> {
    let waiting = pod
        .waiting
        .as_ref()
        .filter(|waiting| !matches!(waiting.reason.as_str(), "ContainerCreating" | "PodInitializing" | ""))?;
    let what = format!("the worker on {} cannot start ({})", job.volume.describe(), waiting.reason);
    Some((Reason::WorkerPending, join(&what, &clean(pod, &waiting.message))))
}

/// A Pod that runs on a node that no longer answers is told of in events only.
fn node_silent(pod: &PodView) -> Option<Why> {
    let told = pod.unready && pod.events.iter().any(|event| event.reason == "NodeNotReady");
    told.then(|| {
        failed("the worker's node does not answer: it is tried anew once the cluster has given the Pod up".to_owned())
    })
}

/// Whether a text of [`slow`] tells that nothing is known yet.
pub(super) fn is_vague(message: &str) -> bool {
    [NO_POD, NOT_STARTED].iter().any(|vague| message.ends_with(vague))
}

fn slow(job: &JobView, what: &str, now: Timestamp) -> Option<Why> {
    let late = job.created.is_some_and(|created| now.as_second() - created.as_second() >= ON_ITS_WAY);
    late.then(|| (Reason::WorkerPending, format!("the worker on {} {what}", job.volume.describe())))
}

fn join(what: &str, quoted: &str) -> String {
    if quoted.is_empty() { what.to_owned() } else { format!("{what}: {quoted}") }
}

fn clean(pod: &PodView, message: &str) -> String {
    quote(&without_names(message, &pod.name)).trim_end_matches('.').to_owned()
}

/// A text without the names of Pods, which are others at each attempt.
fn without_names(text: &str, name: &str) -> String {
    let own = |word: &str| !name.is_empty() && word.trim_matches(|c: char| !c.is_alphanumeric()).starts_with(name);
    let words: Vec<&str> = text.split(' ').map(|word| if own(word) { "…" } else { word }).collect();
    words.join(" ")
}

/// What the volume itself has to do with a reason, for those that only a worker can tell.
pub(super) fn of_volume(volume: &Volume, reason: Reason, message: String) -> (Reason, String) {
    match (volume, reason) {
        (Volume::ConfigMap(name), Reason::FileNotFound) => {
            let key = message.split(':').next().unwrap_or_default();
            (
                Reason::ConfigMapKeyNotFound,
                format!("ConfigMap {name} has no key {key} in data or binaryData: add it, or correct the source"),
            )
        }
        _ => (reason, message),
    }
}
