//! Where a member of the pool keeps a parameter.

use crate::checkpoint::tensor::Tensor;

/// Where a member keeps one parameter.
#[derive(Debug, Clone)]
pub struct Source {
    /// Name in the member's file.
    pub name: String,
    /// The stored tensor.
    pub tensor: Tensor,
    /// Whether the file holds the matrix transposed: stored [c, r] where the graph has [r, c].
    pub transposed: bool,
}
