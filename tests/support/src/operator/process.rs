//! The operator as a process of this host, under the chart's account and with the chart's arguments.
//!
//! Its environment is cleared, so that nothing of the machine reaches it but its kubeconfig. Its log goes to a file
//! that outlives each start.

use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::{END, START};
use crate::{cluster, http};

/// A running process, or one that was ended.
pub struct Process {
    binary: PathBuf,
    arguments: Vec<String>,
    kubeconfig: PathBuf,
    log: PathBuf,
    address: SocketAddr,
    child: Option<Child>,
}

impl Process {
    /// Starts the program with these arguments and waits until it is ready; its kubeconfig is in the folder, its log too.
    pub async fn start(binary: &Path, folder: &Path, arguments: &[String]) -> anyhow::Result<Self> {
        let mut process = Self {
            binary: binary.to_owned(),
            arguments: arguments.to_vec(),
            kubeconfig: folder.join("kubeconfig"),
            log: folder.join("operator.log"),
            address: TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?,
            child: None,
        };
        process.restart().await?;
        Ok(process)
    }

    pub(super) async fn restart(&mut self) -> anyhow::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.binary);
        command.args(&self.arguments).args(["--listen", &self.address.to_string()]);
        command.env_clear().env("KUBECONFIG", &self.kubeconfig).envs(cluster::member());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("cannot start {}", self.binary.display()))?;
        let child = self.child.insert(child);
        let ready = async {
            loop {
                if let Some(status) = child.try_wait()? {
                    bail!("the operator ended at its start: {status}");
                }
                if matches!(http::get(self.address, "/readyz").await, Ok((200, _))) {
                    return Ok(());
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(START, ready).await.context("the operator does not become ready")?
    }

    /// Its process id; none after its end.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    pub(super) async fn kill_9(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("the operator does not run")?;
        child.kill().await?;
        Ok(())
    }

    /// SIGTERM, without waiting for the end.
    pub fn ask_to_end(&self) -> anyhow::Result<()> {
        Ok(kill_process(self.process()?, Signal::TERM)?)
    }

    pub(super) fn process(&self) -> anyhow::Result<Pid> {
        let child = self.child.as_ref().context("the operator does not run")?;
        child.id().and_then(|id| Pid::from_raw(id.cast_signed())).context("the operator has ended")
    }

    /// Waits for the end and tells how it was.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let mut child = self.child.take().context("the operator does not run")?;
        Ok(timeout(END, child.wait()).await.context("the operator does not end")??)
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        http::get(self.address, path).await
    }

    pub(super) fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// Everything it logged, over all its starts.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}
