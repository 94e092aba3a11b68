//! Progress of evaluations, in models and samples.

use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::MultiProgress;

use super::ticker::Ticker;

/// Counts finished models and samples.
pub struct EvaluationProgress {
    ticker: Ticker,
    models: AtomicUsize,
    samples: AtomicUsize,
    models_done: AtomicUsize,
    samples_done: AtomicUsize,
}

impl EvaluationProgress {
    /// Starts at 0 of `models` and of `samples`, which is summed over all models.
    pub fn new(models: usize, samples: usize, bars: &MultiProgress) -> Self {
        let template = "{bar:30} {msg} {per_sec} samples, {eta} left";
        Self {
            ticker: Ticker::new(bars, template, samples),
            models: AtomicUsize::new(models),
            samples: AtomicUsize::new(samples),
            models_done: AtomicUsize::new(0),
            samples_done: AtomicUsize::new(0),
        }
    }

    /// Adds to the total.
    pub fn extend(&self, models: usize, samples: usize) {
        self.models.fetch_add(models, Ordering::Relaxed);
        let before = self.samples.fetch_add(samples, Ordering::Relaxed);
        self.ticker.set_length(before + samples);
    }

    /// Counts finished work; called from any worker.
    pub fn add(&self, models: usize, samples: usize) {
        let models = self.models_done.fetch_add(models, Ordering::Relaxed) + models;
        let samples = self.samples_done.fetch_add(samples, Ordering::Relaxed) + samples;
        let all = self.models.load(Ordering::Relaxed);
        let message = format!("{models}/{all} points");
        self.ticker.tick(samples, &message, |seconds| {
            let left = self.samples.load(Ordering::Relaxed).saturating_sub(samples);
            line(&message, samples, left, seconds)
        });
    }

    /// Removes the bar; returns samples per second.
    pub fn finish(&self) -> f64 {
        self.ticker.clear();
        self.samples_done.load(Ordering::Relaxed) as f64 / self.ticker.elapsed().as_secs_f64()
    }
}

/// Formats a progress line after `seconds`. It has no remaining time until a sample is finished.
fn line(message: &str, samples: usize, left: usize, seconds: f64) -> String {
    let rate = samples as f64 / seconds;
    if samples == 0 {
        return format!("{message}, no sample done yet");
    }
    let left = left as f64 / rate;
    format!("{message}, {rate:.0} samples/s, {left:.0} s left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_told_once_it_is_known() {
        assert_eq!(
            line("2/9 points", 50, 100, 10.0),
            "2/9 points, 5 samples/s, 20 s left"
        );
        assert_eq!(
            line("0/9 points", 0, 150, 10.0),
            "0/9 points, no sample done yet"
        );
    }
}
