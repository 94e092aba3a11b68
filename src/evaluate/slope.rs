//! Slopes: the loss of β·logits over chosen samples of one data set, and its derivatives in the
//! coefficients of a mix and in β.

use crate::error::Result;
use crate::space::mix::Mix;

/// A loss that tells its slope in the coefficients of mixes.
pub trait Slopes {
    /// Parameters of the pool that differ between its members: index and name, in the pool's order.
    fn parameters(&self) -> Vec<(usize, String)>;

    /// Samples of the data set.
    fn samples(&self) -> usize;

    /// Loss, error and slope at a mix, over the samples at these places of the data set's order.
    ///
    /// # Errors
    /// When the network cannot be run, or the user stopped the run.
    fn slope(&self, mix: &Mix, beta: f64, samples: &[usize]) -> Result<Slope>;

    /// Loss and error alone.
    ///
    /// # Errors
    /// As of [`Slopes::slope`].
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

/// A loss and its derivatives.
#[derive(Debug, Clone, PartialEq)]
pub struct Slope {
    /// The loss itself.
    pub fit: Fit,
    /// ∂L/∂c of each parameter's coefficients, `[parameter][member]`: ⟨∇_W L, θᵢ⟩ over that tensor.
    /// Every parameter of the pool has a row; where it does not move, of zeros.
    pub rows: Vec<Vec<f64>>,
    /// ∂L/∂β.
    pub beta: f64,
}
