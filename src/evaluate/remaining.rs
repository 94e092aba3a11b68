//! What is still to be done of a chunk of data, and what it is going to cost. Plain numbers.

use std::ops::Range;
use std::time::Duration;

use super::metrics::Tally;

/// What is still to be done of a chunk.
pub struct Remaining {
    /// Models that lack some of its samples, by their index.
    pub models: Vec<usize>,
    /// Samples that they lack, over all models.
    pub evaluations: usize,
    /// Samples of the chunk.
    pub samples: usize,
}

impl Remaining {
    /// Of the chunk `ranges[data set]`, for `tallies[model][data set]`.
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

/// What a chunk cost, in seconds. Making samples ready takes as long for one model as for all.
#[derive(Debug, Clone, Copy)]
pub struct ChunkCost {
    /// To make a sample ready.
    pub per_sample: f64,
    /// To run a model on a sample.
    pub per_evaluation: f64,
}

impl ChunkCost {
    /// What another chunk is going to cost.
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
        // A run was resumed where one of 400 models lacked the first chunk.
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
