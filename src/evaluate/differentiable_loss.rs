//! The seam between analyses that follow gradients and what computes them: the loss of β·logits over
//! chosen samples of one data set, and its derivatives in the coefficients of a mix and in β.

use crate::error::{Error, Result};
use crate::space::mix::Mix;

/// A loss with derivatives in the coefficients of mixes.
pub trait DifferentiableLoss {
    /// The parameters of the pool that differ between its members: index and name, in the pool's
    /// order.
    fn parameters(&self) -> Vec<(usize, String)>;

    /// Samples of the data set.
    fn samples(&self) -> usize;

    /// Loss, error and gradient at a mix, over the samples at these places of the data set's order.
    ///
    /// # Errors
    /// When the network cannot be run, or the user stopped the run.
    fn coefficient_gradient(
        &self,
        mix: &Mix,
        beta: f64,
        samples: &[usize],
    ) -> Result<CoefficientGradient>;

    /// Loss and error alone.
    ///
    /// # Errors
    /// As of [`DifferentiableLoss::coefficient_gradient`].
    fn fit(&self, mix: &Mix, beta: f64, samples: &[usize]) -> Result<Fit>;
}

/// How well a mix does on some samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    /// Mean cross-entropy of β·logits, in nats.
    pub loss: f64,
    /// Part of the samples whose largest logit is another class's, in [0, 1].
    pub error: f64,
}

/// A loss and its derivatives at a mix.
#[derive(Debug, Clone, PartialEq)]
pub struct CoefficientGradient {
    /// The loss itself.
    pub fit: Fit,
    /// ∂L/∂c of each parameter's coefficients, `[parameter][member]`: ⟨∇_W L, θᵢ⟩ over that tensor.
    /// Every parameter of the pool has a row; where it does not move, of zeros.
    pub rows: Vec<Vec<f64>>,
    /// ∂L/∂β.
    pub beta: f64,
}

/// A loss as the evaluator has it, to hold against it what comes with slopes: both are computed by
/// graphs and in batches of their own.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// What it is the loss of, in words.
    pub what: String,
    /// The data set.
    pub dataset: String,
    /// Mean cross-entropy of the logits, in nats.
    pub loss: f64,
    /// Over so many samples, the first of the data set's order.
    pub samples: usize,
    /// By what part of a loss rounding may move it.
    pub rounding: f64,
}

impl Reference {
    /// Whether a loss of the same model and samples is the same but for rounding; two that are not
    /// finite are.
    ///
    /// # Errors
    /// When it is not, with both numbers.
    pub fn hold(&self, found: f64) -> Result<()> {
        let size = found.abs().max(self.loss.abs());
        // Losses near 0 are differences of larger numbers.
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
