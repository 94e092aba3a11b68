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

    /// v·Hg·v for each of several disjoint groups g of the samples that H is a mean over. The mean
    /// of all, weighted by the groups' sizes, is v·H·v. By default there is one group.
    ///
    /// # Errors
    /// Fails as [`LinearOperator::apply`] does.
    fn along(&self, v: &[f64]) -> Result<Vec<GroupCurvature>> {
        let product = self.apply(v)?;
        Ok(vec![GroupCurvature {
            samples: 1,
            value: product.iter().zip(v).map(|(product, v)| product * v).sum(),
        }])
    }
}

/// The curvature of the mean loss over a group of samples along a vector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupCurvature {
    /// Number of samples in the group.
    pub samples: usize,
    /// v·Hg·v.
    pub value: f64,
}
