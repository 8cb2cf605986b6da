//! Progress for people, on a terminal: a bar for all files above bars of those that are on their way, and a summary.
//!
//! A file has a bar once its size is known and it is under way for a while, and there are never more than fit a small
//! terminal: ten thousand small files draw one bar. A file that failed leaves a line that says so. One file alone has its
//! bar at once, and no other. In a pipe there is nothing of this, and no timer. No disk is asked here: the thread that
//! draws is the one that sends.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, HumanDuration, MultiProgress, ProgressBar, ProgressStyle};

use super::{Named, Output};
use crate::cli::on_terminal;
use crate::delivery::{Delivery, printable};

/// How often the bars move.
const TICK: Duration = Duration::from_millis(100);
/// A file that is stored sooner has no bar.
const SOON: Duration = Duration::from_millis(300);
/// The most bars of files.
const MOST_BARS: usize = 8;
/// How many units of the bar of all files a file is.
const UNITS: u64 = 1000;

/// The progress of all files.
pub(super) struct Progress(Option<Board>);

struct Board {
    began: Instant,
    files: usize,
    stored: Cell<usize>,
    failed: Cell<usize>,
    /// Of the files that are stored.
    bytes: Cell<u64>,
    bars: MultiProgress,
    total: ProgressBar,
    style: ProgressStyle,
    under_way: RefCell<BTreeMap<usize, Active>>,
}

/// A file that is on its way.
struct Active {
    name: String,
    since: Instant,
    sent: Arc<AtomicU64>,
    /// `None` until it is open.
    size: Option<u64>,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Of so many files.
    ///
    /// There are no bars where lines of JSON appear between them.
    pub(super) fn new(files: usize, output: Output) -> Self {
        let is_mixed = output == Output::Jsonl && io::stdout().is_terminal();
        Self((on_terminal() && !is_mixed).then(|| Board::new(files)))
    }

    /// A line above the bars, or in a pipe.
    pub(super) fn say(&self, line: &str) {
        let line = printable(line);
        match &self.0 {
            Some(board) => drop(board.bars.println(line)),
            None => drop(writeln!(io::stderr(), "{line}")),
        }
    }

    /// A file is on its way; `sent` counts its bytes.
    pub(super) fn begin(&self, index: usize, file: &Named, sent: &Arc<AtomicU64>) {
        let Some(board) = &self.0 else { return };
        let (name, since) = (printable(&*file.name()), Instant::now());
        let active = Active { name, since, sent: Arc::clone(sent), size: None, bar: None };
        board.under_way.borrow_mut().insert(index, active);
    }

    /// Its size is known.
    pub(super) fn size(&self, index: usize, size: u64) {
        let Some(board) = &self.0 else { return };
        if let Some(active) = board.under_way.borrow_mut().get_mut(&index) {
            active.size = Some(size);
        }
        if board.is_single() {
            board.draw();
        }
    }

    /// It has ended.
    pub(super) fn end(&self, index: usize, file: &Named, delivery: &Delivery) {
        let Some(board) = &self.0 else { return };
        let bar = board.under_way.borrow_mut().remove(&index).and_then(|active| active.bar);
        match bar {
            Some(bar) if board.is_single() && matches!(delivery, Delivery::Stored(_)) => bar.finish(),
            Some(bar) => {
                bar.finish_and_clear();
                board.bars.remove(&bar);
            }
            None => {}
        }
        match delivery {
            Delivery::Stored(upload) => {
                board.stored.set(board.stored.get() + 1);
                board.bytes.set(board.bytes.get() + upload.size);
            }
            Delivery::Failed(trouble) | Delivery::NotSent(Some(trouble)) => {
                board.failed.set(board.failed.get() + 1);
                self.say(&format!("{}: failed: {}", file.name(), trouble.reason));
            }
            Delivery::NotSent(None) => {}
        }
    }

    /// Moves the bars; never ends.
    pub(super) async fn draw(&self) -> Infallible {
        let Some(board) = &self.0 else { return std::future::pending().await };
        let mut ticks = tokio::time::interval(TICK);
        loop {
            ticks.tick().await;
            board.draw();
        }
    }

    /// Takes the bars away; returns the summary.
    pub(super) fn finish(self, failed: usize) -> Option<String> {
        let board = self.0?;
        board.total.finish_and_clear();
        let _ = board.bars.clear();
        Some(board.summary(board.began.elapsed(), failed))
    }
}

impl Board {
    fn new(files: usize) -> Self {
        let style = |template| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bars = MultiProgress::new();
        let total = ProgressBar::new(files as u64 * UNITS);
        let total = if files == 1 { ProgressBar::hidden() } else { bars.add(total) };
        total.set_style(style("{prefix} {wide_bar} {msg} {eta:>4}"));
        Self {
            began: Instant::now(),
            files,
            stored: Cell::default(),
            failed: Cell::default(),
            bytes: Cell::default(),
            bars,
            total,
            style: style("{prefix:20!} {wide_bar} {bytes:>11}/{total_bytes:11} {eta:>4}"),
            under_way: RefCell::default(),
        }
    }

    fn is_single(&self) -> bool {
        self.files == 1
    }

    fn draw(&self) {
        let mut under_way = self.under_way.borrow_mut();
        let mut bars = under_way.values().filter(|active| active.bar.is_some()).count();
        let (mut units, mut bytes) = (0, self.bytes.get());
        for active in under_way.values_mut() {
            let sent = active.sent.load(Ordering::Relaxed);
            let is_due = bars < MOST_BARS && (self.is_single() || active.since.elapsed() >= SOON);
            if let (true, None, Some(size)) = (is_due, &active.bar, active.size) {
                bars += 1;
                let bar = self.bars.add(ProgressBar::new(size).with_style(self.style.clone()));
                bar.set_prefix(active.name.clone());
                active.bar = Some(bar);
            }
            if let Some(bar) = &active.bar {
                bar.set_position(sent);
            }
            units += (sent * UNITS).checked_div(active.size.unwrap_or(0)).unwrap_or(0).min(UNITS);
            bytes += sent;
        }
        let ended = self.stored.get() + self.failed.get();
        self.total.set_prefix(format!("{}/{} files", HumanCount(ended as u64), HumanCount(self.files as u64)));
        self.total.set_message(HumanBytes(bytes).to_string());
        self.total.set_position(ended as u64 * UNITS + units);
    }

    fn summary(&self, time: Duration, failed: usize) -> String {
        let (stored, files) = (HumanCount(self.stored.get() as u64), HumanCount(self.files as u64));
        let (bytes, seconds) = (self.bytes.get(), time.as_secs_f64().max(0.001));
        let rate = |count: f64| format!("{:.0}", count / seconds);
        #[expect(clippy::cast_precision_loss, reason = "rates for people")]
        let (files_rate, bytes_rate) = (rate(self.stored.get() as f64), bytes as f64 / seconds);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rates for people")]
        let bytes_rate = HumanBytes(bytes_rate as u64);
        let time = if seconds < 100.0 { format!("{seconds:.1} s") } else { HumanDuration(time).to_string() };
        let (failed, bytes) = (HumanCount(failed as u64), HumanBytes(bytes));
        format!(
            "{stored} of {files} files stored, {bytes} in {time} ({files_rate} files/s, {bytes_rate}/s), {failed} failed"
        )
    }
}
