//! The interface between the Lanczos process and its operator: a symmetric matrix, e.g. the Hessian
//! of a loss in the parameters, known only by its products with vectors.

use crate::error::Result;

/// A symmetric linear map of vectors, e.g. a Hessian.
pub trait LinearOperator {
    /// The length of the vectors.
    fn dim(&self) -> usize;

    /// The product H·v; both vectors have [`LinearOperator::dim`] elements.
    ///
    /// # Errors
    /// Fails when the network cannot be run, or the user stopped the run.
    fn apply(&self, v: &[f64]) -> Result<Vec<f64>>;
}
