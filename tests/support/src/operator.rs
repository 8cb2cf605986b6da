//! The operator under test: started, killed, ended and started again.
//!
//! Where a node runs it is a pod of the built image, installed by the chart; otherwise a process of this host with the
//! arguments that the chart would give it, under the same account. A test does not see the difference.

use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context as _;

use self::pod::Pod;
use self::process::Process;

pub(crate) mod pod;
pub(crate) mod process;

/// How long a start may take, until it is ready.
const START: Duration = Duration::from_mins(2);
/// How long an end may take.
const END: Duration = Duration::from_mins(1);

/// A running operator, or one that was ended.
pub enum Operator {
    /// On a node.
    Pod(Box<Pod>),
    /// On this host.
    Process(Box<Process>),
}

impl Operator {
    /// Starts it again, after [`Operator::kill_9`] or [`Operator::terminate`], and waits until it is ready.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Pod(pod) => pod.restart().await,
            Self::Process(process) => process.restart().await,
        }
    }

    /// SIGKILL: it has no time for anything, and stays dead.
    pub async fn kill_9(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Pod(pod) => pod.kill_9().await,
            Self::Process(process) => process.kill_9().await,
        }
    }

    /// SIGTERM, without waiting for the end.
    pub async fn ask_to_end(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Pod(pod) => pod.ask_to_end().await,
            Self::Process(process) => process.ask_to_end(),
        }
    }

    /// Waits for the end and tells how it was.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        match self {
            Self::Pod(pod) => pod.ended().await,
            Self::Process(process) => process.ended().await,
        }
    }

    /// SIGTERM, and waits for the end.
    pub async fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        self.ask_to_end().await?;
        self.ended().await
    }

    /// Status and body of `GET path` on its own port.
    pub async fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        match self {
            Self::Pod(pod) => pod.get(path).await,
            Self::Process(process) => process.get(path).await,
        }
    }

    /// Whether it was not ended by this test.
    pub fn runs(&self) -> bool {
        match self {
            Self::Pod(pod) => pod.runs(),
            Self::Process(process) => process.runs(),
        }
    }

    /// The most memory that it ever had at a time since it was started, in bytes.
    pub fn peak_memory(&self) -> anyhow::Result<u64> {
        self.of_status("VmHWM")
    }

    /// The memory that it has, in bytes.
    pub fn memory(&self) -> anyhow::Result<u64> {
        self.of_status("VmRSS")
    }

    fn of_status(&self, field: &str) -> anyhow::Result<u64> {
        let process = match self {
            Self::Pod(pod) => pod.process()?,
            Self::Process(process) => process.process()?,
        };
        let size = crate::pods::status(process.as_raw_nonzero().get().cast_unsigned(), field);
        let kibibytes: u64 = size.trim_end_matches(" kB").parse().context("the operator has ended")?;
        Ok(kibibytes * 1024)
    }

    /// Everything it logged, over all its starts.
    pub fn log(&self) -> String {
        match self {
            Self::Pod(pod) => pod.log(),
            Self::Process(process) => process.log(),
        }
    }
}
