//! Evaluates mixes on data: one trait, two implementations.
//!
//! [`onnx`] runs the network; [`quadratic`] is a loss with a closed form, which tests analyses
//! without a runtime. [`work`] is the interface to the computation, [`schedule`] orders mixes and
//! chunks of data, and [`journal`] keeps finished work. [`differentiable_loss`] and
//! [`linear_operator`] are the interfaces for gradients and for Hessian-vector products.

pub mod beta;
mod chunk_run;
pub mod differentiable_loss;
pub mod doctor;
pub mod journal;
pub mod linear_operator;
pub mod logits;
pub mod metrics;
pub mod onnx;
mod outcome_file;
pub mod outcomes;
mod output_lock;
pub mod quadratic;
mod remaining;
pub mod runtime;
pub mod schedule;
pub mod signature;
pub mod work;

use self::outcomes::Outcomes;
use crate::error::{Error, Result};
use crate::result::loss::Beta;
use crate::result::score::{DatasetInfo, Score};
use crate::space::mix::Mix;

/// Evaluates mixes on every data set.
pub trait Evaluator {
    /// The data sets, with all their samples.
    fn datasets(&self) -> Vec<DatasetInfo>;

    /// Scores of all mixes on the requested data sets, `wanted[data set]`; for the others, the
    /// scores known so far.
    ///
    /// # Errors
    /// Fails when the network cannot be run, or the user stopped the run.
    fn evaluate_on(
        &self,
        mixes: &[Mix],
        wanted: &[bool],
        observer: &dyn EvaluationObserver,
    ) -> Result<Answers>;

    /// Evaluates all mixes on the data set at index `set`; the scores on the others are those that
    /// are known.
    ///
    /// # Errors
    /// Fails as [`Evaluator::evaluate_on`] does.
    fn evaluate_one(
        &self,
        mixes: &[Mix],
        set: usize,
        observer: &dyn EvaluationObserver,
    ) -> Result<Answers> {
        let sets = 0..self.datasets().len();
        let wanted: Vec<bool> = sets.map(|other| other == set).collect();
        self.evaluate_on(mixes, &wanted, observer)
    }

    /// The outcomes of a mix on the first `samples` samples of the data set at index `set`, if it
    /// was evaluated on them; the network is not run.
    ///
    /// # Errors
    /// Fails when kept outcomes cannot be read.
    fn outcomes(&self, mix: &Mix, set: usize, samples: usize) -> Result<Option<Outcomes>>;

    /// The outcomes of a mix, which a comparison needs.
    ///
    /// # Errors
    /// Fails as [`Evaluator::outcomes`] does, and when they were too many to keep.
    fn kept_outcomes(&self, mix: &Mix, set: usize, samples: usize) -> Result<Outcomes> {
        self.outcomes(mix, set, samples)?.ok_or_else(|| {
            let problem = "has too many models and samples to compare them one by one";
            Error::runtime("the run", problem)
                .help("take fewer points or pairs (--steps, --pairs), or fewer samples (--limit)")
        })
    }

    /// Scores of all mixes on every data set.
    ///
    /// # Errors
    /// Fails as [`Evaluator::evaluate_on`] does.
    fn evaluate(&self, mixes: &[Mix], observer: &dyn EvaluationObserver) -> Result<Answers> {
        let wanted = vec![true; self.datasets().len()];
        self.evaluate_on(mixes, &wanted, observer)
    }
}

/// Scores on all samples, or on the first chunks of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Answers {
    /// The data sets, with the samples that were evaluated.
    pub datasets: Vec<DatasetInfo>,
    /// `scores[mix][data set]`.
    pub scores: Vec<Vec<Score>>,
    /// `originals[model][data set]`: scores of the original models, if the evaluator has any.
    pub originals: Vec<Vec<Score>>,
    /// `betas[mix]`, if losses are calibrated; otherwise empty.
    pub betas: Vec<Beta>,
}

/// Observes the progress of a long evaluation.
pub trait EvaluationObserver: Sync {
    /// Called by any worker after some samples of a model, with the number of models finished and
    /// of samples evaluated in this step.
    fn progress(&self, models: usize, samples: usize);

    /// Called before the work begins, with its size.
    fn begins(&self, _estimate: &RunEstimate) {}

    /// Called after each chunk of data but the last, with all scores on the samples so far.
    ///
    /// # Errors
    /// Returns an error if continuing is pointless.
    fn on_partial(&self, _answers: &Answers) -> Result<()> {
        Ok(())
    }
}

/// The expected size and cost of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunEstimate {
    /// Number of models to evaluate.
    pub models: usize,
    /// Number of samples per model.
    pub samples: usize,
    /// Number of evaluations (models × samples) finished by an earlier run.
    pub done: usize,
    /// Number of chunks that the samples are divided into.
    pub chunks: usize,
    /// Estimated seconds for the remaining work, from the first evaluations.
    pub seconds: f64,
    /// Estimated bytes of memory.
    pub memory: u64,
    /// Bytes of disk for the outcomes of every sample.
    pub disk: u64,
    /// The number of nodes that run once for each chunk, and the number of all nodes, if any are.
    pub frozen_nodes: Option<(usize, usize)>,
}

/// Ignores all events.
impl EvaluationObserver for () {
    fn progress(&self, _models: usize, _samples: usize) {}
}
