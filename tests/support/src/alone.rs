//! A cluster that one test has for itself: what it does to the API server, or to every namespace, hits nobody else.
//!
//! It has no nodes. The operator is a process of this host, under the account of the chart, and serves all namespaces.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::ListParams;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::{Cluster, output};
use crate::world::World;

/// How long an API server may take to die and to be back, on a busy machine.
const RESTART: Duration = Duration::from_mins(3);
const CALL: Duration = Duration::from_secs(5);
/// How many lines of its log are shown of an API server that is not back.
const LAST: usize = 40;

/// A running cluster; it goes with its handle.
pub(crate) struct Alone {
    guard: Guard,
    pub(crate) cluster: &'static Cluster,
}

struct Guard {
    script: PathBuf,
    folder: PathBuf,
}

impl Alone {
    /// Starts it in a folder that is not there yet, by the cluster script.
    pub(crate) fn start(script: &Path, folder: &Path) -> anyhow::Result<Self> {
        let owner = std::process::id().to_string();
        let said = output(command(script, folder).args(["up", "--nodes", "0", "--owner", &owner]), "")?;
        // Before the chart is installed, so that the cluster goes if that fails. A few paths live as long as the process.
        let guard = Guard { script: script.to_owned(), folder: folder.to_owned() };
        let cluster = Cluster::at(said.trim().into(), folder.join("log/audit.jsonl"))?;
        Ok(Self { guard, cluster: Box::leak(Box::new(cluster)) })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Its keeper would do the same at the end of this process.
        let _ = command(&self.script, &self.folder).arg("down").stdout(Stdio::null()).status();
    }
}

/// Not as a member of the cluster around, with which its keeper would be killed.
fn command(script: &Path, folder: &Path) -> Command {
    let mut command = Command::new(script);
    command.env("CLUSTER_DIR", folder).env_remove("CLUSTER_MEMBER");
    command
}

/// The API server of a cluster of the test's own.
pub struct ApiServer {
    process: Pid,
    folder: PathBuf,
    client: kube::Client,
}

impl World {
    /// The API server, to be stopped and restarted; only of a cluster of the test's own.
    pub fn api_server(&self) -> anyhow::Result<ApiServer> {
        let folder = self.alone.as_ref().context("the cluster is not this test's alone")?.guard.folder.clone();
        Ok(ApiServer { process: find(&folder, "kube-apiserver")?, folder, client: self.client.clone() })
    }

    /// Lets the controllers of Kubernetes stand still for good, the garbage collector among them.
    pub fn stop_controllers(&self) -> anyhow::Result<()> {
        let folder = &self.alone.as_ref().context("the cluster is not this test's alone")?.guard.folder;
        Ok(kill_process(find(folder, "kube-controller-manager")?, Signal::STOP)?)
    }

    /// The API server of the whole run: only for a program that has its cluster for itself.
    pub fn api_server_of_all(&self) -> anyhow::Result<ApiServer> {
        let log = self.cluster.audit_log.as_ref().context("the cluster is not ours")?;
        let folder = log.parent().and_then(Path::parent).context("a log in no folder")?.to_owned();
        Ok(ApiServer { process: find(&folder, "kube-apiserver")?, folder, client: self.client.clone() })
    }
}

impl ApiServer {
    /// SIGSTOP: its sockets stay, and nothing is answered.
    pub fn stop(&self) -> anyhow::Result<()> {
        kill_process(self.process, Signal::STOP).context("cannot stop the API server")
    }

    /// It goes on where it stood.
    pub fn go_on(&self) -> anyhow::Result<()> {
        kill_process(self.process, Signal::CONT).context("the API server cannot go on")
    }

    /// Kills it and starts it again as it was; returns once it is ready.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let place = PathBuf::from(format!("/proc/{}", self.process.as_raw_nonzero()));
        let (arguments, environment) = (words(&place.join("cmdline"))?, words(&place.join("environ"))?);
        let folder = fs::read_link(place.join("cwd"))?;
        let handle = pidfd_open(self.process, PidfdFlags::empty())?;
        kill_process(self.process, Signal::KILL)?;
        // It is readable once the last thread has ended: only then the port is free.
        let limit = Timespec::try_from(RESTART)?;
        let ended = spawn_blocking(move || poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit))).await??;
        anyhow::ensure!(ended == 1, "the API server does not die");
        let path = self.folder.join("log/kube-apiserver.log");
        let log = fs::File::options().append(true).open(&path)?;
        let (program, arguments) = arguments.split_first().context("no program")?;
        let mut again = Command::new(program);
        again.args(arguments).current_dir(folder).env_clear();
        again.envs(environment.iter().filter_map(|variable| variable.split_once('=')));
        again.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut child = again.spawn()?;
        let accounts = Api::<ServiceAccount>::all(self.client.clone());
        // While it starts it may take a request and never answer it.
        let one = ListParams::default().limit(1);
        let deadline = Instant::now() + RESTART;
        while !timeout(CALL, accounts.list_metadata(&one)).await.is_ok_and(|answer| answer.is_ok()) {
            if child.try_wait()?.is_some() || Instant::now() >= deadline {
                let said = fs::read_to_string(path)?;
                let last = said.lines().rev().take(LAST).collect::<Vec<_>>().join("\n");
                anyhow::bail!("the API server is not back; what it said, newest first:\n{last}");
            }
            sleep(Duration::from_millis(50)).await;
        }
        self.process = Pid::from_child(&child);
        Ok(())
    }
}

/// The process whose environment names the cluster and that runs this program.
fn find(folder: &Path, program: &str) -> anyhow::Result<Pid> {
    let member = format!("CLUSTER_MEMBER={}", folder.display());
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let of = |what: &str| words(&entry.path().join(what)).unwrap_or_default();
        if of("environ").contains(&member) && of("cmdline").first().is_some_and(|it| it.ends_with(program)) {
            return Pid::from_raw(pid).context("a process without a number");
        }
    }
    anyhow::bail!("no {program} of {} runs", folder.display())
}

/// What a file of `/proc` has, between its NULs.
fn words(file: &Path) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(text.split_terminator('\0').map(str::to_owned).collect())
}
