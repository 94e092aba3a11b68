//! What an engine was asked for and what that took, for the summary of a run.

use std::sync::Mutex;

use crate::base::lock::lock;

/// What it took to answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Models that were asked for.
    pub models: usize,
    /// Those of them of which everything was known.
    pub remembered: usize,
    /// Samples that went through the network, over all models.
    pub samples: usize,
    /// Samples of which gradients were taken, or losses beside them.
    pub learning: usize,
}

/// Counts that workers add to.
#[derive(Debug, Default)]
pub struct Counters(Mutex<Counts>);

impl Counters {
    /// The counts so far.
    pub fn get(&self) -> Counts {
        *lock(&self.0)
    }

    /// Adds to them.
    pub fn add(&self, add: impl FnOnce(&mut Counts)) {
        add(&mut lock(&self.0));
    }
}
