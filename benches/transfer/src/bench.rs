//! The course of the bench: for each work a sink, for each tool one run that is checked by SHA-256, then the pairs.

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::child::{self, Cost};
use crate::options::Options;
use crate::ratio::Spread;
use crate::stage::{Files, Stage};
use crate::store::{self, Store};
use crate::tools::{Job, OTHERS, Tool};
use crate::works::{self, Trust, Work};
use crate::{machine, page, say, table};

/// Where Debian and its like keep the system's CA certificates.
const SYSTEM_CAS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// One run of one tool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
    pub(crate) peak: f64,
    /// The sink's CPU time.
    pub(crate) sink: f64,
    /// Body bytes after a refusal.
    pub(crate) after_refusal: u64,
    pub(crate) connections: usize,
}

/// A tool beside ours in one work.
pub(crate) struct Pairs {
    pub(crate) tool: Tool,
    pub(crate) ours: Vec<Run>,
    pub(crate) theirs: Vec<Run>,
}

impl Pairs {
    /// Ours ÷ theirs, pair by pair.
    pub(crate) fn ratio(&self, figure: impl Fn(&Run) -> f64) -> Option<Spread> {
        Spread::of(self.ours.iter().zip(&self.theirs).map(|(ours, theirs)| figure(ours) / figure(theirs)))
    }
}

/// A work that is done.
pub(crate) struct Done {
    pub(crate) work: Work,
    pub(crate) pairs: Vec<Pairs>,
}

/// Does the chosen works and prints the table, also of what was measured before something went wrong.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let stage = Stage::new()?;
    let ours = Tool::Fileupload.version(&options.fileupload);
    ours.with_context(|| format!("{} does not run: set FILEUPLOAD", options.fileupload.display()))?;
    let machine = machine::describe(&options.fileupload);
    let mut done = Vec::new();
    let mut result = Ok(());
    for work in works::all(options.files, options.mib) {
        if !options.works.is_empty()
            && !options.works.iter().any(|word| work.id.contains(word) || work.name.contains(word))
        {
            continue;
        }
        match measure(&stage, options, &work) {
            Ok(pairs) => done.push(Done { work, pairs }),
            Err(error) => {
                result = Err(error.context(work.name));
                break;
            }
        }
    }
    table::print(&machine, &done)?;
    result?;
    if options.write { page::write(&machine, &done) } else { Ok(()) }
}

fn measure(stage: &Stage, options: &Options, work: &Work) -> anyhow::Result<Vec<Pairs>> {
    say(&format!("{}: preparing", work.name));
    let folder = stage.path().join(work.id);
    std::fs::create_dir(&folder)?;
    let files = stage.files(work.count, work.size)?;
    let mut scene = Scene { store: Store::start(&folder, work.sink)?, files, work, options, folder: &folder };
    let mut pairs = Vec::new();
    for tool in OTHERS {
        let wanted = options.tools.is_empty() || options.tools.iter().any(|name| name == tool.name());
        if !wanted || !work.tools.contains(&tool) || tool.version(&options.fileupload).is_none() {
            continue;
        }
        pairs.push(scene.pairs(tool).with_context(|| tool.name())?);
    }
    drop(scene);
    Ok(pairs)
}

struct Scene<'a> {
    store: Store,
    files: Files,
    work: &'a Work,
    options: &'a Options,
    folder: &'a Path,
}

impl Scene<'_> {
    fn pairs(&mut self, tool: Tool) -> anyhow::Result<Pairs> {
        say(&format!("{}: {} and {}", self.work.name, self.work.ours.name(), tool.name()));
        for each in [self.work.ours, tool] {
            // It also brings files and programs into memory.
            self.once(each, true).with_context(|| format!("the checked run of {}", each.name()))?;
        }
        let mut pairs = Pairs { tool, ours: Vec::new(), theirs: Vec::new() };
        // Of a refusal only status and bytes are judged, and our retries of it take 14 s.
        let count = if self.work.refused { 1 } else { self.options.pairs };
        for number in 0..count {
            let ours_first = number % 2 == 0;
            if ours_first {
                pairs.ours.push(self.summed(self.work.ours)?);
            }
            pairs.theirs.push(self.summed(tool)?);
            if !ours_first {
                pairs.ours.push(self.summed(self.work.ours)?);
            }
        }
        Ok(pairs)
    }

    /// The mean of several runs where one is too short to be measured.
    fn summed(&mut self, tool: Tool) -> anyhow::Result<Run> {
        let runs = (0..self.work.runs).map(|_| self.once(tool, false)).collect::<anyhow::Result<Vec<_>>>()?;
        #[expect(clippy::cast_precision_loss, reason = "few runs")]
        let mean = |figure: fn(&Run) -> f64| runs.iter().map(figure).sum::<f64>() / runs.len() as f64;
        Ok(Run {
            wall: mean(|run| run.wall),
            cpu: mean(|run| run.cpu),
            peak: runs.iter().map(|run| run.peak).fold(0.0, f64::max),
            sink: mean(|run| run.sink),
            after_refusal: runs.iter().map(|run| run.after_refusal).max().unwrap_or_default(),
            connections: runs.iter().map(|run| run.connections).max().unwrap_or_default(),
        })
    }

    fn once(&mut self, tool: Tool, hash: bool) -> anyhow::Result<Run> {
        let ca = self.ca()?;
        let before = self.store.take(hash)?.cpu;
        let job = Job {
            store: &self.store,
            files: &self.files,
            ca: &ca,
            side_by_side: self.work.side_by_side,
            folder: self.folder,
            fileupload: &self.options.fileupload,
        };
        let expected = match (self.work.refused, tool) {
            (false, _) => 0,
            (true, Tool::Curl) => 22,
            (true, _) => 1,
        };
        let (Cost { wall, cpu, peak }, said) = child::run(&tool.command(&job)?, expected, self.folder)?;
        let mut tally = self.store.take(false)?;
        if self.work.refused {
            tally = self.after_refusal(tally)?;
            store::check_refused(&tally, &said)?;
        } else {
            store::check(&tally, &self.files)?;
            if tool == Tool::Fileupload && tally.presigns != self.files.files.len() {
                bail!("{} presigns for {} files", tally.presigns, self.files.files.len());
            }
        }
        let cpu_of_sink = std::time::Duration::from_nanos(tally.cpu.saturating_sub(before));
        Ok(Run {
            wall: wall.as_secs_f64(),
            cpu: cpu.as_secs_f64(),
            peak,
            sink: cpu_of_sink.as_secs_f64(),
            after_refusal: tally.after_refusal,
            connections: tally.connections,
        })
    }

    /// The sink may still be counting when the tool has ended.
    fn after_refusal(&mut self, mut tally: crate::sink::Tally) -> anyhow::Result<crate::sink::Tally> {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let more = self.store.take(false)?;
        tally.after_refusal += more.after_refusal;
        tally.refused += more.refused;
        tally.files.extend(more.files);
        Ok(tally)
    }

    fn ca(&self) -> anyhow::Result<std::path::PathBuf> {
        if self.work.trust == Trust::One {
            return Ok(self.store.ca.clone());
        }
        let all = self.folder.join("all.pem");
        if !all.exists() {
            let system = std::fs::read_to_string(SYSTEM_CAS).context(SYSTEM_CAS)?;
            std::fs::write(&all, system + &std::fs::read_to_string(&self.store.ca)?)?;
        }
        Ok(all)
    }
}
