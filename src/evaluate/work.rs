//! The seam between the schedule and what computes: models are evaluated on chunks of data by workers.
//! Whatever implements it may build sessions and read data; it keeps no tallies.

use std::ops::Range;

use super::metrics::{Outcome, Tally};
use crate::error::Result;

/// What is computed: models on chunks.
pub trait Work: Sync {
    /// Samples made ready for every model.
    type Chunk: Sync;
    /// What one thread needs.
    type Worker: Send;

    /// Makes samples ready: `ranges[data set]`, in that set's order of evaluation.
    ///
    /// # Errors
    /// When they cannot be read or prepared.
    fn chunk(&self, ranges: &[Range<usize>]) -> Result<Self::Chunk>;

    /// Sets up the worker of a number; they count from 0.
    ///
    /// # Errors
    /// When there is no memory for it, or the runtime refuses it.
    fn worker(&self, number: usize) -> Result<Self::Worker>;

    /// What the model of an index makes of samples of a chunk, `outcomes[data set][sample]`:
    /// `places[data set]` is a range of that set's order, which begins with a batch.
    ///
    /// # Errors
    /// When the network cannot be run or the user stopped the run.
    fn evaluate(
        &self,
        worker: &mut Self::Worker,
        model: usize,
        chunk: &Self::Chunk,
        places: &[Range<usize>],
    ) -> Result<Vec<Vec<Outcome>>>;

    /// Called when a model has these tallies, `tallies[data set]`, before anybody else sees them.
    fn tallied(&self, _tallies: &[Tally]) {}
}
