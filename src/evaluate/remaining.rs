//! The remaining work on a chunk of data, and its expected cost. Plain numbers.

use std::ops::Range;
use std::time::Duration;

use super::metrics::Tally;

/// The remaining work on a chunk.
pub struct Remaining {
    /// Indices of the models that lack some of its samples.
    pub models: Vec<usize>,
    /// Number of samples that they lack, summed over all models.
    pub evaluations: usize,
    /// Number of samples in the chunk.
    pub samples: usize,
}

impl Remaining {
    /// Counts the remaining work on the chunk `ranges[data set]`, given `tallies[model][data set]`.
    pub fn of(tallies: &[Vec<Tally>], ranges: &[Range<usize>]) -> Self {
        let lacks = |sets: &Vec<Tally>| -> usize {
            let pairs = sets.iter().zip(ranges);
            let missing = pairs
                .map(|(tally, range)| range.end.saturating_sub(tally.samples().max(range.start)));
            missing.sum()
        };
        let missing = tallies.iter().map(lacks).enumerate();
        let missing: Vec<(usize, usize)> = missing.filter(|(_, missing)| *missing > 0).collect();
        Self {
            evaluations: missing.iter().map(|(_, missing)| missing).sum(),
            models: missing.into_iter().map(|(model, _)| model).collect(),
            samples: ranges.iter().map(Range::len).sum(),
        }
    }
}

/// The measured cost of a chunk, in seconds. Preparing samples takes as long for one model as for
/// all.
#[derive(Debug, Clone, Copy)]
pub struct ChunkCost {
    /// Seconds to prepare a sample.
    pub per_sample: f64,
    /// Seconds to run a model on a sample.
    pub per_evaluation: f64,
}

impl ChunkCost {
    /// The expected cost of another chunk.
    pub fn of(self, remaining: &Remaining) -> Duration {
        let ready = self.per_sample * remaining.samples as f64;
        let run = self.per_evaluation * remaining.evaluations as f64;
        Duration::try_from_secs_f64(ready + run).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::metrics::Outcome;

    #[test]
    fn samples_that_were_made_ready_for_one_model_cost_no_more_for_all() {
        let tallies = |done: usize| {
            let mut tally = Tally::default();
            (0..done).for_each(|_| tally.add(Outcome::of(&[0.0_f32, 1.0], 0)));
            vec![tally]
        };
        // A run resumed with 1 of 400 models missing on the first chunk.
        let mut all = vec![tallies(50); 399];
        all.push(tallies(0));
        let one = Remaining::of(&all, std::slice::from_ref(&(0..50)));
        assert_eq!((one.models.as_slice(), one.evaluations), (&[399][..], 50));
        let next = Remaining::of(&vec![tallies(50); 400], std::slice::from_ref(&(50..150)));
        assert_eq!((next.samples, next.evaluations), (100, 40_000));
        let cost = ChunkCost {
            per_sample: 10.0 / one.samples as f64,
            per_evaluation: 0.5 / one.evaluations as f64,
        };
        let expected = cost.of(&next).as_secs_f64();
        assert!((expected - (20.0 + 400.0)).abs() < 1e-6, "{expected}");
    }
}
