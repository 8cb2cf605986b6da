//! The handle on a running stub.
//!
//! Everything a test can ask or order, and nothing else: each method is one call to the module that knows. Dropping
//! the handle ends both servers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use url::Url;

use crate::credentials::{Credential, Credentials, Kind, Standing};
use crate::faults::Fault;
use crate::options::{ExternalS3, Options};
use crate::record::{Call, Object, Record, Snapshot, Step};
use crate::rules::{Faults, Rule};
use crate::server::{Port, Server, Service};
use crate::signature::Verifier;
use crate::state::State;
use crate::tickets::{self, Desk};
use crate::tls::Tls;

/// A running double; see the crate's documentation.
pub struct Stub {
    state: Arc<State>,
    tls: Option<Tls>,
    api_url: Url,
    s3_url: Url,
    api_port: Port,
    api: Option<Server>,
    s3: Server,
    _s3_port: Port,
}

impl Stub {
    /// Opens both ports; requests are answered when this returns.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        // Async although nothing is awaited: the servers need the caller's runtime, and a caller sees that here.
        std::future::ready(()).await;
        let api_port = reserve(&options, options.api_port).context("cannot open the API's port")?;
        let s3_port = reserve(&options, options.s3_port).context("cannot open the storage's port")?;
        let tls = options.tls.then(|| Tls::new(&options)).transpose()?;
        let api_url = url(&options, api_port.address, "/api/v1")?;
        let s3_url = url(&options, s3_port.address, "")?;
        let own_store = ExternalS3 {
            endpoint: s3_url.clone(),
            bucket: "cyberun-inputs".into(),
            region: "us-east-1".into(),
            access_key: "STUBACCESSKEY".into(),
            secret_key: tickets::uuid(),
        };
        let state = Arc::new(State {
            desk: Desk::new(&options, options.external_s3.as_ref().unwrap_or(&own_store))?,
            verifier: Verifier::new(&own_store),
            credentials: Credentials::default(),
            faults: Faults::default(),
            record: Arc::new(Record::default()),
            options,
        });
        for kind in Kind::ALL {
            state.credentials.mint(kind);
        }
        let api = Some(Server::start(&api_port, Service::Api, &state, tls.as_ref())?);
        let s3 = Server::start(&s3_port, Service::S3, &state, tls.as_ref())?;
        Ok(Self { state, tls, api_url, s3_url, api_port, api, s3, _s3_port: s3_port })
    }

    /// The API's base URL, which ends in `/api/v1`.
    pub fn api_url(&self) -> &Url {
        &self.api_url
    }

    /// The storage's base URL; unused where URLs are signed for an external store.
    pub fn s3_url(&self) -> &Url {
        &self.s3_url
    }

    /// The certificate authority to trust, with TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.tls.as_ref().map(|tls| tls.ca_pem.as_str())
    }

    /// The credential of this kind that every stub starts with.
    pub fn credential(&self, kind: Kind) -> Credential {
        self.state.credentials.first(kind).unwrap_or_else(|| self.mint(kind))
    }

    /// One more valid credential.
    pub fn mint(&self, kind: Kind) -> Credential {
        self.state.credentials.mint(kind)
    }

    /// Makes a token of the caller's choice valid; its prefix tells its kind.
    pub fn accept(&self, token: &str) -> anyhow::Result<Credential> {
        self.state.credentials.accept(token)
    }

    /// From now on the token is answered 401; false if nobody minted it.
    pub fn revoke(&self, token: &str) -> bool {
        self.state.credentials.set(token, Standing::Revoked)
    }

    /// As [`Stub::revoke`], with the words for an expired token.
    pub fn expire(&self, token: &str) -> bool {
        self.state.credentials.set(token, Standing::Expired)
    }

    /// The token is valid again.
    pub fn restore(&self, token: &str) -> bool {
        self.state.credentials.set(token, Standing::Valid)
    }

    /// Arms a fault for the next call of this step; faults of one step wait in line.
    pub fn fault(&self, step: Step, fault: impl Into<Fault>) {
        self.arm(Rule::once(step, fault));
    }

    /// Arms a fault for every call of this step.
    pub fn fault_always(&self, step: Step, fault: impl Into<Fault>) {
        self.arm(Rule::always(step, fault));
    }

    /// Arms a fault for the calls a rule names.
    pub fn arm(&self, rule: Rule) {
        self.state.faults.arm(rule);
    }

    /// The rules that have not struck yet, or always strike.
    pub fn armed(&self) -> Vec<Rule> {
        self.state.faults.armed()
    }

    /// Disarms every rule; calls already under one stay so.
    pub fn clear_faults(&self) {
        self.state.faults.clear();
    }

    /// Every call so far, in the order in which their heads arrived.
    pub fn calls(&self) -> Vec<Call> {
        self.state.record.read(|snapshot| snapshot.calls.clone())
    }

    /// Every object that is stored now, by key.
    pub fn objects(&self) -> BTreeMap<String, Object> {
        self.state.record.read(|snapshot| snapshot.objects.clone())
    }

    /// Calls and objects of one and the same moment.
    pub fn snapshot(&self) -> Snapshot {
        self.state.record.read(Clone::clone)
    }

    /// Waits until the condition holds; the error after `deadline` tells what was seen instead.
    ///
    /// The condition is judged under the stub's lock: it must not call the stub.
    pub async fn wait_for(&self, holds: impl Fn(&Snapshot) -> bool, deadline: Duration) -> anyhow::Result<()> {
        self.state.record.wait_for(holds, deadline).await
    }

    /// The API goes down: its connections are dropped and its port refuses new ones.
    pub async fn pause_api(&mut self) {
        if let Some(api) = self.api.take() {
            api.abort().await;
        }
    }

    /// The API is back, at the same address, knowing what it knew.
    pub fn resume_api(&mut self) -> anyhow::Result<()> {
        if self.api.is_none() {
            self.api = Some(Server::start(&self.api_port, Service::Api, &self.state, self.tls.as_ref())?);
        }
        Ok(())
    }

    /// Refuses new connections and lets requests under way end, for up to 5 seconds.
    pub async fn shutdown(mut self) {
        if let Some(api) = self.api.take() {
            api.finish().await;
        }
        self.s3.finish().await;
    }

    /// Drops every connection at once.
    pub async fn abort(mut self) {
        self.pause_api().await;
        self.s3.abort().await;
    }
}

fn reserve(options: &Options, port: u16) -> std::io::Result<Port> {
    Port::reserve(SocketAddr::new(options.bind, port))
}

fn url(options: &Options, address: SocketAddr, path: &str) -> anyhow::Result<Url> {
    let scheme = if options.tls { "https" } else { "http" };
    let host = match &options.advertise {
        Some(host) => host.clone(),
        None if options.bind.is_unspecified() => "127.0.0.1".into(),
        None if options.bind.is_ipv6() => format!("[{}]", options.bind),
        None => options.bind.to_string(),
    };
    Url::parse(&format!("{scheme}://{host}:{}{path}", address.port())).context("the stub's own URL cannot be written")
}
