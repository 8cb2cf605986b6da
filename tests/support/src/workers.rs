//! Workers from outside: files on a claim for them to send, where they stand, and what one has reported so far.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use cyberun_stub::{Fault, Hold, Rule, Step};
use serde_json::Value;

use crate::DEADLINE;
use crate::cluster::kubectl;
use crate::pods::container;
use crate::volumes::on_claim;
use crate::world::World;

impl World {
    /// The credential, and a shared claim with a file `NAME.txt` of each name, which says `this is NAME`.
    pub async fn shared_claim(&mut self, claim: &str, names: &[&str]) -> anyhow::Result<()> {
        if self.read("Secret", "cyberun").await?.is_null() {
            self.credential().await?;
        }
        let content: Vec<_> = names.iter().map(|name| (format!("{name}.txt"), format!("this is {name}"))).collect();
        let content: Vec<_> = content.iter().map(|(path, text)| (path.as_str(), text.as_bytes())).collect();
        self.volume(claim, &["ReadWriteMany"], &content).await.map(drop)
    }

    /// A `FileUpload` of the file `NAME.txt` of each name on a claim, with further fields of its spec.
    pub async fn upload_from(&self, claim: &str, upload: &str, names: &[&str], mut spec: Value) -> anyhow::Result<()> {
        spec["files"] = names.iter().map(|name| on_claim(name, claim, &format!("{name}.txt"))).collect();
        self.file_upload(upload, spec).await
    }

    /// The first `passing` puts pass, as many more as said are held.
    pub fn hold_puts(&self, passing: usize, waiting: usize) -> Hold {
        let hold = Hold::new("puts");
        for _ in 0..passing {
            self.stub.arm(Rule::once(Step::Put, Fault::delay(Duration::ZERO)));
        }
        for _ in 0..waiting {
            self.stub.arm(Rule::once(Step::Put, Fault::hold(&hold)));
        }
        hold
    }

    /// Waits until so many puts were answered and so many are under way; the others have not begun.
    pub async fn puts_stand(&self, answered: usize, under_way: usize) -> anyhow::Result<()> {
        let stands = move |seen: &cyberun_stub::Snapshot| {
            let done = seen.of(Step::Put).filter(|call| call.end.is_some()).count();
            (done, seen.of(Step::Put).count() - done) == (answered, under_way)
        };
        self.stub.wait_for(stands, DEADLINE).await
    }

    /// How often each file was put, by file name.
    pub fn puts_by_file(&self) -> BTreeMap<String, usize> {
        let mut puts = BTreeMap::new();
        for name in self.calls(Step::Put).into_iter().filter_map(|call| call.file_name) {
            *puts.entry(name).or_default() += 1;
        }
        puts
    }

    /// The name of the one pod whose worker runs, once there is one.
    pub async fn worker(&self) -> anyhow::Result<String> {
        let pods = async || {
            let mut pods = self.list("Pod").await?;
            let runs = |pod: &Value| container(pod)["state"]["running"].is_object();
            pods.retain(|pod| pod["metadata"]["labels"]["batch.kubernetes.io/job-name"].is_string() && runs(pod));
            Ok((pods.len() == 1, pods))
        };
        let pods = self.wait_for(DEADLINE, "a worker to run", pods).await?;
        pods[0]["metadata"]["name"].as_str().map(str::to_owned).context("a pod without a name")
    }

    /// Waits until the worker in a pod has reported so many uploads: what it has reported is kept, whatever becomes of it.
    pub async fn reported(&self, pod: &str, uploads: usize) -> anyhow::Result<()> {
        let process = self.process_of(pod).await?.as_raw_nonzero();
        let path = format!("/proc/{process}/root/dev/termination-log");
        let report = async || {
            let report = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            Ok((report.lines().filter(|line| line.starts_with(['+', '='])).count() == uploads, report))
        };
        self.wait_for(DEADLINE, &format!("{uploads} reported uploads"), report).await?;
        Ok(())
    }

    /// Deletes a Job as people do: its pods go with it.
    pub fn delete_job(&self, job: &str) -> anyhow::Result<()> {
        let namespace = format!("--namespace={}", self.namespace);
        kubectl(self.cluster, ["delete", "job", job, &namespace, "--wait=false"], "")?;
        Ok(())
    }
}

/// Each of these files once, as [`World::puts_by_file`] counts.
pub fn once(names: &[&str]) -> BTreeMap<String, usize> {
    names.iter().map(|name| ((*name).to_owned(), 1)).collect()
}
