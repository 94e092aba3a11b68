//! Counts an engine's requests and the work that they took, for the summary of a run.

use std::sync::Mutex;

use crate::base::lock::lock;

/// The work done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Models requested.
    pub models: usize,
    /// Requested models whose scores were all known already.
    pub remembered: usize,
    /// Samples passed through the network, summed over all models.
    pub samples: usize,
    /// Samples for which gradients, or losses beside them, were computed.
    pub learning: usize,
}

/// Counts that several workers add to.
#[derive(Debug, Default)]
pub struct Counters(Mutex<Counts>);

impl Counters {
    /// The counts so far.
    pub fn get(&self) -> Counts {
        *lock(&self.0)
    }

    /// Applies `add` to the counts.
    pub fn add(&self, add: impl FnOnce(&mut Counts)) {
        add(&mut lock(&self.0));
    }
}
