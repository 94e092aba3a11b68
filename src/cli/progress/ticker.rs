//! Progress of long work: a bar on a terminal, otherwise a line every ten seconds.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::cli::terminal::note;

/// Milliseconds between lines.
const LINE_EVERY: u64 = 10_000;

/// A bar, or periodic lines.
pub struct Ticker {
    bar: Option<ProgressBar>,
    start: Instant,
    /// Time of the next line, in milliseconds after `start`.
    next_line: AtomicU64,
}

impl Ticker {
    /// Starts at 0 of `length`; the bar stands below the others.
    pub fn new(bars: &MultiProgress, template: &str, length: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = bars.add(ProgressBar::new(length as u64));
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Self {
            bar,
            start: Instant::now(),
            next_line: AtomicU64::new(LINE_EVERY),
        }
    }

    /// Sets the total.
    pub fn set_length(&self, length: usize) {
        if let Some(bar) = &self.bar {
            bar.set_length(length as u64);
        }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Shows that `done` is finished: `message` stands beside the bar; `line` makes a line from the
    /// elapsed time in seconds. Called from any thread.
    pub fn tick(&self, done: usize, message: &str, line: impl FnOnce(f64) -> String) {
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
            bar.set_message(message.to_string());
            return;
        }
        let elapsed = self.start.elapsed();
        let now = elapsed.as_millis() as u64;
        let due = self.next_line.load(Ordering::Relaxed);
        let (next, order) = (now + LINE_EVERY, Ordering::Relaxed);
        // If several threads are due, only one prints.
        let swap = || self.next_line.compare_exchange(due, next, order, order);
        if now >= due && swap().is_ok() {
            note(&line(elapsed.as_secs_f64()));
        }
    }

    /// Removes the bar.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.clear();
    }
}
