//! Evaluating mixes on data: one trait, two implementations.
//!
//! [`onnx`] runs the network; [`quadratic`] is a loss with a closed form, on which analyses are
//! tested without a runtime. [`work`] is what is computed, [`schedule`] says in which order mixes and
//! chunks of data are taken, and [`journal`] keeps what is finished. [`differentiable_loss`] and
//! [`linear_operator`] are the seams for gradients and for products with the Hessian.

mod chunk_run;
pub mod differentiable_loss;
pub mod doctor;
pub mod journal;
pub mod linear_operator;
pub mod logits;
pub mod metrics;
pub mod onnx;
mod output_lock;
pub mod quadratic;
mod remaining;
pub mod runtime;
pub mod schedule;
pub mod signature;
pub mod work;

use crate::error::Result;
use crate::result::score::{DatasetInfo, Score};
use crate::space::mix::Mix;

/// Evaluates mixes on every data set.
pub trait Evaluator {
    /// The data sets, with all their samples.
    fn datasets(&self) -> Vec<DatasetInfo>;

    /// Scores of all mixes on the data sets that are wanted, `wanted[data set]`; of the others, what
    /// is known.
    ///
    /// # Errors
    /// When the network cannot be run, or the user stopped the run.
    fn evaluate_on(
        &self,
        mixes: &[Mix],
        wanted: &[bool],
        observer: &dyn EvaluationObserver,
    ) -> Result<Answers>;

    /// Scores of all mixes on every data set.
    ///
    /// # Errors
    /// As of [`Evaluator::evaluate_on`].
    fn evaluate(&self, mixes: &[Mix], observer: &dyn EvaluationObserver) -> Result<Answers> {
        let wanted = vec![true; self.datasets().len()];
        self.evaluate_on(mixes, &wanted, observer)
    }
}

/// Scores after all samples, or after the first chunks of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Answers {
    /// The data sets, with the samples that were evaluated.
    pub datasets: Vec<DatasetInfo>,
    /// `scores[mix][data set]`.
    pub scores: Vec<Vec<Score>>,
    /// `files[file][data set]`: scores of the original models, where the evaluator has some.
    pub files: Vec<Vec<Score>>,
}

/// Is told how a long evaluation goes on.
pub trait EvaluationObserver: Sync {
    /// Called from any worker each time some samples of a model are done, with the models finished
    /// and the samples evaluated by this step.
    fn progress(&self, models: usize, samples: usize);

    /// Called before the work, with its size.
    fn begins(&self, _outlook: &RunEstimate) {}

    /// Called when a chunk of the data is finished that is not the last: the whole answer, from
    /// fewer samples.
    ///
    /// # Errors
    /// When going on is pointless.
    fn on_partial(&self, _answers: &Answers) -> Result<()> {
        Ok(())
    }
}

/// What a run is expected to take.
#[derive(Debug, Clone, PartialEq)]
pub struct RunEstimate {
    /// Models to evaluate.
    pub models: usize,
    /// Samples of each.
    pub samples: usize,
    /// Evaluations (models × samples) that an earlier run finished.
    pub done: usize,
    /// Chunks that the samples are taken in.
    pub chunks: usize,
    /// Estimated seconds for what is left, from the first evaluations.
    pub seconds: f64,
    /// Estimated bytes of memory.
    pub memory: u64,
    /// Nodes of the network that are run once for each chunk, and all its nodes, where some are.
    pub frozen_nodes: Option<(usize, usize)>,
}

/// Nobody is told.
impl EvaluationObserver for () {
    fn progress(&self, _models: usize, _samples: usize) {}
}
