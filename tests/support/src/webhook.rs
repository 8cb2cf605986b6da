//! A validating webhook that takes calls and never answers, for the requests of one namespace.

use std::net::Ipv4Addr;

use cyberun_stub::{Options, Tls};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::DEADLINE;
use crate::space::Space;

/// How long the API server waits for it, in seconds; what Kubernetes allows at most.
const PATIENCE: u64 = 30;

/// The webhook's server; it goes with its handle.
pub struct HangingWebhook(JoinHandle<()>);

impl Drop for HangingWebhook {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Space {
    /// Lets the API server ask a webhook that hangs about each creation of a `ConfigMap` in this namespace, and about what
    /// else is named by verb and `GROUP/RESOURCE`; returns once it does.
    pub async fn hanging_webhook(&self, about: (&str, &str)) -> anyhow::Result<HangingWebhook> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("https://{}/", listener.local_addr()?);
        let (called, mut is_called) = watch::channel(false);
        // With TLS: the API server gives up a handshake that hangs after 10 s, whatever it was told.
        let Tls { acceptor, ca_pem } = Tls::new(&Options::default())?;
        let webhook = HangingWebhook(tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((call, _)) = listener.accept().await {
                if let Ok(call) = acceptor.accept(call).await {
                    held.push(call);
                    called.send_replace(true);
                }
            }
        }));
        let namespace = Api::<Namespace>::all(self.client.clone()).get(&self.namespace).await?;
        let owner =
            json!({"apiVersion": "v1", "kind": "Namespace", "name": self.namespace, "uid": namespace.metadata.uid});
        let rule = |group: &str, resource: &str, verb: &str| json!({"apiGroups": [group], "apiVersions": ["*"], "resources": [resource], "operations": [verb]});
        let (group, resource) = about.1.split_once('/').unwrap_or(("", about.1));
        let hook = json!({
            "name": "hangs.example.com", "clientConfig": {"url": url, "caBundle": ByteString(ca_pem.into_bytes())}, "timeoutSeconds": PATIENCE,
            "failurePolicy": "Ignore", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}},
            "rules": [rule("", "configmaps", "CREATE"), rule(group, resource, about.0)],
        });
        let body = json!({"metadata": {"ownerReferences": [owner]}, "webhooks": [hook]});
        self.create("ValidatingWebhookConfiguration", &self.namespace, body).await?;
        let probe =
            serde_json::from_value(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe"}}))?;
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let probes = async {
            // One that hangs is what is waited for.
            while self.api("ConfigMap").create(&dry, &probe).await.is_ok() {}
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = probes => {}
            called = tokio::time::timeout(DEADLINE, is_called.wait_for(|called| *called)) => drop(called??),
        }
        Ok(webhook)
    }
}
