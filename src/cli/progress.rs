//! Progress of long work: a bar at a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::note;

/// Counts points and samples that are done.
pub struct Meter {
    bar: Option<ProgressBar>,
    points: AtomicUsize,
    samples: AtomicUsize,
    points_done: AtomicUsize,
    samples_done: AtomicUsize,
    start: Instant,
    /// Milliseconds after `start` when the next plain line is due.
    next_line: AtomicUsize,
}

/// Time between plain lines.
const LINE_EVERY: usize = 10_000;

impl Meter {
    /// A meter for `points` models and, over all of them, `samples` samples.
    pub fn new(points: usize, samples: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(samples as u64);
            let template = "{bar:30} {msg} {per_sec} samples, {eta} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Self {
            bar,
            points: AtomicUsize::new(points),
            samples: AtomicUsize::new(samples),
            points_done: AtomicUsize::new(0),
            samples_done: AtomicUsize::new(0),
            start: Instant::now(),
            next_line: AtomicUsize::new(LINE_EVERY),
        }
    }

    /// Adds more to do.
    pub fn extend(&self, points: usize, samples: usize) {
        self.points.fetch_add(points, Ordering::Relaxed);
        self.samples.fetch_add(samples, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.inc_length(samples as u64);
        }
    }

    /// Adds what was done; called from any worker.
    pub fn add(&self, points: usize, samples: usize) {
        let points = self.points_done.fetch_add(points, Ordering::Relaxed) + points;
        let samples = self.samples_done.fetch_add(samples, Ordering::Relaxed) + samples;
        let all = self.points.load(Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.set_position(samples as u64);
            bar.set_message(format!("{points}/{all} points"));
            return;
        }
        let elapsed = self.start.elapsed();
        let due = self.next_line.load(Ordering::Relaxed);
        let now = elapsed.as_millis() as usize;
        let next = now + LINE_EVERY;
        let mine = now >= due
            && self
                .next_line
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if mine {
            let rate = samples as f64 / elapsed.as_secs_f64();
            let left = self.samples.load(Ordering::Relaxed).saturating_sub(samples) as f64 / rate;
            note(&format!(
                "{points}/{all} points, {rate:.0} samples/s, {left:.0} s left"
            ));
        }
    }

    /// Takes the bar away; returns samples per second.
    pub fn finish(&self) -> f64 {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.samples_done.load(Ordering::Relaxed) as f64 / self.start.elapsed().as_secs_f64()
    }
}
