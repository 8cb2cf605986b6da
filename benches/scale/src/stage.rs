//! What is there before the operator starts: namespaces, Secrets, sources and claims.

use std::time::Duration;

use anyhow::Context as _;
use cyberun_stub::{Kind, Stub};
use kube::Client;
use serde_json::{Value, json};

use crate::hands;
use crate::options::Options;

/// The namespace of the one volume FileUpload that must not wait behind all others.
pub(crate) const LONE: &str = "bench-lone";
/// The claim of each namespace.
pub(crate) const CLAIM: &str = "data";
/// The source that a namespace's FileUploads share, if they do.
const SHARED: &str = "shared";
/// The one entry of `spec.files`, and so of outputs.
pub(crate) const FILE: &str = "text";
/// How the names of FileUploads of ConfigMaps begin.
pub(crate) const UPLOADS: &str = "u";
/// How the names of FileUploads of volumes begin.
pub(crate) const QUEUED: &str = "q";
const KEY: &str = "text.txt";

/// The namespace of the object of this number: neighbours are in different ones.
pub(crate) fn namespace(number: usize, options: &Options) -> String {
    format!("bench-{:03}", number % options.namespaces)
}

/// The FileUpload of this number with a file of a ConfigMap.
pub(crate) fn of_config_map(number: usize, options: &Options) -> Value {
    let name = config_map_upload(number);
    let source = if options.shared_source { SHARED } else { name.as_str() };
    let source = json!({"configMapKeyRef": {"name": source, "key": KEY}});
    file_upload(&namespace(number, options), &name, &source)
}

/// The FileUpload of this number with a file of a volume.
pub(crate) fn of_claim(number: usize, options: &Options) -> Value {
    of_claim_in(&namespace(number, options), &format!("{QUEUED}{number:06}"))
}

/// A FileUpload with a file of the namespace's volume.
pub(crate) fn of_claim_in(namespace: &str, name: &str) -> Value {
    let source = json!({"persistentVolumeClaim": {"claimName": CLAIM, "path": format!("in/{name}.txt")}});
    file_upload(namespace, name, &source)
}

/// What the file of the FileUpload of this name holds.
pub(crate) fn content(name: &str, options: &Options) -> Vec<u8> {
    text(if options.shared_source { SHARED } else { name }).into_bytes()
}

fn text(source: &str) -> String {
    format!("what {source} holds\n")
}

fn config_map_upload(number: usize) -> String {
    format!("{UPLOADS}{number:06}")
}

fn file_upload(namespace: &str, name: &str, source: &Value) -> Value {
    let file = json!({"name": FILE, "fileName": format!("{name}.txt"), "source": source});
    let output = json!({"configMap": {"name": output(name)}});
    json!({"metadata": {"namespace": namespace, "name": name}, "spec": {"files": [file], "output": output}})
}

/// The output of a FileUpload, with the namespace or without, as the name has it.
pub(crate) fn output(name: &str) -> String {
    format!("{name}-keys")
}

/// Makes namespaces, their Secrets, sources and claims.
pub(crate) async fn set(client: &Client, stub: &Stub, options: &Options) -> anyhow::Result<()> {
    let mut names: Vec<_> = (0..options.namespaces).map(|number| namespace(number, options)).collect();
    names.extend((options.queued > 0).then(|| LONE.to_owned()));
    let objects = names.iter().map(|name| json!({"metadata": {"name": name}}));
    hands::create_all(client, "Namespace", objects, options.concurrency).await?;
    let secret = |name: &String| {
        let credential = stub.mint(Kind::Integration);
        let data = json!({"CYBERUN_API_KEY": credential.token()});
        json!({"metadata": {"namespace": name, "name": "cyberun"}, "stringData": data})
    };
    hands::create_all(client, "Secret", names.iter().map(secret), options.concurrency).await?;
    for name in &names {
        account(client, name).await?;
    }
    sources(client, options).await?;
    if options.queued > 0 {
        claims(client, &names, options.concurrency).await?;
    }
    Ok(())
}

/// Pods are admitted only once their namespace has its account.
async fn account(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let api = hands::api(client, "ServiceAccount", namespace);
    let there = async {
        while api.get_opt("default").await?.is_none() {
            // The interval at which it is looked for; the timeout below ends it.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    };
    let waited = tokio::time::timeout(Duration::from_mins(1), there).await;
    waited.with_context(|| format!("namespace {namespace} gets no account: does the controller manager run?"))?
}

async fn sources(client: &Client, options: &Options) -> anyhow::Result<()> {
    let make = |number: usize, name: &str| {
        let metadata = json!({"namespace": namespace(number, options), "name": name});
        json!({"metadata": metadata, "data": {KEY: text(name)}})
    };
    if options.shared_source {
        let objects = (0..options.namespaces).map(|number| make(number, SHARED));
        return hands::create_all(client, "ConfigMap", objects, options.concurrency).await;
    }
    let objects = (0..options.uploads()).map(|number| make(number, &config_map_upload(number)));
    hands::create_all(client, "ConfigMap", objects, options.concurrency).await
}

/// A claim in each namespace that Pods of every node may use, bound to a volume of its own.
async fn claims(client: &Client, namespaces: &[String], concurrency: usize) -> anyhow::Result<()> {
    let modes = json!(["ReadWriteMany"]);
    let volume = |name: &String| {
        json!({"metadata": {"name": name}, "spec": {
            "accessModes": modes, "storageClassName": "", "capacity": {"storage": "1Gi"},
            "hostPath": {"path": "/nowhere"}, "claimRef": {"namespace": name, "name": CLAIM},
        }})
    };
    let claim = |name: &String| {
        json!({"metadata": {"namespace": name, "name": CLAIM}, "spec": {
            "accessModes": modes, "storageClassName": "", "volumeName": name, "resources": {"requests": {"storage": "1Gi"}},
        }})
    };
    hands::create_all(client, "PersistentVolume", namespaces.iter().map(volume), concurrency).await?;
    hands::create_all(client, "PersistentVolumeClaim", namespaces.iter().map(claim), concurrency).await
}
