//! Progress of work whose steps take about the same time.

use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::MultiProgress;

use super::ticker::Ticker;
use crate::base::human::duration;

/// Counts finished steps.
pub struct StepProgress {
    ticker: Ticker,
    what: &'static str,
    all: usize,
    done: AtomicUsize,
}

impl StepProgress {
    /// Starts before the first of `all` steps; `what` names them in the plural.
    pub fn new(what: &'static str, all: usize, bars: &MultiProgress) -> Self {
        Self {
            ticker: Ticker::new(
                bars,
                &format!("{{bar:30}} {{pos}}/{{len}} {what}, {{eta}} left"),
                all,
            ),
            what,
            all,
            done: AtomicUsize::new(0),
        }
    }

    /// Counts finished steps.
    pub fn add(&self, steps: usize) {
        let done = self.done.fetch_add(steps, Ordering::Relaxed) + steps;
        self.ticker.tick(done, self.what, |seconds| {
            let left = self.all.saturating_sub(done) as f64;
            let left = duration(seconds / done.max(1) as f64 * left);
            format!("{done}/{} {}, {left} left", self.all, self.what)
        });
    }
}
