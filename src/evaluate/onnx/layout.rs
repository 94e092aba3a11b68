//! How the work is laid out on the machine, and how fast a layout is: plain values that the journal
//! keeps as text.

use std::fmt;

use super::binding::Binding;

/// How the work is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Sessions at the same time.
    pub workers: usize,
    /// Threads within each.
    pub threads: usize,
    /// Samples a run.
    pub batch: usize,
    /// How weights are bound.
    pub binding: Binding,
    /// Parts that the data is taken in.
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
    /// Reads what [`Display`](fmt::Display) wrote.
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

/// What a layout achieved.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Samples a second, all workers together.
    pub rate: f64,
    /// Seconds to make a worker ready.
    pub once: f64,
    /// Seconds to make each further model ready.
    pub each: f64,
    /// Seconds that the frozen part takes for a sample.
    pub frozen: f64,
}

impl Timing {
    /// Seconds for so many models of so many samples, in the layout's chunks, without the frozen
    /// part.
    pub fn seconds(&self, models: usize, samples: usize, layout: &Layout) -> f64 {
        let made = (models * layout.chunks) as f64 / layout.workers as f64;
        models as f64 * samples as f64 / self.rate + self.once + self.each * made
    }

    /// Seconds for what is run once: the frozen part on so many samples, and the original models,
    /// which go through it themselves.
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
