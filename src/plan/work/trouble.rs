//! Why a worker does not run, or has ended without an answer: the cluster's many words as our few reasons.
//!
//! A reason must be found within a minute of the cluster knowing, so every place where the cluster may say it is
//! looked at: events, conditions and container states. What is quoted is cleaned of Pod names and of all that
//! varies.

use std::borrow::Cow;

use jiff::Timestamp;

use super::super::facts::{
    Container, JobFacts, NORMAL_START_UP, PodFacts, Presence, Said, Standing, Terminated, Volume,
};
use super::super::messages;
use crate::outcome::Trouble;
use crate::reason::Reason;
use crate::redact::{quote, quote_log, quote_rule};
use crate::resource::FileUpload;

/// What keeps the Pod of a share from running; `None` if it runs, or if nothing is known.
pub(super) fn pending(upload: &FileUpload, job: &JobFacts, pod: Option<&PodFacts>) -> Option<Trouble> {
    // A suspended Job has no Pods, but for what is known of those that it had.
    let exists = pod.is_some_and(|pod| pod.presence != Presence::Gone);
    if let Some(trouble) = suspended(job).filter(|_| !exists) {
        return Some(trouble);
    }
    let Some(pod) = pod else { return not_created(job) };
    if pod.is_running() {
        return node_silent(pod);
    }
    image(upload, job, pod)
        .or_else(|| unschedulable(job, pod))
        .or_else(|| volume(upload, job, pod))
        .or_else(|| container(job, pod))
}

/// A worker that takes longer than usual to start, while nothing is known of the cause.
pub(super) fn slow(job: &JobFacts, pod: Option<&PodFacts>, now: Timestamp) -> Option<Trouble> {
    let what = if pod.is_some() { "has not started yet" } else { "has no Pod yet" };
    let message = || format!("the worker on {} {what}", job.volume.describe());
    (job.age(now) >= NORMAL_START_UP).then(|| Trouble::new(Reason::WorkerPending, message()))
}

/// Why a share has ended without a word on some of its files; `log` is what it left instead of a report.
pub(super) fn ended(
    upload: &FileUpload,
    job: &JobFacts,
    (pod, log): (Option<&PodFacts>, Option<&str>),
    now: Timestamp,
) -> Trouble {
    if matches!(&job.standing, Standing::Ended(said) if said.reason == "DeadlineExceeded") {
        let waiting = pod.filter(|pod| pod.terminated().is_none());
        let last = waiting.and_then(|pod| pending(upload, job, Some(pod)).or_else(|| slow(job, Some(pod), now)));
        let last = last.or_else(|| if job.pods.is_empty() { not_created(job) } else { None });
        let what = "the worker did not end within the time that a Job has";
        return match last {
            Some(last) => Trouble::new(Reason::WorkerTimedOut, format!("{what}; last")).quoting(last.message()),
            None => Trouble::new(Reason::WorkerTimedOut, what),
        };
    }
    let Some(pod) = pod else {
        return match not_created(job) {
            Some(trouble) => Trouble { reason: Reason::WorkerFailed, ..trouble },
            None => failed("the worker's Job was deleted before it ended"),
        };
    };
    killed(pod).unwrap_or_else(|| match pod.terminated() {
        _ if pod.presence != Presence::There => failed("the worker's Pod was deleted before it had sent every file"),
        Some(terminated) => by_itself(terminated, log),
        None => failed("the worker's Pod ended before its container started"),
    })
}

fn failed(what: impl Into<Cow<'static, str>>) -> Trouble {
    Trouble::new(Reason::WorkerFailed, what)
}

/// Something ended it: the node, the cluster, or a person.
fn killed(pod: &PodFacts) -> Option<Trouble> {
    if pod.terminated().is_some_and(|terminated| terminated.reason == "OOMKilled") {
        let fix = "raise spec.worker.resources.limits.memory";
        return Some(failed(format!("the worker used more memory than it may and was killed: {fix}")));
    }
    let said = |said: &Said, what: &'static str| failed(what).quoting(clean(pod, &said.message));
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
                failed(what)
            })
        })
        .or_else(|| node_silent(pod))
}

/// The image is for another architecture than the node. The kernel says so, and the runtime or the log quotes it.
pub(super) fn wrong_architecture(terminated: &Terminated) -> Option<Trouble> {
    let fix = "see --worker-image, and kubernetes.io/arch in spec.worker.nodeSelector";
    let said = terminated.exit_code != 0 && terminated.message.contains("exec format error");
    said.then(|| failed(format!("the worker's image is not for the architecture of its node: {fix}")))
}

/// What is known of a worker that left no report: the end of its log, as its Pod goes with its Job.
pub(super) fn with_log(trouble: Trouble, log: Option<&str>) -> Trouble {
    let log = log.map(quote_log).filter(|words| !words.is_empty());
    let Some(log) = log else { return trouble };
    Trouble { what: format!("{}; its log ends", trouble.what).into(), ..trouble }.quoting(log)
}

fn by_itself(terminated: &Terminated, log: Option<&str>) -> Trouble {
    let Terminated { reason, exit_code, message } = terminated;
    match (reason.as_str(), exit_code) {
        ("StartError" | "ContainerCannotRun", _) => {
            failed("the worker's container cannot be started").quoting(quote(message))
        }
        ("DeadlineExceeded", _) => {
            Trouble::new(Reason::WorkerTimedOut, "the worker did not end within the time that a Job has")
        }
        (_, 137) => failed("the worker was killed (exit code 137)"),
        (_, 0 | 143) => failed("the worker was asked to end before it had sent every file"),
        // So ends a program that cannot be executed, and no worker.
        (_, 255) if log.is_none() => failed(
            "the worker ended with exit code 255 and said nothing: its image may not be for the architecture of its node",
        ),
        (_, code) => {
            with_log(failed(format!("the worker ended with exit code {code} before it had sent every file")), log)
        }
    }
}

/// Another controller holds the Job back.
fn suspended(job: &JobFacts) -> Option<Trouble> {
    let claim = job.volume.describe();
    let what = format!("the Job of the worker on {claim} is suspended by another controller, such as Kueue");
    let fix = "it runs once that admits it; a queue is named by a label in spec.worker.labels or --worker-defaults";
    job.suspended.then(|| Trouble::new(Reason::WorkerPending, format!("{what}: {fix}")))
}

/// The API server does not take the Pod: it says so only in events of the Job.
fn not_created(job: &JobFacts) -> Option<Trouble> {
    let event = job.events.iter().rev().find(|event| event.reason == "FailedCreate")?;
    Some(refused(&format!("the worker's Pod for {}", job.volume.describe()), &event.message, &job.name))
}

/// What an API server that refuses a Job or a Pod means.
pub(crate) fn refused(what: &str, message: &str, job: &str) -> Trouble {
    let message = without_names(message, job);
    let message = message.strip_prefix("Error creating: ").unwrap_or(&message);
    let message = message.split_once("is forbidden: ").map_or(message, |(_, why)| why);
    if message.contains("exceeded quota") {
        let fix = "have the ResourceQuota raised, or ask for less in spec.worker.resources";
        let what = format!("a quota leaves no room for {what}");
        return Trouble::new(Reason::QuotaExceeded, what).quoting(format!("{}: {fix}", quote_rule(message)));
    }
    if message.contains("failed quota") && message.contains("must specify") {
        let fix = "name it in spec.worker.resources";
        let what = format!("a quota counts what {what} does not name");
        return Trouble::new(Reason::AdmissionDenied, what).quoting(format!("{}: {fix}", quote_rule(message)));
    }
    Trouble::new(Reason::AdmissionDenied, format!("the cluster does not admit {what}")).quoting(quote_rule(message))
}

/// Why the kubelet does not start the worker's container.
fn waiting(pod: &PodFacts) -> Option<&Said> {
    match &pod.container {
        Container::Waiting(said) => said.as_ref(),
        _ => None,
    }
}

fn image(upload: &FileUpload, job: &JobFacts, pod: &PodFacts) -> Option<Trouble> {
    const WORDS: [&str; 7] = [
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    ];
    let waiting = waiting(pod).filter(|waiting| WORDS.contains(&waiting.reason.as_str()))?;
    // While it backs off the kubelet repeats the image only; the pull's own error is in the events.
    let pull = pod.events.iter().rev().find(|event| event.reason == "Failed" && event.message.contains("pull"));
    let cause = pull.map_or(&waiting.message, |event| &event.message);
    let (image, cause) = (&job.image, clean(pod, cause));
    let namespace = upload.metadata.namespace.as_deref().unwrap_or("default");
    let what = format!("image {image} cannot be pulled for the worker in namespace {namespace}");
    let fix = "see --worker-image; a registry that asks for credentials needs their pull Secret in this namespace, named by --worker-pull-secret";
    Some(Trouble::new(Reason::ImagePullFailed, what).quoting(format!("{cause}: {fix}")))
}

fn unschedulable(job: &JobFacts, pod: &PodFacts) -> Option<Trouble> {
    let said = pod.unschedulable.as_ref()?;
    let tells = |words: &str| said.message.contains(words);
    let claim = job.volume.describe();
    let of_claim = |reason, what: &str| Trouble::new(reason, format!("{claim} {what}"));
    Some(match () {
        () if tells("persistentvolumeclaim") && tells("not found") => {
            of_claim(Reason::ClaimNotFound, "does not exist in this namespace: create it, or correct claimName")
        }
        () if tells("is being deleted") => {
            of_claim(Reason::ClaimNotFound, "is being deleted: name another, or create it again")
        }
        () if tells("unbound immediate PersistentVolumeClaims") => {
            of_claim(Reason::ClaimNotBound, "is not bound to a volume yet")
        }
        () if tells("ReadWriteOncePod") => {
            of_claim(Reason::ClaimInUse, "may be used by one Pod at a time (ReadWriteOncePod) and is in use")
        }
        () => {
            let fix = "see spec.worker.nodeSelector, tolerations and resources";
            let quoted = format!("{}: {fix}", clean(pod, &said.message));
            Trouble::new(Reason::WorkerPending, "no node can run the worker").quoting(quoted)
        }
    })
}

/// Volumes that do not attach or mount are told of in events only.
fn volume(upload: &FileUpload, job: &JobFacts, pod: &PodFacts) -> Option<Trouble> {
    let event =
        pod.events.iter().rev().find(|event| matches!(event.reason.as_str(), "FailedMount" | "FailedAttachVolume"))?;
    let (message, secret) = (&event.message, upload.spec.secret_name());
    let what = job.volume.describe();
    Some(match () {
        () if message.contains(&format!("secret \"{secret}\" not found")) => messages::secret_missing(upload),
        () if message.contains("non-existent secret key") => {
            let fix = "put the team's sk- or dk- key there";
            Trouble::new(Reason::CredentialsInvalid, format!("Secret {secret}: it has no key CYBERUN_API_KEY: {fix}"))
        }
        () if message.contains("configmap") && message.contains("not found") => Trouble::new(
            Reason::ConfigMapNotFound,
            format!("{what} does not exist in this namespace: create it, or correct the source"),
        ),
        () if message.contains("Multi-Attach error") => {
            let then = "the worker starts once it is attached to the worker's node";
            Trouble::new(Reason::ClaimInUse, format!("{what} is still attached to another node: {then}"))
        }
        () => Trouble::new(Reason::WorkerPending, format!("{what} cannot be mounted")).quoting(clean(pod, message)),
    })
}

fn container(job: &JobFacts, pod: &PodFacts) -> Option<Trouble> {
    let normal = |waiting: &&Said| matches!(waiting.reason.as_str(), "ContainerCreating" | "PodInitializing" | "");
    let waiting = waiting(pod).filter(|waiting| !normal(waiting))?;
    let what = format!("the worker on {} cannot start ({})", job.volume.describe(), waiting.reason);
    Some(Trouble::new(Reason::WorkerPending, what).quoting(clean(pod, &waiting.message)))
}

/// A Pod that runs on a node that no longer answers is told of in events only.
fn node_silent(pod: &PodFacts) -> Option<Trouble> {
    let is_unready = pod.container == Container::Running { ready: false };
    let told = is_unready && pod.events.iter().any(|event| event.reason == "NodeNotReady");
    told.then(|| failed("the worker's node does not answer: another worker follows once the cluster gives the Pod up"))
}

fn clean(pod: &PodFacts, message: &str) -> String {
    quote(&without_names(message, &pod.name)).trim_end_matches('.').to_owned()
}

/// A text without the names of Pods, which are others at each attempt.
fn without_names(text: &str, name: &str) -> String {
    let own = |word: &str| !name.is_empty() && word.trim_matches(|c: char| !c.is_alphanumeric()).starts_with(name);
    let words: Vec<&str> = text.split(' ').map(|word| if own(word) { "…" } else { word }).collect();
    words.join(" ")
}

/// What a worker's failure to find a file means where the volume is a ConfigMap: the path is its key.
pub(super) fn of_volume(volume: &Volume, path: Option<&str>, trouble: Trouble) -> Trouble {
    let (Volume::ConfigMap(name), Reason::FileNotFound, Some(key)) = (volume, trouble.reason, path) else {
        return trouble;
    };
    let fix = "add it, or correct the source";
    let message = format!("ConfigMap {name} has no key {key} in data or binaryData: {fix}");
    Trouble { reason: Reason::ConfigMapKeyNotFound, what: message.into(), quoted: None, ..trouble }
}
