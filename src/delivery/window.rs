//! How many files go side by side: pure, with the time given.
//!
//! One goes alone until the first ticket is seen. Then the window doubles, later adds a few, as long as more files raise
//! the throughput; a step that does not is taken back and tried again some rounds later. When the other side asks to
//! wait, fails or breaks off, the window halves, once for all files that were under way, and adds a few per round until
//! it is as large as before. It knows no file and never waits.
//!
//! A round is as many stored files as go side by side. The first round after a step is not measured: it makes new
//! connections, and in it end the files that began before.

use std::time::Duration;

use tokio::time::Instant;

/// How many files the operator, a worker and a sidecar send side by side.
const SIDE_BY_SIDE: usize = 4;
/// With how many an adaptive window begins.
const FIRST: usize = 8;
/// The most that anybody can ask for: within the usual limit of 1024 open files, of which each file needs up to three.
const MOST: u16 = 256;
/// The most of an adaptive window: 3,500 small files a second where the storage answers in 30 ms. Each more would cost a
/// connection and 50 KiB.
const ADAPTIVE: usize = 144;
/// What a stored file counts for besides its bytes: about what moves in the time that its calls take.
const PER_FILE: u64 = 64 * 1024;
/// A shorter round is too noisy to be judged.
const SHORTEST_ROUND: Duration = Duration::from_millis(20);
/// A step pays if the throughput rises by this part of what the window has grown by.
const PAYS: f64 = 0.5;
/// How many rounds a step is judged by, as one may be slow by chance.
const TRIAL: u32 = 2;
/// How many rounds pass after a step that did not pay.
const REST: u32 = 16;

/// A window; see the module.
#[derive(Debug)]
pub struct Window {
    most: usize,
    size: usize,
    /// Whether the first ticket was seen.
    is_open: bool,
    /// Whether steps still double it.
    doubles: bool,
    /// Up to here it grows again after a cut without being judged.
    regrows_to: usize,
    /// The size before the step that is on trial, and its throughput.
    before: Option<(usize, f64)>,
    /// How many rounds of the step on trial did not pay.
    failed: u32,
    /// Rounds until the next step.
    rest: u32,
    /// How often it was halved.
    cuts: u64,
    round: Round,
}

#[derive(Debug, Default)]
struct Round {
    /// When measuring began; `None` while what ends is not measured.
    since: Option<Instant>,
    files: usize,
    work: u64,
}

impl Window {
    /// The most files that any window may have side by side.
    pub(crate) const MOST: u16 = MOST;

    /// The few that do no harm anywhere.
    pub fn small() -> Self {
        Self::of(SIDE_BY_SIDE)
    }

    /// So many from the first ticket on.
    pub fn of(size: usize) -> Self {
        Self::between(size, size)
    }

    /// As many as raise the throughput.
    pub fn adaptive() -> Self {
        Self::between(FIRST, ADAPTIVE)
    }

    fn between(first: usize, most: usize) -> Self {
        Self {
            most: most.max(1),
            size: first.max(1),
            is_open: false,
            doubles: true,
            regrows_to: 0,
            before: None,
            failed: 0,
            rest: 0,
            cuts: 0,
            round: Round::default(),
        }
    }

    /// How many may be under way.
    pub fn size(&self) -> usize {
        if self.is_open { self.size } else { 1 }
    }

    /// A ticket is there; whether it is the first.
    pub fn open(&mut self) -> bool {
        !std::mem::replace(&mut self.is_open, true)
    }

    /// How often it was halved; a file remembers it when its attempt begins.
    pub fn cuts(&self) -> u64 {
        self.cuts
    }

    /// The other side could not take an attempt that began after so many cuts.
    pub fn strain(&mut self, cuts: u64) {
        if cuts < self.cuts {
            return;
        }
        self.cuts += 1;
        self.regrows_to = self.regrows_to.max(self.size);
        self.size = (self.size / 2).max(1);
        (self.doubles, self.before, self.failed, self.rest) = (false, None, 0, 0);
        self.round = Round::default();
    }

    /// A file of so many bytes was stored by an attempt that began after so many cuts. One that began before the last cut
    /// says nothing of the window since, and nothing is learned while there are too few files to fill it.
    pub fn stored(&mut self, cuts: u64, bytes: u64, is_full: bool, now: Instant) {
        if cuts < self.cuts {
            return;
        }
        if !is_full {
            self.round = Round::default();
            return;
        }
        self.round.files += 1;
        self.round.work += bytes + PER_FILE;
        if self.round.files < self.size {
            return;
        }
        match self.round.since.map(|since| now.saturating_duration_since(since)) {
            None if self.size < self.regrows_to => {
                self.size = (self.size + self.few()).min(self.regrows_to);
                self.round = Round::default();
            }
            None => self.round = Round { since: Some(now), ..Round::default() },
            Some(span) if span < SHORTEST_ROUND => {}
            Some(span) => self.judge(span, now),
        }
    }

    /// What follows from a round that took so long.
    fn judge(&mut self, span: Duration, now: Instant) {
        let measured = self.size;
        #[expect(clippy::cast_precision_loss, reason = "a throughput need not be exact")]
        let throughput = self.round.work as f64 / span.as_secs_f64();
        match self.before {
            Some((before, earlier)) => {
                if throughput >= earlier * (1.0 + PAYS * (ratio(measured, before) - 1.0)) {
                    self.step(throughput);
                } else if self.failed + 1 < TRIAL {
                    self.failed += 1;
                } else {
                    (self.size, self.doubles, self.before, self.rest) = (before, false, None, REST);
                }
            }
            None if self.rest > 0 => self.rest -= 1,
            None => self.step(throughput),
        }
        let since = (self.size == measured).then_some(now);
        self.round = Round { since, ..Round::default() };
    }

    /// Grows from a size of this throughput, if there is room.
    fn step(&mut self, throughput: f64) {
        let (before, step) = (self.size, if self.doubles { self.size } else { self.few() });
        self.size = (before + step).min(self.most);
        (self.before, self.failed) = ((self.size > before).then_some((before, throughput)), 0);
    }

    /// What is added at once where doubling would be too much.
    fn few(&self) -> usize {
        1 + self.most / 64
    }
}

#[expect(clippy::cast_precision_loss, reason = "windows are small")]
fn ratio(size: usize, before: usize) -> f64 {
    size as f64 / before as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A storage on a virtual clock.
    struct Storage {
        latency: Duration,
        /// More files than these only wait longer.
        useful: usize,
        /// Where more are under way, it asks to wait.
        bears: usize,
        now: Instant,
    }

    impl Storage {
        fn new(useful: usize, bears: usize) -> Self {
            Self { latency: Duration::from_millis(30), useful, bears, now: Instant::now() }
        }

        /// So many small files in a window that is always full; the sizes it had.
        fn take(&mut self, window: &mut Window, files: usize) -> Vec<usize> {
            let one = |_| {
                let size = window.size();
                self.now += self.latency / u32::try_from(size.min(self.useful)).unwrap();
                if size > self.bears {
                    window.strain(window.cuts());
                } else {
                    window.stored(window.cuts(), 4096, true, self.now);
                }
                size
            };
            (0..files).map(one).collect()
        }
    }

    fn open(mut window: Window) -> Window {
        assert_eq!(window.size(), 1, "the first goes alone");
        assert!(window.open() && !window.open());
        window
    }

    #[test]
    fn it_grows_to_its_most_within_a_second_where_every_step_pays() {
        let (mut window, mut storage) = (open(Window::adaptive()), Storage::new(1000, 1000));
        let began = storage.now;
        let sizes = storage.take(&mut window, 10_000);
        assert_eq!((sizes[0], window.size()), (FIRST, ADAPTIVE));
        let took = storage.now - began;
        assert!(took < Duration::from_millis(2850), "over 3,500 files a second, growth included: {took:?}");
    }

    #[test]
    fn it_stays_where_more_files_only_wait_longer() {
        for useful in [1, 4, 30, 100] {
            let (mut window, mut storage) = (open(Window::adaptive()), Storage::new(useful, 1000));
            let sizes = storage.take(&mut window, 50_000);
            let later = &sizes[5_000..];
            let (least, most) = (later.iter().min().unwrap(), later.iter().max().unwrap());
            let bound = (2 * useful).max(FIRST) + window.few();
            assert!(*least >= useful.min(FIRST) && *most <= bound, "{useful}: {least} to {most}");
        }
    }

    #[test]
    fn it_halves_once_for_all_files_that_were_under_way() {
        let mut window = open(Window::of(64));
        let before = window.cuts();
        for _ in 0..64 {
            window.strain(before);
        }
        assert_eq!(window.size(), 32);
        for expected in [16, 8, 4, 2, 1, 1] {
            window.strain(window.cuts());
            assert_eq!(window.size(), expected);
        }
    }

    #[test]
    fn it_grows_back_by_a_few_per_round_to_where_it_was() {
        let (mut window, mut storage) = (open(Window::small()), Storage::new(1000, 1000));
        window.strain(0);
        window.strain(1);
        assert_eq!(storage.take(&mut window, 11), [1, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4]);
        storage.take(&mut window, 1000);
        assert_eq!(window.size(), 4);
    }

    #[test]
    fn files_that_began_before_a_cut_do_not_let_it_grow() {
        let mut window = open(Window::of(8));
        window.strain(0);
        for _ in 0..100 {
            window.stored(0, 4096, true, Instant::now());
        }
        assert_eq!(window.size(), 4);
    }

    #[test]
    fn it_stays_near_what_the_other_side_bears() {
        let (mut window, mut storage) = (open(Window::adaptive()), Storage::new(1000, 100));
        let sizes = storage.take(&mut window, 50_000);
        let refused = sizes.iter().filter(|size| **size > 100).count();
        assert!(refused < 100, "{refused} of 50,000 refused");
        let mean = sizes.iter().sum::<usize>() / sizes.len();
        assert!((60..=100).contains(&mean), "{mean}");
    }

    #[test]
    fn too_few_files_say_nothing() {
        let (mut window, mut now) = (open(Window::adaptive()), Instant::now());
        for _ in 0..1000 {
            now += Duration::from_millis(30);
            window.stored(0, 4096, false, now);
        }
        assert_eq!(window.size(), FIRST);
    }

    #[test]
    fn a_fixed_window_never_grows_beyond_its_size() {
        for size in [1, 4, 64] {
            let (mut window, mut storage) = (open(Window::of(size)), Storage::new(1000, 1000));
            assert_eq!(storage.take(&mut window, 5_000).iter().max(), Some(&size));
        }
    }
}
