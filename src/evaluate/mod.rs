//! Evaluating mixes on data: one trait, two implementations.
//!
//! [`onnx`] runs the network; [`quadratic`] is a loss with a closed form, on which analyses are
//! tested without a runtime. [`schedule`] says in which order mixes and chunks of data are taken,
//! and [`journal`] keeps what is finished.

mod chunk_run;
pub mod differentiable_loss;
pub mod doctor;
pub mod journal;
pub mod linear_operator;
mod lock;
pub mod logits;
pub mod metrics;
pub mod onnx;
mod output_lock;
pub mod quadratic;
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

    /// Scores of all mixes on the data sets that are `wanted`; of the others, what is known.
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

/// What is known after all samples, or after the first chunks of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Answers {
    /// The data sets, with the samples that were evaluated.
    pub datasets: Vec<DatasetInfo>,
    /// `scores[mix][data set]`.
    pub scores: Vec<Vec<Score>>,
    /// Scores of the untouched files, `[file][data set]`, where the evaluator has some.
    pub files: Vec<Vec<Score>>,
}

/// Told how a long evaluation goes on.
pub trait EvaluationObserver: Sync {
    /// Called from any worker each time some samples of a model are done: (models finished by
    /// this step, samples evaluated by this step).
    fn progress(&self, models: usize, samples: usize);

    /// Called before the work, with its size.
    fn begins(&self, _outlook: &RunEstimate) {}

    /// Called when a chunk of the data is finished that is not the last: the whole answer, from
    /// fewer samples.
    ///
    /// # Errors
    /// What makes going on pointless.
    fn on_partial(&self, _answers: &Answers) -> Result<()> {
        Ok(())
    }
}

/// What a run is going to take.
#[derive(Debug, Clone, PartialEq)]
pub struct RunEstimate {
    /// Models to evaluate.
    pub models: usize,
    /// Samples of each.
    pub samples: usize,
    /// Models × samples that an earlier run finished.
    pub done: usize,
    /// Chunks that the samples are taken in.
    pub chunks: usize,
    /// Estimated seconds, from the first evaluations.
    pub seconds: f64,
    /// Estimated bytes of memory.
    pub memory: u64,
    /// Nodes of the network that are run once for each chunk, and all its nodes, where some are.
    pub frozen_nodes: Option<(usize, usize)>,
}

/// Nobody watches.
impl EvaluationObserver for () {
    fn progress(&self, _models: usize, _samples: usize) {}
}
