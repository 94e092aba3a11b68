//! How work is divided on the machine, and how fast a layout is: plain values, which the journal
//! stores as text.

use std::fmt;

use super::binding::Binding;

/// How work is divided on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Number of sessions that run in parallel.
    pub workers: usize,
    /// Threads per session.
    pub threads: usize,
    /// Batch size.
    pub batch: usize,
    /// How weights enter the network.
    pub binding: Binding,
    /// Number of chunks that the data is divided into.
    pub chunks: usize,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            workers,
            threads,
            batch,
            binding,
            chunks,
        } = self;
        let binding = binding.name();
        write!(
            f,
            "workers={workers} threads={threads} batch={batch} binding={binding} chunks={chunks}"
        )
    }
}

impl Layout {
    /// Parses the output of [`Display`](fmt::Display).
    pub fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| {
            let mut pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
            pairs.find(|(name, _)| *name == key).map(|(_, value)| value)
        };
        let number = |key: &str| value(key)?.parse().ok().filter(|&n| n > 0);
        Some(Self {
            workers: number("workers")?,
            threads: number("threads")?,
            batch: number("batch")?,
            binding: Binding::parse(value("binding")?)?,
            chunks: number("chunks")?,
        })
    }
}

/// The measured speed of a layout.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Samples per second, all workers together.
    pub rate: f64,
    /// Seconds to prepare a worker.
    pub once: f64,
    /// Seconds to prepare each further model.
    pub each: f64,
    /// Seconds per sample in the frozen part.
    pub frozen: f64,
}

impl Timing {
    /// Estimated seconds for `models` models on `samples` samples each, in the layout's chunks,
    /// without the frozen part.
    pub fn seconds(&self, models: usize, samples: usize, layout: &Layout) -> f64 {
        let made = (models * layout.chunks) as f64 / layout.workers as f64;
        models as f64 * samples as f64 / self.rate + self.once + self.each * made
    }

    /// Estimated seconds for the work that is done once: the frozen part on `samples` samples, and
    /// the original models, each of which runs that part itself.
    pub fn frozen_seconds(&self, samples: usize, originals: usize, layout: &Layout) -> f64 {
        let runs = 1.0 + originals as f64 / layout.workers as f64;
        self.frozen * samples as f64 * runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_is_read_back() {
        let layout = Layout {
            workers: 2,
            threads: 1,
            batch: 64,
            binding: Binding::Inputs,
            chunks: 7,
        };
        assert_eq!(Layout::parse(&layout.to_string()), Some(layout));
        assert_eq!(Layout::parse("workers=2 threads=0"), None);
    }
}
