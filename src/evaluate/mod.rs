//! Evaluating mixes on data: one trait, two implementations.
//!
//! with a closed form, on which analyses are tested without a runtime.

pub mod doctor;
pub mod interface;
pub mod metrics;
pub mod onnx;
pub mod quadratic;
pub mod runtime;

use crate::error::Result;
use crate::result::score::{DatasetInfo, Score};
use crate::space::mix::Mix;

/// Evaluates mixes on every data set.
pub trait Evaluator {
    /// The data sets, in the order of the scores.
    fn datasets(&self) -> &[DatasetInfo];

    /// Scores `[mix][data set]`.
    ///
    /// # Errors
    /// When the network cannot be run, or the user stopped the run.
    fn evaluate(&self, mixes: &[Mix], progress: &Progress<'_>) -> Result<Vec<Vec<Score>>>;
}

/// Told, from any worker, each time some samples of a mix are done: (mixes finished by this
/// step, samples evaluated by this step).
pub type Progress<'a> = dyn Fn(usize, usize) + Sync + 'a;
