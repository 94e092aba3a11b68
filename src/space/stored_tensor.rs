//! A tensor as a model of the pool stores it.

use crate::checkpoint::tensor::Tensor;

/// A tensor in a model's file, and how it lies there beside the graph's.
#[derive(Debug, Clone)]
pub struct StoredTensor {
    /// Name in the member's file.
    pub name: String,
    /// The stored tensor.
    pub tensor: Tensor,
    /// Whether the file holds the matrix transposed: stored [c, r] where the graph has [r, c].
    pub transposed: bool,
}

impl StoredTensor {
    /// A tensor without a name, for comparing its values with others'.
    pub fn nameless(tensor: &Tensor, transposed: bool) -> Self {
        Self {
            name: String::new(),
            tensor: tensor.clone(),
            transposed,
        }
    }
}
