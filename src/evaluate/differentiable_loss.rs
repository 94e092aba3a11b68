//! The interface between gradient-based analyses and the code that computes gradients: the loss of
//! β·logits over chosen samples of one data set, and its derivatives in the coefficients of a mix
//! and in β.

use super::Answers;
use super::metrics::{Outcome, Tally};
use crate::error::{Error, Result};
use crate::space::mix::Mix;

/// A loss that can be differentiated in the coefficients of mixes.
pub trait DifferentiableLoss {
    /// The parameters of the pool that differ between its members: index and name, in the pool's
    /// order.
    fn parameters(&self) -> Vec<(usize, String)>;

    /// The number of samples in the data set.
    fn samples(&self) -> usize;

    /// Loss, error and gradient at a mix, over the samples at these places of the data set's order.
    ///
    /// # Errors
    /// Fails when the network cannot be run, or the user stopped the run.
    fn coefficient_gradient(
        &self,
        mix: &Mix,
        beta: f64,
        samples: &[usize],
    ) -> Result<CoefficientGradient>;

    /// The outcomes of β·logits on these samples, in their order, without derivatives.
    ///
    /// # Errors
    /// Fails as [`DifferentiableLoss::coefficient_gradient`] does.
    fn outcomes(&self, mix: &Mix, beta: f64, samples: &[usize]) -> Result<Vec<Outcome>>;

    /// Loss and error without derivatives.
    ///
    /// # Errors
    /// Fails as [`DifferentiableLoss::coefficient_gradient`] does.
    fn fit(&self, mix: &Mix, beta: f64, samples: &[usize]) -> Result<Fit> {
        Ok(Fit::of(&self.outcomes(mix, beta, samples)?))
    }
}

/// Loss and error of a mix on some samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    /// Mean cross-entropy of β·logits, in nats.
    pub loss: f64,
    /// Fraction of the samples that are classified wrongly, in [0, 1].
    pub error: f64,
}

impl Fit {
    /// Means over samples, added in their order.
    pub fn of(outcomes: &[Outcome]) -> Self {
        let mut tally = Tally::default();
        outcomes.iter().for_each(|outcome| tally.add(*outcome));
        let score = tally.score();
        Self {
            loss: score.loss,
            error: score.error,
        }
    }
}

/// A loss and its derivatives at a mix.
#[derive(Debug, Clone, PartialEq)]
pub struct CoefficientGradient {
    /// Loss and error.
    pub fit: Fit,
    /// ∂L/∂c of each parameter's coefficients, `rows[parameter][member]`: ⟨∇_W L, θᵢ⟩ over that
    /// tensor. Every parameter of the pool has a row; it is zero if the parameter does not move.
    pub rows: Vec<Vec<f64>>,
    /// ∂L/∂β.
    pub beta: f64,
}

/// A loss from the evaluator, used to check a loss that was computed together with gradients: the
/// two come from different graphs and batches.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// A description of the model that has this loss.
    pub what: String,
    /// The data set.
    pub dataset: String,
    /// Mean cross-entropy of the logits, in nats.
    pub loss: f64,
    /// Number of samples, the first of the data set's order.
    pub samples: usize,
    /// The fraction by which rounding may change a loss.
    pub rounding: f64,
}

impl Reference {
    /// The loss of the first mix of `answers` on the data set at index `set`.
    pub fn of(answers: &Answers, set: usize, what: impl Into<String>, rounding: f64) -> Self {
        let dataset = &answers.datasets[set];
        Self {
            what: what.into(),
            dataset: dataset.name.clone(),
            loss: answers.scores[0][set].loss,
            samples: dataset.samples,
            rounding,
        }
    }

    /// Checks that a loss of the same model on the same samples agrees up to rounding. Two losses
    /// that are not finite agree.
    ///
    /// # Errors
    /// Fails when the losses differ; the message has both numbers.
    pub fn hold(&self, found: f64) -> Result<()> {
        let size = found.abs().max(self.loss.abs());
        // A loss near 0 is a difference of larger numbers.
        let near = self.rounding * (size + self.rounding);
        let both_broken = !found.is_finite() && !self.loss.is_finite();
        if (found - self.loss).abs() <= near || both_broken {
            return Ok(());
        }
        let Self {
            what,
            dataset,
            loss,
            samples,
            ..
        } = self;
        Err(Error::runtime(
            "gradients",
            format!(
                "the gradient's loss of {what} on {samples} samples of {dataset} is {found:.6} nats, \
                 the evaluated loss {loss:.6}; do not trust results that use the gradient"
            ),
        )
        .help(
            "a network whose values depend on the other samples of a batch (batch norm in training \
             mode) does this; export it with model.eval(), or leave out what takes gradients",
        ))
    }
}
