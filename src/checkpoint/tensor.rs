//! A tensor as stored in a checkpoint file.

use bytes::Bytes;

pub use crate::base::dtype::Dtype;

/// A tensor inside a memory-mapped file; nothing is copied until it is decoded.
///
/// Two tensors are equal if type, shape and bytes are: −0 is not 0, and a NaN equals itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Element type.
    pub dtype: Dtype,
    /// Shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements, little-endian and row-major, with no particular alignment. For floating-point
    /// tensors the length is checked against shape and element type.
    pub bytes: Bytes,
}

impl Tensor {
    /// Number of elements.
    pub fn len(&self) -> usize {
        // Shapes of tensors that are not read may be anything.
        let axes = self.shape.iter();
        axes.fold(1, |len: usize, &axis| len.saturating_mul(axis))
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
