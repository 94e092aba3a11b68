//! The seam between the Lanczos process and what it is run on: a symmetric matrix, such as a loss's
//! Hessian in the parameters, known by its products with vectors alone.

use crate::error::Result;

/// A symmetric linear map of vectors, for example a Hessian.
pub trait LinearOperator {
    /// Length of its vectors.
    fn dim(&self) -> usize;

    /// The product H·v; `v` and the product have [`LinearOperator::dim`] elements.
    ///
    /// # Errors
    /// When the network cannot be run, or the user stopped the run.
    fn apply(&self, v: &[f64]) -> Result<Vec<f64>>;
}
