//! The interface between the schedule and the computation: workers evaluate models on chunks of
//! data. An implementation may build sessions and read data; it keeps no tallies.

use std::ops::Range;

use super::metrics::{Outcome, Tally};
use crate::error::Result;

/// The computation: it evaluates models on chunks.
pub trait Work: Sync {
    /// Samples prepared for every model.
    type Chunk: Sync;
    /// The resources of one thread.
    type Worker: Send;

    /// Prepares the samples `ranges[data set]`, in that set's order of evaluation.
    ///
    /// # Errors
    /// Fails when the samples cannot be read or prepared.
    fn chunk(&self, ranges: &[Range<usize>]) -> Result<Self::Chunk>;

    /// Creates a worker; `number` counts from 0.
    ///
    /// # Errors
    /// Fails when there is too little memory, or the runtime refuses the model.
    fn worker(&self, number: usize) -> Result<Self::Worker>;

    /// Evaluates the model at index `model` on samples of a chunk and returns `outcomes[data
    /// set][sample]`. `places[data set]` is a range of that set's order; it starts at the start of
    /// a batch.
    ///
    /// # Errors
    /// Fails when the network cannot be run or the user stopped the run.
    fn evaluate(
        &self,
        worker: &mut Self::Worker,
        model: usize,
        chunk: &Self::Chunk,
        places: &[Range<usize>],
    ) -> Result<Vec<Vec<Outcome>>>;

    /// Whether the outcomes of every sample of the model at index `model` are kept beside its
    /// tallies.
    fn keeps_outcomes(&self, model: usize) -> bool;

    /// Called with a model's new tallies, `tallies[data set]`, before they are visible elsewhere.
    fn tallied(&self, _tallies: &[Tally]) {}
}
