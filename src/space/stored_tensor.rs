//! A tensor in the file of a model.

use crate::checkpoint::tensor::Tensor;

/// A tensor in a model's file, and its orientation relative to the graph.
#[derive(Debug, Clone)]
pub struct StoredTensor {
    /// Name in the file.
    pub name: String,
    /// The tensor as stored.
    pub tensor: Tensor,
    /// Whether the file holds the matrix transposed: [c, r] if the graph has [r, c].
    pub transposed: bool,
}

impl StoredTensor {
    /// A tensor without a name, for comparisons of values.
    pub fn nameless(tensor: &Tensor, transposed: bool) -> Self {
        Self {
            name: String::new(),
            tensor: tensor.clone(),
            transposed,
        }
    }
}
