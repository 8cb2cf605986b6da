//! The whole run, step by step, and the table that it fills.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cyberun_stub::{Step, Stub};
use kube::Client;
use test_support::Cluster;
use tokio::runtime::Builder;
use tokio::time::sleep;

use crate::clock::Clock;
use crate::double::Double;
use crate::kubelet::{Kubelet, OURS};
use crate::load::{self, Load};
use crate::options::Options;
use crate::requests::{AuditLog, Counts};
use crate::subject::{self, Subject};
use crate::table::{Goal, Table, count};
use crate::{floor, foreign, hands, judge, proc, say, stage};

/// As many threads as the operator has.
const THREADS: usize = 2;
/// How long the garbage collector may take to remove the Pods of all workers.
const COLLECTION: Duration = Duration::from_mins(15);

/// What is at work during a run.
pub(crate) struct Bench<'a> {
    pub(crate) options: &'a Options,
    pub(crate) client: Client,
    pub(crate) clock: Clock,
    pub(crate) subject: Subject,
    pub(crate) kubelet: Option<Kubelet>,
    log: AuditLog,
}

/// What was used until one moment.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    /// The operator's CPU time.
    pub(crate) cpu: Duration,
    /// The double's.
    pub(crate) double: Duration,
    /// What the operator asked for.
    pub(crate) requests: Counts,
}

impl Bench<'_> {
    /// What was used until now.
    pub(crate) fn mark(&mut self) -> anyhow::Result<Mark> {
        Ok(Mark { cpu: self.subject.cpu()?, double: Double::cpu()?, requests: self.log.read()?.clone() })
    }

    /// An error if something that is at work has failed; keeps up with the log, too.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        if let Some(kubelet) = &self.kubelet {
            kubelet.jobs()?;
        }
        self.mark().map(drop)
    }
}

/// Runs the bench; returns what is wrong with the results.
pub(crate) fn run(options: &Options, table: &mut Table) -> anyhow::Result<Vec<String>> {
    let cluster = Cluster::with_chart()?;
    let double = Double::start()?;
    let runtime = Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    runtime.block_on(measure(cluster, &double.stub, options, table))
}

async fn measure(cluster: &Cluster, stub: &Stub, options: &Options, table: &mut Table) -> anyhow::Result<Vec<String>> {
    let log = cluster.audit_log.as_ref().context("requests cannot be counted: TEST_AUDIT_LOG is not set")?;
    let client = cluster.client().await?;
    say("making namespaces, Secrets, sources and foreign objects");
    let began = Instant::now();
    stage::set(&client, stub, options).await?;
    foreign::make(&client, options).await?;
    say(&format!("made in {:.0} s; starting the operator", began.elapsed().as_secs_f64()));
    let log = AuditLog::open(log, &subject::account())?;
    let subject = Subject::start(cluster, &client, stub, options).await?;
    let kubelet = (options.queued > 0).then(|| Kubelet::start(&client));
    let mut bench = Bench { options, clock: Clock::start(&client), client, subject, kubelet, log };
    let started = bench.subject.memory()?;
    table.heading("the operator, started beside what was there");
    table.row("foreign Pods", count(options.foreign_pods), "");
    table.row("foreign ConfigMaps", count(options.foreign_config_maps), "");
    table.row("RSS once it is ready", started.resident, "MiB");
    table.row("peak until then", started.peak, "MiB");

    let mut rate = None;
    if options.uploads() > 0 {
        rate = Some(config_maps(&mut bench, stub, table).await?);
    }
    if options.queued > 0 {
        volumes(&mut bench, table).await?;
    }
    idle(&mut bench, table).await?;
    let wrong = judge::judge(&mut bench, stub).await?;
    bench.subject.end().await?;
    say("measuring the floor");
    let floor = floor::measure(&bench.subject.client().await?, options.concurrency).await?;
    table.heading(format!(
        "the floor: bare status patches, {} at a time, after the operator ended",
        options.concurrency
    ));
    table.row("status patches per second", floor, "/s");
    if let Some((rate, requests)) = rate {
        let bound = 0.5 * floor / requests;
        table.goal("resources per second, against the floor", rate, "/s", Goal::AtLeast(bound));
    }
    Ok(wrong)
}

/// FileUploads of ConfigMaps; returns how many a second, and the requests that each took.
async fn config_maps(bench: &mut Bench<'_>, stub: &Stub, table: &mut Table) -> anyhow::Result<(f64, f64)> {
    let options = bench.options;
    let uploads = (0..options.uploads()).map(|number| stage::of_config_map(number, options));
    let load = load::run(bench, stage::UPLOADS, uploads, None).await?;
    table.heading(format!("{} FileUploads of ConfigMaps over {} namespaces", load.count, options.namespaces));
    let bound = 1.2 * (load.whole.saturating_sub(load.creating)).as_secs_f64() + 1.0;
    let rate = times(table, &load, "resources per second", Some(Goal::AtMost(bound)));
    table.goal("CPU each", cpu_each(&load), "ms", Goal::AtMost(3.0));
    let double = load.after.double.saturating_sub(load.before.double);
    table.row("the double's CPU each (not in it)", double.as_secs_f64() * 1000.0 / count(load.count), "ms");
    let snapshot = stub.snapshot();
    table.row("presigns each", count(snapshot.of(Step::Presign).count()) / count(load.count), "");
    let requests = requests(table, &load, Some(Goal::AtMost(5.0)));
    Ok((rate, requests))
}

/// FileUploads of volumes that wait for workers, and one in a namespace of its own.
async fn volumes(bench: &mut Bench<'_>, table: &mut Table) -> anyhow::Result<()> {
    let options = bench.options;
    let uploads = (0..options.queued).map(|number| stage::of_claim(number, options));
    let lone = stage::of_claim_in(stage::LONE, &format!("{}-lone", stage::QUEUED));
    let load = load::run(bench, stage::QUEUED, uploads, Some(lone)).await?;
    table.heading(format!("{} queued FileUploads of volumes over {} namespaces", load.count, options.namespaces));
    times(table, &load, "Jobs per second", None);
    let lone = bench.clock.read(|all| {
        let (id, seen) = all.iter().find(|(id, _)| id.starts_with(stage::LONE))?;
        let behind = all.values().filter(|other| other.available > seen.available).count();
        let job = bench.kubelet.as_ref()?.first_job(id)?.saturating_duration_since(seen.created);
        Some((job, seen.available?.saturating_duration_since(seen.created), behind))
    });
    let (job, lone, behind) = lone.context("the lone FileUpload or its Job was not seen")?;
    table.goal("create to Job of the lone one", job.as_secs_f64(), "s", Goal::AtMost(2.0));
    table.row("create to Available of the lone one", lone.as_secs_f64(), "s");
    table.row("FileUploads that were Available after it", count(behind), "");
    table.row("CPU per Job", cpu_each(&load), "ms");
    let jobs = bench.kubelet.as_ref().map(Kubelet::jobs).transpose()?.unwrap_or_default();
    table.goal("Jobs each", count(jobs) / count(load.count), "", Goal::AtMost(1.0));
    requests(table, &load, None);
    let mut left = 0;
    hands::for_each(&hands::everywhere(&bench.client, "Job"), OURS, |_| left += 1).await?;
    table.goal("Jobs left", count(left), "", Goal::AtMost(0.0));
    say("waiting until the garbage collector has removed the Pods");
    pods_are_gone(bench).await
}

/// The garbage collector removes some twenty Pods a second. What the watch tells of that is work, and no idle time.
async fn pods_are_gone(bench: &Bench<'_>) -> anyhow::Result<()> {
    let until = Instant::now() + COLLECTION;
    loop {
        let mut left = 0;
        hands::for_each(&hands::everywhere(&bench.client, "Pod"), OURS, |_| left += 1).await?;
        if left == 0 {
            return Ok(());
        }
        ensure!(Instant::now() < until, "{left} Pods of workers are left after {COLLECTION:?}");
        // The interval at which they are counted.
        sleep(Duration::from_secs(5)).await;
    }
}

fn times(table: &mut Table, load: &Load, rate_name: &str, goal: Option<Goal>) -> f64 {
    let rate = count(load.count) / load.whole.as_secs_f64().max(0.001);
    table.row("time of creating", load.creating.as_secs_f64(), "s");
    table.row("time of the whole, first create to last Available", load.whole.as_secs_f64(), "s");
    table.row(rate_name, rate, "/s");
    table.row("p50 from create to Available", load.percentile(50).as_secs_f64(), "s");
    let p99 = load.percentile(99).as_secs_f64();
    match goal {
        Some(goal) => table.goal("p99 from create to Available", p99, "s", goal),
        None => table.row("p99 from create to Available", p99, "s"),
    }
    rate
}

fn cpu_each(load: &Load) -> f64 {
    load.after.cpu.saturating_sub(load.before.cpu).as_secs_f64() * 1000.0 / count(load.count)
}

/// What was asked for during a load, by verb and resource; returns how much each took.
fn requests(table: &mut Table, load: &Load, goal: Option<Goal>) -> f64 {
    let counts = load.after.requests.since(&load.before.requests);
    let each = |number: usize| count(number) / count(load.count);
    let total = each(counts.total());
    match goal {
        Some(goal) => table.goal("requests each", total, "", goal),
        None => table.row("requests each", total, ""),
    }
    for (what, number) in &counts.requests {
        table.row(format!("  {what}"), each(*number), "");
    }
    for (what, number) in &counts.refused {
        table.row(format!("  of them answered {what}"), count(*number), "in all");
    }
    total
}

/// Memory at rest and at peak, and what is done while nothing is to be done.
async fn idle(bench: &mut Bench<'_>, table: &mut Table) -> anyhow::Result<()> {
    let (rest, idle) = (bench.options.rest(), bench.options.idle());
    say(&format!("resting for {rest:?}, then {idle:?} of idle time"));
    let settled = bench.mark()?;
    // Nothing is to happen, so nothing can be waited for.
    sleep(rest).await;
    let before = bench.mark()?;
    sleep(idle).await;
    let after = bench.mark()?;
    let memory = bench.subject.memory()?;
    table.heading("at rest");
    table.goal("RSS", memory.resident, "MiB", Goal::AtMost(64.0));
    table.goal("peak RSS of its whole life", memory.peak, "MiB", Goal::AtMost(96.0));
    let late = before.requests.since(&settled.requests);
    table.row(format!("requests in the first {} s of rest", rest.as_secs()), count(late.total()), "in all");
    let asked = after.requests.since(&before.requests);
    table.goal(format!("requests in {} s of idle time", idle.as_secs()), count(asked.total()), "", Goal::AtMost(0.0));
    for (what, number) in asked.requests.iter().chain(&asked.standing) {
        table.row(format!("  {what}"), count(*number), "");
    }
    let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
    table.goal("CPU in idle time, of one core", cpu * 100.0 / idle.as_secs_f64().max(1.0), "%", Goal::Below(2.0));
    let bench_cpu = proc::cpu(std::process::id())?.saturating_sub(Double::cpu()?);
    table.row("the bench's own CPU until now, the double's left out", bench_cpu.as_secs_f64(), "s");
    Ok(())
}
